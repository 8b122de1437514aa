//! Running INSERT, UPDATE, DELETE and MERGE: rows of plans become commits of managed tables.
//!
//! In: a bound statement and its parameters; out: a command tag with the number of rows. A statement that lost a race
//! is planned again on the table as it is then; after some rounds it ends with 40001.

use std::sync::Arc;

use auspex_storage::{Error as StorageError, RewriteOptions};
use datafusion::common::ScalarValue;

use crate::bind::{BoundInsert, Change, Returned, Returning, bind_change, row_checks};
use crate::error::{Error, Result};
use crate::identity::numbered;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::{stream, streams};

/// How often a statement is tried on a table that others change.
const MAX_ROUNDS: usize = 20;

/// Appends the rows of an INSERT; `None`: the table's definition is no more the one that it was planned for.
pub(crate) async fn insert(
    session: &Arc<Session>,
    insert: &BoundInsert,
    parameters: Vec<ScalarValue>,
    returned: Option<&Returned>,
    control: &StatementControl,
) -> Result<Option<u64>> {
    session.change_table("INSERT", &insert.table)?;
    let rows = streams(session, &insert.query, parameters, control).await;
    let mut rows = rows.map_err(|error| named_null(error, &insert.columns))?;
    rows = numbered(session, &insert.table.id, &insert.shape, rows);
    if let Some(returned) = returned {
        let streams = rows.into_iter().enumerate();
        rows = streams
            .map(|(place, stream)| returned.of_rows(place, stream))
            .collect();
    }
    let tables = &session.tables();
    let checks = Arc::clone(&insert.checks);
    match tables
        .append(&insert.table.id, &insert.shape, rows, checks)
        .await
    {
        Ok(n_rows) => Ok(Some(n_rows)),
        Err(StorageError::Conflict { .. }) => {
            match tables.shape(&insert.table.id).await? == insert.shape {
                true => {
                    let object = format!("table \"{}\"", insert.table.name);
                    Err(StorageError::Conflict { object }.into())
                }
                false => Ok(None),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// The error of a NULL in VALUES under the column's own name: the planner calls the columns of VALUES by number.
fn named_null(error: Error, columns: &[String]) -> Error {
    let report = error.report();
    let number = report.message.split("\"column").nth(1);
    let number = number.and_then(|rest| rest.split('"').next()?.parse::<usize>().ok());
    let column = number.and_then(|number| columns.get(number.checked_sub(1)?));
    match column.filter(|_| report.sqlstate == "23502") {
        Some(column) => {
            let message = format!("null value in column \"{column}\" violates not-null constraint");
            Error::invalid("23502", message, None)
        }
        None => error,
    }
}

/// Changes rows; returns the command tag, and what a `RETURNING` gives.
pub(crate) async fn change(
    session: &Arc<Session>,
    change: &Change,
    returning: Option<&Arc<Returning>>,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<(String, Option<Returned>)> {
    let table = change.table(session)?;
    session.change_table(change.verb(), &table)?;
    for _ in 0..MAX_ROUNDS {
        let rewrite = session.tables().rewrite(&table.id).await?;
        let query = bind_change(session, change, &rewrite).await?;
        let options = RewriteOptions {
            checks: row_checks(&query.state, &table.name, rewrite.shape())?,
            repeated: change.repeated(),
            operation: change.verb(),
            predicate: change.condition(),
        };
        let mut changes = stream(session, &query, parameters.clone(), control).await?;
        let returned = returning.map(Returned::new);
        if let Some(returned) = &returned {
            changes = returned.of_changes(changes);
        }
        match Box::pin(rewrite.apply(changes, &options, &query.state)).await {
            Ok(counts) => {
                let tag = format!("{} {}", change.verb(), counts.total());
                return Ok((tag, returned));
            }
            Err(StorageError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let object = format!("table \"{}\"", table.name);
    Err(Error::from(StorageError::Conflict { object }))
}
