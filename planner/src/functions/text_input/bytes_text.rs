//! Bytes as texts.
//!
//! In: `\x00ff`, or a text in which `\\` is a backslash and `\ooo` a byte by its octal digits; out: the bytes.

use datafusion::error::Result;

use super::wrong;
use crate::functions::call::failure;

/// The bytes of a text. Errors: 22023 for what are no pairs of hexadecimal digits, 22P02 for another backslash.
pub(in crate::functions) fn bytes(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => hexadecimal(digits),
        None => escaped(text.as_bytes()).ok_or_else(|| wrong("bytea", text)),
    }
}

/// Pairs of digits, with blanks between them.
fn hexadecimal(digits: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for character in digits.chars() {
        if high.is_none() && matches!(character, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let Some(digit) = character.to_digit(16) else {
            let message = format!("invalid hexadecimal digit: \"{character}\"");
            return Err(failure("22023", message));
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => out.push((high * 16 + digit) as u8),
        }
    }
    match high {
        None => Ok(out),
        Some(_) => {
            let message = "invalid hexadecimal data: odd number of digits";
            Err(failure("22023", message))
        }
    }
}

fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                after
            }
            (
                b'\\',
                [
                    high @ b'0'..=b'3',
                    middle @ b'0'..=b'7',
                    low @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                out.push((high - b'0') * 64 + (middle - b'0') * 8 + (low - b'0'));
                after
            }
            (b'\\', _) => return None,
            (byte, after) => {
                out.push(*byte);
                after
            }
        };
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_forms() {
        assert_eq!(bytes("\\xDE ad").unwrap(), [0xde, 0xad]);
        assert_eq!(bytes("\\x").unwrap(), [0_u8; 0]);
        assert_eq!(bytes("a\\\\b\\001").unwrap(), b"a\\b\x01");
        assert_eq!(bytes("plain").unwrap(), b"plain");
        for wrong in ["\\xzz", "\\x123", "\\x1 23 4", "C:\\dir"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
