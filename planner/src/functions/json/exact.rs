//! Numbers of more digits than a double has, kept as they are written.
//!
//! In: the text of a value that was read and is well formed; out: the same value with the digits of such numbers. Reads
//! nothing that is malformed: that was told before.

use super::value::Json;

/// A double tells so many decimal digits apart.
const DIGITS_OF_A_DOUBLE: usize = 15;

/// Whether a text may have a number with more digits.
pub(super) fn may_have(text: &str) -> bool {
    let mut n_digits = 0;
    text.bytes().any(|byte| {
        n_digits = match byte {
            b'0'..=b'9' => n_digits + 1,
            b'.' => n_digits,
            _ => 0,
        };
        n_digits > DIGITS_OF_A_DOUBLE
    })
}

/// Reads a value; `None` of what is malformed.
pub(super) fn read(text: &str) -> Option<Json> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    reader.rest.trim_start().is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn skip(&mut self, expected: &str) -> Option<()> {
        self.peek()?;
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn value(&mut self) -> Option<Json> {
        match self.peek()? {
            b'{' => {
                let member = |reader: &mut Self| {
                    let key = reader.text()?;
                    reader.skip(":")?;
                    Some((key, reader.value()?))
                };
                self.list(("{", "}"), member).map(Json::Object)
            }
            b'[' => self.list(("[", "]"), Self::value).map(Json::Array),
            b'"' => self.text().map(Json::Text),
            b't' => self.skip("true").map(|()| Json::Bool(true)),
            b'f' => self.skip("false").map(|()| Json::Bool(false)),
            b'n' => self.skip("null").map(|()| Json::Null),
            _ => {
                let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                let length = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
                number(self.take(length)?)
            }
        }
    }

    fn list<T>(
        &mut self,
        (open, close): (&str, &str),
        item: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.skip(open)?;
        let mut items = Vec::new();
        if self.skip(close).is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.skip(",").is_none() {
                self.skip(close)?;
                return Some(items);
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        self.peek().filter(|byte| *byte == b'"')?;
        let mut is_escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        serde_json::from_str(self.take(end + 2)?).ok()
    }
}

/// A number: one of few digits, or with an exponent, as a double is written.
fn number(written: &str) -> Option<Json> {
    let n_digits = written.bytes().filter(u8::is_ascii_digit).count();
    if n_digits <= DIGITS_OF_A_DOUBLE || written.contains(['e', 'E']) {
        return serde_json::from_str(written).ok();
    }
    let written = match written.contains('.') {
        true => written.trim_end_matches('0').trim_end_matches('.'),
        false => written,
    };
    Some(Json::Number(written.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::value::Layout;
    use super::*;

    #[test]
    fn long_numbers_keep_their_digits() {
        let text = r#" {"a" : [12345678901234567.890, -123456789012345678901234, 1.50, "x\"]1234567890123456"],"b":{} , "c":[ ] ,"d":true}"#;
        assert!(may_have(text));
        let read = read(text).unwrap().write(Layout::Compact);
        assert_eq!(
            read,
            r#"{"a":[12345678901234567.89,-123456789012345678901234,1.5,"x\"]1234567890123456"],"b":{},"c":[],"d":true}"#
        );
        assert!(!may_have(r#"{"a": [1234567890, 12345.67890]}"#));
    }
}
