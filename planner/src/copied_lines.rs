//! Which row of a COPY a failure is about.
//!
//! In: the rows that were sent, as far as they are kept, and what a failure tells of one, its values or its key; out: its
//! place among them. Constraints are looked at where rows are written, where nobody knows of lines any more.

use auspex_storage::{quoted_name, shown_cell, shown_value};
use datafusion::arrow::array::RecordBatch;

/// Finds rows of a COPY.
#[derive(Debug, Clone, Default)]
pub struct CopiedLines {
    /// The names of the table's columns, and where each is among those of the rows.
    columns: Vec<(String, Option<usize>)>,
    /// Whether a condition leaves rows out.
    is_filtered: bool,
}

impl CopiedLines {
    pub(crate) fn new(columns: Vec<(String, Option<usize>)>, is_filtered: bool) -> Self {
        Self {
            columns,
            is_filtered,
        }
    }

    /// Finds rows that have all the columns of a table.
    pub fn of_columns(names: &[&str]) -> Self {
        let columns = names.iter().enumerate();
        let columns = columns.map(|(idx, name)| ((*name).to_owned(), Some(idx)));
        Self::new(columns.collect(), false)
    }

    /// The place of the row that the detail of a failure is about; `is_whole`: the batches begin with the first row. `None`:
    /// it is about no row, or about one that is not kept or cannot be told from others.
    pub fn find<'a>(
        &self,
        detail: &str,
        batches: impl Iterator<Item = &'a RecordBatch>,
        is_whole: bool,
    ) -> Option<usize> {
        let rows = batches.flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
        let mut rows = rows.enumerate();
        if let Some(failing) = detail.strip_prefix("Failing row contains ") {
            let failing = failing.strip_suffix('.')?;
            let found = rows.find(|(_, (batch, row))| self.is_row(batch, *row, failing));
            return found.map(|(place, _)| place);
        }
        let key = detail.strip_prefix("Key (")?;
        let (names, values) = key.strip_suffix(") already exists.")?.split_once(")=(")?;
        let columns = names.split(", ").map(|name| self.place(name));
        let columns = columns.collect::<Option<Vec<usize>>>()?;
        let has_key = |batch: &RecordBatch, row: usize| {
            let cells = columns
                .iter()
                .map(|idx| shown_value(batch.column(*idx), row));
            cells.collect::<Vec<_>>().join(", ") == values
        };
        let mut met = rows.filter(|(_, (batch, row))| has_key(batch, *row));
        let (first, second) = (met.next(), met.next());
        // The first of two may be as good as the second, if not all are known.
        let found = match second {
            None => first,
            Some(_) => second.filter(|_| is_whole),
        };
        found.filter(|_| !self.is_filtered).map(|(place, _)| place)
    }

    /// Where a column of the table, whose name is written as in SQL, is among those of the rows.
    fn place(&self, name: &str) -> Option<usize> {
        let mut columns = self.columns.iter();
        let found = columns.find(|(column, _)| quoted_name(column) == name);
        found.and_then(|(_, place)| *place)
    }

    /// Whether a row has the values that a message shows; those of columns that were not sent may be any.
    fn is_row(&self, batch: &RecordBatch, row: usize, shown: &str) -> bool {
        let Some(mut rest) = shown.strip_prefix('(') else {
            return false;
        };
        let mut skips = false;
        for (idx, (_, place)) in self.columns.iter().enumerate() {
            let Some(place) = place else {
                skips = true;
                continue;
            };
            let separator = if idx == 0 { "" } else { ", " };
            let cell = format!("{separator}{}", shown_cell(batch.column(*place), row));
            let at = match skips {
                true => rest.find(&cell),
                false => rest.starts_with(&cell).then_some(0),
            };
            let Some(at) = at else {
                return false;
            };
            rest = &rest[at + cell.len()..];
            skips = false;
        }
        skips || rest == ")"
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(ids: Vec<Option<i64>>, names: Vec<&str>) -> RecordBatch {
        let ids = Arc::new(Int64Array::from(ids)) as ArrayRef;
        let names = Arc::new(StringArray::from(names)) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)])
            .unwrap()
    }

    #[test]
    fn rows_are_found_by_their_values() {
        let columns = [("id", Some(0)), ("made", None), ("name", Some(1))];
        let columns = columns.map(|(name, place)| (name.to_owned(), place));
        let lines = CopiedLines::new(columns.to_vec(), false);
        let first = batch(vec![Some(1), None], vec!["a", "b"]);
        let second = batch(vec![Some(3), Some(1)], vec!["b", "a, b"]);
        let batches = [first, second];
        let find = |detail: &str, is_whole| lines.find(detail, batches.iter(), is_whole);
        let row = |row: &str| find(&format!("Failing row contains ({row})."), true);
        assert_eq!(row("null, x, b"), Some(1));
        assert_eq!(row("3, x, y, b"), Some(2));
        assert_eq!(row("3, x, y, c"), None);
        assert_eq!(find("Key (id)=(3) already exists.", false), Some(2));
        assert_eq!(find("Key (id)=(1) already exists.", true), Some(3));
        // A first one may have been sent before those that are kept.
        assert_eq!(find("Key (id)=(1) already exists.", false), None);
        assert_eq!(find("Key (id, name)=(1, a) already exists.", true), Some(0));
        assert_eq!(find("Key (made)=(1) already exists.", true), None);
        assert_eq!(find("Another detail.", true), None);
        let lines = CopiedLines::of_columns(&["id", "Name"]);
        let detail = "Key (id, \"Name\")=(3, b) already exists.";
        assert_eq!(lines.find(detail, batches.iter(), true), Some(2));
    }
}
