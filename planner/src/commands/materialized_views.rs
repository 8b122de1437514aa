//! `CREATE MATERIALIZED VIEW` and `REFRESH MATERIALIZED VIEW`.
//!
//! In: a syntax tree; out: a managed table with the rows of a query, whose entry keeps the query. It is read as any table
//! is; a refresh replaces its rows in one commit of the table, and no other statement changes them.

use std::sync::Arc;

use auspex_sql::{CreateMaterializedView, RefreshMaterializedView};
use auspex_storage::{
    CatalogEntry, Change, Definition, Error as StorageError, MaterializedQuery, Rewrite,
    TableDefinition, TableShape, ViewDefinition,
};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, CreateTableOptions, CreateView, TableConstraint,
};

use super::table_shape::query_shape;
use super::tables::{publish, replaced, skips_existing};
use super::views::sound_query;
use super::{kind_name, name_parts};
use crate::access::{TableUse, as_role};
use crate::bind::{Numbers, as_table_rows, row_checks, undefined_column};
use crate::catalog::schema::bound_view;
use crate::error::{Error, Result};
use crate::name_scope::in_view;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::{TableRows, told};
use crate::table_writes::{create_with_rows, replace_rows};
use crate::temporary::SCHEMA as TEMPORARY;

/// `CREATE MATERIALIZED VIEW`.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &CreateMaterializedView,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE MATERIALIZED VIEW";
    let view = &create.view;
    let (schema, name) = session.new_relation_parts(&name_parts(&view.name), false)?;
    refuse(view, &schema)?;
    if skips_existing(session, &schema, &name, view.if_not_exists, control)? {
        return Ok(TAG.to_owned());
    }
    session.access().check_schema(&schema, "CREATE")?;
    replaced(session, &schema, &name, false)?;
    let sound = sound_query(session, view, false).await?;
    let bound = &sound.bound;
    let mut entry = CatalogEntry::new(
        &schema,
        &name,
        Definition::Table(TableDefinition::default()),
    );
    let (shape, tag) = match create.with_data {
        true => {
            let state = session.engine.catalog.state();
            let objects = &sound.definition.objects;
            let mut read = objects.iter().filter_map(|object| state.by_id(&object.id));
            read.try_for_each(|entry| check_populated(entry))?;
            let rows = TableRows::plan(session, bound, Vec::new(), control).await?;
            let shape = query_shape(&told(&rows.plan.schema(), bound), &[])?;
            let table = (entry.id.as_str(), &shape);
            let creating = create_with_rows(session, table, (bound, rows), control);
            let n_rows = Box::pin(creating).await?;
            (shape, format!("SELECT {n_rows}"))
        }
        false => {
            let shape = query_shape(&told(bound.plan.schema().inner(), bound), &[])?;
            let tables = &session.engine.tables;
            tables.create_managed(&entry.id, &shape).await?;
            (shape, TAG.to_owned())
        }
    };
    entry.definition = Definition::Table(TableDefinition {
        materialized: Some(MaterializedQuery {
            query: sound.definition,
            is_populated: create.with_data,
        }),
        ..shape.definition()
    });
    publish(session, &entry, false, text).await?;
    Ok(tag)
}

/// What there is not of materialized views.
fn refuse(view: &CreateView, schema: &str) -> Result<()> {
    let what = if view.or_replace {
        "CREATE OR REPLACE MATERIALIZED VIEW"
    } else if schema == TEMPORARY {
        "a temporary materialized view"
    } else if !matches!(view.options, CreateTableOptions::None) {
        "CREATE MATERIALIZED VIEW ... WITH (...)"
    } else {
        return Ok(());
    };
    Err(Error::Unsupported {
        what: what.to_owned(),
        hint: view
            .or_replace
            .then(|| "DROP MATERIALIZED VIEW IF EXISTS it first.".to_owned()),
    })
}

/// `REFRESH MATERIALIZED VIEW`.
///
/// Readers see the rows of before until the commit, so that CONCURRENTLY asks for nothing that is not so.
pub(super) async fn refresh(
    session: &Arc<Session>,
    refresh: &RefreshMaterializedView,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (schema, name) = session.relation_parts(&refresh.name.parts)?;
    let Some(entry) = session.entry(&schema, &name) else {
        return Err(session.undefined_relation(&schema, &name));
    };
    let Some(materialized) = entry.definition.materialized() else {
        return Err(Error::WrongKind {
            name,
            expected: "materialized view",
            found: kind_name(&entry.definition),
        });
    };
    session.access().check_owner(&entry)?;
    if refresh.concurrently && !refresh.with_data {
        let message = "REFRESH options CONCURRENTLY and WITH NO DATA cannot be used together";
        return Err(Error::invalid("42601", message, None));
    }
    if refresh.concurrently && !materialized.is_populated {
        let message = "CONCURRENTLY cannot be used when the materialized view is not populated";
        return Err(Error::invalid("55000", message, None));
    }
    // Another refresh waits until this one has said whether there are rows.
    let rewrite = session.engine.tables.rewrite(&entry.id).await?;
    if refresh.with_data {
        let filling = fill(session, (&entry, &materialized.query), &rewrite, control);
        Box::pin(filling).await?;
    }
    if materialized.is_populated != refresh.with_data {
        set_populated(session, &entry, refresh.with_data, text).await?;
    }
    if !refresh.with_data {
        rewrite.truncate(false).await?;
    }
    Ok("REFRESH MATERIALIZED VIEW".to_owned())
}

