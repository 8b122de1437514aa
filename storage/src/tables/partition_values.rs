//! What values partition columns can have: each is the name of a folder, and Delta keeps an empty text as NULL.
//!
//! Rows flow in before they are written; nothing or the first value that would not come back as it is flows out. Texts of a
//! log flow in, and the values that they mean flow out. Floating-point numbers flow to the library as the texts that name
//! them, since its own have all their zeros.

use std::fmt::{Display, LowerExp};
use std::ops::Range;
use std::sync::Arc;

use chrono::NaiveDateTime;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;

use crate::error::{Error, Result};
use crate::tables::time_columns::TIME;

/// The folder that Hive writes for a NULL.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";
/// The longest name of a folder on local disk.
const NAME_BYTES: usize = 255;

/// The moments that a log has with a year of four digits, in microseconds: from 1 BC, which is its year 0, to 9999. The
/// parsers of other readers know no others.
const MOMENTS: Range<i64> = -62_167_219_200_000_000..253_402_300_800_000_000;
/// Numbers of these sizes are named without an exponent, as PostgreSQL writes them.
const PLAIN_NUMBERS: Range<f64> = 1e-4..1e15;

/// Fails at the first value of the columns at `partitions` that a table cannot keep.
///
/// Errors: `PartitionRefused`, `PartitionTooLong`, `PartitionMoment`.
pub(crate) fn check(rows: &RecordBatch, partitions: &[usize]) -> Result<()> {
    for idx in partitions {
        let schema = rows.schema();
        let column = schema.field(*idx).name();
        let values = rows.column(*idx);
        let longest = match values.data_type() {
            DataType::Utf8 => {
                for text in values.as_string::<i32>().iter().flatten() {
                    if text.is_empty() || text == NULL_FOLDER {
                        return Err(Error::PartitionRefused {
                            column: column.clone(),
                            value: text.into(),
                        });
                    }
                }
                let texts = values.as_string::<i32>().iter().flatten();
                texts.map(encoded_bytes).max()
            }
            DataType::Float32 | DataType::Float64 => {
                let names = number_names(values)?;
                names.iter().flatten().map(str::len).max()
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let mut moments = values
                    .as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .flatten();
                if moments.any(|moment| !MOMENTS.contains(&moment)) {
                    return Err(Error::PartitionMoment(column.clone()));
                }
                None
            }
            // The texts of all others are short.
            _ => None,
        };
        if longest.is_some_and(|bytes| column.len() + "=".len() + bytes > NAME_BYTES) {
            return Err(Error::PartitionTooLong(column.clone()));
        }
    }
    Ok(())
}

/// The bytes of a text in the name of a folder, where most characters that are no letters take three.
fn encoded_bytes(text: &str) -> usize {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let bytes = text.bytes();
    bytes.map(|byte| if is_plain(&byte) { 1 } else { 3 }).sum()
}

/// The columns of files with floating-point numbers of `partitions` as their names.
pub(crate) fn named_columns(columns: &Schema, partitions: &[String]) -> SchemaRef {
    let named = |field: &FieldRef| {
        let is_number = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
        match is_number && partitions.contains(field.name()) {
            true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
            false => Arc::clone(field),
        }
    };
    let fields: Vec<FieldRef> = columns.fields().iter().map(named).collect();
    Arc::new(Schema::new_with_metadata(
        fields,
        columns.metadata().clone(),
    ))
}

/// What folders of floating-point numbers are called: the shortest texts that are read as these.
pub(crate) fn number_names(numbers: &ArrayRef) -> Result<StringArray, ArrowError> {
    if let Some(singles) = numbers.as_primitive_opt::<Float32Type>() {
        let names = singles.iter();
        let names = names.map(|single| single.map(|single| number_name(single, single.into())));
        return Ok(names.collect());
    }
    let doubles = cast(numbers, &DataType::Float64)?;
    let names = doubles.as_primitive::<Float64Type>().iter();
    let names = names.map(|double| double.map(|double| number_name(double, double)));
    Ok(names.collect())
}

