//! The tables, external tables and views of one schema of the warehouse.
//!
//! In: a name; out: a provider of its rows. A name that looks like a file is read as one, where the
//! locations allow it. Models are not tables.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use auspex_storage::{
    CatalogEntry, Definition, ObjectKind, VersionSpec, ViewDefinition, compression_by_name,
    format_by_name,
};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::ViewTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use super::{pins, sequence_row};
use crate::access::{Acting, as_role, is_writer_of};
use crate::bind::{BoundQuery, bind_query, note_enums};
use crate::commands::check_populated;
use crate::error::Error;
use crate::logical::BarrierNode;
use crate::name_scope::{in_view, is_defining, note_object};
use crate::search_path::{is_relation, is_type};
use crate::sequences::{Numbers, numbers_of_name};
use crate::session::{DATABASE, Session};
use crate::temporary::SCHEMA as TEMPORARY;

/// How deep views may stand on views; beyond it they stand on themselves.
const MAX_VIEW_DEPTH: usize = 64;

tokio::task_local! {
    static VIEW_DEPTH: usize;
}

/// One schema of the warehouse.
#[derive(Debug)]
pub(crate) struct WarehouseSchema {
    name: String,
    session: Weak<Session>,
    fallback: Option<Arc<dyn SchemaProvider>>,
}

impl WarehouseSchema {
    pub(crate) fn new(
        name: &str,
        session: Weak<Session>,
        fallback: Option<Arc<dyn SchemaProvider>>,
    ) -> WarehouseSchema {
        WarehouseSchema {
            name: name.to_owned(),
            session,
            fallback,
        }
    }

    fn session(&self) -> Result<Arc<Session>> {
        self.session
            .upgrade()
            .ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()))
    }

    fn entry(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        let session = self.session.upgrade()?;
        // Types share the names of relations, and are none.
        let entry = session.entry(&self.name, name)?;
        (!is_type(&entry)).then_some(entry)
    }
}

