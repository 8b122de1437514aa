//! Sums of whole numbers and of intervals that fail when they do not fit, whatever the order of the values.
//!
//! In: `bigint` and narrower; out: `bigint`; of intervals, what `interval_totals` makes of them. The planner's own sum starts
//! again at the smallest number, silently; here it sums 128 bits, which no number of rows fills, and looks at the end.
//! Those of floats have one NaN.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs,
};

use super::call::failure;
use super::interval_totals::{self, Total};
use super::{one_nan, sliding};

/// Wide enough for the sum of any number of rows.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// The function of this family.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(CheckedSum { inner: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

fn is_whole(field: &FieldRef) -> bool {
    field.data_type() == &DataType::Int64
}

fn wide(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(WIDE))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if interval_totals::are_meant(&args.return_field, args.is_distinct) {
            return Ok(interval_totals::state_fields(args.name));
        }
        let return_field = match is_whole(&args.return_field) {
            true => wide(&args.return_field),
            false => Arc::clone(&args.return_field),
        };
        self.inner.state_fields(StateFieldsArgs {
            return_field,
            ..args
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if interval_totals::are_meant(&args.return_field, args.is_distinct) {
            return Ok(Total::Sum.accumulator());
        }
        if !is_whole(&args.return_field) {
            let data_type = args.return_field.data_type().clone();
            return Ok(one_nan::of_rows(self.inner.accumulator(args)?, &data_type));
        }
        let return_field = wide(&args.return_field);
        let inner = self.inner.accumulator(AccumulatorArgs {
            return_field,
            ..args
        })?;
        Ok(Box::new(Narrowed { inner }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if interval_totals::are_meant(&args.return_field, args.is_distinct) {
            return Ok(Total::Sum.accumulator());
        }
        if args.return_field.data_type().is_floating() {
            let of_rows = |args: AccumulatorArgs<'_>| Sum::new().accumulator(args);
            let frame = sliding::of_frame(&args, Box::new(of_rows));
            return Ok(one_nan::of_rows(frame, args.return_field.data_type()));
        }
        if !is_whole(&args.return_field) || args.is_distinct {
            return self.inner.create_sliding_accumulator(args);
        }
        let return_field = wide(&args.return_field);
        let inner = self.inner.create_sliding_accumulator(AccumulatorArgs {
            return_field,
            ..args
        })?;
        Ok(Box::new(Narrowed { inner }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !interval_totals::are_meant(&args.return_field, args.is_distinct)
            && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_whole(&args.return_field) {
            let data_type = args.return_field.data_type().clone();
            let inner = self.inner.create_groups_accumulator(args)?;
            return Ok(one_nan::of_groups(inner, &data_type));
        }
        let return_field = wide(&args.return_field);
        let inner = self.inner.create_groups_accumulator(AccumulatorArgs {
            return_field,
            ..args
        })?;
        Ok(Box::new(NarrowedGroups { inner }))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.inner.value_from_stats(args)
    }
}

fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let wide = values.iter().map(|values| cast(values, &WIDE));
    Ok(wide.collect::<std::result::Result<_, _>>()?)
}

fn narrowed(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| out_of_range())
}

fn out_of_range() -> DataFusionError {
    failure("22003", "bigint out of range")
}

/// The sum of all rows, or of a window's.
#[derive(Debug)]
struct Narrowed {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for Narrowed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widened(values)?)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.inner.evaluate()? {
            ScalarValue::Decimal128(Some(sum), ..) => ScalarValue::Int64(Some(narrowed(sum)?)),
            _ => ScalarValue::Int64(None),
        })
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
        self.inner.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The sums of groups.
struct NarrowedGroups {
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for NarrowedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(&widened(values)?, group_indices, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit_to)?;
        let sums = sums.as_primitive::<Decimal128Type>();
        let sums = sums.iter().map(|sum| sum.map(narrowed).transpose());
        Ok(Arc::new(sums.collect::<Result<Int64Array>>()?))
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
        self.inner.convert_to_state(&widened(values)?, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
