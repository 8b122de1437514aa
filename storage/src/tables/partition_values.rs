//! What values partition columns can have: each is the name of a folder, and Delta keeps an empty text as NULL.
//!
//! Rows flow in before they are written; nothing or the first value that would not come back as it is flows out. Texts of a
//! log flow in, and the values that they mean flow out.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryArray, RecordBatch, StringArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;

use crate::error::{Error, Result};
use crate::tables::time_columns::TIME;

/// The folder that Hive writes for a NULL.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";
/// The longest name of a folder on local disk.
const NAME_BYTES: usize = 255;

/// Fails at the first value of the columns at `partitions` that a table cannot keep.
///
/// Errors: `PartitionRefused`, `PartitionTooLong`.
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
            DataType::Float64 => {
                let numbers = values.as_primitive::<Float64Type>().iter().flatten();
                numbers.map(|number| number.to_string().len()).max()
            }
            DataType::Float32 => {
                let numbers = values.as_primitive::<Float32Type>().iter().flatten();
                numbers.map(|number| number.to_string().len()).max()
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
    if *data_type == TIME {
        // The log has them as files do.
        let numbers = cast_with_options(&texts, &DataType::Int64, &options)?;
        return cast_with_options(&numbers, data_type, &options);
    }
    cast_with_options(&texts, data_type, &options)
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
    use datafusion::arrow::array::Float64Array;

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
        assert_eq!(code(number(1e200)), "ok");
        assert_eq!(code(number(1e300)), "22001");
        assert_eq!(code(number(f64::NAN)), "ok");
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