#[async_trait]
impl SchemaProvider for WarehouseSchema {
    fn table_names(&self) -> Vec<String> {
        let Some(session) = self.session.upgrade() else {
            return Vec::new();
        };
        if self.name == TEMPORARY {
            let entries = session.temporary_entries();
            let relations = entries.iter().filter(|entry| is_relation(entry));
            return relations.map(|entry| entry.name.clone()).collect();
        }
        let catalog = session.seen_catalog();
        let access = session.access();
        let is_seen = |entry: &&Arc<CatalogEntry>| is_relation(entry) && access.sees(entry);
        catalog
            .entries(&self.name)
            .filter(is_seen)
            .map(|entry| entry.name.clone())
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let session = self.session()?;
        let entry = self.entry(name);
        entry.iter().for_each(|entry| note_object(entry));
        let Some(entry) = entry else {
            let parts = [self.name.clone(), name.to_owned()];
            if let Ok(Numbers::Column(table, column)) = numbers_of_name(&session, &parts) {
                session.access().check(&table, "SELECT")?;
                let row = sequence_row::of_identity(&session, &table, &column);
                return Box::pin(row).await.map(Some).map_err(Into::into);
            }
            let is_further = |schema: &Arc<dyn SchemaProvider>| schema.table_exist(name);
            if is_path(name) && !self.fallback.as_ref().is_some_and(is_further) {
                let state = session.context().state();
                return Ok(Some(pins::file(&session, name, &state).await?));
            }
            return match &self.fallback {
                Some(schema) => schema.table(name).await,
                None => Ok(None),
            };
        };
        if is_writer_of(&entry.id) {
            let shape = session.tables().shape(&entry.id).await?;
            return Ok(Some(Arc::new(EmptyTable::new(shape.schema()))));
        }
        if !matches!(entry.definition, Definition::Model(_)) {
            session.access().check(&entry, "SELECT")?;
        }
        match &entry.definition {
            Definition::View(view) => {
                pins::view(&entry, view)?;
                // Who may read a view needs no privilege on what the view reads: its owner does.
                let reading = view_table(&session, name, view);
                let reading = in_view(view, &entry.schema, reading);
                as_role(&entry.owner, reading).await.map(Some)
            }
            Definition::Model(_) => Err(Error::invalid(
                "42809",
                format!("\"{name}\" is a model, not a table"),
                Some("Use it in ML.PREDICT(MODEL name, ...), or DESCRIBE MODEL name."),
            )
            .into()),
            Definition::Sequence(sequence) => Ok(Some(
                Box::pin(sequence_row::of(&session, &entry, sequence)).await?,
            )),
            _ => {
                // The engine describes it, or a view is made of it, and no row is read.
                if !Acting::is_system() && !is_defining() {
                    check_populated(&entry)?;
                }
                let state = session.context().state();
                let table = Box::pin(pins::table(&session, &entry, &state)).await?;
                note_enums(&session, &table.schema());
                Ok(Some(table))
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| is_relation(&entry))
    }
}

/// Whether a quoted name is meant as a file: it has a folder, or the ending of a format.
fn is_path(name: &str) -> bool {
    name.contains('/') || format_by_name(name).is_some() || compression_by_name(name).is_some()
}

/// A view is planned anew at each use, so that it sees the tables and models of now.
async fn view_table(
    session: &Arc<Session>,
    name: &str,
    view: &ViewDefinition,
) -> Result<Arc<dyn TableProvider>> {
    let plan = bound_view(session, name, view).await?.plan;
    let plan = match view.security_barrier {
        true => BarrierNode::before(plan),
        false => plan,
    };
    Ok(Arc::new(ViewTable::new(plan, Some(view.text.clone()))))
}

/// The query of a view, whose columns have the view's names.
pub(crate) async fn bound_view(
    session: &Arc<Session>,
    name: &str,
    view: &ViewDefinition,
) -> Result<BoundQuery> {
    let depth = VIEW_DEPTH.try_with(|depth| *depth).unwrap_or(0);
    if depth >= MAX_VIEW_DEPTH {
        let message = format!("infinite recursion detected in view \"{name}\"");
        return Err(Error::invalid("42P17", message, None).into());
    }
    let dialect = auspex_sql::Dialect::parse(&view.dialect).unwrap_or(auspex_sql::Dialect::Auto);
    let query = auspex_sql::parse_query(&view.text, dialect).map_err(Error::from)?;
    let bind = Box::pin(bind_query(session, *query, session.state(None)));
    // A position in the view's text means nothing to whoever queries the view.
    let mut bound = VIEW_DEPTH
        .scope(depth + 1, bind)
        .await
        .map_err(|error| error.inside(&view.text, ""))?;
    bound.plan = named_columns(bound.plan, &bound.names, &view.columns)?;
    Ok(bound)
}

/// A plan whose columns have the view's names, or PostgreSQL's where no column beside has them.
pub(crate) fn named_columns(
    plan: LogicalPlan,
    names: &[Option<String>],
    columns: &[String],
) -> Result<LogicalPlan> {
    let schema = Arc::clone(plan.schema());
    let mut exprs = Vec::with_capacity(schema.fields().len());
    for (idx, (qualifier, field)) in schema.iter().enumerate() {
        let column = datafusion::common::Column::from((qualifier, field));
        let is_taken = |name: &&String| {
            let mut fields = schema.fields().iter().enumerate();
            fields.any(|(other, field)| other != idx && field.name() == *name)
        };
        let told = || names.get(idx)?.as_ref().filter(|name| !is_taken(name));
        let name = columns.get(idx).or_else(told);
        exprs.push(match name {
            Some(name) => datafusion::logical_expr::Expr::Column(column).alias(name),
            None => datafusion::logical_expr::Expr::Column(column),
        });
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

impl Session {
    /// Catalog, namespace and table, if a name is that of a table in another catalog.
    pub(crate) fn foreign_parts<'a>(
        &self,
        parts: &'a [String],
    ) -> Option<(Arc<CatalogEntry>, String, &'a str)> {
        let [catalog, namespace @ .., name] = parts else {
            return None;
        };
        let state = self.seen_catalog();
        let catalog = state.global(ObjectKind::Catalog, catalog)?;
        let is_foreign = !namespace.is_empty() && catalog.name != DATABASE;
        is_foreign.then(|| (Arc::clone(catalog), namespace.join("."), name.as_str()))
    }

    /// What a name means, if its rows may be read.
    pub(crate) fn read_relation(
        &self,
        parts: &[String],
    ) -> std::result::Result<Arc<CatalogEntry>, Error> {
        let (schema, name) = self.relation_parts(parts)?;
        let entry = self
            .entry(&schema, &name)
            .ok_or_else(|| self.undefined_relation(&schema, &name))?;
        note_object(&entry);
        self.access().check(&entry, "SELECT")?;
        Ok(entry)
    }

    /// A table as it was.
    pub(crate) async fn table_version(
        &self,
        parts: &[String],
        version: VersionSpec,
    ) -> std::result::Result<Arc<dyn TableProvider>, Error> {
        if let Some((catalog, namespace, name)) = self.foreign_parts(parts) {
            self.access().check(&catalog, "USAGE")?;
            let found = pins::foreign(self, &catalog, &namespace, (name, version)).await?;
            return found.ok_or_else(|| self.undefined_relation(&namespace, name));
        }
        let entry = self.read_relation(parts)?;
        super::pins::version(self, &entry, version).await
    }

    /// How the rows of a table changed.
    pub(crate) async fn table_changes(
        &self,
        parts: &[String],
        from: u64,
        to: Option<u64>,
    ) -> std::result::Result<Arc<dyn TableProvider>, Error> {
        let entry = self.read_relation(parts)?;
        Ok(Box::pin(self.tables().changes(&entry, from, to)).await?)
    }
}
