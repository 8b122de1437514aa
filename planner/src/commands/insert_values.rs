//! `INSERT … VALUES … ON CONFLICT` of a few rows that meet none of the table, or that are left out if they do.
//!
//! In: the statement; out: its tag and what it returns, without a look at all rows of the table, or nothing: then a row
//! that is there must be changed, or the rows are many, and the statement is carried out as the MERGE that it is.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Error as StorageError, InsertRules, Number};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;

use super::dml::{in_place, named_null};
use crate::bind::{Change, Returned, Returning, ViewTarget, bind_insert};
use crate::error::Result;
use crate::identity::numberer;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::streams;

/// Adds the rows that no other row stands in the way of; `None`: nothing was done.
pub(super) async fn insert_values(
    session: &Arc<Session>,
    change: &Change,
    (table, view): (&Arc<CatalogEntry>, Option<&ViewTarget>),
    returning: Option<&Arc<Returning>>,
    parameters: &[ScalarValue],
    control: &StatementControl,
) -> Result<Option<(String, Option<Returned>)>> {
    // A query waits, which nothing does here between the rows and their commit.
    if returning.is_some_and(|returning| returning.is_query()) {
        return Ok(None);
    }
    let tables = session.tables();
    let shape = tables.shape(&table.id).await?;
    let Some((insert, on_conflict)) = change.as_insert(&shape, view)? else {
        return Ok(None);
    };
    // What this cannot bind, a MERGE may.
    let Ok(bound) = Box::pin(bind_insert(session, &insert)).await else {
        return Ok(None);
    };
    let rows = streams(session, &bound.query, parameters.to_vec(), control).await;
    let mut rows = rows.map_err(|error| in_place(named_null(error, &bound.columns), table))?;
    let (Some(rows), true) = (rows.pop(), rows.is_empty()) else {
        return Ok(None);
    };
    let returned = Returned::of(session, returning, parameters, control)?;
    let accept = |rows: &[RecordBatch]| match &returned {
        Some(returned) => returned.only_of(rows),
        None => Ok(()),
    };
    let numbered = (table.id.as_str(), &bound.shape);
    let number = numberer(session, numbered, &bound.query.state)?;
    let rules = InsertRules {
        checks: &bound.checks,
        on_conflict: &on_conflict,
        number: number.as_ref().map(|number| number as &Number<'_>),
        accept: Some(&accept),
    };
    let added = tables.insert_few(&table.id, &bound.shape, rows, &rules);
    match Box::pin(added).await {
        Ok(n_rows) => {
            Ok(n_rows.map(|n_rows| (format!("{} {n_rows}", change.tag()), returned.clone())))
        }
        // What a MERGE makes of the row may fulfil what the given values do not.
        Err(
            StorageError::Conflict { .. }
            | StorageError::CheckViolation { .. }
            | StorageError::ViewCheckViolation(_),
        ) => Ok(None),
        Err(error) => Err(in_place(error.into(), table)),
    }
}
