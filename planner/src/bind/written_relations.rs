//! The name of a relation that is not there as its statement writes it: with its schema, if it has one there.
//!
//! In: an error and the statement; out: the error in PostgreSQL's words. Where names are looked up nobody knows any more
//! whether the schema was written or found.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, CopySource, ObjectName, visit_relations};

use crate::commands::name_parts;
use crate::error::Error;

/// The error with the name that the statement gives the relation; one that it also names without a schema stays.
pub(crate) fn as_written(error: Error, statement: &ast::Statement) -> Error {
    let (name, nearest, position) = match error {
        Error::Undefined {
            kind: "relation",
            name,
            nearest,
            position,
        } => (name, nearest, position),
        other => return other,
    };
    let mut written: Vec<Vec<String>> = Vec::new();
    let mut meet = |relation: &ObjectName| {
        let parts = name_parts(relation);
        if parts.last() == Some(&name) {
            written.push(parts);
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_relations(statement, &mut meet);
    // The parser's walk passes by the table of a COPY.
    if let ast::Statement::Copy {
        source: CopySource::Table { table_name, .. },
        ..
    } = statement
    {
        let _ = meet(table_name);
    }
    let name = match written.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => {
            // A name of three parts begins with the database.
            first[first.len().saturating_sub(2)..].join(".")
        }
        _ => name,
    };
    Error::Undefined {
        kind: "relation",
        name,
        nearest,
        position,
    }
}
