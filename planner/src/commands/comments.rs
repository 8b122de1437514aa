//! `COMMENT ON`.
//!
//! In: a syntax tree; out: one entry of the catalog, or of the session, with another comment.

use std::sync::Arc;

use auspex_sql::ConstraintComment;
use auspex_storage::{CatalogEntry, Definition, TableShape, quoted_name};
use datafusion::sql::sqlparser::ast::{AlterTableOperation, CommentObject, ObjectName};

use super::alter_table::put;
use super::{folded, kind_name, name_parts, roles};
use crate::bind::{bind_query, undefined_column};
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
    if matches!(object_type, CommentObject::Role) {
        let role = name_parts(name).pop().unwrap_or_default();
        return roles::describe(session, &role, comment.as_deref(), text).await;
    }
    if !matches!(
        object_type,
        CommentObject::Table
            | CommentObject::View
            | CommentObject::MaterializedView
            | CommentObject::Sequence
            | CommentObject::Type
            | CommentObject::Domain
            | CommentObject::Schema
    ) {
        return Err(Error::unsupported(format!("COMMENT ON {object_type}")));
    }
    let parts = name_parts(name);
    let catalog = session.seen_catalog();
    let entry = if matches!(object_type, CommentObject::Schema) {
        catalog
            .schema(parts.last().map_or("", String::as_str))
            .cloned()
    } else if matches!(object_type, CommentObject::Type | CommentObject::Domain) {
        session.type_entry(&parts)
    } else {
        let (schema, name) = session.relation_parts(&parts)?;
        session.entry(&schema, &name)
    };
    let entry = entry.ok_or_else(|| Error::Undefined {
        kind: match object_type {
            CommentObject::Type | CommentObject::Domain => "type",
            _ => "relation",
        },
        name: parts.join("."),
        nearest: None,
        position: None,
    })?;
    session.access().check_owner(&entry)?;
    check_kind(object_type, &entry)?;
    let describe = move |entry: &mut CatalogEntry| entry.comment.clone_from(&comment);
    put(session, &entry, text, describe).await?;
    Ok("COMMENT".to_owned())
}

/// Fails where a statement calls an object what it is not, in the kinds that were not always told apart.
fn check_kind(object_type: CommentObject, entry: &CatalogEntry) -> Result<()> {
    let (expected, is_it) = match object_type {
        CommentObject::Sequence => (
            "sequence",
            matches!(entry.definition, Definition::Sequence(_)),
        ),
        CommentObject::Domain => ("domain", matches!(entry.definition, Definition::Domain(_))),
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
    let (schema, relation) = session.relation_parts(&parts)?;
    let entry = session.entry(&schema, &relation);
    let entry = entry.ok_or_else(|| session.undefined_relation(&schema, &relation))?;
    session.access().check_owner(&entry)?;
    let of_view = match &entry.definition {
        Definition::Table(table) => {
            if !table.columns.iter().any(|known| known.name == column) {
                return Err(undefined_column(&column, &relation));
            }
            Vec::new()
        }
        Definition::View(_) | Definition::ExternalTable(_) => {
            let columns = columns_of(session, &entry).await?;
            if !columns.contains(&column) {
                return Err(undefined_column(&column, &relation));
            }
            columns
        }
        _ => {
            let what = "COMMENT ON COLUMN of what is no table or view";
            return Err(Error::unsupported(what));
        }
    };
    let describe = move |entry: &mut CatalogEntry| {
        let comments = &mut entry.column_comments;
        match &comment {
            Some(comment) => comments.insert(column.clone(), comment.clone()),
            None => comments.remove(&column),
        };
        entry.commented_columns.clone_from(&of_view);
    };
    put(session, &entry, text, describe).await?;
    Ok("COMMENT".to_owned())
}

/// `COMMENT ON CONSTRAINT`.
pub(super) async fn comment_constraint(
    session: &Session,
    statement: &ConstraintComment,
    text: &str,
) -> Result<String> {
    let parts = &statement.owner.parts;
    let entry = match statement.is_of_domain {
        true => session
            .domain_entry(parts)
            .ok_or_else(|| Error::Undefined {
                kind: "type",
                name: parts.join("."),
                nearest: None,
                position: None,
            })?,
        false => {
            let (schema, relation) = session.relation_parts(parts)?;
            let entry = session.entry(&schema, &relation);
            entry.ok_or_else(|| session.undefined_relation(&schema, &relation))?
        }
    };
    session.access().check_owner(&entry)?;
    let name = &statement.constraint.value;
    if !constraints_of(session, &entry).await?.contains(name) {
        let kind = if statement.is_of_domain {
            "domain"
        } else {
            "table"
        };
        let owner = &entry.name;
        let message = format!("constraint \"{name}\" for {kind} \"{owner}\" does not exist");
        return Err(Error::invalid("42704", message, None));
    }
    let (name, comment) = (name.clone(), statement.comment.clone());
    let describe = move |entry: &mut CatalogEntry| {
        let comments = &mut entry.constraint_comments;
        match &comment {
            Some(comment) => comments.insert(name.clone(), comment.clone()),
            None => comments.remove(&name),
        };
    };
    put(session, &entry, text, describe).await?;
    Ok("COMMENT".to_owned())
}

/// The names of the constraints of a table or a domain.
async fn constraints_of(session: &Session, entry: &CatalogEntry) -> Result<Vec<String>> {
    Ok(match &entry.definition {
        Definition::Domain(definition) => definition.checks.keys().cloned().collect(),
        Definition::Table(_) => names_of_constraints(&session.seen_shape(&entry.id).await?),
        _ => Vec::new(),
    })
}

fn names_of_constraints(shape: &TableShape) -> Vec<String> {
    let checks = shape.checks().into_keys();
    let keys = shape.keys().into_iter().map(|key| key.name);
    let references = shape.references().into_iter();
    let references = references.map(|reference| reference.name);
    checks.chain(keys).chain(references).collect()
}

/// Lets a comment follow a constraint that gets another name.
pub(super) fn rename_constraint(entry: &mut CatalogEntry, from: &str, to: &str) {
    if let Some(comment) = entry.constraint_comments.remove(from) {
        entry.constraint_comments.insert(to.to_owned(), comment);
    }
}

/// The names of a relation's columns, whose definition does not tell them.
async fn columns_of(session: &Arc<Session>, entry: &CatalogEntry) -> Result<Vec<String>> {
    let (schema, name) = (quoted_name(&entry.schema), quoted_name(&entry.name));
    let query = format!("SELECT * FROM {schema}.{name}");
    let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres)?;
    let bound = Box::pin(bind_query(session, *query, session.state(None))).await?;
    let fields = bound.plan.schema().fields().iter();
    Ok(fields.map(|field| field.name().clone()).collect())
}

/// Lets the comments on columns and constraints follow renames, and go with what is no more.
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
    for operation in operations {
        if let AlterTableOperation::RenameConstraint { old_name, new_name } = operation {
            rename_constraint(entry, &folded(old_name), &folded(new_name));
        }
    }
    let comments = &mut entry.column_comments;
    comments.retain(|column, _| shape.position(column).is_some());
    let constraints = names_of_constraints(shape);
    let comments = &mut entry.constraint_comments;
    comments.retain(|constraint, _| constraints.contains(constraint));
}
