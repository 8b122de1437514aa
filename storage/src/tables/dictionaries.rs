//! Which columns of a data file are better stored without a dictionary: those whose dictionary would overflow.
//!
//! The first rows of a file flow in; the names of columns flow out whose values differ so much that their dictionary would
//! be given up. Until then its writer looks up each value, and whoever reads a row of the file later reads all of it.

use std::collections::HashSet;

use datafusion::arrow::array::{Array as _, ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// Of fewer rows nothing is told.
pub(crate) const SAMPLE_ROWS: usize = 4 << 10;
const MOST_SAMPLE_ROWS: usize = 8 << 10;
/// Columns with fewer values among these are left alone.
const SAMPLE_VALUES: usize = 2 << 10;

/// The columns of which a dictionary of so many bytes would overflow, as far as the first rows tell.
pub(crate) fn overflowing(first: &[RecordBatch], dictionary_bytes: usize) -> Result<Vec<String>> {
    let mut sample = Vec::with_capacity(first.len());
    let mut n_rows = 0;
    for batch in first {
        let n_more = batch.num_rows().min(MOST_SAMPLE_ROWS - n_rows);
        sample.push(batch.slice(0, n_more));
        n_rows += n_more;
    }
    let Some(batch) = sample.first().filter(|_| n_rows >= SAMPLE_ROWS) else {
        return Ok(vec![]);
    };
    let schema = batch.schema();
    let rows = concat_batches(&schema, &sample)?;
    let mut found = Vec::new();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if may_have_dictionary(field.data_type()) && overflows(column, dictionary_bytes)? {
            found.push(field.name().clone());
        }
    }
    Ok(found)
}

fn may_have_dictionary(data_type: &DataType) -> bool {
    !data_type.is_nested()
        && !data_type.is_floating()
        && !matches!(data_type, DataType::Boolean | DataType::Null)
}

/// Whether a column seems to have more values than fit into a dictionary.
fn overflows(column: &ArrayRef, dictionary_bytes: usize) -> Result<bool> {
    let n_values = column.len() - column.null_count();
    if n_values < SAMPLE_VALUES {
        return Ok(false);
    }
    let value_bytes = column.to_data().get_slice_memory_size()?.div_ceil(n_values);
    let most = dictionary_bytes as f64 / value_bytes.max(1) as f64;
    // Of `most` values that are equally frequent, n rows have most · (1 - e^(-n / most)) different ones.
    let expected = most * (1.0 - (-(n_values as f64) / most).exp());
    Ok(n_distinct(column)? as f64 > expected)
}

/// How many values a column has, NULL aside.
fn n_distinct(column: &ArrayRef) -> Result<usize> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(&[ArrayRef::clone(column)])?;
    let known: HashSet<_> = rows.iter().collect();
    Ok(known.len() - usize::from(column.null_count() > 0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;

    const BYTES: usize = 256 << 10;

    fn batch(start: i64, n_rows: i64) -> RecordBatch {
        let rows = || start..start + n_rows;
        let few = rows().map(|i| Some(format!("city {}", i * 7919 % 5000)));
        let sparse = rows().map(|i| (i % 100 == 50).then_some(i));
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from_iter_values(rows()))),
            (
                "name",
                Arc::new(StringArray::from_iter(
                    rows().map(|i| Some(format!("name {i}"))),
                )),
            ),
            ("city", Arc::new(StringArray::from_iter(few))),
            ("sparse", Arc::new(Int64Array::from_iter(sparse))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn columns_of_values_that_all_differ_have_no_dictionary() {
        let first = [batch(0, 1), batch(1, 3000), batch(3001, 60_000)];
        assert_eq!(overflowing(&first, BYTES).unwrap(), ["id", "name"]);
        let smaller = overflowing(&first, 32 << 10).unwrap();
        assert_eq!(smaller, ["id", "name", "city"]);
    }

    #[test]
    fn few_rows_tell_nothing() {
        assert!(overflowing(&[], BYTES).unwrap().is_empty());
        assert!(overflowing(&[batch(0, 4095)], BYTES).unwrap().is_empty());
    }
}
