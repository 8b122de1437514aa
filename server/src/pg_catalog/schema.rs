//! The schema `pg_catalog`: which tables there are, and where each one's rows come from.
//!
//! In: a table's name; out: its rows, made at that moment. Three kinds: what Auspex knows (`objects`,
//! `server_tables`), what a fresh PostgreSQL holds (types, operators, functions; carried by
//! `datafusion-pg-catalog`), and what Auspex has none of, whose tables are empty.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use auspex_planner::SessionFacts;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};

use super::cells::{Columns, Kind, schema_of, table_of};
use super::columns::{TABLES, columns_of};
use super::ml_functions;
use super::objects::Objects;
use super::server_tables;

/// The rows of a fresh PostgreSQL, read once.
static FRESH: LazyLock<Option<PgCatalogStaticTables>> =
    LazyLock::new(|| match PgCatalogStaticTables::try_new() {
        Ok(tables) => Some(tables),
        Err(error) => {
            tracing::error!(%error, "the catalog rows of PostgreSQL cannot be read");
            None
        }
    });

type Pick = fn(&PgCatalogStaticTables) -> &Arc<ArrowTable>;

/// What a fresh PostgreSQL holds and clients ask for.
const FILLED: &[(&str, Pick)] = &[
    ("pg_aggregate", |t| &t.pg_aggregate),
    ("pg_am", |t| &t.pg_am),
    ("pg_amop", |t| &t.pg_amop),
    ("pg_amproc", |t| &t.pg_amproc),
    ("pg_cast", |t| &t.pg_cast),
    ("pg_conversion", |t| &t.pg_conversion),
    ("pg_description", |t| &t.pg_description),
    ("pg_language", |t| &t.pg_language),
    ("pg_opclass", |t| &t.pg_opclass),
    ("pg_operator", |t| &t.pg_operator),
    ("pg_opfamily", |t| &t.pg_opfamily),
    ("pg_proc", |t| &t.pg_proc),
    ("pg_range", |t| &t.pg_range),
    ("pg_ts_config", |t| &t.pg_ts_config),
    ("pg_ts_dict", |t| &t.pg_ts_dict),
    ("pg_ts_parser", |t| &t.pg_ts_parser),
    ("pg_ts_template", |t| &t.pg_ts_template),
    ("pg_type", |t| &t.pg_type),
];

/// What Auspex has none of: PostgreSQL's columns without its rows.
const EMPTY: &[(&str, Pick)] = &[
    ("pg_attrdef", |t| &t.pg_attrdef),
    ("pg_auth_members", |t| &t.pg_auth_members),
    ("pg_constraint", |t| &t.pg_constraint),
    ("pg_db_role_setting", |t| &t.pg_db_role_setting),
    ("pg_default_acl", |t| &t.pg_default_acl),
    ("pg_depend", |t| &t.pg_depend),
    ("pg_enum", |t| &t.pg_enum),
    ("pg_event_trigger", |t| &t.pg_event_trigger),
    ("pg_extension", |t| &t.pg_extension),
    ("pg_index", |t| &t.pg_index),
    ("pg_inherits", |t| &t.pg_inherits),
    ("pg_init_privs", |t| &t.pg_init_privs),
    ("pg_largeobject", |t| &t.pg_largeobject),
    ("pg_largeobject_metadata", |t| &t.pg_largeobject_metadata),
    ("pg_partitioned_table", |t| &t.pg_partitioned_table),
    ("pg_policy", |t| &t.pg_policy),
    ("pg_publication", |t| &t.pg_publication),
    ("pg_publication_namespace", |t| &t.pg_publication_namespace),
    ("pg_publication_rel", |t| &t.pg_publication_rel),
    ("pg_replication_origin", |t| &t.pg_replication_origin),
    ("pg_rewrite", |t| &t.pg_rewrite),
    ("pg_seclabel", |t| &t.pg_seclabel),
    ("pg_sequence", |t| &t.pg_sequence),
    ("pg_shdepend", |t| &t.pg_shdepend),
    ("pg_shdescription", |t| &t.pg_shdescription),
    ("pg_shseclabel", |t| &t.pg_shseclabel),
    ("pg_statistic", |t| &t.pg_statistic),
    ("pg_statistic_ext", |t| &t.pg_statistic_ext),
    ("pg_statistic_ext_data", |t| &t.pg_statistic_ext_data),
    ("pg_subscription", |t| &t.pg_subscription),
    ("pg_subscription_rel", |t| &t.pg_subscription_rel),
    ("pg_trigger", |t| &t.pg_trigger),
    ("pg_user_mapping", |t| &t.pg_user_mapping),
];

