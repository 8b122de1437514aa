//! Values of text files that the libraries' readers would cut: they are read as texts and become values here.
//!
//! A column of texts and a type flow in; values flow out, or the first text that is no value of the type: a number with
//! a fraction is no integer, a moment no date. Numbers with more digits than their type has are rounded, as PostgreSQL
//! does. Where a text stands in its file is the caller's business.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, BooleanBuilder, Date32Array, Date32Builder,
    Decimal128Array, Decimal128Builder, ListArray, PrimitiveArray, PrimitiveBuilder,
    StringViewArray, StructArray, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use datafusion::arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DecimalType as _, Field, FieldRef,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use datafusion::arrow::error::ArrowError;

use crate::tables::csv_nulls::was_quoted;

/// More digits than any integer type has.
const MOST_DIGITS: usize = 38;

/// Why texts are no values.
#[derive(Debug)]
pub(crate) enum Fault {
    /// One of them is none of the type.
    Value {
        /// Its place in the column; within lists and objects, its place there.
        row: usize,
        text: String,
        data_type: DataType,
    },
    Other(ArrowError),
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self::Other(error)
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// The type that a column of JSON is read as, so that nothing of its values is lost.
pub(crate) fn type_in_json(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let data_type = type_in_json(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Date32 | DataType::Decimal128(..) => DataType::Utf8View,
        integer if integer.is_integer() => DataType::Utf8View,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(element) => DataType::List(field(element)),
        other => other.clone(),
    }
}

/// Whether the reader of CSV would lose or refuse values of a type.
pub(crate) fn is_text_in_csv(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Decimal128(..)
            | DataType::Boolean
            | DataType::Timestamp(TimeUnit::Microsecond, None)
    )
}

/// The column of CSV as it is read: as text, or as it is.
pub(crate) fn field_in_csv(field: &FieldRef, is_text: bool) -> FieldRef {
    match is_text {
        true => {
            let field: Field = field.as_ref().clone();
            Arc::new(field.with_data_type(DataType::Utf8View))
        }
        false => Arc::clone(field),
    }
}

/// A column as one of the type that is wanted; only texts change.
pub(crate) fn values(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if column.data_type() == wanted {
        return Ok(Arc::clone(column));
    }
    match wanted {
        DataType::Struct(fields) => {
            let read = column.as_struct();
            let columns = read.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| values(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let nulls = read.nulls().cloned();
            let built =
                StructArray::try_new_with_length(fields.clone(), columns, nulls, read.len());
            Ok(Arc::new(built?))
        }
        DataType::List(element) if column.as_list_opt::<i32>().is_some() => {
            let read = column.as_list::<i32>();
            let elements = values(read.values(), element.data_type())?;
            let (offsets, nulls) = (read.offsets().clone(), read.nulls().cloned());
            let built = ListArray::try_new(Arc::clone(element), offsets, elements, nulls);
            Ok(Arc::new(built?))
        }
        _ => match column.as_string_view_opt() {
            Some(texts) => of_texts(texts, wanted),
            None => Ok(datafusion::arrow::compute::cast(column, wanted)?),
        },
    }
}

/// The texts but those that mean NULL; those in quotes were marked, and are texts.
pub(crate) fn without_nulls(texts: &StringViewArray, null_text: &str) -> StringViewArray {
    let is_quoted = |text: &str| was_quoted(text, null_text);
    let is_other = |text: &str| text != null_text && !is_quoted(text);
    match texts.iter().flatten().all(is_other) {
        true => texts.clone(),
        false => texts
            .iter()
            .map(|text| match text? {
                text if is_quoted(text) => Some(null_text),
                text => Some(text).filter(|text| *text != null_text),
            })
            .collect(),
    }
}

fn of_texts(texts: &StringViewArray, wanted: &DataType) -> Result<ArrayRef> {
    Ok(match wanted {
        DataType::Int8 => Arc::new(whole_numbers::<Int8Type>(texts)?),
        DataType::Int16 => Arc::new(whole_numbers::<Int16Type>(texts)?),
        DataType::Int32 => Arc::new(whole_numbers::<Int32Type>(texts)?),
        DataType::Int64 => Arc::new(whole_numbers::<Int64Type>(texts)?),
        DataType::UInt8 => Arc::new(whole_numbers::<UInt8Type>(texts)?),
        DataType::UInt16 => Arc::new(whole_numbers::<UInt16Type>(texts)?),
        DataType::UInt32 => Arc::new(whole_numbers::<UInt32Type>(texts)?),
        DataType::UInt64 => Arc::new(whole_numbers::<UInt64Type>(texts)?),
        DataType::Date32 => Arc::new(dates(texts)?),
        DataType::Decimal128(precision, scale) => Arc::new(decimals(texts, *precision, *scale)?),
        DataType::Boolean => Arc::new(booleans(texts)?),
        DataType::Timestamp(TimeUnit::Microsecond, None) => Arc::new(moments(texts)?),
        _ => {
            let text: ArrayRef = Arc::new(texts.clone());
            let options = CastOptions {
                safe: true,
                ..CastOptions::default()
            };
            let cast = cast_with_options(&text, wanted, &options)?;
            // What cannot be cast became NULL.
            let lost = (cast.null_count() != texts.null_count())
                .then(|| (0..texts.len()).find(|row| cast.is_null(*row) && texts.is_valid(*row)));
            match lost.flatten() {
                Some(row) => return Err(fault(row, texts.value(row), wanted)),
                None => cast,
            }
        }
    })
}

fn fault(row: usize, text: &str, data_type: &DataType) -> Fault {
    Fault::Value {
        row,
        text: text.to_owned(),
        data_type: data_type.clone(),
    }
}

fn whole_numbers<T>(texts: &StringViewArray) -> Result<PrimitiveArray<T>>
where
    T: ArrowPrimitiveType + Parser,
    T::Native: TryFrom<i128>,
{
    let mut numbers = PrimitiveBuilder::<T>::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            numbers.append_null();
            continue;
        };
        let number = T::parse(text).or_else(|| T::Native::try_from(whole_number(text)?).ok());
        numbers.append_value(number.ok_or_else(|| fault(row, text, &T::DATA_TYPE))?);
    }
    Ok(numbers.finish())
}

