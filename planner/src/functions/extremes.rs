//! The least and the greatest of intervals, which go by their length, and of arrays, in which a NULL is the greatest element.
//!
//! In: values of any type; out: the planner's own `min` and `max`, but of intervals and arrays those by PostgreSQL's order: the
//! planner compares months first, then days, so that 1000 hours come before a day. Of json there are none. Of groups of floats
//! NaN is the greatest; in the planner's it takes the place of what came before it.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType, JsonKind};
use datafusion::arrow::array::{Array as _, ArrayRef};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type,
};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::assigned_value::type_of;
use super::interval::is_interval;
use super::order_keys::comparable;
use super::sliding;
use crate::error::Error;

/// The names of those of the rows of a subquery (see `quantified`), which may be jsonb: of it their keys are taken.
pub(super) const LEAST_ROW: &str = "least_row";
pub(super) const GREATEST_ROW: &str = "greatest_row";

/// The functions of this family.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let of = |name, inner, is_max| {
        AggregateUDF::from(Extreme {
            name,
            inner,
            is_max,
        })
    };
    vec![
        of("min", min_udaf(), false),
        of("max", max_udaf(), true),
        of(LEAST_ROW, min_udaf(), false),
        of(GREATEST_ROW, max_udaf(), true),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    name: &'static str,
    inner: Arc<AggregateUDF>,
    is_max: bool,
}

/// Whether there is no extreme of values of a field.
fn is_refused(name: &str, field: &Field) -> bool {
    match JsonKind::of(field) {
        Some(JsonKind::Jsonb) => ![LEAST_ROW, GREATEST_ROW].contains(&name),
        kind => kind.is_some(),
    }
}

/// What marks the least of labels or addresses. Of networks it is an address, as in PostgreSQL.
pub(super) fn chosen_marks(value: &Field) -> Option<HashMap<String, String>> {
    match AddressKind::of(value) {
        Some(_) => Some(AddressKind::Inet.marks()),
        None => Some(EnumType::of(value)?.marks()),
    }
}