fn number_name(number: impl Display + LowerExp, value: f64) -> String {
    let is_plain = value == 0.0 || !value.is_finite() || PLAIN_NUMBERS.contains(&value.abs());
    match is_plain {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

/// The values of a partition column whose texts these are in a log, one a file.
pub(crate) fn values_of<'a>(
    texts: impl Iterator<Item = Option<&'a str>>,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    // The format has no empty text: it means NULL.
    let texts = texts.map(|text| text.filter(|text| !text.is_empty()));
    if *data_type == DataType::Binary {
        let bytes = texts.map(|text| text.map(bytes_of));
        return Ok(Arc::new(bytes.collect::<BinaryArray>()));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let texts = texts.collect::<StringArray>();
    let is_far = |text: &str| text.starts_with(['+', '-']);
    if let DataType::Timestamp(TimeUnit::Microsecond, zone) = data_type
        && texts.iter().flatten().any(is_far)
    {
        // The library's parser knows years of four digits.
        let near: StringArray = texts.iter().map(|t| t.filter(|t| !is_far(t))).collect();
        let near = cast_with_options(&near, data_type, &options)?;
        let near = near.as_primitive::<TimestampMicrosecondType>().iter();
        let moments = near.zip(&texts).map(|(near, text)| match text {
            Some(text) if is_far(text) => far_moment(text).map(Some),
            _ => Ok(near),
        });
        let moments = moments.collect::<Result<TimestampMicrosecondArray, ArrowError>>()?;
        return Ok(Arc::new(moments.with_timezone_opt(zone.clone())));
    }
    if *data_type == TIME {
        // The log has them as files do.
        let numbers = cast_with_options(&texts, &DataType::Int64, &options)?;
        return cast_with_options(&numbers, data_type, &options);
    }
    cast_with_options(&texts, data_type, &options)
}

/// The moment of a text whose year has a sign, in microseconds.
fn far_moment(text: &str) -> Result<i64, ArrowError> {
    let moment = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
    let moment = moment.map_err(|_| ArrowError::ParseError(format!("\"{text}\" is no moment")))?;
    Ok(moment.and_utc().timestamp_micros())
}

/// The bytes of a text of escapes, `\u0001\u00ff`; of another one, as some engines write it, its own.
fn bytes_of(text: &str) -> Vec<u8> {
    let escapes = text.as_bytes().chunks(6);
    let byte = |escape: &[u8]| {
        let digits = escape
            .strip_prefix(b"\\u00")
            .filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let bytes: Option<Vec<u8>> = escapes.map(byte).collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float32Array, Float64Array};
    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn code(column: ArrayRef) -> &'static str {
        let rows = RecordBatch::try_from_iter_with_nullable([("k", column, true)]).unwrap();
        let checked = check(&rows, &[0]);
        checked.map_or_else(|error| error.sqlstate(), |()| "ok")
    }

    #[test]
    fn values_come_back_as_they_are() {
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![None, Some(text)])) };
        let number = |x: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![None, Some(x)])) };
        assert_eq!(code(text("New York/ä")), "ok");
        assert_eq!(code(text("")), "22023");
        assert_eq!(code(text(NULL_FOLDER)), "22023");
        assert_eq!(code(text(&"x".repeat(253))), "ok");
        assert_eq!(code(text(&"x".repeat(254))), "22001");
        assert_eq!(code(text(&"ä".repeat(43))), "22001");
        assert_eq!(code(number(f64::MAX)), "ok");
        assert_eq!(code(number(-f64::MIN_POSITIVE)), "ok");
        assert_eq!(code(number(f64::NAN)), "ok");
        for (moment, expected) in [
            (MOMENTS.start, "ok"),
            (MOMENTS.end - 1, "ok"),
            (MOMENTS.start - 1, "22008"),
            (MOMENTS.end, "22008"),
        ] {
            let moments = TimestampMicrosecondArray::from(vec![None, Some(moment)]);
            assert_eq!(code(Arc::new(moments)), expected, "{moment}");
        }
    }

    #[test]
    fn names_of_numbers_are_short_and_read_as_the_same_numbers() {
        let numbers = [
            0.0,
            1.0,
            -2.5,
            1e-4,
            0.1 + 0.2,
            123_456_789_012_345.0,
            1e15,
            -1e300,
            f64::MAX,
            5e-324,
        ];
        let doubles: ArrayRef = Arc::new(Float64Array::from(numbers.to_vec()));
        let names = number_names(&doubles).unwrap();
        let texts: Vec<&str> = names.iter().flatten().collect();
        assert_eq!(
            texts,
            [
                "0",
                "1",
                "-2.5",
                "0.0001",
                "0.30000000000000004",
                "123456789012345",
                "1e15",
                "-1e300",
                "1.7976931348623157e308",
                "5e-324"
            ]
        );
        let read = values_of(names.iter(), &DataType::Float64).unwrap();
        assert_eq!(&read, &doubles);
        let singles: ArrayRef = Arc::new(Float32Array::from(vec![None, Some(0.1), Some(1e20)]));
        let names = number_names(&singles).unwrap();
        let texts: Vec<Option<&str>> = names.iter().collect();
        assert_eq!(texts, [None, Some("0.1"), Some("1e20")]);
        let column = Field::new("k", DataType::Float64, true);
        let columns = Schema::new(vec![column.clone(), column.with_name("x")]);
        let named = named_columns(&columns, &["k".to_owned()]);
        let types = named.fields().iter().map(|field| field.data_type());
        assert!(types.eq([&DataType::Utf8, &DataType::Float64]));
    }

    #[test]
    fn moments_of_far_years_are_read() {
        let texts = ["+10000-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"];
        let texts = texts.into_iter().chain(["-0043-03-15 00:00:00.000000"]);
        let texts = texts.map(Some).chain([None]);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let read = values_of(texts, &utc).unwrap();
        assert_eq!(read.data_type(), &utc);
        let read = read.as_primitive::<TimestampMicrosecondType>();
        assert_eq!(
            (read.value(0), read.value(1)),
            (MOMENTS.end, MOMENTS.end - 1)
        );
        assert!(read.value(2) < MOMENTS.start && read.is_null(3));
        let bad = std::iter::once(Some("+1-x"));
        assert!(values_of(bad, &utc).is_err());
    }

    #[test]
    fn values_are_read_from_their_texts() {
        let written = ["\\u0061\\u0000\\u00fF", "plain", "\\u00zz", "", "\\u0061x"];
        let written = || written.into_iter().map(Some).chain([None]);
        let read = values_of(written(), &DataType::Binary).unwrap();
        let read: Vec<Option<&[u8]>> = read.as_binary::<i32>().iter().collect();
        let expected: [Option<&[u8]>; 6] = [
            Some(b"a\0\xff"),
            Some(b"plain"),
            Some(b"\\u00zz"),
            None,
            Some(b"\\u0061x"),
            None,
        ];
        assert_eq!(read, expected);
        let texts = values_of(written(), &DataType::Utf8).unwrap();
        assert_eq!(texts.as_string::<i32>().value(0), "\\u0061\\u0000\\u00fF");
        assert!(values_of(written(), &DataType::Int64).is_err());
        let times = values_of([Some("36000000000"), None].into_iter(), &TIME).unwrap();
        assert_eq!((times.data_type(), times.null_count()), (&TIME, 1));
        let numbers = ["NaN", "inf", "-Infinity", "1.0E10"].into_iter().map(Some);
        let numbers = values_of(numbers, &DataType::Float64).unwrap();
        let numbers = numbers.as_primitive::<Float64Type>();
        assert!(numbers.value(0).is_nan());
        assert_eq!(numbers.value(1), f64::INFINITY);
        assert_eq!(
            (numbers.value(2), numbers.value(3)),
            (f64::NEG_INFINITY, 1e10)
        );
    }
}
