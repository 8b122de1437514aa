//! `lag` and `lead` whose offset or default differs from row to row: `lead(x, n)`, `lag(price, 1, price)`.
//!
//! In: the rows of a partition; out: for each the value so many rows before or behind it, in a type that holds the default, too.
//! Where offset and default are written out, which the planner's own functions ask for, these compute.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, new_null_array};
use datafusion::arrow::compute::{cast, interleave};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_window::lead_lag::WindowShift;
use datafusion::logical_expr::function::{
    ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs,
};
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::call::no_function;
use super::moment::{TIMESTAMP, timestamptz};
use super::quotients::PRECISION;

/// The functions of this family.
pub(super) fn functions() -> Vec<WindowUDF> {
    let kinds = [Kind::Lag, Kind::Lead].into_iter();
    kinds.map(|kind| WindowUDF::from(Shift::of(kind))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Lag,
    Lead,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    kind: Kind,
    inner: WindowShift,
    signature: Signature,
}

impl Shift {
    fn of(kind: Kind) -> Shift {
        let inner = match kind {
            Kind::Lag => WindowShift::lag(),
            Kind::Lead => WindowShift::lead(),
        };
        Shift {
            kind,
            inner,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

/// The type of values and of a default among them.
fn common(value: &DataType, default: &DataType) -> DataType {
    use DataType::{Date32, Decimal128, Null, Timestamp};
    match (value, default) {
        (Null, default) => default.clone(),
        (Decimal128(_, a), Decimal128(_, b)) if value != default => {
            Decimal128(PRECISION, *a.max(b))
        }
        (whole, Decimal128(_, scale)) if whole.is_integer() => Decimal128(PRECISION, *scale),
        (Date32, Timestamp(_, None)) => TIMESTAMP,
        (Date32 | Timestamp(_, None), Timestamp(_, Some(_))) => timestamptz(),
        (value, default) => match (width(value), width(default)) {
            (Some(of_value), Some(of_default)) if of_default > of_value => default.clone(),
            _ => value.clone(),
        },
    }
}

/// The place of a type of numbers among those that widen into one another.
fn width(data_type: &DataType) -> Option<usize> {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64};
    Some(match data_type {
        Int8 => 0,
        Int16 => 1,
        Int32 => 2,
        Int64 => 3,
        Decimal128(..) => 4,
        Float32 => 5,
        Float64 => 6,
        _ => return None,
    })
}

/// Whether what stands behind the value is written out.
fn is_written_out(exprs: &[Arc<dyn PhysicalExpr>]) -> bool {
    let mut others = exprs.iter().skip(1);
    others.all(|expr| expr.is::<Literal>())
}

impl WindowUDFImpl for Shift {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let counted = |offset: &DataType| match offset.is_integer() {
            true => DataType::Int64,
            false => offset.clone(),
        };
        Ok(match types {
            [value] => vec![value.clone()],
            [value, offset] => vec![value.clone(), counted(offset)],
            [value, offset, DataType::Null] => vec![value.clone(), counted(offset), DataType::Null],
            [value, offset, default] => {
                let common = common(value, default);
                vec![common.clone(), counted(offset), common]
            }
            _ => return Err(no_function(self.name(), types)),
        })
    }

    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        match is_written_out(args.input_exprs()) {
            true => self.inner.expressions(args),
            false => args.input_exprs().to_vec(),
        }
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        if is_written_out(args.input_exprs()) {
            return self.inner.partition_evaluator(args);
        }
        let fields = args.input_fields();
        let types: Vec<DataType> = fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let data_type = match types.as_slice() {
            [DataType::Null, _, default] => default.clone(),
            [value, offset, ..] if offset.is_integer() || offset.is_null() => value.clone(),
            _ => return Err(no_function(self.name(), &types)),
        };
        if args.ignore_nulls() {
            let message = "IGNORE NULLS beside an offset or a default that is no constant";
            return Err(DataFusionError::NotImplemented(message.to_owned()));
        }
        let is_forward = (self.kind == Kind::Lead) != args.is_reversed();
        Ok(Box::new(Shifted {
            data_type,
            step: if is_forward { 1 } else { -1 },
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        self.inner.field(args)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        ReversedUDWF::Reversed(Arc::new(WindowUDF::from(Shift::of(self.kind))))
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.limit_effect(args)
    }
}

/// The rows of a partition, each shifted by its own offset.
#[derive(Debug)]
struct Shifted {
    data_type: DataType,
    /// 1 where an offset counts towards later rows, else -1.
    step: i64,
}

impl PartitionEvaluator for Shifted {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        let [shifted, offsets, defaults @ ..] = values else {
            let message = "lag and lead were evaluated without their arguments";
            return Err(DataFusionError::Internal(message.to_owned()));
        };
        let shifted = cast(shifted, &self.data_type)?;
        let offsets = cast(offsets, &DataType::Int64)?;
        let offsets = offsets.as_primitive::<Int64Type>();
        let nothing = new_null_array(&self.data_type, 1);
        let defaults = match defaults.first() {
            Some(defaults) => cast(defaults, &self.data_type)?,
            None => new_null_array(&self.data_type, num_rows),
        };
        let place = |row: usize| {
            if offsets.is_null(row) {
                return (2, 0);
            }
            let found = offsets.value(row).checked_mul(self.step);
            let found = found.and_then(|offset| i64::try_from(row).ok()?.checked_add(offset));
            let found = found.and_then(|place| usize::try_from(place).ok());
            match found.filter(|place| *place < num_rows) {
                Some(place) => (0, place),
                None => (1, row),
            }
        };
        let places: Vec<(usize, usize)> = (0..num_rows).map(place).collect();
        let arrays = [shifted.as_ref(), defaults.as_ref(), nothing.as_ref()];
        Ok(interleave(&arrays, &places)?)
    }
}
