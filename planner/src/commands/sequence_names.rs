//! `RENAME TO` of the sequences of columns, which are named by their table and their column.
//!
//! In: a name and the one that is asked for; out: whether that is the name already. Such sequences have no entry of the
//! catalog: they follow when the table or the column is renamed, where PostgreSQL keeps the name that they were made with.

use std::sync::Arc;

use auspex_storage::CatalogEntry;

use crate::error::{Error, Result};
use crate::sequences::{Numbers, identity_of, numbers_of_name};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// The column whose numbers a name means, if the column has such.
pub(super) async fn numbered_column(
    session: &Session,
    parts: &[String],
) -> Option<(Arc<CatalogEntry>, String)> {
    let Ok(Numbers::Column(table, column)) = numbers_of_name(session, parts) else {
        return None;
    };
    let has_numbers = identity_of(session, &table, &column).await.is_ok();
    has_numbers.then_some((table, column))
}

/// Whether a sequence of a name that there is no more is the one of a column that is called `to` by now, and tells so.
///
/// Scripts for PostgreSQL rename the sequence after the table or the column; here that is done then. Errors: `NotOwner`.
pub(super) async fn has_followed(
    session: &Session,
    from: &[String],
    to: &str,
    control: &StatementControl,
) -> Result<bool> {
    let Some((old, schema)) = from.split_last() else {
        return Ok(false);
    };
    let (from_schema, from_name) = session.relation_parts(from)?;
    let is_there = session.entry(&from_schema, &from_name).is_some()
        || numbered_column(session, from).await.is_some();
    if is_there {
        return Ok(false);
    }
    let mut named = schema.to_vec();
    named.push(to.to_owned());
    let Some((table, column)) = numbered_column(session, &named).await else {
        return Ok(false);
    };
    if !may_have_named(old, &table.name, &column) {
        return Ok(false);
    }
    session.access().check_owner(&table)?;
    let hint = "The sequence of a column is named by its table and its column, and follows when these are renamed.";
    control.notify(Notice {
        hint: Some(hint.to_owned()),
        ..Notice::plain(format!("sequence \"{to}\" has this name already, skipping"))
    });
    Ok(true)
}

/// Whether a sequence of this name can have been the column's before its table or the column itself was renamed.
fn may_have_named(old: &str, table: &str, column: &str) -> bool {
    let Some(stem) = old.strip_suffix("_seq") else {
        return false;
    };
    let of_table = stem.strip_suffix(column);
    let of_table = of_table.and_then(|before| before.strip_suffix('_'));
    let of_column = stem.strip_prefix(table);
    let of_column = of_column.and_then(|behind| behind.strip_prefix('_'));
    of_table
        .or(of_column)
        .is_some_and(|other| !other.is_empty())
}

/// What a change of name or schema of a column's sequence meets.
pub(super) fn follows_its_column() -> Error {
    Error::Unsupported {
        what: "a name or schema of its own for the sequence of a column".to_owned(),
        hint: Some(
            "It lies beside its table, is named table_column_seq, and follows when these are renamed."
                .to_owned(),
        ),
    }
}
