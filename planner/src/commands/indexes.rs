//! `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX … RENAME TO`, which tools send along with their tables.
//!
//! In: the statement; out: of a unique index a unique constraint, or, where none says the same, a key of its own, which a drop
//! takes away again; of any other a NOTICE that nothing was built, since files are left out by the bounds of their columns.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Definition, Key};
use datafusion::sql::sqlparser::ast::{
    self, AlterTableOperation, Ident, KeyOrIndexDisplay, NullsDistinctOption, ObjectName,
    TableConstraint, UniqueConstraint,
};

use super::alter_table::{add_index, change_definition, default_name, index_exists, says_more};
use super::name_parts;
use super::storage_options::check_index_options;
use super::table_keys::named_columns;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

const TAG: &str = "CREATE INDEX";

/// Runs the statement.
pub(super) async fn create(
    session: &Arc<Session>,
    index: &ast::CreateIndex,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (schema, name) = session.relation_parts(&name_parts(&index.table_name))?;
    let Some(table) = session.entry(&schema, &name) else {
        return Err(Error::Undefined {
            kind: "relation",
            name,
            nearest: None,
            position: None,
        });
    };
    session.access().check_owner(&table)?;
    check_index_options(&index.with)?;
    if index.unique {
        return create_unique(session, (index, &table), text, control).await;
    }
    control.notify(Notice {
        hint: Some("OPTIMIZE with ZORDER BY brings rows of like values together.".to_owned()),
        ..Notice::plain(format!(
            "no index was built on \"{}\": files are left out by the bounds of their columns",
            table.name
        ))
    });
    Ok(TAG.to_owned())
}

/// Makes a unique constraint, which is what a unique index promises.
async fn create_unique(
    session: &Arc<Session>,
    (index, table): (&ast::CreateIndex, &CatalogEntry),
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let name = index.name.as_ref().and_then(|name| name_parts(name).pop());
    if says_more(index) {
        let made = create_computed(session, (index, name.as_deref()), text, control);
        return skipped(Box::pin(made).await, index, control);
    }
    let name = match name {
        Some(name) => Some(name),
        None => usual_name(session, index, table).await?,
    };
    let constraint = UniqueConstraint {
        name: name.map(|name| Ident::with_quote('"', name)),
        index_name: None,
        index_type_display: KeyOrIndexDisplay::None,
        index_type: None,
        columns: index.columns.clone(),
        index_options: vec![],
        characteristics: None,
        nulls_distinct: match index.nulls_distinct {
            Some(false) => NullsDistinctOption::NotDistinct,
            _ => NullsDistinctOption::None,
        },
    };
    let operation = AlterTableOperation::AddConstraint {
        constraint: TableConstraint::Unique(constraint),
        not_valid: false,
    };
    let table = (&index.table_name, false);
    let change = change_definition(
        session,
        table,
        std::slice::from_ref(&operation),
        text,
        control,
    );
    skipped(Box::pin(change).await, index, control)
}

/// The name that an index gets which has none; `None`: it is none that can be made.
async fn usual_name(
    session: &Session,
    index: &ast::CreateIndex,
    table: &CatalogEntry,
) -> Result<Option<String>> {
    if !matches!(table.definition, Definition::Table(_)) {
        return Ok(None);
    }
    let shape = session.seen_shape(&table.id).await?;
    let key = Key {
        columns: named_columns(&index.columns, None)?,
        ..Key::default()
    };
    default_name(&shape, &key, &table.name).map(Some)
}

/// Makes an index that no constraint stands for: over expressions, or of the rows for which a condition is true.
async fn create_computed(
    session: &Arc<Session>,
    (index, name): (&ast::CreateIndex, Option<&str>),
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (schema, _) = session.relation_parts(&name_parts(&index.table_name))?;
    if let Some(name) = name
        && (session.entry(&schema, name).is_some() || keyed(session, &schema, name).await.is_some())
    {
        return Err(index_exists(name));
    }
    add_index(session, index, text, control).await
}

