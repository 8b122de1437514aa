//! Values of text files that the libraries' readers would cut: they are read as texts and become values here.
//!
//! A column of texts and a type flow in; values flow out, or the first text that is no value of the type: a number with
//! a fraction is no integer, a moment no date. Where a text stands in its file is the caller's business.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, Date32Array, Date32Builder, ListArray, PrimitiveArray,
    PrimitiveBuilder, StringViewArray, StructArray,
};
use datafusion::arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;

use crate::tables::csv_nulls::QUOTED;

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
        DataType::Date32 => DataType::Utf8View,
        integer if integer.is_integer() => DataType::Utf8View,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(element) => DataType::List(field(element)),
        other => other.clone(),
    }
}

/// The column of CSV as it is read, so that nothing of its values is lost.
pub(crate) fn field_in_csv(field: &FieldRef, has_null_text: bool) -> FieldRef {
    let reads_text = has_null_text || *field.data_type() == DataType::Date32;
    match reads_text {
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
    let is_quoted = |text: &str| text.strip_prefix(QUOTED) == Some(null_text);
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
    use datafusion::arrow::datatypes::TimeUnit;

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
        let texts = StringViewArray::from(vec!["\u{ffff}NA", "\u{ffff}", "NA"]);
        let kept = vec![Some("NA"), Some("\u{ffff}"), None];
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
