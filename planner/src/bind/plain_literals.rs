//! The values of literals whose meaning is plain: as one of a type, without a plan.
//!
//! In: a syntax tree and the column or parameter that it is for; out: its value, or nothing where the planner must say what it means or
//! what is wrong with it. A literal in a plan takes a kilobyte and a dozen microseconds.

use auspex_storage::marks_of;
use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::arrow::datatypes::{DataType, Date32Type, Field, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};

/// Whole numbers of so many digits are bigints.
const WHOLE_DIGITS: usize = 18;

/// The value of a literal as one of the type of a column or parameter; `None`: it is not plain.
pub(crate) fn plain_value(expr: &Expr, column: &Field) -> Option<ScalarValue> {
    let data_type = column.data_type();
    if !is_plain(data_type) || !marks_of(column).is_empty() {
        return None;
    }
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Null => ScalarValue::try_from(data_type).ok(),
            Value::Boolean(truth) if *data_type == DataType::Boolean => {
                Some(ScalarValue::Boolean(Some(*truth)))
            }
            Value::Number(digits, _) => number(digits, false, data_type),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                quoted(text, data_type)
            }
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => number(digits, true, data_type),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Whether literals of a type are read here.
fn is_plain(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Date32
        | DataType::Timestamp(TimeUnit::Microsecond, None) => true,
        DataType::Decimal128(_, scale) => *scale >= 0,
        _ => false,
    }
}

/// What stands between quotes.
fn quoted(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    match data_type {
        DataType::Utf8 => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        DataType::Boolean => None,
        DataType::Date32 => {
            let days = Date32Type::from_naive_date(date(text)?);
            Some(ScalarValue::Date32(Some(days)))
        }
        DataType::Timestamp(..) => {
            let (day, clock) = text.split_at_checked(10)?;
            let clock = clock.strip_prefix([' ', 'T'])?;
            let at = NaiveDateTime::new(date(day)?, time(clock)?);
            let microseconds = at.and_utc().timestamp_micros();
            Some(ScalarValue::TimestampMicrosecond(Some(microseconds), None))
        }
        data_type => match text.strip_prefix('-') {
            Some(digits) => number(digits, true, data_type),
            None => number(text, false, data_type),
        },
    }
}

/// A number of a type, if the type holds all of its digits.
fn number(text: &str, is_negative: bool, data_type: &DataType) -> Option<ScalarValue> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    if !are_digits(whole) || !fraction.is_none_or(are_digits) {
        return None;
    }
    let integer = || {
        let is_short = whole.len() <= WHOLE_DIGITS && fraction.is_none() && exponent.is_none();
        let size: i64 = is_short.then(|| whole.parse().ok())??;
        Some(if is_negative { -size } else { size })
    };
    // The least numbers are errors, and a zero may have a sign.
    let is_sure_zero = !is_negative && is_zero(digits);
    match data_type {
        DataType::Int16 => Some(ScalarValue::Int16(Some(integer()?.try_into().ok()?))),
        DataType::Int32 => Some(ScalarValue::Int32(Some(integer()?.try_into().ok()?))),
        DataType::Int64 => Some(ScalarValue::Int64(Some(integer()?))),
        DataType::Float64 => {
            let size: f64 = text.parse().ok()?;
            let is_sure = size.is_normal() || size == 0.0 && is_sure_zero;
            is_sure.then(|| ScalarValue::Float64(Some(if is_negative { -size } else { size })))
        }
        DataType::Float32 if exponent.is_none() && whole.len() <= WHOLE_DIGITS => {
            let size: f32 = text.parse().ok()?;
            let is_sure = size.is_normal() || size == 0.0 && is_sure_zero;
            is_sure.then(|| ScalarValue::Float32(Some(if is_negative { -size } else { size })))
        }
        DataType::Decimal128(precision, scale) if exponent.is_none() => {
            let fraction = fraction.unwrap_or("");
            let scale_digits = usize::try_from(*scale).ok()?;
            let places = scale_digits.checked_sub(fraction.len())?;
            let whole = whole.trim_start_matches('0');
            if whole.len() + scale_digits > usize::from(*precision) {
                return None;
            }
            let digits = format!("0{whole}{fraction}{}", "0".repeat(places));
            let size: i128 = digits.parse().ok()?;
            let size = if is_negative { -size } else { size };
            Some(ScalarValue::Decimal128(Some(size), *precision, *scale))
        }
        _ => None,
    }
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_zero(digits: &str) -> bool {
    digits.bytes().all(|byte| matches!(byte, b'0' | b'.'))
}

