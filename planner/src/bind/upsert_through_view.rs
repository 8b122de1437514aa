//! `INSERT … ON CONFLICT` by the way of a view: `excluded` and the row that is there have the view's columns, and a row that
//! the view does not show is still in the way.
//!
//! In: the statement, the table, and the view if one stands in its place; out: the parts of the query of changes, in which
//! rows that are not seen through a view have an action that tells the view. These actions end the stream of changes.

use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int32Type;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{self, Ident, OnConflictAction, TableFactor};
use futures::StreamExt as _;

use super::assigned_rows::pairs;
use super::change::{Parts, Target, table_factor};
use super::hidden_columns::{hidden_or, hiding_view};
use super::plain_rows::plain_rows;
use super::upsert::{self, EXCLUDED, GIVEN, PLACE, ReadRows};
use super::view_columns::ViewColumns;
use super::view_target::ViewTarget;
use super::{GivenTables, bind_sql_with, excluded_numbers, filled_columns, merge};
use crate::catalog::named_columns;
use crate::error::{Error, Result};
use crate::session::Session;

/// The parts of the query of changes of an `INSERT … ON CONFLICT` into `factor`, which is among `given`.
pub(super) async fn parts(
    session: &Arc<Session>,
    insert: &ast::Insert,
    (target, view): (&Target<'_>, Option<&ViewTarget>),
    factor: TableFactor,
    given: &mut GivenTables,
) -> Result<Parts> {
    let insert = &*filled_columns::named(session, insert, target).await?;
    let read = read_rows(session, insert, (target, view), given)?;
    let numbers = excluded_numbers::numbers(session, insert, target)?;
    let mut merge = upsert::as_merge(insert, target, &factor, read, &numbers)?;
    if let Some(view) = view {
        if let Some(columns) = target.view {
            check_assigned(insert, columns)?;
        }
        let source = excluded(session, insert, (target.shape, view), merge.source, given);
        merge.source = Box::pin(source).await?;
    }
    // New rows have the numbers that were taken for them, also where the table alone numbers them.
    let taking = Target {
        takes_numbers: target.takes_numbers || !numbers.is_empty(),
        ..target.clone()
    };
    let mut parts = Parts {
        order: upsert::order(insert, target.shape),
        ..merge::parts(&merge, &taking, factor)?
    };
    if view.is_some_and(ViewTarget::has_conditions) && upsert::assigned(insert).is_some() {
        parts.action = hidden_or(&target.alias, parts.action);
    }
    Ok(parts)
}

/// The rows of a statement that need no planner, as a relation among `given`; a view may ask more of them.
fn read_rows(
    session: &Arc<Session>,
    insert: &ast::Insert,
    (target, view): (&Target<'_>, Option<&ViewTarget>),
    given: &mut GivenTables,
) -> Result<Option<ReadRows>> {
    if view.is_some() {
        return Ok(None);
    }
    let shape = target.shape;
    let places = upsert::places(insert, shape, (&target.relation, target.view))?;
    let Some((rows, places)) = plain_rows(session, insert, shape, Some(places))? else {
        return Ok(None);
    };
    let named = places.iter().enumerate().map(|(at, idx)| {
        let column = Column::from(rows.plan.schema().qualified_field(at));
        Expr::Column(column).alias(shape.columns()[*idx].name())
    });
    let named: Vec<Expr> = named.collect();
    let plan = LogicalPlanBuilder::from(rows.plan)
        .project(named)?
        .build()?;
    let rows: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
    let relation = table_factor(given.give(GIVEN, rows), Ident::new(GIVEN));
    Ok(Some(ReadRows { relation, places }))
}

/// Fails where a column of the view is assigned that is no column of the table.
fn check_assigned(insert: &ast::Insert, columns: &ViewColumns) -> Result<()> {
    for assignment in upsert::assigned(insert).into_iter().flatten() {
        for (name, _) in pairs(assignment)? {
            columns.place(&name, "insert into")?;
        }
    }
    Ok(())
}

/// The given rows as rows of the view, whether it shows them or not; the table's columns are hidden behind.
async fn excluded(
    session: &Arc<Session>,
    insert: &ast::Insert,
    (shape, view): (&TableShape, &ViewTarget),
    source: TableFactor,
    given: &mut GivenTables,
) -> Result<TableFactor> {
    let TableFactor::Derived { subquery, .. } = source else {
        return Err(Error::unsupported("this form of ON CONFLICT"));
    };
    let statement = ast::Statement::Query(subquery);
    let bound = bind_sql_with(session, statement, session.state(None), given.clone()).await?;
    let plan = named_columns(bound.plan, &bound.names, &[])?;
    let rows: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
    let kept: &[&str] = match upsert::any_keys(insert, shape).is_empty() {
        true => &[],
        false => &[PLACE],
    };
    let rows = view.given_rows(session, rows, shape, kept).await?;
    Ok(table_factor(
        given.give(EXCLUDED, rows),
        Ident::new(EXCLUDED),
    ))
}

/// The same changes; fails at one of a row that the view, or one below it, does not show.
pub(crate) fn refuse_hidden(
    changes: SendableRecordBatchStream,
    view: &ViewTarget,
) -> SendableRecordBatchStream {
    let (schema, view) = (changes.schema(), view.clone());
    let changes = changes.map(move |batch| {
        let batch = batch?;
        let actions = batch.column(0).as_primitive::<Int32Type>();
        let hiding = actions.iter().flatten().find_map(hiding_view);
        match hiding.and_then(|height| view.name_at(height)) {
            Some(name) => Err(not_visible(name)),
            None => Ok(batch),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, changes))
}

fn not_visible(view: &str) -> DataFusionError {
    let message = format!("conflicting row is not visible through view \"{view}\"");
    Error::invalid("55000", message, None).into()
}

impl ViewColumns {
    /// Fails where the clause names the whole row of the view, or of what was to be added to it.
    pub(super) fn refuse_rows_of_conflict(
        &self,
        insert: &ast::Insert,
        alias: &Ident,
    ) -> Result<()> {
        let conflict = upsert::conflict_of(insert).map(|conflict| &conflict.action);
        let Some(OnConflictAction::DoUpdate(update)) = conflict else {
            return Ok(());
        };
        for alias in [alias, &Ident::new(EXCLUDED)] {
            self.refuse_whole_rows(&update.assignments, alias)?;
            self.refuse_whole_rows(&update.selection, alias)?;
        }
        Ok(())
    }
}
