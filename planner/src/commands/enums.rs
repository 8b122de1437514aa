//! `CREATE TYPE … AS ENUM`, `ALTER TYPE`, and the columns that stand on an enum that is dropped.
//!
//! In: a syntax tree; out: one catalog entry. Tables keep labels as texts, so that a label that is added changes no file, and
//! one that rows may hold is renamed in them, too (`enum_labels`).

use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, Change, Definition, DomainType, EnumDefinition, EnumType, Error as StorageError,
};
use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, AlterType, AlterTypeAddValue, AlterTypeAddValuePosition,
    AlterTypeOperation, Ident, ObjectName, UserDefinedTypeRepresentation,
};

use super::alter_table::change_definition;
use super::{enum_labels, folded, name_parts};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// The longest label in bytes, as in PostgreSQL.
const MAX_LABEL: usize = 63;

/// `CREATE TYPE`.
pub(super) async fn create(
    session: &Session,
    name: &ObjectName,
    representation: Option<&UserDefinedTypeRepresentation>,
    text: &str,
) -> Result<String> {
    let Some(UserDefinedTypeRepresentation::Enum { labels: written }) = representation else {
        return Err(unsupported(representation));
    };
    let mut labels = Vec::with_capacity(written.len());
    for ident in written {
        let label = label(ident)?;
        if labels.contains(&label) {
            let message = format!("enum label \"{label}\" used more than once");
            return Err(Error::invalid("42710", message, None));
        }
        labels.push(label);
    }
    let (schema, name) = session.new_type_parts(&name_parts(name))?;
    session.access().check_schema(&schema, "CREATE")?;
    check_free(session, &schema, &name)?;
    let definition = Definition::Enum(EnumDefinition {
        labels,
        array_oid: 0,
    });
    let entry = CatalogEntry::new(&schema, &name, definition);
    let role = session.identity().current();
    let commit = session.engine.catalog.commit(text, |state| {
        Ok(vec![Change::Put(role.own(state, &entry)?)])
    });
    commit.await?;
    Ok("CREATE TYPE".to_owned())
}