/// The tag of an index that was made, or is there already where the statement allows that.
fn skipped(
    made: Result<String>,
    index: &ast::CreateIndex,
    control: &StatementControl,
) -> Result<String> {
    match made {
        Ok(_) => Ok(TAG.to_owned()),
        Err(Error::Invalid {
            sqlstate: "42710" | "42P07",
            message,
            ..
        }) if index.if_not_exists => {
            control.notify(Notice::plain(format!("{message}, skipping")));
            Ok(TAG.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// What `CONCURRENTLY` demands of a `DROP INDEX`, which waits for nobody here anyway.
pub(super) fn check_concurrent(
    session: &Session,
    names: &[ObjectName],
    cascade: bool,
) -> Result<()> {
    const VERB: &str = "DROP INDEX CONCURRENTLY";
    let refuse = |what: &str| {
        let message = format!("{VERB} does not support {what}");
        Err(Error::invalid("0A000", message, None))
    };
    if names.len() > 1 {
        return refuse("dropping multiple objects");
    }
    if cascade {
        return refuse("CASCADE");
    }
    session.refuse_in_block(VERB)
}

/// `DROP INDEX`.
pub(super) async fn drop(
    session: &Arc<Session>,
    names: &[ObjectName],
    if_exists: bool,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    for name in names {
        let (schema, index) = session.object_parts(&name_parts(name))?;
        let Some((table, key)) = keyed(session, &schema, &index).await else {
            let message = match if_exists {
                true => format!("index \"{index}\" does not exist, skipping"),
                false => format!("no index \"{index}\" was built, nothing is dropped"),
            };
            control.notify(Notice::plain(message));
            continue;
        };
        if key.is_primary {
            let message = format!(
                "cannot drop index {index} because constraint {index} on table {} requires it",
                table.name
            );
            let hint = "ALTER TABLE ... DROP CONSTRAINT drops the constraint.";
            return Err(Error::invalid("2BP01", message, Some(hint)));
        }
        let operation = AlterTableOperation::DropConstraint {
            if_exists: false,
            name: Ident::with_quote('"', index),
            drop_behavior: None,
        };
        let place = place_of(&table);
        let operations = std::slice::from_ref(&operation);
        let change = change_definition(session, (&place, false), operations, text, control);
        Box::pin(change).await?;
    }
    Ok("DROP INDEX".to_owned())
}

/// `ALTER INDEX … RENAME TO`: gives a unique constraint another name.
pub(super) async fn rename(
    session: &Arc<Session>,
    name: &ObjectName,
    to: &ObjectName,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "ALTER INDEX";
    let (schema, index) = session.object_parts(&name_parts(name))?;
    let Some((table, _)) = keyed(session, &schema, &index).await else {
        let message = format!("no index \"{index}\" was built, nothing is renamed");
        control.notify(Notice::plain(message));
        return Ok(TAG.to_owned());
    };
    let new = name_parts(to).pop().unwrap_or_default();
    let operation = AlterTableOperation::RenameConstraint {
        old_name: Ident::with_quote('"', index),
        new_name: Ident::with_quote('"', new),
    };
    let place = place_of(&table);
    let operations = std::slice::from_ref(&operation);
    let change = change_definition(session, (&place, false), operations, text, control);
    Box::pin(change).await?;
    Ok(TAG.to_owned())
}

/// A table's name as statements write it.
fn place_of(table: &CatalogEntry) -> ObjectName {
    let parts = [&table.schema, &table.name].map(|part| Ident::with_quote('"', part.as_str()));
    ObjectName::from(parts.to_vec())
}

/// The table of a schema that has a key of a name.
async fn keyed(session: &Session, schema: &str, name: &str) -> Option<(Arc<CatalogEntry>, Key)> {
    let state = session.seen_catalog();
    for table in state.entries(schema) {
        if !matches!(table.definition, Definition::Table(_)) {
            continue;
        }
        // A table that cannot be read has no key to drop.
        let Ok(shape) = session.seen_shape(&table.id).await else {
            continue;
        };
        let key = shape.keys().into_iter().find(|key| key.name == name);
        if let Some(key) = key {
            return Some((Arc::clone(table), key));
        }
    }
    None
}
