//! The bucket of a row, by which rows that come in no order are divided in the same way everywhere.
//!
//! In: the columns of rows; out: a number below [`BUCKETS`] for each row, by its values alone. No SQL names it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::googlesql::fingerprint64;

/// As many as a training has partitions.
const BUCKETS: usize = 64;

static ROW_BUCKET: LazyLock<ScalarUDF> = LazyLock::new(|| {
    ScalarUDF::from(RowBucket {
        signature: Signature::variadic_any(Volatility::Immutable),
    })
});

/// The function.
pub(crate) fn row_bucket() -> &'static ScalarUDF {
    &ROW_BUCKET
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RowBucket {
    signature: Signature,
}

impl ScalarUDFImpl for RowBucket {
    fn name(&self) -> &str {
        "__auspex_row_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let n_rows = args.number_rows;
        let columns = args.args.into_iter().map(|value| value.into_array(n_rows));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        Ok(ColumnarValue::Array(Arc::new(buckets(&columns)?)))
    }
}

/// The bytes of a row are those by which it is sorted: the same on every machine, however its columns are encoded.
fn buckets(columns: &[ArrayRef]) -> Result<Int32Array> {
    let fields = columns.iter();
    let fields = fields.map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let rows = converter.convert_columns(columns)?;
    let bucket = |bytes: &[u8]| (fingerprint64(bytes) % BUCKETS as u64) as i32;
    let found = rows.iter().map(|row| bucket(row.as_ref()));
    Ok(Int32Array::from_iter_values(found))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::arrow::array::{Int64Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn a_bucket_depends_on_values_alone() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        let words = || (0..10_000).map(|number| (number % 3 > 0).then(|| format!("w{number}")));
        let texts: ArrayRef = Arc::new(words().collect::<StringArray>());
        let views: ArrayRef = Arc::new(words().collect::<StringViewArray>());
        let found = buckets(&[Arc::clone(&numbers), texts]).unwrap();
        let same = buckets(&[Arc::clone(&numbers), Arc::clone(&views)]).unwrap();
        assert_eq!(found, same);
        let part = buckets(&[numbers.slice(700, 50), views.slice(700, 50)]).unwrap();
        assert_eq!(part, found.slice(700, 50));
        let all: BTreeSet<i32> = found.values().iter().copied().collect();
        assert_eq!(all, (0..BUCKETS as i32).collect());
    }
}