/// The value of a number without a fraction, however it is written, as `5.0` or `1e3`.
fn whole_number(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (-1, mantissa),
        None => (1, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    // The value is the digits and so many zeros behind them; below zero, so many digits belong to the fraction.
    let n_zeros = i64::from(exponent) - fraction.len() as i64;
    let kept = digits.trim_end_matches('0');
    let n_zeros = n_zeros + (digits.len() - kept.len()) as i64;
    if kept.is_empty() {
        return Some(0);
    }
    let n_zeros = u32::try_from(n_zeros).ok()?;
    if kept.len() + n_zeros as usize > MOST_DIGITS {
        return None;
    }
    Some(sign * kept.parse::<i128>().ok()? * 10_i128.pow(n_zeros))
}

fn decimals(texts: &StringViewArray, precision: u8, scale: i8) -> Result<Decimal128Array> {
    let wanted = DataType::Decimal128(precision, scale);
    let mut numbers = Decimal128Builder::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            numbers.append_null();
            continue;
        };
        let number = decimal(text, scale)
            .filter(|number| Decimal128Type::is_valid_decimal_precision(*number, precision));
        numbers.append_value(number.ok_or_else(|| fault(row, text, &wanted))?);
    }
    Ok(numbers.finish().with_data_type(wanted))
}

/// A number in units of its last digit behind the point, of which there are `scale`; halves go away from zero.
fn decimal(text: &str, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let n_digits = (whole.len() + fraction.len()) as i64;
    if n_digits == 0 {
        return None;
    }
    // So many of the digits count; the next one says where the last of them goes.
    let n_kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let (mut number, mut is_up) = (0_i128, false);
    for (at, byte) in (0..).zip(whole.bytes().chain(fraction.bytes())) {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i128::from(byte - b'0');
        match n_kept.cmp(&at) {
            Ordering::Greater => number = number.checked_mul(10)?.checked_add(digit)?,
            Ordering::Equal => is_up = digit >= 5,
            Ordering::Less => {}
        }
    }
    if number != 0 && n_kept > n_digits {
        let n_zeros = u32::try_from(n_kept - n_digits).ok()?;
        number = number.checked_mul(10_i128.checked_pow(n_zeros)?)?;
    }
    let number = number.checked_add(i128::from(is_up))?;
    Some(if is_negative { -number } else { number })
}

fn booleans(texts: &StringViewArray) -> Result<BooleanArray> {
    let mut found = BooleanBuilder::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        match text {
            None => found.append_null(),
            Some(text) => {
                let value = boolean(text).ok_or_else(|| fault(row, text, &DataType::Boolean))?;
                found.append_value(value);
            }
        }
    }
    Ok(found.finish())
}

