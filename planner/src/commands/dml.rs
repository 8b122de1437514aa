//! Running INSERT, UPDATE, DELETE and MERGE: rows of plans become commits of managed tables.
//!
//! In: a bound statement and its parameters; out: a command tag with the number of rows. A statement that lost a race
//! is planned again on the table as it is then; after some rounds it ends with 40001.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Error as StorageError, RewriteOptions};
use datafusion::common::ScalarValue;

use super::first_rows::first_rows;
use super::insert_values::insert_values;
use crate::access::TableUse;
use crate::bind::{
    BoundInsert, Change, Returned, Returning, ViewTarget, bind_change, change_checks, refuse_hidden,
};
use crate::copied_rows::{copier, for_copies};
use crate::error::{Error, Result};
use crate::identity::{numbered, numbered_changes};
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::{TableRows, stream};
use crate::table_writes::{append_on_workers, note_returning};
use crate::transaction::TransactionState;

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
    let done = insert_rows(session, insert, parameters, returned, control).await;
    while_there(session, &insert.table, done).await
}

/// What came of a statement that changes a table; what it failed with because another server dropped the table
/// meanwhile is that there is no such table. Nothing of it is left then: its files go with the table's. Outside of a block
/// it is a transaction, with which rows of some temporary tables end.
async fn while_there<T>(
    session: &Arc<Session>,
    table: &CatalogEntry,
    done: Result<T>,
) -> Result<T> {
    let Err(error) = done else {
        if session.transaction() == TransactionState::Idle {
            Box::pin(session.empty_passing()).await;
        }
        return done;
    };
    match was_dropped(session, &table.id, &error).await {
        true => Err(session.undefined_relation(&table.schema, &table.name)),
        false => Err(unseen(session, table, error)),
    }
}

/// An error about a row without the row's values, where the role may not read them: by the way of a view it writes rows of
/// which it sees a part.
fn unseen(session: &Session, table: &CatalogEntry, error: Error) -> Error {
    const OF_ROWS: [&str; 4] = ["23502", "23505", "23514", "44000"];
    let report = error.report();
    let tells_values = OF_ROWS.contains(&report.sqlstate) && report.detail.is_some();
    if !tells_values || TableUse::Read.check(&session.access(), table).is_ok() {
        return error;
    }
    let untold = Error::invalid(report.sqlstate, report.message, report.hint.as_deref());
    Error::InPlace {
        error: Box::new(untold),
        place: Box::new(report.place),
    }
}

/// Whether a change failed because another server dropped its table.
pub(crate) async fn was_dropped(session: &Session, id: &str, error: &Error) -> bool {
    /// What a folder fails with that is being removed.
    const OF_FILES: [&str; 5] = ["58030", "58P01", "XX001", "42P01", "40001"];
    let catalog = &session.engine.catalog;
    OF_FILES.contains(&error.report().sqlstate)
        && !session.temporary.has(id)
        && catalog.refresh_now().await.is_ok()
        && catalog.state().by_id(id).is_none()
}

async fn insert_rows(
    session: &Arc<Session>,
    insert: &BoundInsert,
    parameters: Vec<ScalarValue>,
    returned: Option<&Returned>,
    control: &StatementControl,
) -> Result<Option<u64>> {
    session.change_table("INSERT", &insert.table)?;
    let rows = TableRows::plan(session, &insert.query, parameters, control).await;
    let rows = rows.map_err(|error| in_place(named_null(error, &insert.columns), &insert.table))?;
    match Box::pin(append_rows(session, insert, rows, returned, control)).await {
        Ok(n_rows) => Ok(Some(n_rows)),
        Err(Error::Storage(StorageError::Conflict { .. })) => {
            match session.tables().shape(&insert.table.id).await? == insert.shape {
                true => {
                    let object = format!("table \"{}\"", insert.table.name);
                    Err(StorageError::Conflict { object }.into())
                }
                false => Ok(None),
            }
        }
        Err(error) => Err(in_place(error, &insert.table)),
    }
}

async fn append_rows(
    session: &Arc<Session>,
    insert: &BoundInsert,
    rows: TableRows,
    returned: Option<&Returned>,
    control: &StatementControl,
) -> Result<u64> {
    let (id, shape, query) = (&insert.table.id, &insert.shape, &insert.query);
    let checks = insert.checks_now(session).await?;
    if returned.is_none() {
        let table = (id.as_str(), shape);
        let far = append_on_workers(session, table, (query, &rows), &checks, control);
        if let Some(n_rows) = Box::pin(far).await? {
            return Ok(n_rows);
        }
    } else {
        note_returning(session);
    }
    let rows = rows.streams(session, query, control);
    let rows = rows.map_err(|error| named_null(error, &insert.columns))?;
    let mut rows = numbered(session, (id, shape), &query.state, rows)?;
    if let Some(returned) = returned {
        rows = returned.of_rows(rows);
    }
    Ok(session.tables().append(id, shape, rows, checks).await?)
}

