//! Columns of Avro files that are uuids, of which the library tells that they are sixteen bytes.
//!
//! A file and its columns flow in; the columns with a note of those that are uuids flow out (see `uuid_columns`). The
//! header of a file is read for that, if it has a column of so many bytes at all.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;

use crate::tables::avro_watch::{MAGIC, SCHEMA_KEY, number};
use crate::tables::uuid_columns::{may_hold, with_notes};

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
            Some(written) => return Ok(with_notes(schema, |column| holds_uuids(&written, column))),
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

fn holds_uuids(written: &Value, column: &str) -> bool {
    let fields = written["fields"].as_array();
    let mut fields = fields.into_iter().flatten();
    let field = fields.find(|field| field["name"] == column);
    field.is_some_and(|field| is_uuid(&field["type"], written))
}

/// Whether a type is that of uuids, or a union of it and null, in a schema.
fn is_uuid(found: &Value, written: &Value) -> bool {
    match found {
        Value::Array(branches) => branches.iter().any(|branch| is_uuid(branch, written)),
        // A schema defines a type of sixteen bytes once, and names it where it uses it again.
        Value::String(name) => defines_uuid(written, last_part(name)),
        found => found["logicalType"] == UUID,
    }
}

/// Whether a part of a schema defines uuids under a name.
fn defines_uuid(part: &Value, name: &str) -> bool {
    match part {
        Value::Array(parts) => parts.iter().any(|part| defines_uuid(part, name)),
        Value::Object(parts) => {
            let is_it =
                part["logicalType"] == UUID && part["name"].as_str().map(last_part) == Some(name);
            is_it || parts.values().any(|part| defines_uuid(part, name))
        }
        _ => false,
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
            assert_eq!(holds_uuids(&found, column), expected, "{column}");
        }
        for length in 0..bytes.len() - 1 {
            assert_eq!(written_schema(&bytes[..length]), None, "{length}");
        }
    }
}
