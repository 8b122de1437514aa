//! Floats that are computed have one NaN: processors give it either sign, and one with a sign is less than every number to Arrow
//! and another value than the one that is stored.
//!
//! In: what was computed of floats, or an aggregate of them; out: the same with PostgreSQL's NaN. -0 stays what it is.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, BooleanArray};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// Floats with one NaN; values of other types as they are.
pub(super) fn of_one_nan(values: ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float32 => changed::<Float32Type>(values, f32::is_nan, f32::NAN),
        DataType::Float64 => changed::<Float64Type>(values, f64::is_nan, f64::NAN),
        _ => values,
    }
}

fn changed<T: ArrowPrimitiveType>(
    values: ArrayRef,
    is_nan: fn(T::Native) -> bool,
    nan: T::Native,
) -> ArrayRef {
    let floats = values.as_primitive::<T>();
    if !floats.values().iter().any(|value| is_nan(*value)) {
        return values;
    }
    let one = |value: T::Native| if is_nan(value) { nan } else { value };
    Arc::new(floats.unary::<_, T>(one))
}

fn value_of_one_nan(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float32(Some(value)) if value.is_nan() => f32::NAN.into(),
        ScalarValue::Float64(Some(value)) if value.is_nan() => f64::NAN.into(),
        value => value,
    }
}

/// An aggregate of all rows, or of a window's, whose value has one NaN if its type has such.
pub(super) fn of_rows(inner: Box<dyn Accumulator>, data_type: &DataType) -> Box<dyn Accumulator> {
    match data_type.is_floating() {
        true => Box::new(OneNan { inner }),
        false => inner,
    }
}

/// The same of groups.
pub(super) fn of_groups(
    inner: Box<dyn GroupsAccumulator>,
    data_type: &DataType,
) -> Box<dyn GroupsAccumulator> {
    match data_type.is_floating() {
        true => Box::new(OneNanGroups { inner }),
        false => inner,
    }
}

#[derive(Debug)]
struct OneNan {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for OneNan {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(value_of_one_nan(self.inner.evaluate()?))
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

struct OneNanGroups {
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for OneNanGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(values, group_indices, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(of_one_nan(self.inner.evaluate(emit_to)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        n_groups: usize,
    ) -> Result<()> {
        self.inner.merge_batch(states, group_indices, n_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array as _, Float64Array};

    use super::*;

    #[test]
    fn a_nan_has_no_sign_and_other_floats_stay() {
        let floats = vec![Some(-f64::NAN), None, Some(-0.0), Some(f64::NEG_INFINITY)];
        let found = of_one_nan(Arc::new(Float64Array::from(floats)));
        let found = found.as_primitive::<Float64Type>();
        let bits = |idx: usize| found.value(idx).to_bits();
        assert_eq!(
            (bits(0), bits(2)),
            (f64::NAN.to_bits(), (-0.0_f64).to_bits())
        );
        assert!(found.is_null(1));
        assert_eq!(found.value(3), f64::NEG_INFINITY);
        let plain: ArrayRef = Arc::new(Float64Array::from(vec![-1.5]));
        assert!(Arc::ptr_eq(&of_one_nan(Arc::clone(&plain)), &plain));
    }
}
