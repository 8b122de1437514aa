//! The least and the greatest of intervals, which go by their length.
//!
//! In: values of any type; out: the planner's own `min` and `max`, but of intervals those by PostgreSQL's order: the planner
//! compares months first, then days, so that 1000 hours come before a day.

use std::sync::Arc;

use auspex_storage::EnumType;
use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{
    DataType, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

use super::call::INTERVAL;
use super::interval::length;

/// The functions of this family.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let of = |inner, is_max| AggregateUDF::from(Extreme { inner, is_max });
    vec![of(min_udaf(), false), of(max_udaf(), true)]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    is_max: bool,
}

fn is_ours(field: &FieldRef) -> bool {
    *field.data_type() == INTERVAL
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let field = self.inner.return_field(args)?;
        // What is asked of the least label is asked of a label; that it is the least sees `bind/enum_order.rs` to.
        let known = args.first().and_then(|arg| EnumType::of(arg));
        Ok(match known {
            Some(known) => Arc::new(field.as_ref().clone().with_metadata(known.marks())),
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
            true => Ok(Box::new(ByLength::new(self.is_max))),
            false => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_ours(&args.return_field) {
            true => Ok(Box::new(ByLength::new(self.is_max))),
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
        self.inner.create_groups_accumulator(args)
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

/// The least or greatest of the intervals so far, the first one of those that are as long.
#[derive(Debug)]
struct ByLength {
    is_max: bool,
    found: Option<IntervalMonthDayNano>,
}

impl ByLength {
    fn new(is_max: bool) -> Self {
        Self {
            is_max,
            found: None,
        }
    }
}

impl Accumulator for ByLength {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values
            .first()
            .and_then(|values| values.as_primitive_opt::<IntervalMonthDayNanoType>());
        for value in values.into_iter().flatten().flatten() {
            let is_better = self.found.is_none_or(|found| match self.is_max {
                true => length(value) > length(found),
                false => length(value) < length(found),
            });
            if is_better {
                self.found = Some(value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::IntervalMonthDayNano(self.found))
    }

    fn size(&self) -> usize {
        size_of_val(self)
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
    use datafusion::arrow::array::IntervalMonthDayNanoArray;

    use super::*;

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
            let mut found = ByLength::new(is_max);
            found.update_batch(&[Arc::clone(&column)]).unwrap();
            let expected = ScalarValue::IntervalMonthDayNano(Some(expected));
            assert_eq!(found.evaluate().unwrap(), expected);
        }
        let none = ByLength::new(true).evaluate().unwrap();
        assert!(none.is_null());
    }
}
