//! Which table a statement changes that may name a view, and what the new rows must fulfil.
//!
//! In: UPDATE, DELETE, MERGE or INSERT ... ON CONFLICT; out: the managed table and the view in its place, or the error that the
//! statement does not work by the way of one.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, RowChecks, TableShape};
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::Ident;

use super::change::Change;
use super::change_reads::{Uses, table_for};
use super::column_rules::row_checks;
use super::domains::note_domains;
use super::view_columns::ViewColumns;
use super::view_target::ViewTarget;
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::session::Session;

impl Change {
    /// The table that changes, and the view that the statement names in its place.
    pub(crate) async fn table(
        &self,
        session: &Arc<Session>,
    ) -> Result<(Arc<CatalogEntry>, Option<ViewTarget>)> {
        let (name, _) = self.target()?;
        let parts = name_parts(name);
        if let Change::Merge(_) = self {
            let (schema, name) = session.changed_parts(&parts)?;
            let entry = session.entry(&schema, &name);
            if entry.is_some_and(|entry| matches!(entry.definition, Definition::View(_))) {
                return Err(self.refused_view(&name));
            }
        }
        let uses = Uses {
            named: self.usage(),
            returns: self.returning().is_some(),
            unread: self.unread(),
        };
        table_for(session, &parts, uses, || self.parts()).await
    }

    /// The error that the statement does not work by the way of a view.
    fn refused_view(&self, view: &str) -> Error {
        Error::NotUpdatable {
            sqlstate: "0A000",
            message: format!("cannot execute {} on relation \"{view}\"", self.verb()),
            detail: "This operation is not supported for views.".to_owned(),
            hint: None,
        }
    }

    /// Fails where the statement names the whole row of a view that it changes.
    pub(super) fn refuse_whole_rows(&self, columns: &ViewColumns, alias: &Ident) -> Result<()> {
        match self {
            Change::Update(update) => {
                columns.refuse_whole_rows(&update.assignments, alias)?;
                columns.refuse_whole_rows(&update.selection, alias)?;
                columns.refuse_whole_rows(&update.from, alias)
            }
            Change::Delete(delete) => {
                columns.refuse_whole_rows(&delete.selection, alias)?;
                columns.refuse_whole_rows(&delete.using, alias)
            }
            Change::Upsert(insert) => columns.refuse_rows_of_conflict(insert, alias),
            Change::Merge(_) => Ok(()),
        }
    }
}

/// What new rows of a table must fulfil that are written through a view, if one is given.
pub(crate) async fn change_checks(
    session: &Arc<Session>,
    (table, view): (&CatalogEntry, Option<&ViewTarget>),
    state: &SessionState,
    shape: &TableShape,
) -> Result<Arc<RowChecks>> {
    note_domains(session, shape);
    let checks = row_checks(session, state, (&table.schema, &table.name), shape)?;
    match view {
        Some(view) => view.checked(session, state, checks, shape).await,
        None => Ok(checks),
    }
}
