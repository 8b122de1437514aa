//! A sample of rows that does not depend on who reads them: those with the smallest hashes.
//!
//! In: the sampled rows of chunks; out: those of all, by a merge that forgets what cannot be among them. Between
//! machines the hashes go first, so that rows come only from where they count.

use serde::{Deserialize, Serialize};

/// The rows with the smallest hashes, in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RowSample {
    pub(super) hashes: Vec<u64>,
    /// Of each numeric feature the value in each row, NaN for NULL; empty where only the hashes are here.
    pub(super) columns: Vec<Vec<f64>>,
}

impl RowSample {
    /// The rows with the smallest hashes of both.
    pub(super) fn merge(self, later: &RowSample, n_rows: usize) -> RowSample {
        let of_self = self
            .hashes
            .iter()
            .enumerate()
            .map(|(row, hash)| (*hash, false, row));
        let of_later = later
            .hashes
            .iter()
            .enumerate()
            .map(|(row, hash)| (*hash, true, row));
        let mut rows: Vec<(u64, bool, usize)> = of_self.chain(of_later).collect();
        rows.sort_unstable();
        rows.truncate(n_rows);
        let columns = self
            .columns
            .iter()
            .zip(&later.columns)
            .map(|(ours, theirs)| {
                rows.iter()
                    .map(|(_, is_later, row)| if *is_later { theirs[*row] } else { ours[*row] })
            });
        RowSample {
            hashes: rows.iter().map(|(hash, _, _)| *hash).collect(),
            columns: columns.map(Iterator::collect).collect(),
        }
    }

    /// The rows whose hashes are not greater.
    pub(crate) fn up_to(mut self, greatest: u64) -> RowSample {
        let n_rows = self.hashes.partition_point(|hash| *hash <= greatest);
        self.hashes.truncate(n_rows);
        for column in &mut self.columns {
            column.truncate(n_rows);
        }
        self
    }
}