/// A truth value as PostgreSQL reads it: a word, or enough of its beginning to tell it from others.
fn boolean(text: &str) -> Option<bool> {
    // As most writers have them.
    match text {
        "true" | "t" => return Some(true),
        "false" | "f" => return Some(false),
        _ => {}
    }
    let word = text.trim().to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match word.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

fn moments(texts: &StringViewArray) -> Result<TimestampMicrosecondArray> {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut found = TimestampMicrosecondBuilder::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        match text {
            None => found.append_null(),
            Some(text) => {
                let moment = moment(text).ok_or_else(|| fault(row, text, &wanted))?;
                found.append_value(moment);
            }
        }
    }
    Ok(found.finish())
}

/// The microseconds of a date and a time. A zone behind them counts for nothing, as in PostgreSQL, and digits beyond the
/// microsecond are rounded.
fn moment(text: &str) -> Option<i64> {
    let general = || {
        Some(
            string_to_datetime(&chrono::Utc, text)
                .ok()?
                .timestamp_micros(),
        )
    };
    let Some((seconds, rest)) = plain_seconds(text) else {
        return general();
    };
    let (digits, zone) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit);
            fraction.split_at(digits.count())
        }
        None => ("", rest),
    };
    if rest.starts_with('.') && digits.is_empty() {
        return general();
    }
    if !zone.is_empty() {
        general()?;
    }
    let mut micros = seconds * 1_000_000;
    let mut unit = 100_000;
    for digit in digits.bytes().take(6) {
        micros += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    let is_up = digits.as_bytes().get(6).is_some_and(|digit| *digit >= b'5');
    Some(micros + i64::from(is_up))
}

/// The seconds of `2026-01-31 10:30:00`, as most files have moments, and what stands behind.
fn plain_seconds(text: &str) -> Option<(i64, &str)> {
    let (moment, _) = text.as_bytes().split_first_chunk::<19>()?;
    let marks = [moment[4], moment[7], moment[10], moment[13], moment[16]];
    if !matches!(marks, [b'-', b'-', b' ' | b'T', b':', b':']) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &moment[from..to];
        let are_digits = digits.iter().all(u8::is_ascii_digit);
        let value = |so_far: u32, digit: &u8| so_far * 10 + u32::from(digit - b'0');
        are_digits.then(|| digits.iter().fold(0, value))
    };
    let year = i32::try_from(number(0, 4)?).ok()?;
    let date = chrono::NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    let moment = date.and_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
    // All bytes before are characters of their own.
    Some((moment.and_utc().timestamp(), &text[19..]))
}

fn dates(texts: &StringViewArray) -> Result<Date32Array> {
    let mut days = Date32Builder::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        match text {
            None => days.append_null(),
            Some(text) => {
                let date = date(text).ok_or_else(|| fault(row, text, &DataType::Date32))?;
                days.append_value(date);
            }
        }
    }
    Ok(days.finish())
}

