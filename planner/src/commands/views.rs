//! `CREATE [TEMPORARY] VIEW`: the query is checked by planning it, then stored as text.

use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CatalogState, Change, Definition, Error as StorageError, ViewDefinition,
};
use datafusion::sql::sqlparser::ast;

use super::enums::taken_by_type;
use super::{folded, name_parts, settings::dialect_name, view_options};
use crate::bind::{BoundQuery, bind_query, distinct_names};
use crate::error::{Error, Result};
use crate::name_scope::defining;
use crate::search_path::is_type;
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::temporary::SCHEMA as TEMPORARY;

/// `CREATE [OR REPLACE] VIEW`.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &ast::CreateView,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    if create.materialized {
        return Err(Error::unsupported("CREATE TEMPORARY MATERIALIZED VIEW"));
    }
    let parts = name_parts(&create.name);
    let (schema, name) = session.new_relation_parts(&parts, create.temporary)?;
    let is_temporary = schema == TEMPORARY;
    let sound = sound_query(session, create, is_temporary).await?;
    let state = session.engine.catalog.state();
    let existing = match is_temporary {
        true => {
            session.access().check_temporary()?;
            let known = session.temporary.get(&name);
            known.map(|entry| session.temporary.owned_now(entry, &state))
        }
        false => {
            session.access().check_schema(&schema, "CREATE")?;
            state.get(&schema, &name).cloned()
        }
    };
    let is_view = |entry: &CatalogEntry| matches!(entry.definition, Definition::View(_));
    if existing.is_some() && create.if_not_exists {
        let message = format!("relation \"{name}\" already exists, skipping");
        control.notify(Notice {
            sqlstate: "42P07",
            ..Notice::plain(message)
        });
        return Ok("CREATE VIEW".to_owned());
    }
    let view = Definition::View(sound.definition);
    let role = session.identity().current();
    // A new one is its role's, an old one stays whose it is.
    let (entry, owner) = match existing {
        Some(old) if create.or_replace && is_view(&old) => {
            session.access().check_owner(&old)?;
            let entry = CatalogEntry {
                definition: view,
                ..old.as_ref().clone()
            };
            (entry, None)
        }
        Some(old) => return Err(taken(&old)),
        None => (CatalogEntry::new(&schema, &name, view), Some(&role)),
    };
    let owned = |state: &CatalogState| match owner {
        Some(owner) => owner.own(state, &entry),
        None if is_temporary => Ok(entry.clone()),
        None => replaced(state, &entry),
    };
    if is_temporary {
        let entry = owned(&state)?;
        session.temporary.give(&entry.id, role.clone());
        session.temporary.replace(&name, entry);
        return Ok("CREATE VIEW".to_owned());
    }
    session
        .engine
        .catalog
        .commit(text, |state| Ok(vec![Change::Put(owned(state)?)]))
        .await?;
    Ok("CREATE VIEW".to_owned())
}

/// The entry of a view that gets another query, as the commit finds it: its rights, owner or name may be others by now.
fn replaced(
    state: &CatalogState,
    entry: &CatalogEntry,
) -> std::result::Result<CatalogEntry, StorageError> {
    let found = state.by_id(&entry.id);
    let found = found.ok_or_else(|| StorageError::Conflict {
        object: format!("view \"{}\"", entry.name),
    })?;
    Ok(CatalogEntry {
        definition: entry.definition.clone(),
        ..CatalogEntry::clone(found)
    })
}

/// That something has the name that a view is to get.
fn taken(holder: &CatalogEntry) -> Error {
    match is_type(holder) {
        true => taken_by_type(&holder.name),
        false => Error::Duplicate {
            kind: "relation",
            name: holder.name.clone(),
        },
    }
}

/// The query of a view to be, under the names of its columns, and what is stored of it.
pub(super) struct SoundQuery {
    pub(super) bound: BoundQuery,
    pub(super) definition: ViewDefinition,
}

/// Binds the query of a view to be.
pub(super) async fn sound_query(
    session: &Arc<Session>,
    create: &ast::CreateView,
    is_temporary: bool,
) -> Result<SoundQuery> {
    let query = create.query.as_ref().clone();
    let binding = Box::pin(bind_query(session, query, session.state(None)));
    let (bound, met) = defining(binding).await;
    let mut bound = bound?;
    if !met.temporary.is_empty() && !is_temporary {
        return Err(Error::Unsupported {
            what: format!("{} over a temporary table", words(create)),
            hint: Some(
                "CREATE TEMPORARY VIEW may read it. A table that it hides is named with its schema."
                    .to_owned(),
            ),
        });
    }
    let names = create.columns.iter().map(|column| folded(&column.name));
    let columns: Vec<String> = names.collect();
    let too_many = match create.materialized {
        true => "too many column names were specified",
        false => "CREATE VIEW specifies more column names than columns",
    };
    name_columns(&mut bound, &columns, |_| too_many.to_owned())?;
    distinct_names(&bound.plan, &bound.names, "query")?;
    let options = view_options::ViewOptions::of_new(&create.options)?;
    let definition = ViewDefinition {
        text: auspex_sql::written(create.query.as_ref()),
        columns,
        dialect: dialect_name(session.settings().dialect()),
        default_schema: Some(session.default_schema()),
        search_path: session.search_path(),
        objects: met.objects.into_iter().collect(),
        security_barrier: options.is_barrier.unwrap_or(false),
        check_option: options.check_option.flatten(),
    };
    view_options::check_writable(session, &definition)?;
    Ok(SoundQuery { bound, definition })
}

/// Gives the first columns of a query other names. Errors: 42601 if there are too many, as `message` has it of the number of
/// columns.
pub(super) fn name_columns(
    bound: &mut BoundQuery,
    columns: &[String],
    message: impl FnOnce(usize) -> String,
) -> Result<()> {
    let n_columns = bound.plan.schema().fields().len();
    if columns.len() > n_columns {
        return Err(Error::invalid("42601", message(n_columns), None));
    }
    let n_named = bound.names.len().max(columns.len());
    bound.names.resize(n_named, None);
    for (name, column) in bound.names.iter_mut().zip(columns) {
        *name = Some(column.clone());
    }
    Ok(())
}

fn words(create: &ast::CreateView) -> &'static str {
    match create.materialized {
        true => "CREATE MATERIALIZED VIEW",
        false => "CREATE VIEW",
    }
}
