//! A json value that keeps the order of its keys.
//!
//! In: text; out: text, in the forms of PostgreSQL's `json` and `jsonb`. Numbers are doubles but for those of more digits
//! (`exact`).

use std::cmp::Ordering;
use std::fmt::{Formatter, Write as _};

use datafusion::error::Result;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::call::failure;
use super::exact;

/// A json value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// The digits as they are written.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `{"a":1,"b":2}`
    Compact,
    /// `{"a": 1, "b": 2}`
    Spaced,
    /// One member a line.
    Pretty,
}

impl Json {
    /// Reads a value.
    pub(super) fn read(text: &str) -> Result<Json> {
        let read: Json = serde_json::from_str(text).map_err(|error| {
            let message = "invalid input syntax for type json".to_owned();
            let detail = error.to_string();
            failure("22P02", format!("{message}: {detail}"))
        })?;
        let exact = exact::may_have(text).then(|| exact::read(text)).flatten();
        Ok(exact.unwrap_or(read))
    }

    /// The same value as `jsonb` keeps it: each key once, shorter keys first.
    pub(super) fn normalized(self) -> Json {
        match self {
            Json::Array(items) => Json::Array(items.into_iter().map(Json::normalized).collect()),
            Json::Object(members) => {
                let members = members.into_iter();
                let mut kept: Vec<(String, Json)> = members
                    .map(|(key, value)| (key, value.normalized()))
                    .collect();
                kept.sort_by(|(a, _), (b, _)| compare_keys(a, b));
                // Of members of one name, which stand as they came, the last one counts.
                kept.dedup_by(|later, earlier| {
                    let is_same = later.0 == earlier.0;
                    if is_same {
                        std::mem::swap(later, earlier);
                    }
                    is_same
                });
                Json::Object(kept)
            }
            other => other,
        }
    }

    /// Whether a text or a key in it has a zero byte.
    pub(super) fn has_zero(&self) -> bool {
        match self {
            Json::Null | Json::Bool(_) | Json::Number(_) => false,
            Json::Text(text) => text.contains('\0'),
            Json::Array(items) => items.iter().any(Json::has_zero),
            Json::Object(members) => {
                let mut members = members.iter();
                members.any(|(key, value)| key.contains('\0') || value.has_zero())
            }
        }
    }