/// A date, also one that midnight is written behind.
fn date(text: &str) -> Option<i32> {
    /// `2026-01-31`; the library reads more as a moment and forgets its time of day.
    const DATE_BYTES: usize = 10;
    let days = Date32Type::parse(text)?;
    if text.len() > DATE_BYTES && !text.starts_with(['+', '-']) {
        let moment = string_to_datetime(&chrono::Utc, text).ok()?;
        if moment.time() != chrono::NaiveTime::MIN {
            return None;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;
    use datafusion::arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    fn read(texts: &[&str], data_type: &DataType) -> Result<ArrayRef> {
        let texts: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        values(&texts, data_type)
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        for (text, expected) in [
            ("5", Some(5)),
            ("-5.0", Some(-5)),
            ("1e3", Some(1000)),
            ("1.5E+1", Some(15)),
            ("1500e-2", Some(15)),
            ("0.0e9", Some(0)),
            ("0e-400", Some(0)),
            ("-0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("1e400", None),
            ("1.5", None),
            ("15e-1", None),
            ("1e-400", None),
            ("five", None),
            ("", None),
            ("1e", None),
            (".", None),
        ] {
            let found = read(&[text], &DataType::Int64).ok();
            let found = found.map(|numbers| numbers.as_primitive::<Int64Type>().value(0));
            assert_eq!(found, expected, "{text}");
        }
        assert!(read(&["300"], &DataType::UInt8).is_err());
    }

    #[test]
    fn decimals_are_rounded_away_from_zero() {
        let wanted = DataType::Decimal128(10, 2);
        for (text, expected) in [
            ("1.005", Some(101)),
            ("1.0049999999999999999999999999999999999999999", Some(100)),
            ("-0.005", Some(-1)),
            ("-1.994", Some(-199)),
            ("1.999", Some(200)),
            ("0.001", Some(0)),
            ("+7", Some(700)),
            (".5", Some(50)),
            ("5.", Some(500)),
            ("1.5e3", Some(150_000)),
            ("15e-4", Some(0)),
            ("5e-3", Some(1)),
            ("50e-5", Some(0)),
            ("0e400", Some(0)),
            ("99999999.99", Some(9_999_999_999)),
            ("99999999.995", None),
            ("1e400", None),
            ("1e-2147483648", Some(0)),
            ("NaN", None),
            ("1.2.3", None),
            ("-", None),
            ("", None),
            ("1e", None),
        ] {
            let found = read(&[text], &wanted).ok();
            let found = found.map(|numbers| numbers.as_primitive::<Decimal128Type>().value(0));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(decimal("1234", -2), Some(12));
        assert_eq!(decimal("1250", -2), Some(13));
        let found = read(&["1"], &wanted).unwrap();
        assert_eq!(found.data_type(), &wanted);
    }

    #[test]
    fn moments_without_a_zone_forget_zones() {
        let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
        const MINUTE: i64 = 60_000_000;
        for (text, expected) in [
            ("1970-01-01 00:01:00", Some(MINUTE)),
            ("1970-01-01T00:01:00Z", Some(MINUTE)),
            ("1970-01-01 00:01:00+05", Some(MINUTE)),
            ("1970-01-01 00:01:00.5-05:30", Some(MINUTE + 500_000)),
            ("1970-01-01 00:01:00.9999994", Some(MINUTE + 999_999)),
            ("1970-01-01 00:01:00.9999995", Some(MINUTE + 1_000_000)),
            ("1969-12-31 23:59:59.5", Some(-500_000)),
            ("1970-01-02", Some(24 * 60 * MINUTE)),
            ("9999-12-31 00:00:00", Some(253_402_214_400_000_000)),
            ("1970-01-01 00:01:00 soon", None),
            ("1970-01-01 00:01:00.", None),
            ("1970-13-01 00:01:00", None),
            ("1970-01-01 25:01:00", None),
            ("soon", None),
            ("", None),
        ] {
            let found = read(&[text], &wanted).ok();
            let found = found.map(|moments| {
                let moments = moments.as_primitive::<TimestampMicrosecondType>();
                moments.value(0)
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn booleans_are_the_words_of_postgresql() {
        for (text, expected) in [
            ("t", Some(true)),
            ("TRUE", Some(true)),
            ("y", Some(true)),
            ("on", Some(true)),
            ("1", Some(true)),
            ("f", Some(false)),
            ("no", Some(false)),
            ("of", Some(false)),
            ("0", Some(false)),
            ("o", None),
            ("", None),
            ("2", None),
            ("truee", None),
        ] {
            let found = read(&[text], &DataType::Boolean).ok();
            assert_eq!(
                found.map(|found| found.as_boolean().value(0)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn dates_have_no_time_of_day() {
        for (text, expected) in [
            ("1970-01-02", Some(1)),
            ("1970-01-02T00:00:00", Some(1)),
            ("1970-01-02 00:00:00Z", Some(1)),
            ("1970-01-02 00:00:00.001", None),
            ("1970-01-02T13:00:00", None),
            ("+10999-12-31", Some(3_298_139)),
            ("1970", None),
        ] {
            let found = read(&[text], &DataType::Date32).ok();
            let found = found.map(|dates| dates.as_primitive::<Date32Type>().value(0));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn the_first_wrong_text_is_told() {
        let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
        let error = read(&["2026-01-01", "soon", "later"], &wanted).unwrap_err();
        assert!(matches!(&error, Fault::Value { row: 1, text, .. } if text == "soon"));
        let texts = StringViewArray::from(vec![Some("NA"), None, Some("1")]);
        let kept: Vec<Option<&str>> = vec![None, None, Some("1")];
        assert_eq!(without_nulls(&texts, "NA"), StringViewArray::from(kept));
        let texts = StringViewArray::from(vec!["\0NA\0", "\0NA", "NA"]);
        let kept = vec![Some("NA"), Some("\0NA"), None];
        assert_eq!(without_nulls(&texts, "NA"), StringViewArray::from(kept));
    }

    #[test]
    fn numbers_within_lists_and_objects_are_kept() {
        let element = |data_type| Arc::new(Field::new_list_field(data_type, true));
        let wanted = DataType::List(element(DataType::Int64));
        let read_as = DataType::List(element(DataType::Utf8View));
        assert_eq!(type_in_json(&wanted), read_as);
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["1", "2.0", "3"]));
        let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let lists = ListArray::new(element(DataType::Utf8View), offsets, texts, None);
        let lists: ArrayRef = Arc::new(lists);
        let found = values(&lists, &wanted).unwrap();
        let expected: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        assert_eq!(&found.as_list::<i32>().value(0), &expected);
    }
}
