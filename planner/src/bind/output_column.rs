//! One output of a prediction: the access to a field, which stays where it is in a plan.
//!
//! In: the struct that a model's function returns; out: one of its fields. DataFusion moves its own access towards the
//! leaves, through the projection that predicts, so that each output would be a prediction of its own.

use std::sync::LazyLock;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    lit,
};

static OUTPUT_COLUMN: LazyLock<ScalarUDF> = LazyLock::new(|| {
    ScalarUDF::from(OutputColumn {
        access: GetFieldFunc::new(),
    })
});

/// The output `name` of a prediction, under that name.
pub(super) fn output_column(prediction: Expr, name: &str) -> Expr {
    OUTPUT_COLUMN.call(vec![prediction, lit(name)]).alias(name)
}

/// The function that gives outputs, which no SQL names.
pub(crate) fn output_function() -> &'static ScalarUDF {
    &OUTPUT_COLUMN
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OutputColumn {
    access: GetFieldFunc,
}

impl ScalarUDFImpl for OutputColumn {
    fn name(&self) -> &str {
        "output_column"
    }

    fn signature(&self) -> &Signature {
        self.access.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.access.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.access.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.access.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.access.invoke_with_args(args)
    }
}