/// An error about a value, with the table that the value was for.
pub(super) fn in_place(error: Error, table: &CatalogEntry) -> Error {
    let mut place = error.report().place;
    if error.report().sqlstate != "23502" || place.table.is_some() {
        return error;
    }
    place.schema = Some(table.schema.clone());
    place.table = Some(table.name.clone());
    let message = error.report().message;
    place.column = place.column.or_else(|| quoted(&message));
    // What knows no table cannot name it.
    let error = match message.strip_suffix("\" violates not-null constraint") {
        Some(start) => {
            let table = &table.name;
            let message = format!("{start}\" of relation \"{table}\" violates not-null constraint");
            Error::invalid("23502", message, None)
        }
        None => error,
    };
    Error::InPlace {
        error: Box::new(error),
        place: Box::new(place),
    }
}

/// What a message quotes.
fn quoted(message: &str) -> Option<String> {
    message.split('"').nth(1).map(ToOwned::to_owned)
}

/// The error that two rows of one statement have the key that ON CONFLICT DO UPDATE names.
fn row_twice() -> Error {
    let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
    let hint = "Ensure that no rows proposed for insertion within the same command have \
                duplicate constrained values.";
    Error::invalid("21000", message, Some(hint))
}

/// The error of a NULL in VALUES under the column's own name: the planner calls the columns of VALUES by number.
pub(super) fn named_null(error: Error, columns: &[String]) -> Error {
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
    let (table, view) = Box::pin(change.table(session)).await?;
    let target = (&table, view.as_ref());
    let done = change_rows(session, change, target, returning, (parameters, control));
    let done = Box::pin(done).await;
    while_there(session, &table, done).await
}

async fn change_rows(
    session: &Arc<Session>,
    change: &Change,
    (table, view): (&Arc<CatalogEntry>, Option<&ViewTarget>),
    returning: Option<&Arc<Returning>>,
    (parameters, control): (Vec<ScalarValue>, &StatementControl),
) -> Result<(String, Option<Returned>)> {
    session.change_table(change.verb(), table)?;
    let target = (table, view);
    let quick = insert_values(session, change, target, returning, &parameters, control);
    if let Some(done) = Box::pin(quick).await? {
        return Ok(done);
    }
    for _ in 0..MAX_ROUNDS {
        let rewrite = session.tables().rewrite(&table.id).await?;
        let bound = bind_change(
            session,
            change,
            (&rewrite, view),
            returning.map(Arc::as_ref),
        );
        let query = Box::pin(bound).await?;
        let copying = for_copies(&query.state);
        let rewrite = match copier(session, &table.id, &copying, control) {
            Some(copier) => rewrite.copied_by(copier),
            None => rewrite,
        };
        let shape = rewrite.shape();
        let checks = change_checks(session, (table, view), &query.state, shape);
        let options = RewriteOptions {
            checks: Box::pin(checks).await?,
            changes_keys: change.changes_keys(shape, view),
            repeated: change.repeated(),
            operation: change.verb(),
            predicate: change.condition(),
        };
        let mut changes = stream(session, &query, parameters.clone(), control).await?;
        if let (Change::Upsert(_), Some(view)) = (change, view) {
            changes = refuse_hidden(changes, view);
        }
        let any_keys = change.any_keys(shape);
        if !any_keys.is_empty() {
            let memory = &query.state.runtime_env().memory_pool;
            let keyed = (shape, &options.checks.forms);
            changes = first_rows(changes, &any_keys, keyed, memory)?;
        }
        let anew = change.renumbered(shape, view)?;
        let numbered = (table.id.as_str(), shape);
        changes = numbered_changes(session, numbered, &query.state, (changes, anew))?;
        let returned = Returned::of(session, returning, &parameters, control)?;
        if let Some(returned) = &returned {
            changes = returned.of_changes(changes)?;
        }
        match Box::pin(rewrite.apply(changes, &options, &copying)).await {
            Ok(counts) => {
                let tag = format!("{} {}", change.tag(), counts.total());
                return Ok((tag, returned));
            }
            Err(StorageError::Conflict { .. }) => {}
            Err(error) if change.meets_row_twice(&error, (shape, view))? => {
                return Err(row_twice());
            }
            Err(error) => return Err(in_place(error.into(), table)),
        }
    }
    let object = format!("table \"{}\"", table.name);
    Err(Error::from(StorageError::Conflict { object }))
}