/// That there are no types of a kind, with what is there instead.
fn unsupported(representation: Option<&UserDefinedTypeRepresentation>) -> Error {
    let is_composite = matches!(
        representation,
        Some(UserDefinedTypeRepresentation::Composite { .. })
    );
    let (what, hint) = match is_composite {
        true => (
            "CREATE TYPE ... AS (...)",
            "A column of type STRUCT<a INT, b TEXT> holds such rows, as ROW(1, 'x'); each table has a type of its rows.",
        ),
        false => (
            "CREATE TYPE of this kind",
            "CREATE TYPE name AS ENUM ('a', 'b') makes an enum.",
        ),
    };
    Error::Unsupported {
        what: what.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

/// Fails if something has the name that a type is to get.
pub(super) fn check_free(session: &Session, schema: &str, name: &str) -> Result<()> {
    match session.engine.catalog.state().get(schema, name) {
        None => Ok(()),
        Some(_) => Err(taken("type", name)),
    }
}

/// That a relation cannot have the name of a type: its rows would have a type of the same name.
pub(super) fn taken_by_type(name: &str) -> Error {
    let message = format!("type \"{name}\" already exists");
    let hint = "A relation has an associated type of the same name, so you must use a name that doesn't conflict with any existing type.";
    Error::invalid("42710", message, Some(hint))
}

fn taken(what: &str, name: &str) -> Error {
    Error::invalid("42710", format!("{what} \"{name}\" already exists"), None)
}

/// A label as it is written.
fn label(ident: &Ident) -> Result<String> {
    if ident.quote_style != Some('\'') {
        let message = format!("syntax error at or near \"{}\"", ident.value);
        let hint = "Labels stand in single quotes.";
        return Err(Error::invalid("42601", message, Some(hint)));
    }
    if ident.value.len() > MAX_LABEL {
        let message = format!("invalid enum label \"{}\"", ident.value);
        let hint = format!("Labels must be {MAX_LABEL} bytes or less.");
        return Err(Error::invalid("42602", message, Some(&hint)));
    }
    Ok(ident.value.clone())
}

/// `ALTER TYPE`.
pub(super) async fn alter(
    session: &Arc<Session>,
    alter: &AlterType,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "ALTER TYPE";
    let parts = name_parts(&alter.name);
    let entry = session.enum_entry(&parts).ok_or_else(|| Error::Undefined {
        kind: "type",
        name: parts.join("."),
        nearest: None,
        position: None,
    })?;
    session.access().check_owner(&entry)?;
    let mut changed = entry.as_ref().clone();
    let Definition::Enum(definition) = &mut changed.definition else {
        return Err(Error::unsupported("ALTER TYPE of this type"));
    };
    match &alter.operation {
        AlterTypeOperation::Rename(rename) => {
            session.access().check_schema(&entry.schema, "CREATE")?;
            let name = folded(&rename.new_name);
            check_free(session, &entry.schema, &name)?;
            changed.name = name;
        }
        AlterTypeOperation::AddValue(add) => {
            if !add_label(&mut definition.labels, add)? {
                let new = &add.value.value;
                let message = format!("enum label \"{new}\" already exists, skipping");
                control.notify(Notice {
                    sqlstate: "42710",
                    ..Notice::plain(message)
                });
                return Ok(TAG.to_owned());
            }
        }
        AlterTypeOperation::RenameValue(rename) => {
            let (from, to) = (label(&rename.from)?, label(&rename.to)?);
            let place = place_of(&definition.labels, &from)?;
            if definition.labels.contains(&to) {
                return Err(taken("enum label", &to));
            }
            let columns = columns_of(session, &entry.id).await;
            if !columns.is_empty() {
                let (from, to) = (from.as_str(), to.as_str());
                let label = enum_labels::Renamed { from, to };
                let held = columns.as_slice();
                let renaming = enum_labels::rename(session, &entry, held, label, text, control);
                Box::pin(renaming).await?;
                return Ok(TAG.to_owned());
            }
            definition.labels[place] = to;
        }
    }
    let commit = session.engine.catalog.commit(text, |state| {
        match state.by_id(&entry.id) {
            // What another statement changed meanwhile is not undone.
            Some(now) if *now == entry => Ok(vec![Change::Put(changed.clone())]),
            _ => Err(StorageError::Conflict {
                object: format!("type \"{}\"", entry.name),
            }),
        }
    });
    commit.await?;
    Ok(TAG.to_owned())
}

/// Adds a label in its place; `false`: it is there, and nobody minds.
fn add_label(labels: &mut Vec<String>, add: &AlterTypeAddValue) -> Result<bool> {
    let new = label(&add.value)?;
    if labels.contains(&new) {
        return match add.if_not_exists {
            true => Ok(false),
            false => Err(taken("enum label", &new)),
        };
    }
    let place = match &add.position {
        None => labels.len(),
        Some(AlterTypeAddValuePosition::Before(other)) => place_of(labels, &label(other)?)?,
        Some(AlterTypeAddValuePosition::After(other)) => place_of(labels, &label(other)?)? + 1,
    };
    labels.insert(place, new);
    Ok(true)
}

fn place_of(labels: &[String], label: &str) -> Result<usize> {
    let place = labels.iter().position(|known| known == label);
    place.ok_or_else(|| {
        let message = format!("\"{label}\" is not an existing enum label");
        Error::invalid("22023", message, None)
    })
}

/// The columns of managed tables that hold values of an enum or a domain, or of domains made of it, or arrays of labels.
pub(super) async fn columns_of(session: &Session, id: &str) -> Vec<(Arc<CatalogEntry>, String)> {
    let state = session.engine.catalog.state();
    let mut found = Vec::new();
    for table in state.all() {
        if !matches!(table.definition, Definition::Table(_)) {
            continue;
        }
        // A table that cannot be read keeps nobody from anything.
        let Ok(shape) = session.engine.tables.shape(&table.id).await else {
            continue;
        };
        for column in shape.columns() {
            let is_label = EnumType::of_elements(column).is_some_and(|known| known.id == id);
            let domain = shape.domain_of(column);
            let is_of = |known: DomainType| known.levels().any(|level| level.id == id);
            if is_label || domain.is_some_and(is_of) {
                found.push((Arc::clone(table), column.name().clone()));
            }
        }
    }
    found
}

/// The columns of other tables that are of the types that are dropped. Error: there are such, and they shall stay.
pub(super) async fn held_columns(
    session: &Session,
    dropped: &[Arc<CatalogEntry>],
    cascade: bool,
) -> Result<Vec<(Arc<CatalogEntry>, String)>> {
    let mut held = Vec::new();
    for entry in dropped {
        if !matches!(
            entry.definition,
            Definition::Enum(_) | Definition::Domain(_)
        ) {
            continue;
        }
        let mut columns = columns_of(session, &entry.id).await;
        columns.retain(|(table, _)| !dropped.iter().any(|gone| gone.id == table.id));
        // One of a domain over another that goes, too, is met with both.
        columns.retain(|column| !held.contains(column));
        if !cascade && !columns.is_empty() {
            let shown = |(table, column): &(Arc<CatalogEntry>, String)| {
                format!("column {column} of table {}", table.name)
            };
            return Err(Error::Dependents {
                kind: "type",
                name: entry.name.clone(),
                dependents: columns.iter().map(shown).collect(),
            });
        }
        held.extend(columns);
    }
    Ok(held)
}

/// Drops such columns.
pub(super) async fn drop_columns(
    session: &Arc<Session>,
    held: &[(Arc<CatalogEntry>, String)],
    text: &str,
    control: &StatementControl,
) -> Result<()> {
    for (table, column) in held {
        let quoted = |name: &str| Ident::with_quote('"', name);
        let name = ObjectName::from(vec![quoted(&table.schema), quoted(&table.name)]);
        let operations = [AlterTableOperation::DropColumn {
            has_column_keyword: true,
            column_names: vec![quoted(column)],
            if_exists: false,
            drop_behavior: None,
        }];
        let dropping = change_definition(session, (&name, false), &operations, text, control);
        Box::pin(dropping).await?;
        let message = format!("drop cascades to column {column} of table {}", table.name);
        control.notify(Notice::plain(message));
    }
    Ok(())
}
