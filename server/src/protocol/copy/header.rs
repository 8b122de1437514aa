//! `HEADER MATCH` of COPY: the first line must name the columns.
//!
//! In: the values of that line and the columns; out: the error that PostgreSQL gives where they differ.

use auspex_planner::{CopyOptions, header_fault};
use datafusion::arrow::datatypes::Schema;

use super::decoder::{RowValues, Wrong};

/// The names that a header must have; `None` where it may have any.
pub(super) fn expected_header(options: &CopyOptions, columns: &Schema) -> Option<Vec<String>> {
    let names = columns.fields().iter().map(|field| field.name().clone());
    options.matches_header.then(|| names.collect())
}

/// Fails at the first name that is another one.
pub(super) fn check_header(row: &RowValues, names: &[String]) -> Result<(), Wrong> {
    let header: Vec<Option<&[u8]>> = row.values().collect();
    match header_fault(&header, names) {
        Some(message) => Err(("22P04", message)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> RowValues {
        let mut row = RowValues::default();
        for value in values {
            let start = row.bytes.len();
            row.bytes.extend_from_slice(value.as_bytes());
            row.end_value(start, false);
        }
        row
    }

    #[test]
    fn the_first_line_names_the_columns() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(check_header(&row(&["a", "b"]), &names), Ok(()));
        let message = |values: &[&str]| check_header(&row(values), &names).unwrap_err().1;
        assert_eq!(
            message(&["a", "d"]),
            "column name mismatch in header line field 2: got \"d\", expected \"b\""
        );
        assert_eq!(
            message(&["a"]),
            "wrong number of fields in header line: got 1, expected 2"
        );
    }
}
