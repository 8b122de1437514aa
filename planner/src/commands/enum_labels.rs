//! `ALTER TYPE … RENAME VALUE` of a label that rows may hold.
//!
//! In: an enum and the columns that are of it; out: rows with the new label, a commit a table. Tables keep labels as texts,
//! and commits of several tables cannot be one: so the new label comes first, the rows follow, and the old label goes last.
//! What fails in between leaves both labels.

use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, Change, Definition, EnumType, Error as StorageError, TableShape,
};
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, Ident, ObjectName,
};

use super::alter_table::change_definition;
use crate::bind::{Change as RowChange, parse_expr};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::StatementControl;

/// The old and the new label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renamed<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// Renames a label that columns of tables may hold.
pub(super) async fn rename(
    session: &Arc<Session>,
    entry: &CatalogEntry,
    columns: &[(Arc<CatalogEntry>, String)],
    label: Renamed<'_>,
    text: &str,
    control: &StatementControl,
) -> Result<()> {
    session.refuse_in_block("ALTER TYPE ... RENAME VALUE of a label that rows may hold")?;
    let mut shapes = Vec::with_capacity(columns.len());
    for (table, _) in columns {
        session.access().check_owner(table)?;
        let shape = session.engine.tables.shape(&table.id).await?;
        check_unnamed(session, (entry, table), &shape, label.from)?;
        shapes.push(shape);
    }
    put_labels(session, &entry.id, text, |labels| {
        let place = labels.iter().position(|known| known == label.from);
        let place = place.map_or(labels.len(), |place| place + 1);
        labels.insert(place, label.to.to_owned());
    })
    .await?;
    for ((table, column), shape) in columns.iter().zip(&shapes) {
        set_default(session, (table, column), shape, label, text, control).await?;
        relabel(session, entry, (table, column), shape, label, control).await?;
    }
    put_labels(session, &entry.id, text, |labels| {
        labels.retain(|known| known != label.from);
    })
    .await?;
    // Rows that came while the others were changed.
    for ((table, column), shape) in columns.iter().zip(&shapes) {
        relabel(session, entry, (table, column), shape, label, control).await?;
    }
    Ok(())
}

/// Fails where a text that is kept names a label: it would not be one any more.
fn check_unnamed(
    session: &Session,
    (entry, table): (&CatalogEntry, &CatalogEntry),
    shape: &TableShape,
    label: &str,
) -> Result<()> {
    let refused = |what: String| {
        let message = format!("cannot rename enum label \"{label}\" because {what}");
        let hint = "Drop that first, and make it anew with the new label.";
        Err(Error::invalid("0A000", message, Some(hint)))
    };
    let name = &table.name;
    if table.definition.materialized().is_some() {
        return refused(format!("materialized view \"{name}\" may hold it"));
    }
    let written = literal(label);
    let mut checks = shape.checks().into_iter();
    if let Some((check, _)) = checks.find(|(_, text)| text.contains(&written)) {
        return refused(format!("check \"{check}\" of table \"{name}\" names it"));
    }
    for field in shape.columns() {
        let known = EnumType::of_elements(field);
        let is_held = known.is_some_and(|known| known.id == entry.id);
        let default = shape.default_of(field).filter(|_| is_held);
        // One that is the label alone becomes the new one.
        let in_default = default.is_some_and(|text| text != written && text.contains(label));
        let generated = shape.generated_of(field);
        if in_default || generated.is_some_and(|text| text.contains(&written)) {
            let field = field.name();
            return refused(format!("column \"{field}\" of table \"{name}\" names it"));
        }
    }
    let state = session.engine.catalog.state();
    let names_it = |view: &&Arc<CatalogEntry>| {
        let query = view.definition.stored_query();
        query.is_some_and(|query| {
            let mut objects = query.objects.iter();
            let stands_on = objects.any(|known| known.id == table.id || known.id == entry.id);
            stands_on && query.text.contains(&written)
        })
    };
    match state.all().find(names_it) {
        Some(view) => refused(format!("view \"{}\" names it", view.name)),
        None => Ok(()),
    }
}

/// Changes the labels of an enum in one commit.
async fn put_labels(
    session: &Session,
    id: &str,
    text: &str,
    change: impl Fn(&mut Vec<String>) + Send + Sync,
) -> Result<()> {
    let commit = session.engine.catalog.commit(text, |state| {
        let mut changed = match state.by_id(id) {
            Some(now) => now.as_ref().clone(),
            None => {
                let object = "a type".to_owned();
                return Err(StorageError::Conflict { object });
            }
        };
        if let Definition::Enum(definition) = &mut changed.definition {
            change(&mut definition.labels);
        }
        Ok(vec![Change::Put(changed)])
    });
    commit.await?;
    Ok(())
}

/// Gives a column whose default is the old label the new one.
async fn set_default(
    session: &Arc<Session>,
    (table, column): (&CatalogEntry, &str),
    shape: &TableShape,
    label: Renamed<'_>,
    text: &str,
    control: &StatementControl,
) -> Result<()> {
    let field = shape.columns().iter().find(|field| field.name() == column);
    let default = field.and_then(|field| shape.default_of(field));
    if default != Some(literal(label.from)) {
        return Ok(());
    }
    let operations = [AlterTableOperation::AlterColumn {
        column_name: quoted(column),
        op: AlterColumnOperation::SetDefault {
            value: parse_expr(&literal(label.to))?,
        },
    }];
    let name = ObjectName::from(vec![quoted(&table.schema), quoted(&table.name)]);
    let setting = change_definition(session, (&name, false), &operations, text, control);
    Box::pin(setting).await?;
    Ok(())
}

/// Gives the rows of a column the new label in the place of the old one.
async fn relabel(
    session: &Arc<Session>,
    entry: &CatalogEntry,
    (table, column): (&CatalogEntry, &str),
    shape: &TableShape,
    label: Renamed<'_>,
    control: &StatementControl,
) -> Result<()> {
    let (from, to) = (literal(label.from), literal(label.to));
    let name = format!("{}.{}", quoted(&table.schema), quoted(&table.name));
    let known = format!("{}.{}", quoted(&entry.schema), quoted(&entry.name));
    let field = shape.columns().iter().find(|field| field.name() == column);
    let is_array = field.is_some_and(|field| field.data_type().is_nested());
    let column = quoted(column);
    let update = match is_array {
        true => format!(
            "UPDATE {name} SET {column} = array_replace({column}::text[], {from}, {to})::{known}[] \
             WHERE {from} = ANY ({column}::text[])"
        ),
        false => format!("UPDATE {name} SET {column} = {to} WHERE {column}::text = {from}"),
    };
    let parsed = auspex_sql::parse_own(&update)?;
    let parsed = parsed.first();
    let change = parsed.and_then(|parsed| RowChange::of(parsed.sql()?));
    let change = change.ok_or_else(|| Error::unsupported("this change of an enum"))?;
    let changing = super::change(session, &change, None, Vec::new(), control);
    Box::pin(changing).await?;
    Ok(())
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// A label as SQL writes it.
fn literal(label: &str) -> String {
    format!("'{}'", label.replace('\'', "''"))
}
