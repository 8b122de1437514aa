//! `percentile_cont` to PostgreSQL's last digit: the planner's own rounds the place between two values to six digits.
//!
//! In: numbers; out: the value at a fraction of them in order, `lo + (hi - lo) * part`, in doubles. The planner's function
//! gathers the values and moves them between machines; only what becomes of them is ours. Intervals, which it does not know,
//! are gathered here.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, IntervalMonthDayNanoArray,
    RecordBatch,
};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Schema,
};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::Result;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, Expr, GroupsAccumulator,
    Signature,
};

use super::call::{INTERVAL, failure};
use super::interval::{between, is_interval, length};

/// The function, in the place of the planner's.
pub(super) fn function() -> AggregateUDF {
    let planned = percentile_cont_udaf();
    AggregateUDF::from(PercentileCont {
        signature: Signature::user_defined(planned.signature().volatility),
        planned,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PercentileCont {
    planned: Arc<AggregateUDF>,
    signature: Signature,
}

/// Whether a percentile is one of intervals.
fn is_of_intervals(fields: &[FieldRef]) -> bool {
    let first = fields.first().map(|field| field.data_type());
    first.is_some_and(is_interval)
}

impl AggregateUDFImpl for PercentileCont {
    fn name(&self) -> &str {
        self.planned.name()
    }

    fn aliases(&self) -> &[String] {
        self.planned.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if types.len() == 2 && is_interval(&types[0]) {
            return Ok(vec![INTERVAL, DataType::Float64]);
        }
        let field = |data_type: &DataType| -> FieldRef {
            Arc::new(Field::new("argument", data_type.clone(), true))
        };
        let fields: Vec<FieldRef> = types.iter().map(field).collect();
        let fields = fields_with_udf(&fields, self.planned.as_ref())?;
        let types = fields.iter().map(|field| field.data_type().clone());
        Ok(types.collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().is_some_and(is_interval) {
            true => Ok(INTERVAL),
            false => self.planned.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if is_of_intervals(args.input_fields) {
            let name = format_state_name(args.name, "intervals");
            let values = Field::new(name, DataType::new_list(INTERVAL, true), true);
            return Ok(vec![Arc::new(values)]);
        }
        self.planned.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if is_of_intervals(args.expr_fields) {
            let place = Place::told(&args)?;
            let values = Vec::new();
            return Ok(Box::new(Intervals { values, place }));
        }
        let place = Place::of(&args)?;
        let gathered = self.planned.accumulator(args)?;
        Ok(match place {
            Some(place) => Box::new(Interpolated { gathered, place }),
            None => gathered,
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_of_intervals(args.expr_fields) && self.planned.groups_accumulator_supported(args)
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
        let planned = self.planned.simplify()?;
        Some(Box::new(move |call, info| {
            let first = call.params.args.first();
            let first = first.map(|value| info.get_data_type(value)).transpose()?;
            match first.as_ref().is_some_and(is_interval) {
                true => Ok(Expr::AggregateFunction(call)),
                false => planned(call, info),
            }
        }))
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
        match args.expr_fields[0].data_type() {
            DataType::Float64 => Place::told(args),
            _ => Ok(None),
        }
    }

    /// The place by the arguments alone.
    fn told(args: &AccumulatorArgs<'_>) -> Result<Option<Place>> {
        let Some(fraction) = args.exprs.get(1) else {
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

/// The intervals of one group; without a place there is no value.
#[derive(Debug)]
struct Intervals {
    values: Vec<IntervalMonthDayNano>,
    place: Option<Place>,
}

impl Intervals {
    /// The value at the place.
    fn among(&mut self) -> Result<Option<IntervalMonthDayNano>> {
        let (Some(place), Some(last)) = (self.place, self.values.len().checked_sub(1)) else {
            return Ok(None);
        };
        let fraction = place.fraction;
        if !(0.0..=1.0).contains(&fraction) {
            let message = format!("percentile value {fraction} is not between 0 and 1");
            return Err(failure("22003", message));
        }
        self.values.sort_by_key(|value| length(*value));
        if place.is_descending {
            self.values.reverse();
        }
        let at = fraction * last as f64;
        // Lossless: the fraction is from 0 to 1.
        let (low, high) = (
            self.values[at.floor() as usize],
            self.values[at.ceil() as usize],
        );
        between(low, high, at - at.floor()).map(Some)
    }
}

impl Accumulator for Intervals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let intervals = values[0].as_primitive::<IntervalMonthDayNanoType>();
        self.values.extend(intervals.iter().flatten());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = IntervalMonthDayNanoArray::from(self.values.clone());
        let values = SingleRowListArrayBuilder::new(Arc::new(values));
        Ok(vec![values.build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.among().map(ScalarValue::IntervalMonthDayNano)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<IntervalMonthDayNano>()
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
