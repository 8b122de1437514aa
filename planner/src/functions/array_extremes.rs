//! The least and the greatest element of arrays where there are no rows: the planner's own fail there if elements are no numbers.
//!
//! In: the planner's functions; out: the same, which give no values for no rows.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::new_empty_array;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::functions_nested::min_max::{array_max_udf, array_min_udf};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

static LEAST: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| of_any_rows(array_min_udf()));
static MOST: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| of_any_rows(array_max_udf()));

/// The functions of this family.
pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [Arc::clone(&LEAST), Arc::clone(&MOST)]
}

/// The least element of an array.
pub(super) fn array_min(array: Expr) -> Expr {
    LEAST.call(vec![array])
}

/// The greatest element of an array.
pub(super) fn array_max(array: Expr) -> Expr {
    MOST.call(vec![array])
}

fn of_any_rows(inner: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(OfAnyRows { inner }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfAnyRows {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for OfAnyRows {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let has_columns = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Array(_));
        if args.number_rows == 0 && args.args.iter().any(has_columns) {
            let none = new_empty_array(args.return_field.data_type());
            return Ok(ColumnarValue::Array(none));
        }
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
