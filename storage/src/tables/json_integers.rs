//! Integers of JSON that no type holds, as texts.
//!
//! A line flows in; the same line flows out, with quotes around each integer beyond 64 bits. The parser would make doubles
//! of them, and two of them one.

use std::borrow::Cow;

/// Shorter integers have 64 bits.
const DIGITS: usize = 19;

/// A line whose integers have 64 bits.
pub(crate) fn with_quoted_integers(line: &[u8]) -> Cow<'_, [u8]> {
    if !has_long_number(line) {
        return Cow::Borrowed(line);
    }
    let mut quoted = Vec::with_capacity(line.len() + 2);
    let mut rest = line;
    while let Some(first) = rest.first() {
        let (token, is_beyond) = match first {
            b'"' => (string(rest), false),
            b'-' | b'0'..=b'9' => {
                let number = number(rest);
                (number, is_beyond_64_bits(number))
            }
            _ => (&rest[..1], false),
        };
        let quote: &[u8] = if is_beyond { b"\"" } else { b"" };
        quoted.extend_from_slice(quote);
        quoted.extend_from_slice(token);
        quoted.extend_from_slice(quote);
        rest = &rest[token.len()..];
    }
    Cow::Owned(quoted)
}

fn has_long_number(line: &[u8]) -> bool {
    let mut n_digits = 0;
    line.iter().any(|byte| {
        n_digits = if byte.is_ascii_digit() {
            n_digits + 1
        } else {
            0
        };
        n_digits >= DIGITS
    })
}

/// The string that a text begins with, up to its closing quote.
fn string(text: &[u8]) -> &[u8] {
    let mut is_escaped = false;
    let closing = text.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        closes
    });
    // Both quotes.
    closing.map_or(text, |inner| &text[..inner + 2])
}

/// The number that a text begins with.
fn number(text: &[u8]) -> &[u8] {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !is_part(byte));
    &text[..end.unwrap_or(text.len())]
}

fn is_beyond_64_bits(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    // A number with a zero before others is none.
    let is_integer = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    let text = std::str::from_utf8(number);
    is_integer && text.is_ok_and(|text| text.parse::<i64>().is_err()) && digits.len() >= DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_64_bits_are_texts() {
        for (line, expected) in [
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#"[9223372036854775807,-9223372036854775808]"#, ""),
            (
                r#"{"a":123456789012345678901,"b":[-9223372036854775809]}"#,
                r#"{"a":"123456789012345678901","b":["-9223372036854775809"]}"#,
            ),
            (r#"{"a\"123456789012345678901": "x\\"}"#, ""),
            (
                r#"[1234567890123456789012.5, 1e300, 012345678901234567890]"#,
                "",
            ),
            ("{\"a\": \"123456789012345678901", ""),
        ] {
            let expected = if expected.is_empty() { line } else { expected };
            let found = with_quoted_integers(line.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), expected);
        }
    }
}
