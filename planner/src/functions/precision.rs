//! Times of fewer digits: `current_timestamp(0)`, `x::interval(2)`, and what columns of such types take.
//!
//! In: a time stamp or an interval, and a number of digits of its seconds; out: the same, rounded as PostgreSQL does.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray as _, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, lit};

use super::call::{Call, Function, INTERVAL, failure, function, function_of};
use super::interval::is_interval;
use super::moment::{self, TIMESTAMP, is_time, timestamptz};

/// The function's name.
pub(super) const NAME: &str = "moment_of_digits";
/// The same of intervals.
pub(super) const OF_INTERVALS: &str = "interval_of_digits";

/// The functions that give clocks of so many digits, their second arguments.
pub(crate) const CLOCKS_OF_DIGITS: [&str; 3] = [NAME, OF_INTERVALS, "time_rounded"];

/// Digits of seconds that a time stamp has.
const MOST_DIGITS: u32 = 6;
/// The beginning of 2000, from which PostgreSQL counts: halves are rounded away from it.
const EPOCH_US: i64 = 946_684_800_000_000;
const NANOS_PER_MICRO: i64 = 1_000;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![moments(), intervals()]
}

fn moments() -> Function {
    let returns = |types: &[DataType]| Ok(stamp(&types[0]));
    function_of(NAME, &[2], returns, rounded).stable()
}

fn intervals() -> Function {
    function(OF_INTERVALS, &[2], INTERVAL, rounded_intervals)
}

/// A value of a type as a column whose seconds have so many digits takes it.
pub(super) fn within(value: Expr, data_type: &DataType, digits: u8) -> Expr {
    let rounder = match data_type {
        _ if u32::from(digits) >= MOST_DIGITS => return value,
        DataType::Timestamp(..) => moments(),
        data_type if is_time(data_type) => moment::rounder(),
        data_type if is_interval(data_type) => intervals(),
        _ => return value,
    };
    rounder.build().call(vec![value, lit(i64::from(digits))])
}

fn stamp(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, Some(_)) => timestamptz(),
        _ => TIMESTAMP,
    }
}

fn rounded(call: &Call<'_>) -> Result<ArrayRef> {
    let data_type = stamp(call.arg(0)?.data_type());
    let times = call.converted(0, &data_type)?;
    let digits = call.converted(1, &DataType::Int64)?;
    let pairs = times.as_primitive::<TimestampMicrosecondType>().iter();
    let pairs = pairs.zip(digits.as_primitive::<Int64Type>().iter());
    let round = |(time, digits): (Option<i64>, Option<i64>)| match (time, digits) {
        (Some(time), Some(digits)) => to_digits(time, digits).map(Some),
        _ => Ok(None),
    };
    let rounded: TimestampMicrosecondArray = pairs.map(round).collect::<Result<_>>()?;
    Ok(Arc::new(rounded.with_data_type(data_type)))
}

fn rounded_intervals(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.converted(0, &INTERVAL)?;
    let values = values.as_primitive::<IntervalMonthDayNanoType>().iter();
    let digits = call.integers(1)?;
    let round = |(value, digits): (Option<IntervalMonthDayNano>, Option<i64>)| {
        let (Some(value), Some(digits)) = (value, digits) else {
            return Ok(None);
        };
        // PostgreSQL's intervals have whole microseconds: a product is made one before its half is looked at.
        let whole = to_unit(value.nanoseconds, NANOS_PER_MICRO);
        let nanoseconds = to_unit(whole, unit_us(digits)? * NANOS_PER_MICRO);
        Ok(Some(IntervalMonthDayNano {
            nanoseconds,
            ..value
        }))
    };
    let rounded: IntervalMonthDayNanoArray = values
        .zip(digits.iter())
        .map(round)
        .collect::<Result<_>>()?;
    Ok(Arc::new(rounded))
}

fn to_digits(time_us: i64, digits: i64) -> Result<i64> {
    let since = time_us.saturating_sub(EPOCH_US);
    let rounded = to_unit(since, unit_us(digits)?);
    // What is too far away to be counted from there is whole.
    Ok(match since.checked_add(EPOCH_US) == Some(time_us) {
        true => rounded.saturating_add(EPOCH_US),
        false => time_us,
    })
}

/// The microseconds of the last of so many digits of a second.
fn unit_us(digits: i64) -> Result<i64> {
    let Ok(digits) = u32::try_from(digits) else {
        let message = format!("precision of a timestamp must be 0 to {MOST_DIGITS}, got {digits}");
        return Err(failure("22023", message));
    };
    Ok(10_i64.pow(MOST_DIGITS.saturating_sub(digits)))
}

/// The next whole number of units, halves away from zero.
fn to_unit(value: i64, unit: i64) -> i64 {
    value.saturating_add(value.signum() * (unit / 2)) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded() {
        // Halves before 2000 are rounded to the past.
        assert_eq!(to_digits(1_500_000, 0).unwrap(), 1_000_000);
        assert_eq!(to_digits(1_500_001, 0).unwrap(), 2_000_000);
        assert_eq!(
            to_digits(EPOCH_US + 500_000, 0).unwrap(),
            EPOCH_US + 1_000_000
        );
        assert_eq!(to_digits(1_499_999, 0).unwrap(), 1_000_000);
        assert_eq!(to_digits(1_234_567, 3).unwrap(), 1_235_000);
        assert_eq!(to_digits(1_234_567, 6).unwrap(), 1_234_567);
        assert_eq!(to_digits(1_234_567, 9).unwrap(), 1_234_567);
        assert_eq!(to_digits(i64::MIN, 0).unwrap(), i64::MIN);
        assert_eq!(to_unit(-1_250, 100), -1_300);
        assert!(to_digits(0, -1).is_err());
    }
}
