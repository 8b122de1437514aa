//! `CREATE TABLE`, `DROP`, `DESCRIBE`.
//!
//! In: a syntax tree; out: files of a managed table first, then one catalog entry that names them, so
//! that a failure in between leaves nothing that a query could see.

mod dependents;
mod describe;
mod dropped_names;

use std::sync::Arc;

use auspex_sql::{NAMED_COLUMN, Word};
use auspex_storage::{
    CatalogEntry, CatalogState, Change, Definition, Error as StorageError, ObjectKind,
    TableDefinition, TableShape,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectType, OnCommit};

use dependents::{check_free_since, check_not_referred};
pub(super) use dependents::{check_unnamed, with_dependents};
pub(crate) use describe::describe_table;

use super::lost_races::MAX_ROUNDS;
use super::materialized_views::check_use;
use super::storage_options::check_options;
use super::table_like::copied_shape;
use super::table_properties::{check_change_columns, set_property};
use super::table_references::{DeclaredReference, add_reference, release_tables, tell};
use super::table_shape::{declared_shape, query_shape, set_partitions};
use super::views::name_columns;
use super::{declared_types, enums, folded, kind_name, name_parts, sequences};
use crate::access::{Access, TableUse};
use crate::bind::{bind_query, check_usage, declared_columns, distinct_names, settle_type};
use crate::engine::Engine;
use crate::error::{Error, Result, nearest};
use crate::functions::refuse_wide;
use crate::search_path::is_type;
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::streams::{TableRows, told};
use crate::table_writes::create_with_rows;
use crate::temporary::SCHEMA as TEMPORARY;
use crate::transaction::TransactionState;

/// The clauses of CREATE TABLE that PostgreSQL lacks.
#[derive(Debug, Default)]
pub(super) struct TableClauses<'a> {
    pub(super) partition_columns: &'a [Word],
    pub(super) properties: &'a [(Word, String)],
}

/// `CREATE TABLE [AS]`, with the text that was sent and the values of the query's parameters.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &ast::CreateTable,
    clauses: TableClauses<'_>,
    (text, parameters): (&str, &[ScalarValue]),
    control: &StatementControl,
) -> Result<String> {
    let parts = name_parts(&create.name);
    session.refuse_foreign(&parts)?;
    let (schema, name) = session.new_relation_parts(&parts, create.temporary)?;
    let is_temporary = schema == TEMPORARY;
    refuse(create, is_temporary)?;
    match is_temporary {
        true => {
            session.access().check_temporary()?;
            if skips_temporary(session, &name, create, control)? {
                return Ok("CREATE TABLE".to_owned());
            }
        }
        false if skips_existing(session, &schema, &name, create.if_not_exists, control)? => {
            return Ok("CREATE TABLE".to_owned());
        }
        false => {
            session.access().check_schema(&schema, "CREATE")?;
            replaced(session, &schema, &name, create.or_replace)?;
        }
    }
    let definition = Definition::Table(TableDefinition::default());
    let mut entry = CatalogEntry::new(&schema, &name, definition);
    let (shape, rows) = match &create.query {
        Some(query) => {
            let query = query.as_ref().clone();
            let mut bound = bind_query(session, query, session.state(None)).await?;
            let names = named_columns(create);
            let message = |_| "too many column names were specified".to_owned();
            name_columns(&mut bound, &names, message)?;
            let given = bound.names.get(..names.len()).unwrap_or_default();
            distinct_names(&bound.plan, given, "query")?;
            let rows = TableRows::plan(session, &bound, parameters.to_vec(), control).await?;
            let declared = declared_columns(&bound.plan, None);
            let shape = query_shape(&told(&rows.plan.schema(), &bound), &declared)?;
            (shape, Some((bound, rows)))
        }
        None => (declared(session, create, &entry, control).await?, None),
    };
    let shape = with_clauses(shape, &clauses, &name)?;
    let tables = &session.engine.tables;
    let tag = match rows {
        Some((bound, rows)) => {
            let table = (entry.id.as_str(), &shape);
            let creating = create_with_rows(session, table, (&bound, rows), control);
            let n_rows = Box::pin(creating).await?;
            format!("SELECT {n_rows}")
        }
        None => {
            tables.create_managed(&entry.id, &shape).await?;
            "CREATE TABLE".to_owned()
        }
    };
    entry.definition = Definition::Table(shape.definition());
    if is_temporary {
        add_temporary(session, entry, create.on_commit.as_ref()).await?;
        return Ok(tag);
    }
    publish(session, &entry, create.or_replace, text).await?;
    Ok(tag)
}

