//! What rows must fulfil before a managed table takes them: its checks, evaluated on the values as they are stored.
//!
//! Expressions that the planner made flow in with batches; nothing or the first violation flows out.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::Session;
use datafusion::execution::SessionState;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};

/// The checks of one table, over its columns.
#[derive(Debug, Clone, Default)]
pub struct RowChecks {
    /// The table's schema.
    pub schema: String,
    /// What messages call the table.
    pub relation: String,
    /// Name and condition.
    pub checks: Vec<(String, Arc<dyn PhysicalExpr>)>,
    /// The views that rows are written through and must be rows of: name and condition.
    pub views: Vec<(String, Arc<dyn PhysicalExpr>)>,
    /// What looks for rows of the same key, where the table has keys.
    pub session: Option<Arc<SessionState>>,
}

/// A row that would be none of the view that it is written through.
#[derive(Debug)]
pub struct ViewViolation {
    /// The view.
    pub view: String,
    /// The row's values.
    pub row: String,
}

impl RowChecks {
    /// Fails at the first row for which a condition is false; NULL passes, as in PostgreSQL.
    ///
    /// A condition of a view must be true.
    ///
    /// Errors: `CheckViolation`, `ViewCheckViolation`.
    pub(crate) fn check(&self, rows: &RecordBatch) -> Result<()> {
        for (name, condition) in &self.checks {
            let held = condition.evaluate(rows)?.into_array(rows.num_rows())?;
            let held = held.as_boolean();
            let violates = |row: &usize| held.is_valid(*row) && !held.value(*row);
            if let Some(row) = (0..held.len()).find(violates) {
                return Err(Error::CheckViolation {
                    schema: self.schema.clone(),
                    relation: self.relation.clone(),
                    constraint: name.clone(),
                    row: shown_row(rows, row),
                });
            }
        }
        for (view, condition) in &self.views {
            let held = condition.evaluate(rows)?.into_array(rows.num_rows())?;
            let held = held.as_boolean();
            let violates = |row: &usize| held.is_null(*row) || !held.value(*row);
            if let Some(row) = (0..held.len()).find(violates) {
                return Err(Error::ViewCheckViolation(ViewViolation {
                    view: view.clone(),
                    row: shown_row(rows, row),
                }));
            }
        }
        Ok(())
    }

    /// What looks for rows of the same key. Without it no row may be written to a table with keys.
    pub(crate) fn session(&self) -> Result<&dyn Session> {
        let session = self.session.as_deref().ok_or_else(|| Error::Internal {
            what: "rows were written to a table with keys without a look at them".into(),
        });
        session.map(|session| session as &dyn Session)
    }
}

/// A row as messages show it: `(1, null, text)`.
pub(crate) fn shown_row(rows: &RecordBatch, row: usize) -> String {
    let cells = rows.columns().iter().map(|column| shown_cell(column, row));
    format!("({})", cells.collect::<Vec<_>>().join(", "))
}

/// A value as messages show it in its row: the start of a long one.
pub fn shown_cell(column: &ArrayRef, row: usize) -> String {
    const LONGEST: usize = 64;
    let text = shown_value(column, row);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A value as PostgreSQL writes it.
pub fn shown_value(column: &ArrayRef, row: usize) -> String {
    if let Some(truths) = column
        .as_boolean_opt()
        .filter(|truths| truths.is_valid(row))
    {
        return if truths.value(row) { "t" } else { "f" }.to_owned();
    }
    let options = FormatOptions::default()
        .with_null("null")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:::z"));
    ArrayFormatter::try_new(column, &options)
        .map(|formatter| formatter.value(row).to_string())
        .unwrap_or_default()
}
