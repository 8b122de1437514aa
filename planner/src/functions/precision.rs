//! Times of fewer digits: `current_timestamp(0)`.
//!
//! In: a time stamp and a number of digits of its seconds; out: the same, rounded as PostgreSQL does.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::error::Result;

use super::call::{Call, Function, failure, function_of};
use super::moment::{TIMESTAMP, timestamptz};

/// The function's name.
pub(super) const NAME: &str = "moment_of_digits";

/// Digits of seconds that a time stamp has.
const MOST_DIGITS: u32 = 6;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| Ok(stamp(&types[0]));
    vec![function_of(NAME, &[2], returns, rounded).stable()]
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

fn to_digits(time_us: i64, digits: i64) -> Result<i64> {
    let Ok(digits) = u32::try_from(digits) else {
        let message = format!("precision of a timestamp must be 0 to {MOST_DIGITS}, got {digits}");
        return Err(failure("22023", message));
    };
    let unit = 10_i64.pow(MOST_DIGITS.saturating_sub(digits));
    Ok(time_us.saturating_add(unit / 2).div_euclid(unit) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded() {
        assert_eq!(to_digits(1_500_000, 0).unwrap(), 2_000_000);
        assert_eq!(to_digits(1_499_999, 0).unwrap(), 1_000_000);
        assert_eq!(to_digits(1_234_567, 3).unwrap(), 1_235_000);
        assert_eq!(to_digits(1_234_567, 6).unwrap(), 1_234_567);
        assert_eq!(to_digits(1_234_567, 9).unwrap(), 1_234_567);
        assert!(to_digits(0, -1).is_err());
    }
}