/// Replaces the rows of a view by those that its query has now, read with the privileges of its owner.
async fn fill(
    session: &Arc<Session>,
    (entry, query): (&CatalogEntry, &ViewDefinition),
    rewrite: &Rewrite,
    control: &StatementControl,
) -> Result<()> {
    let binding = bound_view(session, &entry.name, query);
    let binding = in_view(query, &entry.schema, binding);
    let mut bound = as_role(&entry.owner, Box::pin(binding)).await?;
    let shape = rewrite.shape();
    let plan = columns_of_table(bound.plan, shape, &entry.name)?;
    bound.plan = as_table_rows(&bound.state, shape, plan, 0, Numbers::Given)?;
    bound.names.clear();
    let rows = TableRows::plan(session, &bound, Vec::new(), control).await?;
    let checks = row_checks(session, &bound.state, (&entry.schema, &entry.name), shape)?;
    let view = (entry.id.as_str(), rewrite);
    let replacing = replace_rows(session, view, (&bound, rows), checks, control);
    Box::pin(replacing).await
}

/// The columns that the view was made with: what `*` of its query has become since changes nothing.
fn columns_of_table(plan: LogicalPlan, shape: &TableShape, view: &str) -> Result<LogicalPlan> {
    let mut columns = Vec::with_capacity(shape.columns().len());
    for field in shape.columns() {
        let mut fields = plan.schema().fields().iter();
        let idx = fields.position(|known| known.name() == field.name());
        let idx = idx.ok_or_else(|| undefined_column(field.name(), view))?;
        columns.push(Expr::Column(Column::from(
            plan.schema().qualified_field(idx),
        )));
    }
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

/// Says in the catalog whether a view has rows.
async fn set_populated(
    session: &Session,
    view: &CatalogEntry,
    is_populated: bool,
    text: &str,
) -> Result<()> {
    let commit = session.engine.catalog.commit(text, |state| {
        let gone = || StorageError::TableGone {
            id: view.id.clone(),
        };
        let mut entry = state.by_id(&view.id).ok_or_else(gone)?.as_ref().clone();
        if let Definition::Table(TableDefinition {
            materialized: Some(materialized),
            ..
        }) = &mut entry.definition
        {
            materialized.is_populated = is_populated;
        }
        Ok(vec![Change::Put(entry)])
    });
    commit.await?;
    Ok(())
}

/// Fails where a statement would change the rows of a materialized view, as only a refresh does.
pub(super) fn check_use(table: &CatalogEntry, usage: TableUse) -> Result<()> {
    if table.definition.materialized().is_none() {
        return Ok(());
    }
    let name = &table.name;
    match usage {
        TableUse::Read | TableUse::Define => Ok(()),
        TableUse::Truncate => Err(Error::WrongKind {
            name: name.clone(),
            expected: "table",
            found: kind_name(&table.definition),
        }),
        _ => {
            let message = format!("cannot change materialized view \"{name}\"");
            let hint = "REFRESH MATERIALIZED VIEW makes its rows those of its query.";
            Err(Error::invalid("42809", message, Some(hint)))
        }
    }
}

/// Fails where an ALTER TABLE would change what a materialized view is; unique indexes may come and go.
pub(super) fn check_operations(
    table: &CatalogEntry,
    operations: &[AlterTableOperation],
) -> Result<()> {
    let is_allowed = |operation: &AlterTableOperation| {
        matches!(
            operation,
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::Unique(_),
                ..
            } | AlterTableOperation::DropConstraint { .. }
                | AlterTableOperation::RenameConstraint { .. }
        )
    };
    if table.definition.materialized().is_none() || operations.iter().all(is_allowed) {
        return Ok(());
    }
    let name = &table.name;
    let message = format!("ALTER TABLE cannot change materialized view \"{name}\"");
    let hint = "Drop it and create it anew with another query.";
    Err(Error::invalid("42809", message, Some(hint)))
}

/// Fails where a materialized view is read that was never filled.
pub(crate) fn check_populated(entry: &CatalogEntry) -> Result<()> {
    match entry.definition.materialized() {
        Some(materialized) if !materialized.is_populated => {
            let message = format!(
                "materialized view \"{}\" has not been populated",
                entry.name
            );
            let hint = "Use the REFRESH MATERIALIZED VIEW command.";
            Err(Error::invalid("55000", message, Some(hint)))
        }
        _ => Ok(()),
    }
}
