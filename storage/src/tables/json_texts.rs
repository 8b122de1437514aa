//! Objects and lists of JSON lines that a declared column of text holds as they are written.
//!
//! Lines flow in piece by piece; the same lines flow out, with each object or list that is the value of such a column
//! made a string. What is no JSON stays as it is, so that the reader says why.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::error::Result;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::de::IgnoredAny;

/// The lines with strings in place of the objects and lists of some columns.
pub(crate) fn with_texts(
    lines: BoxStream<'static, Result<Bytes>>,
    columns: &Arc<[String]>,
) -> BoxStream<'static, Result<Bytes>> {
    if columns.is_empty() {
        return lines;
    }
    let mut state = Lines::of(columns);
    let lines = lines.map_ok(move |piece| Bytes::from(state.feed(&piece)));
    let is_some = |piece: &Bytes| std::future::ready(!piece.is_empty());
    lines.try_filter(is_some).boxed()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    String,
    /// Behind a backslash in a string.
    Escaped,
}

/// How far the lines were read.
#[derive(Debug)]
struct Lines {
    columns: Arc<[String]>,
    place: Place,
    /// Brackets that are open.
    depth: usize,
    /// Whether the next string is a key of the row.
    is_key: bool,
    /// The last key, as it is written.
    key: Vec<u8>,
    /// Whether the value that comes next is one of the columns.
    is_wanted: bool,
    /// An object or list of these, up to here.
    value: Option<Vec<u8>>,
}

impl Lines {
    fn of(columns: &Arc<[String]>) -> Self {
        Self {
            columns: Arc::clone(columns),
            place: Place::Outside,
            depth: 0,
            is_key: false,
            key: Vec::new(),
            is_wanted: false,
            value: None,
        }
    }

    fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut lines = Vec::with_capacity(piece.len());
        for &byte in piece {
            let is_outside = self.place == Place::Outside;
            if is_outside && matches!(byte, b'{' | b'[') && self.depth == 1 && self.is_wanted {
                self.value = Some(Vec::new());
                self.is_wanted = false;
            }
            match &mut self.value {
                Some(value) => value.push(byte),
                None => lines.push(byte),
            }
            match is_outside {
                true => self.outside(byte),
                false => self.within_string(byte),
            }
            if is_outside
                && matches!(byte, b'}' | b']')
                && self.depth == 1
                && let Some(value) = self.value.take()
            {
                lines.extend(quoted(value));
            }
        }
        lines
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.place = Place::String;
                if self.is_key {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.is_key = self.depth == 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_key = false;
                self.is_wanted = false;
            }
            b':' if self.depth == 1 => {
                self.is_key = false;
                self.is_wanted = self.is_column();
            }
            b',' if self.depth == 1 => {
                self.is_key = true;
                self.is_wanted = false;
            }
            _ => {}
        }
    }

    fn within_string(&mut self, byte: u8) {
        let place = match (self.place, byte) {
            (Place::String, b'\\') => Place::Escaped,
            (Place::String, b'"') => Place::Outside,
            _ => Place::String,
        };
        if self.is_key && place != Place::Outside {
            self.key.push(byte);
        }
        self.place = place;
    }

    /// Whether the last key is the name of a column.
    fn is_column(&self) -> bool {
        let is_named = |key: &str| self.columns.iter().any(|column| column == key);
        match self.key.contains(&b'\\') {
            false => std::str::from_utf8(&self.key).is_ok_and(is_named),
            true => {
                let text = [b"\"", self.key.as_slice(), b"\""].concat();
                serde_json::from_slice::<String>(&text).is_ok_and(|key| is_named(&key))
            }
        }
    }
}

/// A string of the text of a value; the value, if it is no JSON.
fn quoted(value: Vec<u8>) -> Vec<u8> {
    let is_json = serde_json::from_slice::<IgnoredAny>(&value).is_ok();
    let text = std::str::from_utf8(&value).ok().filter(|_| is_json);
    let string = text.and_then(|text| serde_json::to_vec(text).ok());
    string.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_columns_become_strings() {
        let columns: Arc<[String]> = Arc::from(["a".to_owned(), "é\"".to_owned()]);
        for (lines, expected) in [
            (r#"{"a": 1, "b": {"a": [1]}, "c": [{"a": {}}]}"#, ""),
            (
                "{\"b\": 1, \"a\": {\"x\": [\"}\\\"\", 2]} }\n{\"a\":[ ],\"b\":{}}\n",
                "{\"b\": 1, \"a\": \"{\\\"x\\\": [\\\"}\\\\\\\"\\\", 2]}\" }\n{\"a\":\"[ ]\",\"b\":{}}\n",
            ),
            (
                r#"{"\u00e9\"" : {}, "x": "a"}"#,
                r#"{"\u00e9\"" : "{}", "x": "a"}"#,
            ),
            (r#"{"x": "a", "b": [], "a": "{}", "a": null}"#, ""),
            // What is no JSON.
            (r#"{"a": [1,,]}"#, ""),
            (r#"}{"a": [}"#, ""),
        ] {
            let expected = if expected.is_empty() { lines } else { expected };
            for n_bytes in [1, 3, 1000] {
                let mut state = Lines::of(&columns);
                let pieces = lines.as_bytes().chunks(n_bytes);
                let found: Vec<u8> = pieces.flat_map(|piece| state.feed(piece)).collect();
                assert_eq!(String::from_utf8_lossy(&found), expected);
            }
        }
    }
}
