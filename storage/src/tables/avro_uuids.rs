//! Columns of Avro files that are uuids, of which the library tells that they are sixteen bytes.
//!
//! A file and its columns flow in; the columns with a note of those that are uuids flow out (see `uuid_columns`). The
//! header of a file is read for that, if it has a column of so many bytes at all.

use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::error::Result;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;

use crate::tables::avro_watch::{MAGIC, SCHEMA_KEY, number};
use crate::tables::uuid_columns::{BYTES, may_hold, with_notes};

/// How much of a file is read for its header at first; longer ones are rare.
const HEADER_BYTES: u64 = 64 << 10;
/// What a schema calls uuids.
const UUID: &str = "uuid";

/// The columns of a file with a note of those that are uuids.
///
/// Errors: of the store.
pub(crate) async fn of_avro(
    schema: SchemaRef,
    store: &dyn ObjectStore,
    file: &ObjectMeta,
) -> Result<SchemaRef> {
    if !may_hold(&schema) {
        return Ok(schema);
    }
    let mut n_bytes = HEADER_BYTES;
    loop {
        let some = 0..n_bytes.min(file.size);
        let bytes = store.get_range(&file.location, some).await?;
        match written_schema(&bytes) {
            Some(written) => {
                let is_uuid = |path: &[&str], field: &Field| {
                    *field.data_type() == BYTES && holds_uuids(&written, path)
                };
                return Ok(with_notes(schema, is_uuid));
            }
            None if n_bytes >= file.size => return Ok(schema),
            None => n_bytes = n_bytes.saturating_mul(16),
        }
    }
}

/// The schema in a header; `None`: it ends behind these bytes.
fn written_schema(mut bytes: &[u8]) -> Option<Value> {
    bytes = bytes.strip_prefix(MAGIC)?;
    loop {
        let mut n_entries = number(&mut bytes)?;
        if n_entries == 0 {
            return None;
        }
        // A negative count is followed by the size of the entries.
        if n_entries < 0 {
            n_entries = n_entries.checked_neg()?;
            number(&mut bytes)?;
        }
        for _ in 0..n_entries {
            let (key, value) = (part(&mut bytes)?, part(&mut bytes)?);
            if key == SCHEMA_KEY {
                return serde_json::from_slice(value).ok();
            }
        }
    }
}

/// Bytes behind their number.
fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n_bytes = usize::try_from(number(bytes)?).ok()?;
    let (part, rest) = bytes.split_at_checked(n_bytes)?;
    *bytes = rest;
    Some(part)
}

/// Whether the values are uuids to which names of a schema's columns and of fields within them lead.
fn holds_uuids(written: &Value, path: &[&str]) -> bool {
    end_of(written, written, path).is_some_and(|found| found["logicalType"] == UUID)
}

/// The type at the end of a path from another one; what is a list or a map has names of the reader's own within.
fn end_of<'a>(found: &'a Value, written: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let found = match found {
        // A union with null is its other branch; one of several types is none that the reader has such names within.
        Value::Array(branches) => {
            let mut branches = branches.iter().filter(|branch| *branch != "null");
            let only = branches.next()?;
            return match branches.next() {
                None => end_of(only, written, path),
                Some(_) => None,
            };
        }
        // A schema defines a type of a name once, and names it where it uses it again.
        Value::String(name) => match definition(written, last_part(name)) {
            Some(definition) => definition,
            None => return path.is_empty().then_some(found),
        },
        found => found,
    };
    let kind = found["type"].as_str();
    match (kind, path) {
        (_, []) => Some(found),
        (Some("array"), [_, rest @ ..]) => end_of(&found["items"], written, rest),
        (Some("map"), [_, part, rest @ ..]) => match *part {
            "key" | "keys" => None,
            _ => end_of(&found["values"], written, rest),
        },
        (Some("record" | "error"), [name, rest @ ..]) => {
            let mut fields = found["fields"].as_array()?.iter();
            let field = fields.find(|field| field["name"] == *name)?;
            end_of(&field["type"], written, rest)
        }
        (None, path) if !found["type"].is_null() => end_of(&found["type"], written, path),
        _ => None,
    }
}

/// What a part of a schema defines under a name.
fn definition<'a>(part: &'a Value, name: &str) -> Option<&'a Value> {
    match part {
        Value::Array(parts) => parts.iter().find_map(|part| definition(part, name)),
        Value::Object(parts) => {
            let is_named = part["name"].as_str().map(last_part) == Some(name);
            let is_type = ["fixed", "record", "error", "enum"]
                .iter()
                .any(|kind| part["type"] == *kind);
            if is_named && is_type {
                return Some(part);
            }
            parts.values().find_map(|part| definition(part, name))
        }
        _ => None,
    }
}

/// A name without its namespace.
fn last_part(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A header of two entries, in a block that tells its size.
    fn header(schema: &Value) -> Vec<u8> {
        let schema = schema.to_string();
        let mut bytes = MAGIC.to_vec();
        bytes.extend([3, 0, 2, b'k', 2, b'v', 22]);
        bytes.extend(SCHEMA_KEY);
        bytes.extend([
            ((schema.len() * 2) & 0x7f) as u8 | 0x80,
            (schema.len() >> 6) as u8,
        ]);
        bytes.extend(schema.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn headers_tell_which_columns_are_uuids() {
        let text = json!({"type": "string", "logicalType": "uuid"});
        let fixed = json!({"type": "fixed", "size": 16, "name": "u", "logicalType": "uuid"});
        let written = json!({"type": "record", "name": "r", "fields": [
            {"name": "id", "type": text},
            {"name": "parent", "type": ["null", text]},
            {"name": "fixed", "type": fixed},
            {"name": "again", "type": "u"},
            {"name": "nullable", "type": ["null", "space.u"]},
            {"name": "raw", "type": {"type": "fixed", "size": 16, "name": "f"}},
            {"name": "raw again", "type": "f"},
            {"name": "text", "type": "string"},
        ]});
        let bytes = header(&written);
        let found = written_schema(&bytes).unwrap();
        assert_eq!(found, written);
        for (column, expected) in [
            ("id", true),
            ("parent", true),
            ("fixed", true),
            ("again", true),
            ("nullable", true),
            ("raw", false),
            ("raw again", false),
            ("text", false),
            ("none", false),
        ] {
            assert_eq!(holds_uuids(&found, &[column]), expected, "{column}");
        }
        for length in 0..bytes.len() - 1 {
            assert_eq!(written_schema(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn uuids_are_found_within_columns() {
        let text = json!({"type": "string", "logicalType": "uuid"});
        let fixed = json!({"type": "fixed", "size": 16, "name": "u", "logicalType": "uuid"});
        let record = json!({"type": "record", "name": "p", "fields": [
            {"name": "id", "type": fixed},
            {"name": "u", "type": "long"},
        ]});
        let written = json!({"type": "record", "name": "r", "fields": [
            {"name": "l", "type": {"type": "array", "items": ["null", text]}},
            {"name": "m", "type": ["null", {"type": "map", "values": text}]},
            {"name": "r", "type": record},
            {"name": "all", "type": {"type": "array", "items": "space.p"}},
            {"name": "any", "type": ["null", "int", text]},
        ]});
        for (path, expected) in [
            (&["l", "item"][..], true),
            (&["m", "entries", "value"], true),
            (&["m", "entries", "key"], false),
            (&["r", "id"], true),
            (&["r", "u"], false),
            (&["all", "element", "id"], true),
            (&["all", "element", "none"], false),
            (&["any"], false),
        ] {
            assert_eq!(holds_uuids(&written, path), expected, "{path:?}");
        }
    }
}
