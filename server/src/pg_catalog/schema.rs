//! The schemas `pg_catalog` and `information_schema`: which relations there are, and where each one's rows come from.
//!
//! In: a relation's name; out: its rows, made at that moment, or when they are read (`momentary`). Four kinds: what Auspex knows (`relation_rows`,
//! `server_tables`, `roles`, `information_schema`), what a fresh PostgreSQL holds (`fresh`), both together
//! (`pg_proc`, `pg_description`), and what Auspex has none of, which is empty.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use auspex_planner::{MomentaryTable, SessionFacts, Subject};
use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::error::Result;

use super::cells::{Row, batch_of, schema_of};
use super::columns::{self, SystemRelation};
use super::momentary::MomentaryRelation;
use super::objects::Objects;
use super::relation::Relation;
use super::relation_rows::RelationRows;
use super::{
    INFORMATION_SCHEMA, PG_CATALOG, dependency_rows, domain_rows, extension_rows, fresh,
    information_schema, ml_functions, relation_rows, roles, sequence_rows, server_tables,
};

/// Relations of `pg_catalog` that Auspex fills, beside those of a fresh PostgreSQL.
const OWN: &[&str] = &[
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_authid",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_cursors",
    "pg_database",
    "pg_db_role_setting",
    "pg_depend",
    "pg_enum",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_group",
    "pg_index",
    "pg_indexes",
    "pg_init_privs",
    "pg_locks",
    "pg_matviews",
    "pg_namespace",
    "pg_prepared_statements",
    "pg_rewrite",
    "pg_roles",
    "pg_sequence",
    "pg_sequences",
    "pg_settings",
    "pg_shadow",
    "pg_shdescription",
    "pg_stat_activity",
    "pg_stat_all_tables",
    "pg_stat_database",
    "pg_stat_gssapi",
    "pg_stat_ssl",
    "pg_stat_user_tables",
    "pg_statio_all_tables",
    "pg_statio_user_tables",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_user",
    "pg_views",
];

/// The privileges on relations, of which one is enough to see one.
const ANY_PRIVILEGE: &str = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, EXECUTE, USAGE";

/// Whether a relation of `pg_catalog` never has a row.
pub(super) fn is_always_empty(name: &str) -> bool {
    columns::find(PG_CATALOG, name).is_some() && !OWN.contains(&name) && !fresh::is_filled(name)
}

/// One of the schemas as one session sees it.
#[derive(Debug)]
pub(super) struct SystemSchema {
    name: &'static str,
    objects: Objects,
    session: SessionFacts,
}

impl SystemSchema {
    pub(super) fn new(name: &'static str, objects: Objects, session: SessionFacts) -> SystemSchema {
        SystemSchema {
            name,
            objects,
            session,
        }
    }

    /// How the relation tells one relation, if it consists of relations.
    fn of_relations(&self, name: &str) -> Option<RelationRows> {
        match self.name {
            INFORMATION_SCHEMA => information_schema::of_relations(name),
            _ => relation_rows::of_relations(name),
        }
    }

    /// The rows of a relation that does not consist of relations.
    fn other_rows(&self, name: &str) -> Result<Vec<Row>> {
        if self.name == INFORMATION_SCHEMA {
            return information_schema::rows(&self.objects, &self.session, name);
        }
        if let Some(rows) = roles::rows(name, &self.session) {
            return Ok(rows);
        }
        if let Some(rows) = server_tables::rows(name, &self.session)? {
            return Ok(rows);
        }
        if name == "pg_proc" {
            return Ok(ml_functions::rows());
        }
        Ok(relation_rows::rows(&self.objects, name)?.unwrap_or_default())
    }

    /// What a relation about relations tells of domains.
    fn of_domains(&self, name: &str) -> Result<Vec<Row>> {
        match (self.name, name) {
            (INFORMATION_SCHEMA, "check_constraints") => {
                domain_rows::check_constraints(&self.objects)
            }
            (INFORMATION_SCHEMA, "element_types") => domain_rows::elements(&self.objects),
            (PG_CATALOG, "pg_constraint") => domain_rows::constraints(&self.objects),
            _ => Ok(Vec::new()),
        }
    }

    /// What a relation tells of the relations of the system schemas, which are the same for ever.
    fn of_system(&self, relation: &SystemRelation, rows: RelationRows) -> Result<RecordBatch> {
        static KNOWN: Mutex<BTreeMap<(&str, &str), RecordBatch>> = Mutex::new(BTreeMap::new());
        let key = (relation.schema, relation.name);
        // A panic elsewhere cannot leave half a batch.
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = known().get(&key) {
            return Ok(batch.clone());
        }
        let mut all = Vec::new();
        for system in self.objects.system_relations() {
            all.extend(rows(&self.objects, &system)?);
        }
        let batch = batch_of(&relation.columns, &all)?;
        known().insert(key, batch.clone());
        Ok(batch)
    }

    /// Whether the role has any privilege on a relation; the views of the standard show no others.
    fn may_see(&self, relation: &Relation) -> bool {
        self.may_see_name(&relation.schema, &relation.name)
    }

    fn may_see_name(&self, schema: &str, name: &str) -> bool {
        let subject = Subject::Relation(schema, name);
        let role = self.session.identity.current_user();
        let facts = self.objects.facts();
        let found = facts.has_privilege(&role, &subject, ANY_PRIVILEGE);
        // What has no entry, as the views of models, is everybody's.
        found.ok().flatten().unwrap_or(true)
    }

    async fn contents(&self, relation: &SystemRelation) -> Result<MemTable> {
        let carried = fresh::rows(relation.name).filter(|_| self.name == PG_CATALOG);
        let mut batches: Vec<_> = carried.into_iter().cloned().collect();
        let own = match self.of_relations(relation.name) {
            Some(rows) => {
                batches.push(self.of_system(relation, rows)?);
                let mut own = Vec::new();
                for object in self.objects.own_relations().await? {
                    let is_shown = object.is_of_standard() && self.may_see(&object);
                    if self.name != INFORMATION_SCHEMA || is_shown {
                        own.extend(rows(&self.objects, &object)?);
                    }
                }
                own.extend(self.of_domains(relation.name)?);
                own
            }
            None if sequence_rows::is_of_sequences(relation.name) => {
                let may_see = |schema: &str, name: &str| self.may_see_name(schema, name);
                sequence_rows::rows(&self.objects, relation.name, may_see).await?
            }
            None if relation.name == "pg_depend" => dependency_rows::rows(&self.objects).await?,
            None if relation.name == "pg_init_privs" => {
                extension_rows::privileges(&self.objects).await?
            }
            None if relation.name == "pg_description" => {
                let mut rows = self.other_rows(relation.name)?;
                rows.extend(relation_rows::constraint_comments(&self.objects).await?);
                rows
            }
            None => self.other_rows(relation.name)?,
        };
        batches.push(batch_of(&relation.columns, &own)?);
        MemTable::try_new(schema_of(&relation.columns), vec![batches])
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let own = columns::all().filter(|relation| relation.schema == self.name);
        own.map(|relation| relation.name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(relation) = columns::find(self.name, name) else {
            return Ok(None);
        };
        if roles::is_secret(relation.schema, relation.name) {
            let kind = if relation.kind == "r" {
                "table"
            } else {
                "view"
            };
            self.session.catalog.check_superuser(kind, relation.name)?;
        }
        if let Some(momentary) = MomentaryRelation::of(relation, &self.session) {
            return Ok(Some(Arc::new(MomentaryTable(momentary))));
        }
        Ok(Some(Arc::new(self.contents(relation).await?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        columns::find(self.name, name).is_some()
    }
}
