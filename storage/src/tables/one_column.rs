//! Functions of one column, which scans put around the columns of files.
//!
//! The arguments of a call flow in, and what makes an array of an array; an array or a value flows out.

use datafusion::arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

/// What a function of one column gives for its argument.
pub(crate) fn of_column(
    args: &ScalarFunctionArgs,
    read: impl Fn(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match args.args.as_slice() {
        [ColumnarValue::Array(array)] => read(array).map(ColumnarValue::Array),
        [ColumnarValue::Scalar(value)] => {
            let found = read(&value.to_array()?)?;
            ScalarValue::try_from_array(&found, 0).map(ColumnarValue::Scalar)
        }
        _ => Err(DataFusionError::Internal(
            "a function of one column takes one argument".to_owned(),
        )),
    }
}
