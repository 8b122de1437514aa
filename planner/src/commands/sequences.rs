//! `CREATE SEQUENCE`, `ALTER SEQUENCE`, and what goes with the drop of a sequence or of the table that owns it.
//!
//! In: the statement; out: an entry of the catalog. Numbers are taken in `crate::sequences`.

use std::sync::Arc;

use auspex_sql::{SequenceAction, SequenceOptions, SequenceStatement, Span, Word};
use auspex_storage::{
    CatalogEntry, Change, Definition, Error as StorageError, SequenceDefinition, SequenceOwner,
};

use super::alter_table::change_numbers;
use super::sequence_names::{follows_its_column, has_followed, numbered_column};
use crate::access::TableUse;
use crate::bind::column_place;
use crate::error::{Error, Result};
use crate::sequences::{Numbers, default_text, identity_of, move_column, numbers_of_name};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::temporary::SCHEMA as TEMPORARY;

const ALTERED: &str = "ALTER SEQUENCE";

/// Runs such a statement.
pub(super) async fn run(
    session: &Arc<Session>,
    statement: &SequenceStatement,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    match statement {
        SequenceStatement::Create {
            temporary,
            name,
            if_not_exists,
            options,
        } => {
            let (schema, name) = session.new_relation_parts(&name.parts, *temporary)?;
            if schema == TEMPORARY {
                session.access().check_temporary()?;
            }
            let place = [schema, name];
            create(session, (&place, *if_not_exists), options, text, control).await
        }
        SequenceStatement::Alter {
            name,
            if_exists,
            action,
        } => {
            let change = change(session, (&name.parts, *if_exists), action, text, control);
            Box::pin(change).await
        }
    }
}

async fn change(
    session: &Arc<Session>,
    (name, if_exists): (&[String], bool),
    action: &SequenceAction,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    // Nothing has followed to a name where there is a sequence of the old one.
    if let SequenceAction::Rename(to) = action
        && has_followed(session, name, &to.value, control).await?
    {
        return Ok(ALTERED.to_owned());
    }
    match numbers_of_name(session, name) {
        Ok(Numbers::Own(entry, _)) => alter(session, &entry, action, text).await,
        Ok(Numbers::Column(table, column)) => {
            change_column(session, (table.as_ref(), &column), action, text).await
        }
        Err(_) if if_exists => {
            let name = name.join(".");
            let message = format!("relation \"{name}\" does not exist, skipping");
            control.notify(Notice::plain(message));
            Ok(ALTERED.to_owned())
        }
        Err(error) => Err(error),
    }
}

/// `ALTER TABLE name RENAME TO name` of what is no table but a sequence, as PostgreSQL takes it; `false`: it is none.
pub(super) async fn rename_as_table(
    session: &Arc<Session>,
    name: &[String],
    to: &str,
    text: &str,
    control: &StatementControl,
) -> Result<bool> {
    let (schema, relation) = session.changed_parts(name)?;
    let is_one = match session.entry(&schema, &relation) {
        Some(entry) => matches!(entry.definition, Definition::Sequence(_)),
        None if has_followed(session, name, to, control).await? => return Ok(true),
        None => numbered_column(session, name).await.is_some(),
    };
    if is_one {
        let action = SequenceAction::Rename(Word {
            value: to.to_owned(),
            span: Span::default(),
        });
        Box::pin(change(session, (name, false), &action, text, control)).await?;
    }
    Ok(is_one)
}

