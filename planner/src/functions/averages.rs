//! Averages of decimals with the digits that PostgreSQL gives a quotient, and of intervals, of which the planner has none.
//!
//! In: values of any type; out: the planner's own average, of decimals with sixteen digits behind the point and rounded;
//! the planner's has four digits more than the values and cuts off the rest. Those of intervals are of `interval_totals`, and
//! those of floats have one NaN.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, BooleanArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, EmitTo, GroupsAccumulator, ReversedUDAF,
    Signature, TypeSignature, TypeSignatureClass, Volatility,
};

use super::call::INTERVAL;
use super::interval::is_interval;
use super::interval_totals::{self, Total};
use super::quotients::{DIGITS, PRECISION};
use super::{one_nan, sliding};

/// The function of this family.
pub(super) fn function() -> AggregateUDF {
    let inner = Avg::new();
    let mut kinds = match &inner.signature().type_signature {
        TypeSignature::OneOf(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let interval = Coercion::new_exact(TypeSignatureClass::Interval);
    kinds.push(TypeSignature::Coercible(vec![interval]));
    AggregateUDF::from(RoundedAvg {
        signature: Signature::one_of(kinds, Volatility::Immutable),
        inner,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RoundedAvg {
    inner: Avg,
    /// The planner's, and intervals.
    signature: Signature,
}

/// The field of an average with a digit more, by which it is rounded; `None`: it is no decimal, or has no room.
fn finer(field: &FieldRef) -> Option<FieldRef> {
    match field.data_type() {
        DataType::Decimal128(precision, scale) if *scale < DIGITS + 8 => {
            let data_type = DataType::Decimal128(*precision, *scale + 1);
            Some(Arc::new(field.as_ref().clone().with_data_type(data_type)))
        }
        _ => None,
    }
}

impl AggregateUDFImpl for RoundedAvg {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(DataType::Decimal128(_, scale)) if *scale >= 0 => {
                Ok(DataType::Decimal128(PRECISION, DIGITS.max(*scale)))
            }
            Some(data_type) if is_interval(data_type) => Ok(INTERVAL),
            _ => self.inner.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match interval_totals::are_meant(&args.return_field, args.is_distinct) {
            true => Ok(interval_totals::state_fields(args.name)),
            false => self.inner.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if interval_totals::are_meant(&args.return_field, args.is_distinct) {
            return Ok(Total::Average.accumulator());
        }
        match finer(&args.return_field) {
            Some(return_field) => {
                let inner = self.inner.accumulator(AccumulatorArgs {
                    return_field,
                    ..args
                })?;
                Ok(Box::new(Rounded { inner }))
            }
            None => {
                let data_type = args.return_field.data_type().clone();
                Ok(one_nan::of_rows(self.inner.accumulator(args)?, &data_type))
            }
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if interval_totals::are_meant(&args.return_field, args.is_distinct) {
            return Ok(Total::Average.accumulator());
        }
        if args.return_field.data_type().is_floating() {
            let of_rows = |args: AccumulatorArgs<'_>| Avg::new().accumulator(args);
            let frame = sliding::of_frame(&args, Box::new(of_rows));
            return Ok(one_nan::of_rows(frame, args.return_field.data_type()));
        }
        match finer(&args.return_field) {
            Some(return_field) => {
                let inner = self.inner.create_sliding_accumulator(AccumulatorArgs {
                    return_field,
                    ..args
                })?;
                Ok(Box::new(Rounded { inner }))
            }
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !interval_totals::are_meant(&args.return_field, args.is_distinct)
            && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match finer(&args.return_field) {
            Some(return_field) => {
                let inner = self.inner.create_groups_accumulator(AccumulatorArgs {
                    return_field,
                    ..args
                })?;
                Ok(Box::new(RoundedGroups { inner }))
            }
            None => {
                let data_type = args.return_field.data_type().clone();
                let inner = self.inner.create_groups_accumulator(args)?;
                Ok(one_nan::of_groups(inner, &data_type))
            }
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }
}

/// A decimal without its last digit, halves away from zero.
fn rounded(value: i128) -> i128 {
    (value + value.signum() * 5) / 10
}

/// The average of all rows, or of a window's.
#[derive(Debug)]
struct Rounded {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for Rounded {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.inner.evaluate()? {
            ScalarValue::Decimal128(value, precision, scale) => {
                ScalarValue::Decimal128(value.map(rounded), precision, scale - 1)
            }
            other => other,
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
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The averages of groups.
struct RoundedGroups {
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for RoundedGroups {
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
        let averages = self.inner.evaluate(emit_to)?;
        let averages = averages.as_primitive::<Decimal128Type>();
        let (precision, scale) = (averages.precision(), averages.scale());
        let averages: Decimal128Array = averages.unary(rounded);
        Ok(Arc::new(
            averages.with_precision_and_scale(precision, scale - 1)?,
        ))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        n_groups: usize,
    ) -> Result<()> {
        self.inner.merge_batch(values, group_indices, n_groups)
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
