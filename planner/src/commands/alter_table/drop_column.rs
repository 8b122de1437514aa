//! `ALTER TABLE … DROP COLUMN`, and what goes with a column.
//!
//! In: names of columns; out: the changed definition, whose rows are written anew. Columns that others need stay.

use std::sync::Arc;

use auspex_storage::Error as StorageError;
use datafusion::sql::sqlparser::ast::{self, Ident};

use super::{Altering, TableOperation};
use crate::bind::names_column;
use crate::error::{Error, Result};
use crate::session::Session;

impl Altering<'_> {
    /// Drops columns, with the checks and keys over them.
    pub(super) fn drop_columns(
        &mut self,
        session: &Arc<Session>,
        columns: &[Ident],
        if_exists: bool,
        behavior: Option<ast::DropBehavior>,
    ) -> Result<()> {
        for column in columns {
            match self.place(column) {
                Err(_) if if_exists => {}
                place => {
                    let idx = place?;
                    self.free_keys_of(session, idx, behavior)?;
                    self.drop_column(idx)?;
                }
            }
        }
        Ok(())
    }

    fn drop_column(&mut self, idx: usize) -> Result<()> {
        let name = self.shape.columns()[idx].name().clone();
        if self.shape.partition_columns.contains(&name) {
            let message =
                format!("cannot drop column \"{name}\" because it divides the table's files");
            let hint = "Copy the table with CREATE TABLE ... AS.";
            return Err(Error::invalid("0A000", message, Some(hint)));
        }
        for column in self.shape.columns() {
            if let Some(text) = self.shape.generated_of(column)
                && column.name() != &name
                && names_column(&text, &name)?
            {
                let message = format!(
                    "cannot drop column \"{name}\" because column \"{}\" is generated from it",
                    column.name()
                );
                return Err(Error::invalid(
                    "2BP01",
                    message,
                    Some("Drop the generated column first."),
                ));
            }
        }
        // As in PostgreSQL, the checks of a column go with it.
        for (check, text) in self.shape.checks() {
            if names_column(&text, &name)? {
                self.shape.drop_check(&check);
            }
        }
        self.shape.drop_keys_of(&name);
        self.shape.drop_references_of(&name);
        if self.shape.columns().len() == 1 {
            return Err(StorageError::NoTableColumns.into());
        }
        self.shape.drop_column(idx);
        self.sources.remove(idx);
        self.needs_rows = true;
        self.operation = TableOperation::Columns;
        Ok(())
    }
}
