//! What values partition columns can have: each is the name of a folder, and Delta keeps an empty text as NULL.
//!
//! Rows flow in before they are written; nothing or the first value that would not come back as it is flows out. Bytes
//! that other engines wrote flow in as the log has them, and out as they are.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, BinaryArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};

use crate::error::{Error, Result};

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
            return Err(Error::PartitionTooLong {
                column: column.clone(),
            });
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

/// Values of a partition column as they are: the log has bytes as `\u0001\u00ff`.
pub(crate) fn unescaped(values: ArrayRef) -> ArrayRef {
    match values.as_binary_opt::<i32>() {
        Some(texts) => {
            let bytes = |text: Option<&[u8]>| {
                let text = text?;
                Some(bytes_of(text).unwrap_or_else(|| text.to_vec()))
            };
            Arc::new(texts.iter().map(bytes).collect::<BinaryArray>())
        }
        None => values,
    }
}

/// `None` for a text that is none of escapes, as some engines write it.
fn bytes_of(text: &[u8]) -> Option<Vec<u8>> {
    let escapes = text.chunks(6);
    let byte = |escape: &[u8]| {
        let digits = escape
            .strip_prefix(b"\\u00")
            .filter(|digits| digits.len() == 2)?;
        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    escapes.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, StringArray};

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
    fn bytes_are_read_from_their_escapes() {
        let written = ["\\u0061\\u0000\\u00fF", "plain", "\\u00zz", "", "\\u0061x"];
        let written: BinaryArray = written.iter().map(|text| Some(text.as_bytes())).collect();
        let read = unescaped(Arc::new(written));
        let read: Vec<&[u8]> = read.as_binary::<i32>().iter().flatten().collect();
        let expected: [&[u8]; 5] = [b"a\0\xff", b"plain", b"\\u00zz", b"", b"\\u0061x"];
        assert_eq!(read, expected);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["\\u0061"]));
        assert_eq!(&unescaped(Arc::clone(&texts)), &texts);
    }
}