/// Views of PostgreSQL over what Auspex has none of.
const EMPTY_VIEWS: &[(&str, Columns)] = &[
    (
        "pg_indexes",
        &[
            ("schemaname", Kind::Text),
            ("tablename", Kind::Text),
            ("indexname", Kind::Text),
            ("tablespace", Kind::Text),
            ("indexdef", Kind::Text),
        ],
    ),
    (
        "pg_matviews",
        &[
            ("schemaname", Kind::Text),
            ("matviewname", Kind::Text),
            ("matviewowner", Kind::Text),
            ("tablespace", Kind::Text),
            ("hasindexes", Kind::Bool),
            ("ispopulated", Kind::Bool),
            ("definition", Kind::Text),
        ],
    ),
    (
        "pg_sequences",
        &[
            ("schemaname", Kind::Text),
            ("sequencename", Kind::Text),
            ("sequenceowner", Kind::Text),
            ("data_type", Kind::Text),
        ],
    ),
];

/// Whether a table of the schema never has a row.
pub(super) fn is_always_empty(name: &str) -> bool {
    EMPTY.iter().any(|(table, _)| *table == name)
        || EMPTY_VIEWS.iter().any(|(table, _)| *table == name)
}

/// The columns of a table of this schema.
pub(super) fn known_columns(name: &str) -> Option<SchemaRef> {
    let view = EMPTY_VIEWS
        .iter()
        .find(|(table, _)| *table == name)
        .map(|(_, columns)| *columns);
    match columns_of(name).or(view) {
        Some(columns) => Some(schema_of(columns)),
        None => fresh(FILLED, name)
            .or_else(|| fresh(EMPTY, name))
            .map(|table| table.schema()),
    }
}

/// The rows of a filled table.
pub(super) fn fresh_rows(name: &str) -> &'static [RecordBatch] {
    fresh(FILLED, name).map_or(&[], |table| table.data())
}

/// The table function `pg_get_keywords`.
pub(super) fn keywords() -> Option<Arc<ArrowTable>> {
    FRESH
        .as_ref()
        .map(|tables| Arc::clone(&tables.pg_get_keywords))
}

fn fresh(tables: &[(&str, Pick)], name: &str) -> Option<&'static Arc<ArrowTable>> {
    let (_, pick) = tables.iter().find(|(table, _)| *table == name)?;
    FRESH.as_ref().map(pick)
}

/// The schema as one session sees it.
#[derive(Debug)]
pub(super) struct PgCatalogSchema {
    objects: Objects,
    session: SessionFacts,
}

impl PgCatalogSchema {
    pub(super) fn new(objects: Objects, session: SessionFacts) -> PgCatalogSchema {
        PgCatalogSchema { objects, session }
    }
}

#[async_trait]
impl SchemaProvider for PgCatalogSchema {
    fn table_names(&self) -> Vec<String> {
        let own = TABLES.iter().map(|(name, _)| *name);
        let views = EMPTY_VIEWS.iter().map(|(name, _)| *name);
        let fresh = FILLED.iter().chain(EMPTY).map(|(name, _)| *name);
        own.chain(views)
            .chain(fresh)
            .map(ToOwned::to_owned)
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(columns) = columns_of(name) {
            let rows = match server_tables::rows(name, &self.session) {
                Some(rows) => Some(rows),
                None => self.objects.rows(name).await?,
            };
            let rows = rows.ok_or_else(|| {
                DataFusionError::Internal(format!("catalog table \"{name}\" has no source"))
            })?;
            return Ok(Some(Arc::new(table_of(columns, &rows)?)));
        }
        let Some(schema) = known_columns(name) else {
            return Ok(None);
        };
        let fresh = fresh_rows(name);
        let mut rows = fresh.to_vec();
        if name == "pg_proc" {
            rows.extend(ml_functions::procs(fresh).cloned());
        }
        Ok(Some(Arc::new(MemTable::try_new(schema, vec![rows])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        columns_of(name).is_some()
            || is_always_empty(name)
            || FILLED.iter().any(|(table, _)| *table == name)
    }
}