async fn create(
    session: &Arc<Session>,
    (place, if_not_exists): (&[String; 2], bool),
    options: &SequenceOptions,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE SEQUENCE";
    let [schema, name] = place;
    session.access().check_schema(schema, "CREATE")?;
    let is_taken =
        session.entry(schema, name).is_some() || numbered_column(session, place).await.is_some();
    if is_taken && if_not_exists {
        control.notify(Notice {
            sqlstate: "42P07",
            ..Notice::plain(format!("relation \"{name}\" already exists, skipping"))
        });
        return Ok(TAG.to_owned());
    }
    if is_taken {
        let (kind, name) = ("relation", name.clone());
        return Err(Error::Duplicate { kind, name });
    }
    let mut definition = declared(options, None)?;
    definition.owned_by = owner(session, schema, options).await?.flatten();
    let entry = CatalogEntry::new(schema, name, Definition::Sequence(definition));
    if schema == TEMPORARY {
        session.add_temporary(entry).await?;
        return Ok(TAG.to_owned());
    }
    let role = session.identity().current();
    let commit = session.engine.catalog.commit(text, |state| {
        Ok(vec![Change::Put(role.own(state, &entry)?)])
    });
    commit.await?;
    Ok(TAG.to_owned())
}

async fn alter(
    session: &Arc<Session>,
    sequence: &Arc<CatalogEntry>,
    action: &SequenceAction,
    text: &str,
) -> Result<String> {
    session.access().check_owner(sequence)?;
    let mut changed = sequence.as_ref().clone();
    match action {
        SequenceAction::Rename(to) => {
            check_unused(session, sequence, &[]).await?;
            session.access().check_schema(&sequence.schema, "CREATE")?;
            changed.name.clone_from(&to.value);
            if sequence.schema == TEMPORARY && session.temporary.get(&to.value).is_some() {
                let (kind, name) = ("relation", to.value.clone());
                return Err(Error::Duplicate { kind, name });
            }
        }
        SequenceAction::SetSchema(to) => {
            check_unused(session, sequence, &[]).await?;
            let to = session.known_schema(&to.value);
            session.access().check_schema(to, "CREATE")?;
            if (to == TEMPORARY) != (sequence.schema == TEMPORARY) {
                let message = "cannot move objects into or out of temporary schemas";
                return Err(Error::invalid("0A000", message, None));
            }
            to.clone_into(&mut changed.schema);
        }
        SequenceAction::Set(options) => {
            let Definition::Sequence(old) = &sequence.definition else {
                return Err(Error::unsupported("ALTER SEQUENCE of this object"));
            };
            let tables = session.tables();
            let taken = tables.taken_identities(&sequence.id, &old.run).await?;
            let mut new = declared(options, Some((old, taken)))?;
            if let Some(owner) = owner(session, &sequence.schema, options).await? {
                new.owned_by = owner;
            }
            changed.definition = Definition::Sequence(new);
        }
    }
    if sequence.schema == TEMPORARY {
        session.temporary.replace(&sequence.name, changed);
        return Ok(ALTERED.to_owned());
    }
    let commit = session.engine.catalog.commit(text, |state| {
        match state.by_id(&sequence.id) {
            // What another statement changed meanwhile is not undone.
            Some(now) if now == sequence => Ok(vec![Change::Put(changed.clone())]),
            _ => Err(StorageError::Conflict {
                object: format!("sequence \"{}\"", sequence.name),
            }),
        }
    });
    commit.await?;
    Ok(ALTERED.to_owned())
}

/// `ALTER SEQUENCE t_id_seq` of the numbers of an identity column. `RESTART` alone changes no definition.
async fn change_column(
    session: &Arc<Session>,
    (table, column): (&CatalogEntry, &str),
    action: &SequenceAction,
    text: &str,
) -> Result<String> {
    let SequenceAction::Set(options) = action else {
        identity_of(session, table, column).await?;
        return Err(follows_its_column());
    };
    let others = SequenceOptions {
        restart: None,
        ..options.clone()
    };
    match options.restart {
        Some(restart) if others == SequenceOptions::default() => {
            move_column(session, (table, column), restart, false).await?;
        }
        _ => Box::pin(change_numbers(session, (table, column), options, text)).await?,
    }
    Ok(ALTERED.to_owned())
}