/// The names that a list gives the columns of the query.
fn named_columns(create: &ast::CreateTable) -> Vec<String> {
    let is_named = |data_type: &ast::DataType| match data_type {
        ast::DataType::Custom(name, _) => name_parts(name) == [NAMED_COLUMN],
        _ => false,
    };
    let columns = create.columns.iter();
    let named = columns.filter(|column| is_named(&column.data_type));
    named.map(|column| folded(&column.name)).collect()
}

/// Adds a temporary table in the place of another one of its name. Outside of a block its transaction is over.
async fn add_temporary(
    session: &Arc<Session>,
    entry: CatalogEntry,
    on_commit: Option<&OnCommit>,
) -> Result<()> {
    let (name, id) = (entry.name.clone(), entry.id.clone());
    session.add_temporary(entry).await?;
    match on_commit {
        Some(OnCommit::Drop) if !session.drop_at_end(&name, &id) => {
            session.drop_temporary(&name).await;
        }
        Some(OnCommit::DeleteRows) => {
            session.temporary.pass_rows(&id);
            if session.transaction() == TransactionState::Idle {
                session.empty_passing().await;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Puts a table whose files are written into the catalog, in the place of another one if it replaces one.
pub(super) async fn publish(
    session: &Session,
    entry: &CatalogEntry,
    or_replace: bool,
    text: &str,
) -> Result<()> {
    let tables = &session.engine.tables;
    match put_in_place(session, entry, or_replace, text).await {
        Ok(replaced) => {
            if let Some(old) = replaced {
                let _ = tables.remove_managed(&old.id).await;
            }
            Ok(())
        }
        Err(error) => {
            // The files belong to nobody; the error of the commit is the one to tell.
            if !matches!(&error, Error::Storage(error) if !error.is_settled()) {
                let _ = tables.remove_managed(&entry.id).await;
            }
            Err(error)
        }
    }
}

/// Commits a table to the catalog; returns the one that it replaces, which may be there only since the rows were made.
async fn put_in_place(
    session: &Session,
    entry: &CatalogEntry,
    or_replace: bool,
    text: &str,
) -> Result<Option<Arc<CatalogEntry>>> {
    let catalog = &session.engine.catalog;
    let role = session.identity().current();
    let mut rounds = 1..MAX_ROUNDS;
    loop {
        let replaced = replaced(session, &entry.schema, &entry.name, or_replace)?;
        let committed = catalog.commit(text, |state| Ok(put(&replaced, role.own(state, entry)?)));
        let committed = committed.await;
        match committed {
            Ok(_) => return Ok(replaced),
            Err(StorageError::DuplicateObject { .. } | StorageError::Conflict { .. })
                if or_replace && rounds.next().is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The definition that a `CREATE TABLE` without a query writes.
async fn declared(
    session: &Arc<Session>,
    create: &ast::CreateTable,
    entry: &CatalogEntry,
    control: &StatementControl,
) -> Result<TableShape> {
    let copied = match &create.like {
        Some(like) => Some(copied_shape(session, like, &entry.name).await?),
        None => None,
    };
    let mut shape = declared_shape(session, create, copied, (&entry.schema, &entry.name)).await?;
    for reference in DeclaredReference::of_create(create) {
        add_reference(session, &mut shape, entry, &reference).await?;
    }
    tell(&entry.name, &[], &shape, control);
    Ok(shape)
}

/// Whether `IF NOT EXISTS` leaves nothing to do for a temporary table. Error: it is there.
fn skips_temporary(
    session: &Session,
    name: &str,
    create: &ast::CreateTable,
    control: &StatementControl,
) -> Result<bool> {
    if session.temporary.get(name).is_none() || create.or_replace {
        return Ok(false);
    }
    if !create.if_not_exists {
        return Err(Error::Duplicate {
            kind: "relation",
            name: name.to_owned(),
        });
    }
    let message = format!("relation \"{name}\" already exists, skipping");
    control.notify(Notice {
        sqlstate: "42P07",
        ..Notice::plain(message)
    });
    Ok(true)
}

fn with_clauses(
    mut shape: TableShape,
    clauses: &TableClauses<'_>,
    relation: &str,
) -> Result<TableShape> {
    set_partitions(&mut shape, clauses.partition_columns, relation)?;
    for (name, value) in clauses.properties {
        set_property(&mut shape, &name.value, value)?;
    }
    check_change_columns(&shape)?;
    Ok(shape)
}

/// What `CREATE TABLE` cannot do yet, by name.
fn refuse(create: &ast::CreateTable, is_temporary: bool) -> Result<()> {
    if create.on_commit.is_some() && !is_temporary {
        let message = "ON COMMIT can only be used on temporary tables";
        return Err(Error::invalid("42P16", message, None));
    }
    check_options(&create.table_options)?;
    let missing = [
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.inherits.is_some(), "INHERITS"),
        (
            create.hive_formats.as_ref().is_some_and(is_of_files),
            "CREATE TABLE ... LOCATION or STORED AS",
        ),
    ];
    let hint = |what| match what {
        "PARTITION BY" => Some("Write PARTITIONED BY (column).".to_owned()),
        "CREATE TABLE ... LOCATION or STORED AS" => Some(
            "CREATE EXTERNAL TABLE reads files in place; managed tables lie in the warehouse."
                .to_owned(),
        ),
        _ => None,
    };
    match missing.into_iter().find(|(is_written, _)| *is_written) {
        Some((_, what)) => Err(Error::Unsupported {
            what: what.to_owned(),
            hint: hint(what),
        }),
        None => Ok(()),
    }
}

/// Whether clauses of Hive say where and how a table's files lie.
fn is_of_files(clauses: &ast::HiveFormat) -> bool {
    clauses.location.is_some() || clauses.storage.is_some() || clauses.row_format.is_some()
}

/// The columns of a `CREATE TABLE` without a query.
pub(super) async fn declared_schema(
    session: &Arc<Session>,
    create: &ast::CreateTable,
) -> Result<SchemaRef> {
    let mut declared = create.clone();
    // The planner looks the name up; its own answer to an existing table is not ours.
    declared.name = ObjectName::from(vec![ast::Ident::new("declared")]);
    declared.if_not_exists = false;
    declared.temporary = false;
    declared.global = None;
    declared.on_commit = None;
    use ast::CreateTableOptions as Options;
    // They change nothing, and were checked.
    if matches!(declared.table_options, Options::With(_) | Options::Plain(_)) {
        declared.table_options = Options::None;
    }
    for column in &mut declared.columns {
        refuse_wide(&column.data_type)?;
        declared_types::spell(&mut column.data_type);
        declared_types::without_digits(&mut column.data_type);
        check_usage(session, &column.data_type)?;
        settle_type(session, &mut column.data_type);
    }
    let statement = ast::Statement::CreateTable(declared);
    let statement = SqlStatement::Statement(Box::new(statement));
    match session.state(None).statement_to_plan(statement).await? {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
            Ok(declared_types::meant(table.input.schema().inner()))
        }
        _ => Err(Error::unsupported("this form of CREATE TABLE")),
    }
}

/// Whether `IF NOT EXISTS` leaves nothing to do; a missing schema is an error.
pub(super) fn skips_existing(
    session: &Session,
    schema: &str,
    name: &str,
    if_not_exists: bool,
    control: &StatementControl,
) -> Result<bool> {
    let catalog = session.seen_catalog();
    require_schema(&catalog, schema)?;
    if !if_not_exists || catalog.get(schema, name).is_none() {
        return Ok(false);
    }
    let message = format!("relation \"{name}\" already exists, skipping");
    control.notify(Notice {
        sqlstate: "42P07",
        ..Notice::plain(message)
    });
    Ok(true)
}

fn require_schema(catalog: &CatalogState, schema: &str) -> Result<()> {
    if catalog.schema_exists(schema) {
        return Ok(());
    }
    let schemas = catalog.schemas();
    let nearest = nearest(schema, schemas.iter().map(|entry| entry.name.as_str()));
    Err(Error::Undefined {
        kind: "schema",
        name: schema.to_owned(),
        nearest,
        position: None,
    })
}

/// The table that `OR REPLACE` replaces. Error: the name is taken.
pub(super) fn replaced(
    session: &Session,
    schema: &str,
    name: &str,
    or_replace: bool,
) -> Result<Option<Arc<CatalogEntry>>> {
    match session.seen_catalog().get(schema, name) {
        None => Ok(None),
        Some(old) if or_replace && is_table(&old.definition) => {
            session.access().check_owner(old)?;
            check_not_referred(&session.seen_catalog(), old)?;
            Ok(Some(Arc::clone(old)))
        }
        Some(old) if matches!(old.definition, Definition::Model(_)) => Err(Error::Duplicate {
            kind: "model",
            name: name.to_owned(),
        }),
        Some(old) if is_type(old) => Err(enums::taken_by_type(name)),
        Some(_) => Err(Error::Duplicate {
            kind: "relation",
            name: name.to_owned(),
        }),
    }
}

fn is_table(definition: &Definition) -> bool {
    let kind = definition.kind();
    matches!(kind, ObjectKind::Table | ObjectKind::ExternalTable)
}

pub(super) fn put(replaced: &Option<Arc<CatalogEntry>>, entry: CatalogEntry) -> Vec<Change> {
    let dropped = replaced
        .iter()
        .map(|old| Change::Drop { id: old.id.clone() });
    dropped.chain(std::iter::once(Change::Put(entry))).collect()
}

/// The words behind `DROP`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drop {
    pub(super) if_exists: bool,
    pub(super) cascade: bool,
}

/// `DROP TABLE | VIEW | MATERIALIZED VIEW | SCHEMA | SEQUENCE | TYPE`.
pub(super) async fn drop(
    session: &Arc<Session>,
    object_type: ObjectType,
    names: &[ObjectName],
    words: Drop,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let catalog = session.seen_catalog();
    let mut dropped: Vec<Arc<CatalogEntry>> = Vec::new();
    for name in names {
        if drops_temporary(session, object_type, name).await? {
            continue;
        }
        match find_for_drop(session, &catalog, object_type, name)? {
            Some(entry) => {
                session.access().check_drop(&entry)?;
                dropped.push(entry);
            }
            None => {
                let error = dropped_names::undefined(object_type, name);
                if !words.if_exists {
                    return Err(error);
                }
                control.notify(Notice::plain(format!("{error}, skipping")));
            }
        }
    }
    drop_found(session, dropped, words, text, control).await?;
    Ok(format!("DROP {object_type}"))
}

/// Drops objects, and with CASCADE what stands on them.
pub(super) async fn drop_found(
    session: &Arc<Session>,
    dropped: Vec<Arc<CatalogEntry>>,
    words: Drop,
    text: &str,
    control: &StatementControl,
) -> Result<()> {
    if dropped.is_empty() {
        return Ok(());
    }
    let catalog = session.seen_catalog();
    let mut all = with_dependents(&catalog, dropped, words.cascade)?;
    Box::pin(sequences::drop_along(session, &mut all)).await?;
    let held = Box::pin(enums::held_columns(session, &all, words.cascade)).await?;
    if !held.is_empty() {
        // Views that name columns go before these, and the columns before their types.
        let is_late = |entry: &Arc<CatalogEntry>| {
            matches!(
                entry.kind(),
                ObjectKind::Enum | ObjectKind::Domain | ObjectKind::Schema
            )
        };
        let (late, early): (Vec<_>, Vec<_>) = all.into_iter().partition(is_late);
        drop_entries(session, &early, text).await?;
        enums::drop_columns(session, &held, text, control).await?;
        all = late;
    }
    drop_entries(session, &all, text).await
}

async fn drops_temporary(
    session: &Session,
    object_type: ObjectType,
    name: &ObjectName,
) -> Result<bool> {
    let expected = match object_type {
        ObjectType::Table => "table",
        ObjectType::View => "view",
        ObjectType::Sequence => "sequence",
        _ => return Ok(false),
    };
    let (schema, name) = session.relation_parts(&name_parts(name))?;
    let Some(entry) = session.temporary.get(&name).filter(|_| schema == TEMPORARY) else {
        return Ok(false);
    };
    let found = kind_name(&entry.definition);
    if found != expected {
        return Err(Error::WrongKind {
            name,
            expected,
            found,
        });
    }
    Ok(session.drop_temporary(&name).await)
}

/// Puts the tombstones of objects in one catalog entry, then removes their files. Errors: `Conflict` if others have
/// meanwhile made something that stands on them.
pub(super) async fn drop_entries(
    session: &Session,
    entries: &[Arc<CatalogEntry>],
    text: &str,
) -> Result<()> {
    let changes: Vec<Change> = entries
        .iter()
        .map(|entry| Change::Drop {
            id: entry.id.clone(),
        })
        .collect();
    let (before, going) = (session.seen_catalog(), entries.to_vec());
    Box::pin(release_tables(session, entries, text)).await?;
    let dropping =
        move |now: &CatalogState| check_free_since(&before, now, &going).map(|()| changes.clone());
    Box::pin(session.define_dropping(text, dropping, entries)).await
}

/// Removes an object's files after its tombstone; what stays is found by the garbage collector.
pub(crate) async fn remove_files(engine: &Engine, entry: &CatalogEntry) {
    let _ = match entry.definition {
        Definition::Table(_) | Definition::Sequence(_) => {
            engine.tables.remove_managed(&entry.id).await
        }
        Definition::Model(_) => engine.models.remove(&entry.id).await,
        _ => Ok(()),
    };
}

fn find_for_drop(
    session: &Session,
    catalog: &CatalogState,
    object_type: ObjectType,
    name: &ObjectName,
) -> Result<Option<Arc<CatalogEntry>>> {
    let parts = name_parts(name);
    if object_type == ObjectType::Schema {
        let name = parts.last().cloned().unwrap_or_default();
        return Ok(catalog.schema(&name).cloned());
    }
    if object_type == ObjectType::Type {
        return Ok(session.type_entry(&parts));
    }
    session.refuse_foreign(&parts)?;
    let (schema, name) = session.lasting_parts(&parts)?;
    let Some(entry) = catalog.get(&schema, &name) else {
        return Ok(None);
    };
    let fits = match object_type {
        ObjectType::View => matches!(entry.definition, Definition::View(_)),
        ObjectType::MaterializedView => entry.definition.materialized().is_some(),
        ObjectType::Sequence => matches!(entry.definition, Definition::Sequence(_)),
        _ => is_table(&entry.definition),
    };
    if fits {
        return Ok(Some(Arc::clone(entry)));
    }
    Err(Error::WrongKind {
        name,
        expected: dropped_names::kind(object_type),
        found: kind_name(&entry.definition),
    })
}

impl Session {
    /// A managed table that the role which acts may use so.
    pub(crate) fn managed_table(
        &self,
        schema: &str,
        name: &str,
        usage: TableUse,
    ) -> Result<Arc<CatalogEntry>> {
        match self.entry(schema, name) {
            Some(entry) => managed(entry, &self.access(), usage),
            None => Err(self.undefined_relation(schema, name)),
        }
    }
}

/// An object that must be a managed table, which a role may use so.
pub(crate) fn managed(
    entry: Arc<CatalogEntry>,
    access: &Access,
    usage: TableUse,
) -> Result<Arc<CatalogEntry>> {
    if matches!(entry.definition, Definition::Table(_)) {
        usage.check(access, &entry)?;
        check_use(&entry, usage)?;
        return Ok(entry);
    }
    let (kind, name) = (kind_name(&entry.definition), &entry.name);
    let message = format!("cannot change rows of {kind} \"{name}\"");
    let hint = "Only managed tables take rows; make one with CREATE TABLE.";
    Err(Error::invalid("42809", message, Some(hint)))
}