/// A day as `2026-01-31`.
fn date(text: &str) -> Option<NaiveDate> {
    let [year, month, day] = parts(text, '-', [4, 2, 2])?;
    let day = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    (day.year() > 0).then_some(day)
}

/// A time of day as `12:00:00` or `12:00:00.123456`.
fn time(text: &str) -> Option<NaiveTime> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let [hour, minute, second] = parts(clock, ':', [2, 2, 2])?;
    let microseconds = match fraction {
        None => 0,
        Some(digits) if are_digits(digits) && digits.len() <= 6 => {
            format!("{digits:0<6}").parse().ok()?
        }
        Some(_) => return None,
    };
    NaiveTime::from_hms_micro_opt(hour, minute, second, microseconds)
}

/// Three numbers of so many digits each.
fn parts(text: &str, between: char, widths: [usize; 3]) -> Option<[u32; 3]> {
    let mut found = text.split(between);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let digits = found.next()?;
        if digits.len() != width || !are_digits(digits) {
            return None;
        }
        *number = digits.parse().ok()?;
    }
    found.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::parse_expr;

    fn read(text: &str, data_type: DataType) -> Option<String> {
        let value = plain_value(
            &parse_expr(text).unwrap(),
            &Field::new("x", data_type, true),
        );
        value.map(|value| value.to_string())
    }

    const DECIMAL: DataType = DataType::Decimal128(5, 2);
    const CLOCK: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

    #[test]
    fn plain_literals_are_read() {
        for (text, data_type, expected) in [
            ("5", DataType::Int16, "5"),
            ("-5", DataType::Int32, "-5"),
            ("'-5'", DataType::Int64, "-5"),
            ("0.1", DataType::Float64, "0.1"),
            ("1e-5", DataType::Float64, "0.00001"),
            ("-7", DataType::Float32, "-7"),
            ("'it''s'", DataType::Utf8, "it's"),
            ("true", DataType::Boolean, "true"),
            ("NULL", DataType::Date32, "NULL"),
            ("'2026-01-31'", DataType::Date32, "2026-01-31"),
        ] {
            assert_eq!(read(text, data_type).as_deref(), Some(expected), "{text}");
        }
        let decimal = plain_value(
            &parse_expr("-12.5").unwrap(),
            &Field::new("x", DECIMAL, true),
        );
        assert_eq!(decimal, Some(ScalarValue::Decimal128(Some(-1250), 5, 2)));
        let at = "'2026-01-31 12:00:00.5'";
        let at = plain_value(&parse_expr(at).unwrap(), &Field::new("x", CLOCK, true));
        let microseconds = 1_769_860_800_500_000;
        assert_eq!(
            at,
            Some(ScalarValue::TimestampMicrosecond(Some(microseconds), None))
        );
    }

    #[test]
    fn what_the_planner_must_read_is_left_to_it() {
        for (text, data_type) in [
            ("40000", DataType::Int16),
            ("5.0", DataType::Int32),
            ("' 5'", DataType::Int32),
            ("9223372036854775807", DataType::Int64),
            ("1 + 1", DataType::Int64),
            ("$1", DataType::Int64),
            ("-0.0", DataType::Float64),
            ("1e-400", DataType::Float64),
            ("1e400", DataType::Float64),
            ("'NaN'", DataType::Float64),
            ("5", DataType::Utf8),
            ("'t'", DataType::Boolean),
            ("1.005", DECIMAL),
            ("1000", DECIMAL),
            ("'2026-02-30'", DataType::Date32),
            ("'0000-01-01'", DataType::Date32),
            ("'today'", DataType::Date32),
            ("'2026-01-31'", CLOCK),
            ("'2026-01-31 12:00:00+01'", CLOCK),
            ("'2026-01-31 24:00:00'", CLOCK),
            ("'5'", DataType::Binary),
        ] {
            assert_eq!(read(text, data_type), None, "{text}");
        }
    }
}
