//! Numbers as decimals of so many digits.
//!
//! In: numbers and a decimal type; out: what they are with its digits, halves away from zero, or 22003.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Decimal128Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::error::{DataFusionError, Result};

use super::call::failure;

/// Whether a numeric type cannot hold all digits of exact numbers. The planner takes casts to such a type for no change when
/// it compares.
pub(super) fn loses_digits(from: &DataType, to: &DataType) -> bool {
    let DataType::Decimal128(precision, scale) = to else {
        return false;
    };
    let (n_whole, n_decimals) = match from {
        DataType::Decimal128(precision, scale) => {
            let n_whole = i16::from(*precision) - i16::from(*scale);
            (n_whole, i16::from(*scale))
        }
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        _ => return false,
    };
    let scale = i16::from(*scale);
    n_decimals > scale || n_whole > i16::from(*precision) - scale
}

/// Numbers of any type as those of a decimal type.
pub(super) fn decimal(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = to else {
        return Ok(cast(array, to)?);
    };
    if !array.data_type().is_floating() {
        return rounded(array, *precision, *scale);
    }
    let (single, values) = (
        array.data_type() == &DataType::Float32,
        cast(array, &DataType::Float64)?,
    );
    let values = values.as_primitive::<Float64Type>();
    let overflow = || failure("22003", "numeric field overflow");
    let of = |value: f64| {
        let digits = match single {
            true => format!("{:.5e}", value as f32),
            false => format!("{value:.14e}"),
        };
        scaled(&digits, i32::from(*scale), u32::from(*precision)).ok_or_else(overflow)
    };
    let values = values.iter().map(|value| value.map(of).transpose());
    let values: Decimal128Array = values.collect::<Result<_>>()?;
    Ok(Arc::new(
        values.with_precision_and_scale(*precision, *scale)?,
    ))
}

/// Exact numbers with so many digits, halves away from zero. Error: there are more before the point.
fn rounded(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let array = match array.data_type() {
        DataType::Decimal128(..) => Arc::clone(array),
        _ => cast(array, &DataType::Decimal128(20, 0))?,
    };
    let numbers = array.as_primitive::<Decimal128Type>();
    let overflow = || failure("22003", "numeric field overflow");
    let n_more = i32::from(scale) - i32::from(numbers.scale());
    let unit = 10_i128.checked_pow(n_more.unsigned_abs());
    let limit = 10_i128.checked_pow(precision.into());
    let (unit, limit) = unit.zip(limit).ok_or_else(overflow)?;
    let of = |value: i128| {
        let value = match n_more < 0 {
            true => (value + value.signum() * (unit / 2)) / unit,
            false => value.checked_mul(unit).ok_or_else(overflow)?,
        };
        let fits = value.unsigned_abs() < limit.unsigned_abs();
        fits.then_some(value).ok_or_else(overflow)
    };
    let numbers: Decimal128Array = numbers.try_unary::<_, Decimal128Type, DataFusionError>(of)?;
    Ok(Arc::new(
        numbers.with_precision_and_scale(precision, scale)?,
    ))
}

/// `d.ddde±x` times ten to the `scale`, half away from zero; `None` if it has more digits than `precision`.
fn scaled(scientific: &str, scale: i32, precision: u32) -> Option<i128> {
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, digits),
    };
    let n_decimals = digits
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    let digits: i128 = digits.replace('.', "").parse().ok()?;
    let shift = exponent + scale - i32::try_from(n_decimals).ok()?;
    let value = match u32::try_from(shift) {
        Ok(up) => match digits {
            0 => 0,
            digits => digits.checked_mul(10_i128.checked_pow(up)?)?,
        },
        Err(_) => match 10_i128.checked_pow(shift.unsigned_abs()) {
            Some(unit) => (digits + unit / 2) / unit,
            None => 0,
        },
    };
    let limit = 10_i128.checked_pow(precision)?;
    (value < limit).then_some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_fractions_become_the_decimals_that_they_are_shown_as() {
        let scaled = |value: f64, scale| scaled(&format!("{value:.14e}"), scale, 38);
        assert_eq!(scaled(1.005, 2), Some(101));
        assert_eq!(scaled(-1.005, 2), Some(-101));
        assert_eq!(scaled(0.1, 20), Some(10_000_000_000_000_000_000));
        assert_eq!(scaled(1e-40, 2), Some(0));
        assert_eq!(scaled(0.0, 2), Some(0));
        assert_eq!(scaled(1e38, 2), None);
        assert_eq!(scaled(f64::INFINITY, 2), None);
    }
}
