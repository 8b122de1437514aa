//! Relations whose rows change from moment to moment, whatever the catalog: sessions, locks, settings, cursors.
//!
//! In: such a relation; out: its rows as they are now.

use async_trait::async_trait;
use auspex_planner::{MomentaryRows, SessionFacts};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;

use super::PG_CATALOG;
use super::cells::{Row, batch_of, schema_of};
use super::columns::SystemRelation;
use super::{roles, server_tables, session_rows};

const MOMENTARY: &[&str] = &[
    "pg_cursors",
    "pg_locks",
    "pg_prepared_statements",
    "pg_settings",
    "pg_stat_activity",
    "pg_stat_gssapi",
    "pg_stat_ssl",
];

/// One of these relations, for one session.
#[derive(Debug)]
pub(super) struct MomentaryRelation {
    relation: &'static SystemRelation,
    session: SessionFacts,
}

impl MomentaryRelation {
    /// The relation, if it is one of these.
    pub(super) fn of(
        relation: &'static SystemRelation,
        session: &SessionFacts,
    ) -> Option<MomentaryRelation> {
        let is_one = relation.schema == PG_CATALOG && MOMENTARY.contains(&relation.name);
        is_one.then(|| MomentaryRelation {
            relation,
            session: session.clone(),
        })
    }

    fn cells(&self) -> Result<Vec<Row>> {
        let name = self.relation.name;
        let kept = session_rows::rows(name, &self.session);
        if let Some(rows) = kept.or_else(|| roles::rows(name, &self.session)) {
            return Ok(rows);
        }
        Ok(server_tables::rows(name, &self.session)?.unwrap_or_default())
    }
}

#[async_trait]
impl MomentaryRows for MomentaryRelation {
    fn schema(&self) -> SchemaRef {
        schema_of(&self.relation.columns)
    }

    async fn rows(&self) -> Result<RecordBatch> {
        batch_of(&self.relation.columns, &self.cells()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns;
    use super::super::schema::is_always_empty;
    use super::*;

    #[test]
    fn they_are_relations_that_have_rows() {
        for name in MOMENTARY {
            assert!(columns::find(PG_CATALOG, name).is_some(), "{name}");
            assert!(!is_always_empty(name), "{name}");
        }
    }
}