/// The column that `OWNED BY` names; `None`: nothing was said.
async fn owner(
    session: &Arc<Session>,
    schema: &str,
    options: &SequenceOptions,
) -> Result<Option<Option<SequenceOwner>>> {
    let name = match &options.owned_by {
        None => return Ok(None),
        Some(None) => return Ok(Some(None)),
        Some(Some(name)) => name,
    };
    let [table @ .., column] = name.parts.as_slice() else {
        return Ok(None);
    };
    if table.is_empty() {
        let hint = "Write OWNED BY table.column, or OWNED BY NONE.";
        let message = "invalid OWNED BY option";
        return Err(Error::invalid("42601", message, Some(hint)));
    }
    let (table_schema, relation) = session.relation_parts(table)?;
    let table = session.managed_table(&table_schema, &relation, TableUse::Define)?;
    if table.schema != schema {
        let message = "sequence must be in same schema as table it is linked to";
        return Err(Error::invalid("55000", message, None));
    }
    let shape = session.tables().shape(&table.id).await?;
    let idx = column_place(&shape, column, &relation)?;
    Ok(Some(Some(SequenceOwner {
        table: table.id.clone(),
        column: shape.columns()[idx].name().clone(),
    })))
}

fn wrong(message: String) -> Error {
    Error::invalid("22023", message, None)
}

