//! `COMMENT ON`.
//!
//! In: a syntax tree; out: one catalog entry with another comment.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Change, Definition, TableShape};
use datafusion::sql::sqlparser::ast::{AlterTableOperation, CommentObject, ObjectName};

use super::{folded, kind_name, name_parts};
use crate::bind::undefined_column;
use crate::error::{Error, Result};
use crate::session::Session;

/// `COMMENT ON`.
pub(super) async fn comment(
    session: &Arc<Session>,
    object_type: CommentObject,
    name: &ObjectName,
    comment: Option<String>,
    text: &str,
) -> Result<String> {
    if matches!(object_type, CommentObject::Column) {
        return comment_column(session, name, comment, text).await;
    }
    if !matches!(
        object_type,
        CommentObject::Table
            | CommentObject::View
            | CommentObject::MaterializedView
            | CommentObject::Sequence
            | CommentObject::Type
            | CommentObject::Schema
    ) {
        return Err(Error::unsupported(format!("COMMENT ON {object_type}")));
    }
    let parts = name_parts(name);
    let catalog = session.engine.catalog.state();
    let entry = if matches!(object_type, CommentObject::Schema) {
        catalog
            .schema(parts.last().map_or("", String::as_str))
            .cloned()
    } else if matches!(object_type, CommentObject::Type) {
        session.enum_entry(&parts)
    } else {
        let (schema, name) = session.lasting_parts(&parts)?;
        catalog.get(&schema, &name).cloned()
    };
    let entry = entry.ok_or_else(|| Error::Undefined {
        kind: match object_type {
            CommentObject::Type => "type",
            _ => "relation",
        },
        name: parts.join("."),
        nearest: None,
        position: None,
    })?;
    session.access().check_owner(&entry)?;
    check_kind(object_type, &entry)?;
    let commit = session.engine.catalog.commit(text, |state| {
        let now = state.by_id(&entry.id).unwrap_or(&entry);
        let comment = comment.clone();
        Ok(vec![Change::Put(CatalogEntry {
            comment,
            ..now.as_ref().clone()
        })])
    });
    commit.await?;
    Ok("COMMENT".to_owned())
}

/// Fails where a statement calls an object what it is not, in the kinds that were not always told apart.
fn check_kind(object_type: CommentObject, entry: &CatalogEntry) -> Result<()> {
    let (expected, is_it) = match object_type {
        CommentObject::Sequence => (
            "sequence",
            matches!(entry.definition, Definition::Sequence(_)),
        ),
        CommentObject::MaterializedView => (
            "materialized view",
            entry.definition.materialized().is_some(),
        ),
        _ => return Ok(()),
    };
    match is_it {
        true => Ok(()),
        false => Err(Error::WrongKind {
            name: entry.name.clone(),
            expected,
            found: kind_name(&entry.definition),
        }),
    }
}

/// `COMMENT ON COLUMN table.column`.
async fn comment_column(
    session: &Arc<Session>,
    name: &ObjectName,
    comment: Option<String>,
    text: &str,
) -> Result<String> {
    let mut parts = name_parts(name);
    let column = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        return Err(Error::invalid(
            "42601",
            "column name must be qualified",
            None,
        ));
    }
    let (schema, relation) = session.lasting_parts(&parts)?;
    let entry = session
        .engine
        .catalog
        .state()
        .get(&schema, &relation)
        .cloned();
    let entry = entry.ok_or_else(|| session.undefined_relation(&schema, &relation))?;
    session.access().check_owner(&entry)?;
    let Definition::Table(table) = &entry.definition else {
        return Err(Error::unsupported(
            "COMMENT ON COLUMN of what is no managed table",
        ));
    };
    if !table.columns.iter().any(|known| known.name == column) {
        return Err(undefined_column(&column, &relation));
    }
    let commit = session.engine.catalog.commit(text, |state| {
        let now = state.by_id(&entry.id).unwrap_or(&entry);
        let mut changed = now.as_ref().clone();
        match &comment {
            Some(comment) => changed
                .column_comments
                .insert(column.clone(), comment.clone()),
            None => changed.column_comments.remove(&column),
        };
        Ok(vec![Change::Put(changed)])
    });
    commit.await?;
    Ok("COMMENT".to_owned())
}

/// Lets the comments on columns follow renames, and go with columns that are no more.
pub(super) fn carry_comments(
    entry: &mut CatalogEntry,
    shape: &TableShape,
    operations: &[AlterTableOperation],
) {
    for operation in operations {
        if let AlterTableOperation::RenameColumn {
            old_column_name,
            new_column_name,
        } = operation
            && let Some(comment) = entry.column_comments.remove(&folded(old_column_name))
        {
            let new = folded(new_column_name);
            entry.column_comments.insert(new, comment);
        }
    }
    let comments = &mut entry.column_comments;
    comments.retain(|column, _| shape.position(column).is_some());
}
