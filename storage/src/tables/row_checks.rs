//! What rows must fulfil before a managed table takes them: its checks, evaluated on the values as they are stored.
//!
//! Expressions that the planner made flow in with batches; nothing or the first violation flows out.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::Session;
use datafusion::execution::SessionState;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};
use crate::tables::key_form::KeyForm;
use crate::tables::keys::Key;

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
    /// The start of the statement that these were bound in, if one asks for the time: they are of no other statement.
    pub as_of: Option<DateTime<Utc>>,
    /// What looks for rows of the same key, where the table has keys.
    pub session: Option<Arc<SessionState>>,
    /// What computes the keys of indexes, by the names of these.
    pub forms: BTreeMap<String, KeyForm>,
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

    /// What computes a key, unless it consists of columns.
    pub(crate) fn form(&self, key: &Key) -> Result<Option<&KeyForm>> {
        match (&key.index, self.forms.get(&key.name)) {
            (None, _) => Ok(None),
            (Some(_), Some(form)) => Ok(Some(form)),
            (Some(_), None) => Err(Error::Internal {
                what: format!("nothing was planned that computes index \"{}\"", key.name),
            }),
        }
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
    if let Some(items) = items(column, row) {
        let items = (0..items.len()).map(|idx| shown_item(&items, idx));
        return format!("{{{}}}", items.collect::<Vec<_>>().join(","));
    }
    let is_bytes = matches!(
        column.data_type(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    );
    let mark = if is_bytes && column.is_valid(row) {
        "\\x"
    } else {
        ""
    };
    let options = FormatOptions::default()
        .with_null("null")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:::z"));
    ArrayFormatter::try_new(column, &options)
        .map(|formatter| format!("{mark}{}", formatter.value(row)))
        .unwrap_or_default()
}

/// The elements of an array; `None`: it is NULL, or none.
fn items(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if column.is_null(row) {
        return None;
    }
    let lists = column.as_list_opt::<i32>().map(|lists| lists.value(row));
    lists.or_else(|| Some(column.as_list_opt::<i64>()?.value(row)))
}

/// An element in its array, in quotes if it could be read as something else.
fn shown_item(items: &ArrayRef, idx: usize) -> String {
    if items.is_null(idx) {
        return "NULL".to_owned();
    }
    let text = shown_value(items, idx);
    let is_special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
    let is_plain =
        !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(is_special);
    match is_plain || items.data_type().is_list() {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{BinaryArray, Int32Array, ListArray, StringArray};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn values_are_shown_as_postgresql_writes_them() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(b"\x01\xab".as_slice()), None]));
        assert_eq!(shown_row_of(&bytes, 0), "(\\x01ab)");
        assert_eq!(shown_row_of(&bytes, 1), "(null)");
        let numbers = vec![Some(vec![Some(1), None]), None, Some(vec![])];
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let numbers: ArrayRef = Arc::new(numbers);
        assert_eq!(shown_row_of(&numbers, 0), "({1,NULL})");
        assert_eq!(shown_row_of(&numbers, 1), "(null)");
        assert_eq!(shown_row_of(&numbers, 2), "({})");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b c", "", "null", "\"\\"]));
        let shown: Vec<String> = (0..5).map(|idx| shown_item(&texts, idx)).collect();
        assert_eq!(shown, ["a", "\"b c\"", "\"\"", "\"null\"", "\"\\\"\\\\\""]);
        let plain: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        assert_eq!(shown_row_of(&plain, 0), "(7)");
    }

    fn shown_row_of(column: &ArrayRef, row: usize) -> String {
        let rows = RecordBatch::try_from_iter([("x", Arc::clone(column))]).unwrap();
        shown_row(&rows, row)
    }
}
