//! `percentile_cont` to PostgreSQL's last digit: the planner's own rounds the place between two values to six digits.
//!
//! In: numbers; out: the value at a fraction of them in order, `lo + (hi - lo) * part`, in doubles. The planner's function
//! gathers the values and moves them between machines; only what becomes of them is ours.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator,
    Signature,
};

/// The function, in the place of the planner's.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(PercentileCont {
        planned: percentile_cont_udaf(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PercentileCont {
    planned: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for PercentileCont {
    fn name(&self) -> &str {
        self.planned.name()
    }

    fn aliases(&self) -> &[String] {
        self.planned.aliases()
    }

    fn signature(&self) -> &Signature {
        self.planned.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.planned.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.planned.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let place = Place::of(&args)?;
        let gathered = self.planned.accumulator(args)?;
        Ok(match place {
            Some(place) => Box::new(Interpolated { gathered, place }),
            None => gathered,
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.planned.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let place = Place::of(&args)?;
        let gathered = self.planned.create_groups_accumulator(args)?;
        Ok(match place {
            Some(place) => Box::new(InterpolatedGroups { gathered, place }),
            None => gathered,
        })
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.planned.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// Which value of those in order is wanted.
#[derive(Debug, Clone, Copy)]
struct Place {
    fraction: f64,
    is_descending: bool,
}

impl Place {
    /// The place that a call asks for; `None`: not of doubles, or of none, which the planner's own answers or refuses.
    fn of(args: &AccumulatorArgs<'_>) -> Result<Option<Place>> {
        let is_double = args.expr_fields[0].data_type() == &DataType::Float64;
        let Some(fraction) = args.exprs.get(1).filter(|_| is_double) else {
            return Ok(None);
        };
        // A literal needs no row.
        let no_rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let ColumnarValue::Scalar(fraction) = fraction.evaluate(&no_rows)? else {
            return Ok(None);
        };
        let order = args.order_bys.first();
        Ok(match fraction.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(Some(fraction)) => Some(Place {
                fraction,
                is_descending: order.is_some_and(|order| order.options.descending),
            }),
            _ => None,
        })
    }

    /// The value at the place; `None`: there are no values.
    fn among(self, values: &mut [f64]) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        let place = self.fraction * last as f64;
        // Lossless: the fraction is from 0 to 1.
        let (before, after) = (place.floor() as usize, place.ceil() as usize);
        let mut nth = |idx: usize| {
            let idx = if self.is_descending { last - idx } else { idx };
            *values.select_nth_unstable_by(idx, f64::total_cmp).1
        };
        let low = nth(before);
        if before == after {
            return Some(low);
        }
        let high = nth(after);
        Some(low + (place - place.floor()) * (high - low))
    }
}

/// The values of one list of a state.
fn values_of(list: &ArrayRef) -> Vec<f64> {
    let values = list.as_primitive::<Float64Type>();
    values.iter().flatten().collect()
}

/// The values of one group.
#[derive(Debug)]
struct Interpolated {
    gathered: Box<dyn Accumulator>,
    place: Place,
}

impl Accumulator for Interpolated {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gathered.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.gathered.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.gathered.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let states = self.gathered.state()?;
        let states: Vec<ArrayRef> = states
            .iter()
            .map(ScalarValue::to_array)
            .collect::<Result<_>>()?;
        let mut values = values_of(&states[0].as_list::<i32>().value(0));
        // A window asks again for the same values and more, which a state takes away.
        self.gathered.merge_batch(&states)?;
        Ok(ScalarValue::Float64(self.place.among(&mut values)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.gathered.size()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.gathered.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.gathered.supports_retract_batch()
    }
}

/// The values of many groups.
struct InterpolatedGroups {
    gathered: Box<dyn GroupsAccumulator>,
    place: Place,
}

impl GroupsAccumulator for InterpolatedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.gathered
            .update_batch(values, group_indices, filter, n_groups)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        n_groups: usize,
    ) -> Result<()> {
        self.gathered.merge_batch(states, group_indices, n_groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.gathered.state(emit_to)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = self.gathered.state(emit_to)?;
        let lists = states[0].as_list::<i32>();
        let found =
            (0..lists.len()).map(|group| self.place.among(&mut values_of(&lists.value(group))));
        Ok(Arc::new(found.collect::<Float64Array>()))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.gathered.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.gathered.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_between_values_are_exact() {
        let place = |fraction, is_descending| Place {
            fraction,
            is_descending,
        };
        let mut values = [4.0, 1.0, 2.0, 3.0];
        assert_eq!(place(0.5, false).among(&mut values), Some(2.5));
        assert_eq!(place(0.0, true).among(&mut values), Some(4.0));
        // A third of the way, of which six digits are not enough.
        let mut values = [0.0, 1.0];
        let third = 1.0 / 3.0;
        assert_eq!(place(third, false).among(&mut values), Some(third));
        assert_eq!(place(0.1, true).among(&mut values), Some(0.9));
        assert_eq!(place(0.5, false).among(&mut []), None);
    }
}
