//! The order of jsonb, as texts that are in this order and the same where values are equal.
//!
//! In: texts of json; out: their keys. Objects are greater than arrays, these than truth values, these than
//! numbers, these than texts, these than null. Arrays and objects go by how many they hold, then by what they hold, in the
//! order of storage; numbers by their value, however they are written; texts, also those that are names, byte by byte.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::value::Json;
use crate::functions::call::{Function, function_of};
use crate::functions::dimensions::{in_place_of, map_elements};
use crate::functions::order_keys::text_of_bytes;

/// In PostgreSQL, an empty array that stands alone is less than anything else, unlike one within another value.
const EMPTY_ARRAY: u8 = 0;
const NULL: u8 = 1;
const TEXT: u8 = 2;
const NUMBER: u8 = 3;
const BOOL: u8 = 4;
const ARRAY: u8 = 5;
const OBJECT: u8 = 6;

/// What the keys of numbers start with. That of a negative one is the key of its amount with all bits turned.
const ZERO: u8 = 0x80;
const POSITIVE: u8 = 0xc0;

/// The function that gives a jsonb its place among all, and an array those of its elements.
pub(in crate::functions) fn key_function() -> Function {
    let returns = |types: &[DataType]| Ok(in_place_of(&types[0], &DataType::Utf8));
    function_of("jsonb_key", &[1], returns, |call| {
        map_elements(call.arg(0)?, &|texts| {
            let texts = cast(texts, &DataType::Utf8)?;
            let texts = texts.as_string::<i32>().iter();
            let keys = texts.map(|text| text.map(key).transpose());
            Ok(Arc::new(keys.collect::<Result<StringArray>>()?))
        })
    })
}

/// The key of a text of json.
fn key(text: &str) -> Result<String> {
    let mut key = Vec::with_capacity(text.len());
    match Json::read(text)?.normalized() {
        Json::Array(items) if items.is_empty() => key.push(EMPTY_ARRAY),
        value => put(&value, &mut key),
    }
    Ok(text_of_bytes(&key))
}

fn put(value: &Json, key: &mut Vec<u8>) {
    match value {
        Json::Null => key.push(NULL),
        Json::Bool(truth) => key.extend([BOOL, u8::from(*truth)]),
        Json::Number(written) => {
            key.push(NUMBER);
            put_number(written, key);
        }
        Json::Text(text) => {
            key.push(TEXT);
            put_text(text, key);
        }
        Json::Array(items) => {
            key.push(ARRAY);
            put_count(items.len(), key);
            items.iter().for_each(|item| put(item, key));
        }
        Json::Object(members) => {
            key.push(OBJECT);
            put_count(members.len(), key);
            for (name, value) in members {
                put_text(name, key);
                put(value, key);
            }
        }
    }
}

fn put_count(n: usize, key: &mut Vec<u8>) {
    key.extend(u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
}

/// A text ends with two zeros; one within it is followed by the greatest byte, so that it goes on there.
fn put_text(text: &str, key: &mut Vec<u8>) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(u8::MAX);
        }
    }
    key.extend([0, 0]);
}

/// A number 0.ddd · 10ⁿ as n and its digits, without the zeros around them.
fn put_number(written: &str, key: &mut Vec<u8>) {
    let (is_negative, amount) = match written.strip_prefix('-') {
        Some(amount) => (true, amount),
        None => (false, written),
    };
    let (mantissa, exponent) = amount.split_once(['e', 'E']).unwrap_or((amount, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        key.push(ZERO);
        return;
    }
    let n_leading = (digits.len() - significant.len()) as i64;
    // What no number of 64 bits holds is as far away as one can tell.
    let farthest = match exponent.starts_with('-') {
        true => i64::MIN,
        false => i64::MAX,
    };
    let exponent: i64 = exponent.parse().unwrap_or(farthest);
    let point = (whole.len() as i64 - n_leading).saturating_add(exponent);
    let mut bytes = vec![POSITIVE];
    // With its sign turned, a negative exponent is less than the others as bytes, too.
    bytes.extend((point ^ i64::MIN).to_be_bytes());
    bytes.extend(significant.trim_end_matches('0').bytes());
    bytes.push(0);
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    key.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_jsonb() {
        let ascending = [
            "[]",
            "null",
            r#""""#,
            r#""B""#,
            r#""a""#,
            r#""a\u0000""#,
            r#""aa""#,
            "-1e30",
            "-10",
            "-1.5",
            "-1",
            "-0.001",
            "0",
            "1e-7",
            "0.001",
            "1",
            "1.5",
            "2",
            "10",
            "1999",
            "12345678901234567890",
            "12345678901234567891",
            "1e30",
            "false",
            "true",
            "[null]",
            "[1]",
            "[[]]",
            r#"[{"a": 1}]"#,
            "[1, 2]",
            "[2, 1]",
            "{}",
            r#"{"aa": 1}"#,
            r#"{"b": 1}"#,
            r#"{"b": 2}"#,
            r#"{"b": 1, "d": 1}"#,
            r#"{"aa": 1, "c": 1}"#,
        ];
        let keys: Vec<String> = ascending.iter().map(|text| key(text).unwrap()).collect();
        for (idx, pair) in keys.windows(2).enumerate() {
            assert!(
                pair[0] < pair[1],
                "{} and {}",
                ascending[idx],
                ascending[idx + 1]
            );
        }
    }

    #[test]
    fn equal_values_have_one_key() {
        for (left, right) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("-0.50", "-0.5"),
            ("0", "-0.0"),
            (r#"{"b": 1, "a": [2.0]}"#, r#"{"a": [2], "b": 1.00}"#),
            (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
        ] {
            assert_eq!(key(left).unwrap(), key(right).unwrap(), "{left} {right}");
        }
        assert!(key("{").is_err());
    }
}
