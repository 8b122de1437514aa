//! `COMMENT ON`.
//!
//! In: a syntax tree; out: one catalog entry with another comment.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Change};
use datafusion::sql::sqlparser::ast::{CommentObject, ObjectName};

use super::name_parts;
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
    if !matches!(
        object_type,
        CommentObject::Table | CommentObject::View | CommentObject::Schema
    ) {
        return Err(Error::unsupported(format!("COMMENT ON {object_type}")));
    }
    let parts = name_parts(name);
    let catalog = session.engine.catalog.state();
    let entry = if matches!(object_type, CommentObject::Schema) {
        catalog
            .schema(parts.last().map_or("", String::as_str))
            .cloned()
    } else {
        let (schema, name) = session.lasting_parts(&parts)?;
        catalog.get(&schema, &name).cloned()
    };
    let entry = entry.ok_or_else(|| Error::Undefined {
        kind: "relation",
        name: parts.join("."),
        nearest: None,
        position: None,
    })?;
    session.access().check_owner(&entry)?;
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