    /// The value of a key; of several, the last.
    pub(super) fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => {
                let found = members.iter().rev().find(|(name, _)| name == key);
                found.map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The element at a place; negative ones count from the end.
    pub(super) fn element(&self, place: i64) -> Option<&Json> {
        match self {
            Json::Array(items) => items.get(index(place, items.len())?),
            _ => None,
        }
    }

    /// The same of `jsonb`, in which a plain value is the only element of itself.
    pub(super) fn item(&self, place: i64) -> Option<&Json> {
        match self {
            Json::Array(_) | Json::Object(_) => self.element(place),
            plain => matches!(place, 0 | -1).then_some(plain),
        }
    }

    /// The value at the end of a path of keys and places.
    pub(super) fn at_path<'a>(&'a self, path: &[String]) -> Option<&'a Json> {
        path.iter().try_fold(self, |value, step| match value {
            Json::Array(_) => value.element(step.parse().ok()?),
            _ => value.member(step),
        })
    }

    /// Whether `part` is in this value, as `@>` says: an array holds a plain value, though a plain value is no array, but
    /// only at the top.
    pub(super) fn contains(&self, part: &Json) -> bool {
        match (self, part) {
            (_, Json::Object(_) | Json::Array(_)) => self.covers(part),
            (Json::Array(items), plain) => items.iter().any(|item| item.covers(plain)),
            _ => self.covers(part),
        }
    }

    /// Whether `part` is in this value, both of one kind.
    fn covers(&self, part: &Json) -> bool {
        match (self, part) {
            (Json::Object(members), Json::Object(parts)) => parts.iter().all(|(key, part)| {
                let same = |(name, value): &(String, Json)| name == key && value.covers(part);
                members.iter().any(same)
            }),
            (Json::Array(items), Json::Array(parts)) => parts
                .iter()
                .all(|part| items.iter().any(|item| item.covers(part))),
            (Json::Number(a), Json::Number(b)) => {
                // What a double cannot tell apart is the same only digit by digit.
                let is_exact = exact::may_have(a) && exact::may_have(b);
                a == b || !is_exact && a.parse::<f64>().ok() == b.parse::<f64>().ok()
            }
            (a, b) => a == b,
        }
    }

    /// Whether a text is a key of an object, or an element of an array, or the text itself.
    pub(super) fn has(&self, key: &str) -> bool {
        match self {
            Json::Object(_) => self.member(key).is_some(),
            Json::Array(items) => items
                .iter()
                .any(|item| matches!(item, Json::Text(text) if text == key)),
            Json::Text(text) => text == key,
            _ => false,
        }
    }

    /// The name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::Text(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// As text: a string without its quotes; `None` for null.
    pub(super) fn plain(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::Text(text) => Some(text.clone()),
            other => Some(other.write(Layout::Spaced)),
        }
    }

    /// The text of the value.
    pub(super) fn write(&self, layout: Layout) -> String {
        let mut out = String::new();
        self.put(layout, 0, &mut out);
        out
    }

    fn put(&self, layout: Layout, depth: usize, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => out.push_str(&quoted(text)),
            Json::Array(items) => {
                let put = |item: &Json, out: &mut String| item.put(layout, depth + 1, out);
                list(('[', ']'), items, layout, depth, out, put);
            }
            Json::Object(members) => {
                let put = |(key, value): &(String, Json), out: &mut String| {
                    let colon = if layout == Layout::Compact { ":" } else { ": " };
                    // Writing to a text cannot fail.
                    let _ = write!(out, "{}{colon}", quoted(key));
                    value.put(layout, depth + 1, out);
                };
                list(('{', '}'), members, layout, depth, out, put);
            }
        }
    }
}

fn list<T>(
    (open, close): (char, char),
    items: &[T],
    layout: Layout,
    depth: usize,
    out: &mut String,
    put: impl Fn(&T, &mut String),
) {
    let new_line = |depth: usize, out: &mut String| {
        if layout == Layout::Pretty {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        }
    };
    out.push(open);
    for (idx, item) in items.iter().enumerate() {
        if idx > 0 {
            out.push_str(if layout == Layout::Spaced { ", " } else { "," });
        }
        new_line(depth + 1, out);
        put(item, out);
    }
    new_line(depth, out);
    out.push(close);
}

/// A place counted from the front, if there is one.
pub(super) fn index(place: i64, length: usize) -> Option<usize> {
    let place = match place {
        place if place < 0 => place.checked_add(i64::try_from(length).ok()?)?,
        place => place,
    };
    usize::try_from(place).ok()
}

/// The order of keys in `jsonb`: by length, then by bytes.
pub(super) fn compare_keys(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// A json string with its quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("a json value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Json, E> {
        Ok(Json::Number(serde_json::Value::from(value).to_string()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_has_lines_of_its_own_as_in_postgresql() {
        let pretty = |text: &str| Json::read(text).unwrap().write(Layout::Pretty);
        assert_eq!(pretty("[]"), "[\n]");
        let text = r#"{"a":{},"b":[[]]}"#;
        let expected = "{\n    \"a\": {\n    },\n    \"b\": [\n        [\n        ]\n    ]\n}";
        assert_eq!(pretty(text), expected);
    }

    #[test]
    fn jsonb_has_each_key_once_and_json_keeps_the_order() {
        let text = r#"{"bb":1, "a":[1,2.50,"x"], "a":{"c":null}}"#;
        let value = Json::read(text).unwrap();
        assert_eq!(
            value.write(Layout::Compact),
            r#"{"bb":1,"a":[1,2.5,"x"],"a":{"c":null}}"#
        );
        let normal = value.normalized().write(Layout::Spaced);
        assert_eq!(normal, r#"{"a": {"c": null}, "bb": 1}"#);
        assert!(Json::read("{a: 1}").is_err());
        assert!(Json::read(&"[".repeat(100_000)).is_err());
    }
}
