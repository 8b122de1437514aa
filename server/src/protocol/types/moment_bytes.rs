//! Dates, times, timestamps and intervals of PostgreSQL's binary form.
//!
//! In: the bytes of a parameter or of a value of a COPY; out: the value, counted from 1970. The infinite ones and those
//! that have no place in a calendar of ours are refused with the words that their texts are.

use chrono::DateTime;
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::decode::{ParameterError, fixed};
use super::moments::{EPOCH_DAYS, EPOCH_MICROS};
use super::text::DAY;

/// The value, or `None` where the bytes have another length than the type's.
pub(super) fn read_moment(
    bytes: &[u8],
    pg_type: &Type,
) -> Result<Option<ScalarValue>, ParameterError> {
    if *pg_type == Type::INTERVAL {
        return fixed(bytes).map(|bytes| interval(&bytes)).transpose();
    }
    if *pg_type == Type::DATE {
        let days = fixed(bytes).map(i32::from_be_bytes);
        return days.map(date).transpose();
    }
    let Some(micros) = fixed(bytes).map(i64::from_be_bytes) else {
        return Ok(None);
    };
    let value = match *pg_type {
        Type::TIME if (0..=DAY).contains(&micros) => ScalarValue::Time64Microsecond(Some(micros)),
        Type::TIME => return Err(out_of_range("time")),
        Type::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(since_1970(micros)?), None),
        _ => ScalarValue::TimestampMicrosecond(Some(since_1970(micros)?), Some("UTC".into())),
    };
    Ok(Some(value))
}

fn date(days: i32) -> Result<ScalarValue, ParameterError> {
    if let Some(infinity) = infinity(days == i32::MAX, days == i32::MIN) {
        return Err(infinity);
    }
    let days = i64::from(days) + EPOCH_DAYS;
    let has_day = DateTime::from_timestamp_micros(days.saturating_mul(DAY)).is_some();
    match i32::try_from(days) {
        Ok(days) if has_day => Ok(ScalarValue::Date32(Some(days))),
        _ => Err(out_of_range("date")),
    }
}

fn since_1970(micros: i64) -> Result<i64, ParameterError> {
    if let Some(infinity) = infinity(micros == i64::MAX, micros == i64::MIN) {
        return Err(infinity);
    }
    micros
        .checked_add(EPOCH_MICROS)
        .filter(|micros| DateTime::from_timestamp_micros(*micros).is_some())
        .ok_or_else(|| out_of_range("timestamp"))
}

/// PostgreSQL keeps the infinite moments as the largest and the least number.
fn infinity(is_largest: bool, is_least: bool) -> Option<ParameterError> {
    let word = match (is_largest, is_least) {
        (true, _) => "infinity",
        (_, true) => "-infinity",
        _ => return None,
    };
    Some(ParameterError::Input {
        sqlstate: "0A000",
        message: format!("the moment \"{word}\" is not supported"),
    })
}

fn out_of_range(name: &str) -> ParameterError {
    ParameterError::Input {
        sqlstate: "22008",
        message: format!("{name} out of range"),
    }
}

fn interval(bytes: &[u8; 16]) -> Result<ScalarValue, ParameterError> {
    let word =
        |at: usize| i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let high = i64::from(word(0)) << 32;
    let micros = high | i64::from(word(4) as u32);
    let nanos = micros.checked_mul(1_000);
    let nanos = nanos.ok_or_else(|| out_of_range("interval"))?;
    Ok(ScalarValue::new_interval_mdn(word(12), word(8), nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8], pg_type: &Type) -> (&'static str, String) {
        let error = read_moment(bytes, pg_type).unwrap_err();
        (error.sqlstate(), error.to_string())
    }

    #[test]
    fn infinite_moments_are_refused_as_their_texts_are() {
        let largest = (
            "0A000",
            "the moment \"infinity\" is not supported".to_owned(),
        );
        let least = (
            "0A000",
            "the moment \"-infinity\" is not supported".to_owned(),
        );
        assert_eq!(told(&i32::MAX.to_be_bytes(), &Type::DATE), largest);
        assert_eq!(told(&i32::MIN.to_be_bytes(), &Type::DATE), least);
        for pg_type in [Type::TIMESTAMP, Type::TIMESTAMPTZ] {
            assert_eq!(told(&i64::MAX.to_be_bytes(), &pg_type), largest);
            assert_eq!(told(&i64::MIN.to_be_bytes(), &pg_type), least);
        }
    }

    #[test]
    fn moments_outside_the_calendar_are_out_of_range() {
        for days in [i32::MAX - 1, i32::MIN + 1, 100_000_000, -100_000_000] {
            let date = told(&days.to_be_bytes(), &Type::DATE);
            assert_eq!(date, ("22008", "date out of range".to_owned()));
        }
        for micros in [i64::MAX - 1, i64::MIN + 1, i64::MAX - EPOCH_MICROS] {
            let moment = told(&micros.to_be_bytes(), &Type::TIMESTAMP);
            assert_eq!(moment, ("22008", "timestamp out of range".to_owned()));
        }
        for micros in [-1, DAY + 1] {
            let time = told(&i64::to_be_bytes(micros), &Type::TIME);
            assert_eq!(time, ("22008", "time out of range".to_owned()));
        }
        let mut interval = [0; 16];
        interval[..8].copy_from_slice(&i64::MAX.to_be_bytes());
        let interval = told(&interval, &Type::INTERVAL);
        assert_eq!(interval, ("22008", "interval out of range".to_owned()));
    }

    #[test]
    fn moments_are_counted_from_1970() {
        let date = read_moment(&0_i32.to_be_bytes(), &Type::DATE).unwrap();
        assert_eq!(date, Some(ScalarValue::Date32(Some(10_957))));
        let moment = read_moment(&(-EPOCH_MICROS).to_be_bytes(), &Type::TIMESTAMP).unwrap();
        assert_eq!(
            moment,
            Some(ScalarValue::TimestampMicrosecond(Some(0), None))
        );
        assert_eq!(read_moment(&[0; 3], &Type::DATE).unwrap(), None);
    }
}
