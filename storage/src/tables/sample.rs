//! How much of text files is looked at to find their columns.
//!
//! The sizes of files and an option flow in, numbers of rows and bytes flow out. Of small files all rows are looked at, so
//! that no key and no type is missed; of large ones enough that a miss is rare, and an error where it is none.

use crate::catalog::ExternalFormat;

/// Files of so many bytes in all are looked at whole, if that costs little beside reading them.
const WHOLE_BYTES: u64 = 32 << 20;
/// So many rows of all files that are larger; the number of DuckDB.
const ROWS: usize = 20_480;
/// As many of each file at least.
const LEAST_ROWS: usize = 1000;

/// How much of each file is looked at: so many rows and so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) n_rows: usize,
    n_bytes: usize,
}

impl Sample {
    pub(crate) fn rows(n_rows: usize) -> Self {
        Self { n_rows, n_bytes: 0 }
    }

    /// What is looked at of so many files, of so many bytes in all.
    pub(crate) fn of(
        format: ExternalFormat,
        wanted: Option<usize>,
        n_files: usize,
        n_bytes: u64,
    ) -> Self {
        if let Some(n_rows) = wanted {
            return Self::rows(n_rows);
        }
        let of_each = Self::rows((ROWS / n_files.max(1)).max(LEAST_ROWS));
        // A column of CSV cannot come late, and finding types costs more than reading.
        match format == ExternalFormat::NdJson && n_bytes <= WHOLE_BYTES {
            true => Self {
                // What is compressed can be larger than its file.
                n_bytes: WHOLE_BYTES as usize,
                ..of_each
            },
            false => of_each,
        }
    }

    /// Whether what was looked at is enough.
    pub(crate) fn is_enough(self, n_rows: usize, n_bytes: usize) -> bool {
        n_rows >= self.n_rows && n_bytes >= self.n_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_json_is_looked_at_whole() {
        use ExternalFormat::{Csv, NdJson};
        let small = Sample::of(NdJson, None, 3, 1 << 20);
        assert!(!small.is_enough(1 << 20, 1 << 20));
        assert!(small.is_enough(1 << 20, 1 << 26));
        assert_eq!(Sample::of(NdJson, None, 1, 1 << 30), Sample::rows(20_480));
        assert_eq!(Sample::of(NdJson, None, 2, 1 << 30), Sample::rows(10_240));
        assert_eq!(Sample::of(Csv, None, 1000, 1000), Sample::rows(1000));
        assert_eq!(Sample::of(NdJson, Some(5), 1, 1), Sample::rows(5));
    }
}
