//! What stands for a float where rows are ordered or told apart by it: -0 is 0, and NaN is the greatest, whatever its sign.
//!
//! In: floats, whose bits Arrow's order and its equality of rows go by; out: floats whose equal values have equal bits.
//! `optimize/float_keys.rs` puts it in the place of keys, aggregates with DISTINCT ask it of what they gather.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ArrowNativeTypeOp as _, AsArray as _};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;

use super::call::{Function, function_of};
use super::syntax;

/// The name of the function, which no client can call.
pub(crate) const FLOAT_KEY: &str = "\u{1e}float key";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![key_function()]
}

/// The key of a float that is written.
pub(crate) fn spelt_float_key(value: ast::Expr) -> ast::Expr {
    syntax::call(FLOAT_KEY, vec![value])
}

/// The key of a float.
pub(crate) fn float_key(value: Expr) -> Expr {
    key_function().build().call(vec![value])
}

fn key_function() -> Function {
    function_of(
        FLOAT_KEY,
        &[1],
        |types| Ok(types[0].clone()),
        |call| Ok(keys(call.arg(0)?)),
    )
}

/// Floats with one NaN and one zero; values of other types as they are.
pub(super) fn keys(values: &ArrayRef) -> ArrayRef {
    // The sum of -0 and 0 is 0.
    match values.data_type() {
        DataType::Float32 => {
            changed::<Float32Type>(values, |v| if v.is_nan() { f32::NAN } else { v + 0.0 })
        }
        DataType::Float64 => {
            changed::<Float64Type>(values, |v| if v.is_nan() { f64::NAN } else { v + 0.0 })
        }
        _ => Arc::clone(values),
    }
}

fn changed<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    key: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats = values.as_primitive::<T>();
    // By their bits.
    match floats.values().iter().all(|v| key(*v).is_eq(*v)) {
        true => Arc::clone(values),
        false => Arc::new(floats.unary::<_, T>(key)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array as _, Float64Array};

    use super::*;

    #[test]
    fn equal_floats_have_equal_bits() {
        let floats = vec![Some(-0.0), Some(0.0), None, Some(-f64::NAN), Some(-2.5)];
        let found = keys(&(Arc::new(Float64Array::from(floats)) as ArrayRef));
        let found = found.as_primitive::<Float64Type>();
        let bits = |idx: usize| found.value(idx).to_bits();
        assert_eq!((bits(0), bits(1)), (0, 0));
        assert!(found.is_null(2));
        assert_eq!(
            (bits(3), bits(4)),
            (f64::NAN.to_bits(), (-2.5_f64).to_bits())
        );
    }
}
