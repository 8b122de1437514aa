//! `scale` and `min_scale`: how many digits of a numeric stand behind the point, and how many it needs.
//!
//! In: a numeric; out: a count. A numeric without a scale of its own is kept and shown without the zeros at its end, which are
//! not counted; PostgreSQL keeps those that were written. A number that is written out is counted as it is written.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int32Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::error::Result;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

use super::call::{Call, Function, function_of, no_function};
use super::unknown::DIGITS;

const SCALE: &str = "scale";
const MIN_SCALE: &str = "min_scale";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    [
        (SCALE, scale as fn(&DataType) -> Option<i8>),
        (MIN_SCALE, |_| None),
    ]
    .into_iter()
    .map(|(name, fixed)| {
        let returns = move |types: &[DataType]| match &types[0] {
            known if known.is_integer() || known.is_null() => Ok(DataType::Int32),
            DataType::Decimal128(..) => Ok(DataType::Int32),
            _ => Err(no_function(name, types)),
        };
        function_of(name, &[1], returns, move |call| counted(call, fixed))
    })
    .collect()
}

/// How many digits all values of a type have; `None`: each has its own.
fn scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        // As clients are shown them: those of quotients have sixteen.
        DataType::Decimal128(38, scale) if *scale >= DIGITS && *scale != 16 => None,
        DataType::Decimal128(_, scale) => Some(*scale),
        _ => None,
    }
}

fn counted(call: &Call<'_>, fixed: fn(&DataType) -> Option<i8>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let DataType::Decimal128(_, scale) = *array.data_type() else {
        return Ok(Arc::new(Int32Array::new(
            vec![0; array.len()].into(),
            array.logical_nulls(),
        )));
    };
    let fixed = fixed(array.data_type());
    let values = array.as_primitive::<Decimal128Type>().iter();
    let count = |value: i128| i32::from(fixed.unwrap_or_else(|| needed(value, scale)));
    Ok(Arc::new(
        values.map(|value| value.map(count)).collect::<Int32Array>(),
    ))
}

/// How many of so many digits behind the point are left without the zeros at the end.
fn needed(mut value: i128, mut scale: i8) -> i8 {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    scale.max(0)
}

/// The count of digits of a number that is written with a point, which the planner takes for a double; `None`: it is another
/// function or argument.
pub(super) fn of_written(name: &str, argument: &Expr) -> Option<usize> {
    let digits = match argument {
        Expr::Nested(inner) => return of_written(name, inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => return of_written(name, expr),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits,
            _ => return None,
        },
        _ => return None,
    };
    let (_, behind) = digits.split_once('.')?;
    let is_plain = behind.bytes().all(|digit| digit.is_ascii_digit());
    match name {
        SCALE if is_plain => Some(behind.len()),
        MIN_SCALE if is_plain => Some(behind.trim_end_matches('0').len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn zeros_at_the_end_are_not_needed() {
        assert_eq!(needed(84_100, 4), 2);
        assert_eq!(needed(-5, 3), 3);
        assert_eq!(needed(0, 10), 0);
        assert_eq!(needed(1_200, 0), 0);
    }
}