/// A type of numbers by any of its names, with its bounds.
fn number_type(name: &str) -> Result<(&'static str, i64, i64)> {
    Ok(match name {
        "smallint" | "int2" => ("smallint", i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" | "int" | "int4" => ("integer", i64::from(i32::MIN), i64::from(i32::MAX)),
        "bigint" | "int8" => ("bigint", i64::MIN, i64::MAX),
        _ => {
            let message = "sequence type must be smallint, integer, or bigint".to_owned();
            return Err(wrong(message));
        }
    })
}

/// The definition that options make, of nothing or of a sequence of which so many numbers were taken.
pub(super) fn declared(
    options: &SequenceOptions,
    old: Option<(&SequenceDefinition, i64)>,
) -> Result<SequenceDefinition> {
    let before = old.map(|(old, _)| old);
    let written = options.data_type.as_deref();
    let name = written.or(before.map(|old| old.data_type.as_str()));
    let (data_type, least, greatest) = number_type(name.unwrap_or("bigint"))?;
    let increment = options
        .increment
        .or(before.map(|old| old.increment))
        .unwrap_or(1);
    if increment == 0 {
        return Err(wrong("INCREMENT must not be zero".to_owned()));
    }
    let (usual_min, usual_max) = match increment > 0 {
        true => (1, greatest),
        false => (least, -1),
    };
    // Another type has other bounds, unless they are written.
    let kept = before.filter(|_| written.is_none());
    let min = bound(options.min, kept.map(|old| old.min), usual_min);
    let max = bound(options.max, kept.map(|old| old.max), usual_max);
    for (word, number) in [("MAXVALUE", max), ("MINVALUE", min)] {
        if !(least..=greatest).contains(&number) {
            let message =
                format!("{word} ({number}) is out of range for sequence data type {data_type}");
            return Err(wrong(message));
        }
    }
    if min >= max {
        let message = format!("MINVALUE ({min}) must be less than MAXVALUE ({max})");
        return Err(wrong(message));
    }
    let first = if increment > 0 { min } else { max };
    let start = options
        .start
        .or(before.map(|old| old.start))
        .unwrap_or(first);
    within("START", start, (min, max))?;
    let cache = options.cache.or(before.map(|old| old.cache)).unwrap_or(1);
    if cache <= 0 {
        return Err(wrong(format!("CACHE ({cache}) must be greater than zero")));
    }
    let new = SequenceDefinition {
        data_type: data_type.to_owned(),
        start,
        increment,
        min,
        max,
        cycle: options
            .cycle
            .or(before.map(|old| old.cycle))
            .unwrap_or(false),
        cache,
        owned_by: before.and_then(|old| old.owned_by.clone()),
        run: String::new(),
        origin: start,
        called: false,
    };
    going_on(new, options, old)
}

/// The sequence with the place where its numbers go on.
fn going_on(
    new: SequenceDefinition,
    options: &SequenceOptions,
    old: Option<(&SequenceDefinition, i64)>,
) -> Result<SequenceDefinition> {
    let (min, max) = (new.min, new.max);
    if let Some(restart) = options.restart {
        let next = restart.unwrap_or(new.start);
        within("RESTART", next, (min, max))?;
        return Ok(new.restarted(next, false));
    }
    let Some((old, taken)) = old else {
        let start = new.start;
        return Ok(new.restarted(start, false));
    };
    let (last, called) = old.last(taken);
    within("RESTART", last, (min, max))?;
    let steps = |of: &SequenceDefinition| (of.increment, of.min, of.max, of.cycle);
    Ok(match steps(old) == steps(&new) {
        true => SequenceDefinition {
            run: old.run.clone(),
            origin: old.origin,
            called: old.called,
            ..new
        },
        false => new.restarted(last, called),
    })
}

/// A bound: the one that is written, else the one of before, else the usual one.
fn bound(written: Option<Option<i64>>, before: Option<i64>, usual: i64) -> i64 {
    match written {
        Some(number) => number.unwrap_or(usual),
        None => before.unwrap_or(usual),
    }
}

fn within(word: &str, number: i64, (min, max): (i64, i64)) -> Result<()> {
    let message = match number {
        number if number < min => {
            format!("{word} value ({number}) cannot be less than MINVALUE ({min})")
        }
        number if number > max => {
            format!("{word} value ({number}) cannot be greater than MAXVALUE ({max})")
        }
        _ => return Ok(()),
    };
    Err(wrong(message))
}

/// Adds the sequences that the dropped tables own; fails where a default of another table takes numbers of one that is
/// dropped.
pub(super) async fn drop_along(
    session: &Arc<Session>,
    dropped: &mut Vec<Arc<CatalogEntry>>,
) -> Result<()> {
    let state = session.seen_catalog();
    let is_dropped = |id: &str| dropped.iter().any(|entry| entry.id == id);
    let owned = state.all().filter(|entry| match &entry.definition {
        Definition::Sequence(sequence) => {
            let owner = sequence.owned_by.as_ref();
            owner.is_some_and(|owner| is_dropped(&owner.table)) && !is_dropped(&entry.id)
        }
        _ => false,
    });
    let owned: Vec<Arc<CatalogEntry>> = owned.cloned().collect();
    dropped.extend(owned);
    for sequence in dropped.iter() {
        if matches!(sequence.definition, Definition::Sequence(_)) {
            check_unused(session, sequence, dropped).await?;
        }
    }
    Ok(())
}

/// Fails where a default takes numbers of a sequence, unless its table is dropped, too.
async fn check_unused(
    session: &Arc<Session>,
    sequence: &CatalogEntry,
    dropped: &[Arc<CatalogEntry>],
) -> Result<()> {
    let text = default_text(&sequence.schema, &sequence.name);
    let state = session.seen_catalog();
    for table in state.all() {
        let stays = !dropped.iter().any(|entry| entry.id == table.id);
        if !stays || !matches!(table.definition, Definition::Table(_)) {
            continue;
        }
        // A table that cannot be read keeps nobody from anything.
        let Ok(shape) = session.seen_shape(&table.id).await else {
            continue;
        };
        for column in shape.columns() {
            let default = shape.default_of(column);
            if default.is_some_and(|default| default.contains(&text)) {
                let (name, column) = (&sequence.name, column.name());
                let message = format!(
                    "cannot drop or rename sequence {name} because the default of column {column} of table {} \
                     takes its numbers",
                    table.name
                );
                let hint = format!(
                    "ALTER TABLE {} ALTER COLUMN {column} DROP DEFAULT first.",
                    table.name
                );
                return Err(Error::invalid("2BP01", message, Some(&hint)));
            }
        }
    }
    Ok(())
}
