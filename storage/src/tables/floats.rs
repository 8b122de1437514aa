//! Floating-point numbers as tables store and compare them: with one NaN, which is greater than every number, and one zero.
//!
//! Columns flow in, from arithmetic that gives NaN either sign; columns whose equal values have equal bytes flow out.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ArrowNativeTypeOp as _, AsArray as _};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::catalog::TableProvider;

use crate::tables::delta_scan::DeltaScan;

/// Floats with one NaN and one zero; columns of other types as they are.
pub(crate) fn canonical(column: ArrayRef) -> ArrayRef {
    // The sum of -0.0 and 0.0 is 0.0.
    match column.data_type() {
        DataType::Float32 => {
            changed::<Float32Type>(column, |v| if v.is_nan() { f32::NAN } else { v + 0.0 })
        }
        DataType::Float64 => {
            changed::<Float64Type>(column, |v| if v.is_nan() { f64::NAN } else { v + 0.0 })
        }
        _ => column,
    }
}

/// Whether a table's floats are such: all rows of a managed table were stored so.
pub fn has_one_zero(table: &dyn TableProvider) -> bool {
    let scan = table.downcast_ref::<DeltaScan>();
    scan.is_some_and(|scan| !scan.is_of_others())
}

fn changed<T: ArrowPrimitiveType>(
    column: ArrayRef,
    one: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats = column.as_primitive::<T>();
    // By their bits, as Arrow orders floats.
    match floats.values().iter().all(|v| one(*v).is_eq(*v)) {
        true => column,
        false => Arc::new(floats.unary::<_, T>(one)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array as _, Float32Array, Float64Array, Int64Array};

    use super::*;

    #[test]
    fn equal_numbers_have_equal_bytes() {
        let found = canonical(Arc::new(Float64Array::from(vec![
            Some(-f64::NAN),
            Some(f64::NAN),
            Some(-0.0),
            None,
            Some(-1.5),
        ])));
        assert_eq!(found.null_count(), 1);
        let found = found.as_primitive::<Float64Type>();
        let bits = |idx: usize| found.value(idx).to_bits();
        assert_eq!((bits(0), bits(1)), (f64::NAN.to_bits(), f64::NAN.to_bits()));
        assert_eq!((bits(2), found.value(4)), (0, -1.5));
        let found = canonical(Arc::new(Float32Array::from(vec![-f32::NAN, -0.0])));
        let found = found.as_primitive::<Float32Type>();
        assert_eq!(found.value(0).to_bits(), f32::NAN.to_bits());
        assert_eq!(found.value(1).to_bits(), 0);
        let others: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(Arc::ptr_eq(&canonical(Arc::clone(&others)), &others));
    }
}
