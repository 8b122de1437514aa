//! The one table that a transaction block changes.
//!
//! In: a table that a statement is about to change; out: leave to do so, or the error that the block has changed another one
//! or that others have changed this one.

use auspex_storage::{CatalogEntry, CatalogState, Error as StorageError};

use crate::error::{Error, Result};
use crate::session::{Session, display_name};

impl Session {
    /// Fails if the session's block may not change a table; from then on it changes this one. Statements that met no rows
    /// changed nothing, as those with which mappers of objects look for what depends on a row. Temporary tables do not count,
    /// also where a block is read-only.
    pub(crate) fn change_table(&self, verb: &str, table: &CatalogEntry) -> Result<()> {
        if self.temporary.has(&table.id) {
            self.temporary.note_change(&table.id);
            return Ok(());
        }
        let name = display_name(table);
        self.refuse_read_only(verb)?;
        let (newest, seen) = (self.engine.catalog.state(), self.seen_catalog());
        let checked = self.transaction.with(|block| match &block.written {
            Some((id, other)) if *id != table.id && block.has_changes_in(id) => {
                let other_now = name_in(&seen, id);
                // Others have put another table in the place of the one that it changed, unless it has done so itself.
                if *other == name && name_in(&newest, id) == other_now {
                    return Err(not_serializable(&name));
                }
                Err(second_table(other_now.as_ref().unwrap_or(other), &name))
            }
            _ => {
                block.written = Some((table.id.clone(), name));
                Ok(())
            }
        });
        checked.unwrap_or(Ok(()))
    }
}

fn name_in(state: &CatalogState, id: &str) -> Option<String> {
    state.by_id(id).map(|entry| display_name(entry))
}

/// The error of a block that is about to change another table, too.
fn second_table(first: &str, second: &str) -> Error {
    let message = format!(
        "a transaction block can change one table: this one has changed \"{first}\" and cannot \
         change \"{second}\""
    );
    let hint = "COMMIT in between, or change both in blocks of their own: the statements of a \
                pipeline up to its Sync are one block.";
    Error::invalid("0A000", message, Some(hint))
}

/// A conflict with the name of the table.
pub(super) fn named(error: StorageError, table: Option<&(String, String)>) -> Error {
    match (error, table) {
        (StorageError::Conflict { .. }, Some((_, name))) => not_serializable(name),
        (error, _) => error.into(),
    }
}

/// The error that others have changed the table of a block.
fn not_serializable(name: &str) -> Error {
    let message =
        format!("could not serialize access to table \"{name}\" due to concurrent update");
    Error::invalid("40001", message, Some("Run the transaction block again."))
}
