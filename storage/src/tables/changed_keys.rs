//! The keys of rows that a statement changes or adds.
//!
//! Rows flow in as they are written; what they have of each key flows out, while they are few. Rows that keep their key
//! need no look of their own: no two rows shared one before. They count among those that stay, whose keys are taken.

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};

use crate::error::Result;
use crate::tables::keys::Key;
use crate::tables::rewrite::RowAction;
use crate::tables::row_marks::Marks;
use crate::tables::shape::TableShape;

/// More rows are compared by plans that may use the disk.
const MOST_ROWS: usize = 64 << 10;
const MOST_BYTES: usize = 8 << 20;

/// The columns of keys of the rows that may have other keys than those that were there.
#[derive(Debug, Default)]
pub(crate) struct ChangedKeys {
    keys: Vec<Key>,
    /// Whether a row may have another key than the one that it replaces.
    of_updates: bool,
    /// The places of the columns.
    places: Vec<usize>,
    batches: Vec<RecordBatch>,
    n_rows: usize,
    n_bytes: usize,
    /// The rows that leave their keys to others.
    gone: Marks,
}

impl ChangedKeys {
    pub(crate) fn new(shape: &TableShape, of_updates: bool) -> Self {
        let keys = shape.keys();
        let columns = keys.iter().flat_map(Key::reads);
        let mut places: Vec<usize> = columns.filter_map(|name| shape.position(name)).collect();
        places.sort_unstable();
        places.dedup();
        Self {
            keys,
            of_updates,
            places,
            ..Self::default()
        }
    }

    /// The keys of the table.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Hears of a row that is removed or replaced.
    pub(crate) fn leave(&mut self, address: (usize, usize), action: RowAction) {
        if !self.keys.is_empty() && (self.of_updates || action == RowAction::Delete) {
            self.gone.insert(address);
        }
    }

    /// The rows that leave their keys to others, which are forgotten here.
    pub(crate) fn take_gone(&mut self) -> Marks {
        std::mem::take(&mut self.gone)
    }

    /// Takes rows as the table stores them, with what each of them does: it is added or replaces another.
    pub(crate) fn take(
        &mut self,
        rows: &RecordBatch,
        actions: impl Iterator<Item = RowAction>,
    ) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let is_looked_at = |action| action == RowAction::Insert || self.of_updates;
        let mask: BooleanArray = actions.map(|action| Some(is_looked_at(action))).collect();
        if mask.true_count() == 0 {
            return Ok(());
        }
        let rows = filter_record_batch(&rows.project(&self.places)?, &mask)?;
        self.n_rows += rows.num_rows();
        self.n_bytes += rows.get_array_memory_size();
        match self.are_many() {
            true => self.batches.clear(),
            false => self.batches.push(rows),
        }
        Ok(())
    }

    /// Whether no row has another key than one that was there.
    pub(crate) fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// Whether the rows are too many to be kept here.
    pub(crate) fn are_many(&self) -> bool {
        self.n_rows > MOST_ROWS || self.n_bytes > MOST_BYTES
    }

    /// The rows, if there are some and they are few.
    pub(crate) fn rows(&self) -> Result<Option<RecordBatch>> {
        match self.batches.first() {
            Some(first) => Ok(Some(concat_batches(&first.schema(), &self.batches)?)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn table() -> TableShape {
        let field = |name| Field::new(name, DataType::Int64, true);
        let mut shape = TableShape::new(&Schema::new(vec![field("v"), field("a"), field("b")]));
        for (name, columns) in [("k", vec!["b", "a"]), ("l", vec!["a"])] {
            shape.add_key(&Key {
                name: name.to_owned(),
                is_primary: false,
                columns: columns.into_iter().map(ToOwned::to_owned).collect(),
                ..Key::default()
            });
        }
        shape
    }

    fn batch(n_rows: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n_rows));
        let columns = ["v", "a", "b"].map(|name| (name, Arc::clone(&numbers)));
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn rows_that_keep_their_keys_are_left_out() {
        let actions = [RowAction::Update, RowAction::Insert, RowAction::Update];
        let mut kept = ChangedKeys::new(&table(), false);
        kept.take(&batch(1), actions[..1].iter().copied()).unwrap();
        assert!(kept.is_empty() && kept.rows().unwrap().is_none());
        kept.take(&batch(3), actions.into_iter()).unwrap();
        let rows = kept.rows().unwrap().unwrap();
        assert_eq!((rows.num_rows(), rows.num_columns()), (1, 2));
        let mut changed = ChangedKeys::new(&table(), true);
        changed.take(&batch(3), actions.into_iter()).unwrap();
        assert_eq!(changed.rows().unwrap().unwrap().num_rows(), 3);
    }

    #[test]
    fn many_rows_are_not_kept() {
        let n_rows = MOST_ROWS as i64;
        let all = || std::iter::repeat(RowAction::Insert);
        let mut keys = ChangedKeys::new(&table(), false);
        keys.take(&batch(n_rows), all().take(MOST_ROWS)).unwrap();
        assert!(!keys.are_many() && keys.rows().unwrap().is_some());
        keys.take(&batch(1), all().take(1)).unwrap();
        assert!(keys.are_many() && !keys.is_empty() && keys.rows().unwrap().is_none());
        keys.take(&batch(1), all().take(1)).unwrap();
        assert!(keys.are_many() && keys.rows().unwrap().is_none());
    }
}
