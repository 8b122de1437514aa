//! A key of ROLLUP, CUBE or GROUPING SETS as a column of which nothing is known (`optimize/set_keys.rs`).
//!
//! In: the key, its place among the keys, and a call of the function without arguments; out: the key. The call within is what
//! keeps a key that is the same in all rows from counting as a constant. No SQL names it.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility, lit,
};

static SET_KEY: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let signatures = vec![TypeSignature::Nullary, TypeSignature::Any(3)];
    ScalarUDF::from(SetKey {
        signature: Signature::one_of(signatures, Volatility::Volatile),
    })
});

/// The function.
pub(super) fn function() -> ScalarUDF {
    SET_KEY.clone()
}

/// A key by its place.
pub(crate) fn set_key(key: Expr, place: u32) -> Expr {
    SET_KEY.call(vec![key, lit(place), SET_KEY.call(Vec::new())])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SetKey {
    signature: Signature,
}

impl ScalarUDFImpl for SetKey {
    fn name(&self) -> &str {
        "__auspex_set_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Boolean))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let key = args.arg_fields.first().cloned();
        Ok(key.unwrap_or_else(|| Arc::new(Field::new(self.name(), DataType::Boolean, true))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let key = args.args.into_iter().next();
        Ok(key.unwrap_or(ColumnarValue::Scalar(ScalarValue::Boolean(None))))
    }
}
