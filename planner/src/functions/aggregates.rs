//! Aggregates that look at all values of a group at once: `mode`, `percentile_disc`.
//!
//! In: a column; out: one of its values. The values of a group are kept until it ends, and merged in
//! any order, since neither depends on one.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::call::failure;
use super::extremes::chosen_marks;
use super::interval::length;

/// The functions of this family.
pub(super) fn functions() -> Vec<AggregateUDF> {
    vec![
        super::string_agg::function(),
        AggregateUDF::from(Whole::new("mode", Choice::Mode, 1)),
        AggregateUDF::from(Whole::new("percentile_disc", Choice::Percentile, 3)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Choice {
    /// The most frequent value; of several, the first in order.
    Mode,
    /// The first value at or after a fraction of the ordered values.
    Percentile,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Whole {
    name: &'static str,
    choice: Choice,
    signature: Signature,
}

impl Whole {
    fn new(name: &'static str, choice: Choice, n_args: usize) -> Whole {
        Whole {
            name,
            choice,
            signature: Signature::any(n_args, Volatility::Immutable),
        }
    }
}

impl AggregateUDFImpl for Whole {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let types: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
        let field = Field::new(self.name, self.return_type(&types)?, true);
        // One of the labels is a label; that labels come in their order sees `bind/value_order.rs` to.
        let marks = args.first().and_then(|arg| chosen_marks(arg));
        Ok(Arc::new(match marks {
            Some(marks) => field.with_metadata(marks),
            None => field,
        }))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let data_type = args.expr_fields[0].data_type().clone();
        Ok(Box::new(Values {
            choice: self.choice,
            data_type,
            values: Vec::new(),
            fraction: None,
            is_descending: false,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let item = Field::new_list_field(args.input_fields[0].data_type().clone(), true);
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        Ok(vec![
            field("values", DataType::List(Arc::new(item))),
            field("fraction", DataType::Float64),
            field("is_descending", DataType::Boolean),
        ])
    }
}

#[derive(Debug)]
struct Values {
    choice: Choice,
    data_type: DataType,
    values: Vec<ScalarValue>,
    fraction: Option<f64>,
    is_descending: bool,
}

fn compare(a: &ScalarValue, b: &ScalarValue) -> Ordering {
    if let (
        ScalarValue::IntervalMonthDayNano(Some(a)),
        ScalarValue::IntervalMonthDayNano(Some(b)),
    ) = (a, b)
    {
        return length(*a).cmp(&length(*b));
    }
    // 0 and -0, which have another order.
    let is_same = match (a, b) {
        (ScalarValue::Float32(Some(a)), ScalarValue::Float32(Some(b))) => a == b,
        (ScalarValue::Float64(Some(a)), ScalarValue::Float64(Some(b))) => a == b,
        _ => false,
    };
    if is_same {
        return Ordering::Equal;
    }
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let nulls = columns[0].logical_nulls();
        for row in 0..columns[0].len() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                self.values
                    .push(ScalarValue::try_from_array(&columns[0], row)?);
            }
        }
        if let (Some(fractions), Some(directions), false) =
            (columns.get(1), columns.get(2), columns[0].is_empty())
        {
            let fraction = ScalarValue::try_from_array(fractions, 0)?;
            if let ScalarValue::Float64(fraction) = fraction.cast_to(&DataType::Float64)? {
                self.fraction = fraction;
            }
            self.is_descending = directions.as_boolean().value(0);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let null = ScalarValue::try_from(&self.data_type)?;
        if self.values.is_empty() {
            return Ok(null);
        }
        self.values.sort_by(compare);
        match self.choice {
            Choice::Mode => {
                let mut best = (0, 0);
                let mut start = 0;
                for end in 1..=self.values.len() {
                    if end == self.values.len()
                        || compare(&self.values[end], &self.values[start]).is_ne()
                    {
                        if end - start > best.0 {
                            best = (end - start, start);
                        }
                        start = end;
                    }
                }
                Ok(self.values[best.1].clone())
            }
            Choice::Percentile => {
                let Some(fraction) = self.fraction else {
                    return Ok(null);
                };
                if !(0.0..=1.0).contains(&fraction) {
                    let message = format!("percentile value {fraction} is not between 0 and 1");
                    return Err(failure("22003", message));
                }
                if self.is_descending {
                    self.values.reverse();
                }
                let place = (fraction * self.values.len() as f64).ceil() as usize;
                Ok(self.values[place.saturating_sub(1)].clone())
            }
        }
    }

    fn size(&self) -> usize {
        let values: usize = self.values.iter().map(ScalarValue::size).sum();
        size_of_val(self) + values
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let array = match self.values.is_empty() {
            true => datafusion::arrow::array::new_empty_array(&self.data_type),
            false => ScalarValue::iter_to_array(self.values.iter().cloned())?,
        };
        let values = SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![
            values,
            ScalarValue::Float64(self.fraction),
            ScalarValue::Boolean(Some(self.is_descending)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list_opt::<i32>().ok_or_else(|| {
            DataFusionError::Internal("the state of an aggregate is no list".to_owned())
        })?;
        for row in 0..lists.len() {
            let elements = lists.value(row);
            for idx in 0..elements.len() {
                self.values
                    .push(ScalarValue::try_from_array(&elements, idx)?);
            }
            if let ScalarValue::Float64(Some(fraction)) =
                ScalarValue::try_from_array(&states[1], row)?
            {
                self.fraction = Some(fraction);
                self.is_descending = states[2].as_boolean().value(row);
            }
        }
        Ok(())
    }
}
