//! Single bytes and bits of a `bytea`: `get_byte`, `set_byte`, `get_bit`, `set_bit`, `bit_count`.
//!
//! In: bytes, a place from 0 and a new value; out: the byte or bit there, or the bytes with another one there. Bits count from the
//! lowest of the first byte. Those of bit strings are in `bits`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryArray, Int32Array, Int64Array,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::bits;
use super::call::{Call, Function, failure, function};
use super::text_input;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("get_byte", &[2], DataType::Int32, |call| {
            get(call, 1, |bytes, at| i32::from(bytes[at]))
        }),
        function("get_bit", &[2], DataType::Int32, |call| {
            get(call, 8, |bytes, at| {
                i32::from(bytes[at / 8] >> (at % 8) & 1)
            })
        }),
        function("bit_count", &[1], DataType::Int64, bit_count),
        function("set_byte", &[3], DataType::Binary, |call| {
            set(call, 1, |bytes, at, value| {
                // As in PostgreSQL, what is above a byte is cut off.
                bytes[at] = (value & 0xff) as u8;
                Ok(())
            })
        }),
        function("set_bit", &[3], DataType::Binary, |call| {
            set(call, 8, |bytes, at, value| {
                let bit = 1 << (at % 8);
                match value {
                    0 => bytes[at / 8] &= !bit,
                    1 => bytes[at / 8] |= bit,
                    _ => return Err(failure("22023", "new bit must be 0 or 1")),
                }
                Ok(())
            })
        })
        .returning(|args| Ok(bits::changed_field(args))),
    ]
}

/// An argument as bytes, of which a text is a literal.
pub(super) fn bytes_of(call: &Call<'_>, idx: usize) -> Result<BinaryArray> {
    if call.arg(idx)?.data_type().is_string() {
        let read = |text: Option<&str>| text.map(text_input::bytes).transpose();
        return call.texts(idx)?.iter().map(read).collect();
    }
    let array = call.converted(idx, &DataType::Binary)?;
    Ok(array.as_binary::<i32>().clone())
}

/// How many bits are 1.
fn bit_count(call: &Call<'_>) -> Result<ArrayRef> {
    let ones = |bytes: &[u8]| {
        let ones = bytes.iter().map(|byte| i64::from(byte.count_ones()));
        ones.sum::<i64>()
    };
    let bytes = bytes_of(call, 0)?;
    let counts = bytes.iter().map(|bytes| bytes.map(ones));
    Ok(Arc::new(counts.collect::<Int64Array>()))
}

/// A place among `n` of them.
fn place(index: i64, n: usize) -> Result<usize> {
    usize::try_from(index)
        .ok()
        .filter(|at| *at < n)
        .ok_or_else(|| {
            // Of no bytes it is 0..-1, as PostgreSQL has it.
            let message = format!("index {index} out of valid range, 0..{}", n as i64 - 1);
            failure("2202E", message)
        })
}

fn get(call: &Call<'_>, parts: usize, read: impl Fn(&[u8], usize) -> i32) -> Result<ArrayRef> {
    let (bytes, places) = (bytes_of(call, 0)?, call.integers(1)?);
    let value = |row: usize| {
        if bytes.is_null(row) || places.is_null(row) {
            return Ok(None);
        }
        let bytes = bytes.value(row);
        let at = place(places.value(row), bytes.len() * parts)?;
        Ok(Some(read(bytes, at)))
    };
    let values: Result<Int32Array> = (0..call.n_rows).map(value).collect();
    Ok(Arc::new(values?))
}

fn set(
    call: &Call<'_>,
    parts: usize,
    write: impl Fn(&mut [u8], usize, i64) -> Result<()>,
) -> Result<ArrayRef> {
    let (bytes, places, values) = (bytes_of(call, 0)?, call.integers(1)?, call.integers(2)?);
    let changed = |row: usize| {
        if bytes.is_null(row) || places.is_null(row) || values.is_null(row) {
            return Ok(None);
        }
        let mut bytes = bytes.value(row).to_vec();
        let at = place(places.value(row), bytes.len() * parts)?;
        write(&mut bytes, at, values.value(row))?;
        Ok(Some(bytes))
    };
    let changed: Result<BinaryArray> = (0..call.n_rows).map(changed).collect();
    Ok(Arc::new(changed?))
}
