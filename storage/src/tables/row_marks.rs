//! Rows of a table's files that a statement replaces, and the rows that stay.
//!
//! Addresses flow in; streams without the marked rows flow out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, BooleanArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int64Type, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::arrow_reader::RowSelector;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;

/// Rows of files, a bit each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks {
    files: BTreeMap<usize, Vec<u64>>,
}

impl Marks {
    /// Marks a row; false if it was marked before.
    pub(crate) fn insert(&mut self, (file, row): (usize, usize)) -> bool {
        let words = self.files.entry(file).or_default();
        let (word, bit) = (row / 64, 1_u64 << (row % 64));
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let is_new = words[word] & bit == 0;
        words[word] |= bit;
        is_new
    }

    fn contains(&self, file: usize, row: usize) -> bool {
        let word = self.files.get(&file).and_then(|words| words.get(row / 64));
        word.is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(crate) fn count(&self, file: usize) -> usize {
        let words = self.files.get(&file).into_iter().flatten();
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// The rows of a file in runs of marked and of other ones; `None` if there are more runs than `most`.
    pub(crate) fn runs(&self, file: usize, n_rows: usize, most: usize) -> Option<Vec<RowSelector>> {
        let words = self.files.get(&file).map_or(&[][..], Vec::as_slice);
        let is_marked = |row: usize| {
            let word = words.get(row / 64);
            word.is_some_and(|word| word & (1 << (row % 64)) != 0)
        };
        let mut runs: Vec<RowSelector> = Vec::new();
        for row in 0..n_rows {
            let skip = is_marked(row);
            if let Some(run) = runs.last_mut().filter(|run| run.skip == skip) {
                run.row_count += 1;
                continue;
            }
            if runs.len() == most {
                return None;
            }
            runs.push(match skip {
                true => RowSelector::skip(1),
                false => RowSelector::select(1),
            });
        }
        Some(runs)
    }

    pub(crate) fn files(&self) -> BTreeSet<usize> {
        self.files.keys().copied().collect()
    }
}

/// The rows of a stream that no change marked, without their addresses.
pub(crate) fn unmarked(
    stream: SendableRecordBatchStream,
    marks: Arc<Marks>,
    n_columns: usize,
) -> SendableRecordBatchStream {
    let all: Vec<usize> = (0..n_columns).collect();
    let fields = stream.schema().fields()[..n_columns].to_vec();
    let schema = Arc::new(Schema::new(fields));
    let kept = stream.map(move |batch| {
        let batch = batch?;
        let files = batch.column(n_columns).as_primitive::<Int64Type>();
        let rows = batch.column(n_columns + 1).as_primitive::<Int64Type>();
        let places = files.values().iter().zip(rows.values());
        let mask: BooleanArray = places
            .map(|(file, row)| Some(!marks.contains(*file as usize, *row as usize)))
            .collect();
        Ok(filter_record_batch(&batch.project(&all)?, &mask)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stay_are_told_in_runs() {
        let mut marks = Marks::default();
        for row in [0, 1, 5, 63, 64, 65] {
            assert!(marks.insert((2, row)));
        }
        let runs = |n_rows, most| {
            let runs = marks.runs(2, n_rows, most)?.into_iter();
            Some(
                runs.map(|run| (run.skip, run.row_count))
                    .collect::<Vec<_>>(),
            )
        };
        let found = runs(70, 10).unwrap();
        let expected = [
            (true, 2),
            (false, 3),
            (true, 1),
            (false, 57),
            (true, 3),
            (false, 4),
        ];
        assert_eq!(found, expected);
        assert_eq!(runs(66, 5).unwrap().len(), 5);
        assert_eq!(runs(70, 5), None);
        assert_eq!(marks.runs(7, 9, 1).unwrap().len(), 1, "no row is marked");
    }
}
