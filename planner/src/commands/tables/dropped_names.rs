//! What messages of `DROP` call objects.
//!
//! In: the kind and the name that a statement gives; out: PostgreSQL's words for them.

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectType};

use crate::commands::name_parts;
use crate::error::Error;

/// What PostgreSQL calls the objects of a kind.
pub(super) fn kind(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Schema => "schema",
        ObjectType::Type => "type",
        ObjectType::View => "view",
        ObjectType::MaterializedView => "materialized view",
        ObjectType::Sequence => "sequence",
        _ => "table",
    }
}

/// The error that there is no such object. As in PostgreSQL, types alone are told with their schema.
pub(super) fn undefined(object_type: ObjectType, name: &ObjectName) -> Error {
    let mut parts = name_parts(name);
    if object_type != ObjectType::Type {
        parts.drain(..parts.len().saturating_sub(1));
    }
    Error::Undefined {
        kind: kind(object_type),
        name: parts.join("."),
        nearest: None,
        position: None,
    }
}