fn is_ours(field: &FieldRef) -> bool {
    is_interval(field.data_type()) || matches!(field.data_type(), DataType::List(_))
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let json = args.iter().find(|arg| is_refused(self.name, arg));
        if let Some(json) = json {
            let message = format!("function {}({}) does not exist", self.name(), type_of(json));
            let hint = "No function matches the given name and argument types. \
                You might need to add explicit type casts.";
            return Err(Error::invalid("42883", message, Some(hint)).into());
        }
        let field = self.inner.return_field(args)?;
        // What is asked of the least label is asked of a label; that it is the least sees `bind/value_order.rs` to.
        let marks = args.first().and_then(|arg| chosen_marks(arg));
        Ok(match marks {
            Some(marks) => Arc::new(field.as_ref().clone().with_metadata(marks)),
            None => field,
        })
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_ours(&args.return_field) {
            true => {
                let data_type = args.return_field.data_type().clone();
                Ok(Box::new(ByKey::new(self.is_max, data_type)))
            }
            false => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        // Arrays that leave the frame are forgotten by the planner's own alone.
        match is_interval(args.return_field.data_type()) {
            true => {
                let is_max = self.is_max;
                let of_rows = move |args: AccumulatorArgs<'_>| -> Result<Box<dyn Accumulator>> {
                    let data_type = args.return_field.data_type().clone();
                    Ok(Box::new(ByKey::new(is_max, data_type)))
                };
                Ok(sliding::of_frame(&args, Box::new(of_rows)))
            }
            false => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_ours(&args.return_field) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type();
        match (data_type, self.is_max) {
            (DataType::Float64, true) => {
                let start = f64::NEG_INFINITY;
                Ok(of_groups::<Float64Type>(data_type, start, is_after))
            }
            (DataType::Float64, false) => {
                Ok(of_groups::<Float64Type>(data_type, f64::NAN, is_before))
            }
            (DataType::Float32, true) => {
                let start = f32::NEG_INFINITY;
                Ok(of_groups::<Float32Type>(data_type, start, is_after))
            }
            (DataType::Float32, false) => {
                Ok(of_groups::<Float32Type>(data_type, f32::NAN, is_before))
            }
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Of each group the float that comes first, or last, of all.
fn of_groups<T: ArrowPrimitiveType + Send>(
    data_type: &DataType,
    start: T::Native,
    is_better: fn(T::Native, T::Native) -> bool,
) -> Box<dyn GroupsAccumulator> {
    let of = move |found: &mut T::Native, value: T::Native| {
        if is_better(value, *found) {
            *found = value;
        }
    };
    let groups = PrimitiveGroupsAccumulator::<T, _>::new(data_type, of);
    Box::new(groups.with_starting_value(start))
}

/// Whether a float is greater than another, or NaN.
fn is_after<F: PartialOrd>(value: F, than: F) -> bool {
    value.partial_cmp(&value).is_none() || value > than
}

/// Whether a float is less than another, which may be NaN.
fn is_before<F: PartialOrd>(value: F, than: F) -> bool {
    than.partial_cmp(&than).is_none() || value < than
}

/// The least or greatest of the values so far, the first one of those with the same key.
#[derive(Debug)]
struct ByKey {
    is_max: bool,
    data_type: DataType,
    found: Option<(Box<[u8]>, ScalarValue)>,
}

impl ByKey {
    fn new(is_max: bool, data_type: DataType) -> Self {
        Self {
            is_max,
            data_type,
            found: None,
        }
    }
}

impl Accumulator for ByKey {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Some(values) = columns.first() else {
            return Ok(());
        };
        let keys = comparable(values)?;
        let field = SortField::new(keys.data_type().clone());
        let rows = RowConverter::new(vec![field])?.convert_columns(&[Arc::clone(&keys)])?;
        let present = (0..values.len()).filter(|row| keys.is_valid(*row));
        // Of rows with the same key `min_by` has the first one, and `max_by` the last one.
        let best = match self.is_max {
            true => present.rev().max_by(|a, b| rows.row(*a).cmp(&rows.row(*b))),
            false => present.min_by(|a, b| rows.row(*a).cmp(&rows.row(*b))),
        };
        let Some(best) = best else {
            return Ok(());
        };
        let key: Box<[u8]> = rows.row(best).as_ref().into();
        let is_better = match &self.found {
            None => true,
            Some((known, _)) if self.is_max => key > *known,
            Some((known, _)) => key < *known,
        };
        if is_better {
            let value = ScalarValue::try_from_array(values, best)?;
            // What an array is cut of may be large.
            self.found = Some((key, value.compacted()));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match &self.found {
            Some((_, value)) => Ok(value.clone()),
            None => ScalarValue::try_new_null(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        let found = self.found.as_ref();
        size_of_val(self) + found.map_or(0, |(key, value)| key.len() + value.size())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        AsArray as _, Float64Array, IntervalMonthDayNanoArray, ListArray,
    };
    use datafusion::arrow::datatypes::{Int32Type, IntervalMonthDayNano};
    use datafusion::logical_expr::EmitTo;

    use super::*;
    use crate::functions::call::INTERVAL;

    #[test]
    fn longer_intervals_are_greater_whatever_their_parts() {
        const HOUR: i64 = 3_600_000_000_000;
        let of = IntervalMonthDayNano::new;
        let (hours, days, month) = (of(0, 0, 1000 * HOUR), of(0, 29, 0), of(1, 0, 0));
        let column: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
            Some(hours),
            None,
            Some(days),
            Some(month),
        ]));
        for (is_max, expected) in [(true, hours), (false, days)] {
            let mut found = ByKey::new(is_max, INTERVAL);
            found.update_batch(&[Arc::clone(&column)]).unwrap();
            let expected = ScalarValue::IntervalMonthDayNano(Some(expected));
            assert_eq!(found.evaluate().unwrap(), expected);
        }
        let none = ByKey::new(true, INTERVAL).evaluate().unwrap();
        assert!(none.is_null());
    }

    #[test]
    fn a_float_that_is_no_number_is_the_greatest_of_its_group() {
        let values = [0.0, f64::NAN, 5.0, f64::NEG_INFINITY, f64::NAN];
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let places = [0, 0, 0, 1, 2];
        let of = |start, is_better| {
            let mut groups = of_groups::<Float64Type>(&DataType::Float64, start, is_better);
            groups
                .update_batch(&[Arc::clone(&column)], &places, None, 3)
                .unwrap();
            let found = groups.evaluate(EmitTo::All).unwrap();
            let found = found.as_primitive::<Float64Type>().values().to_vec();
            found.iter().map(f64::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(f64::NEG_INFINITY, is_after), ["NaN", "-inf", "NaN"]);
        assert_eq!(of(f64::NAN, is_before), ["0", "-inf", "NaN"]);
    }

    #[test]
    fn a_null_is_the_greatest_element() {
        let arrays = [
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(1), None]),
            Some(vec![Some(1)]),
        ];
        let arrays = ListArray::from_iter_primitive::<Int32Type, _, _>(arrays);
        let column: ArrayRef = Arc::new(arrays);
        for (is_max, expected) in [(true, 2), (false, 3)] {
            let mut found = ByKey::new(is_max, column.data_type().clone());
            // Of two states as of one.
            found.update_batch(&[column.slice(0, 2)]).unwrap();
            found.merge_batch(&[column.slice(2, 2)]).unwrap();
            let expected = ScalarValue::try_from_array(&column, expected).unwrap();
            assert_eq!(found.evaluate().unwrap(), expected);
        }
    }
}
