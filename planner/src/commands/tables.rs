//! `CREATE TABLE`, `CREATE EXTERNAL TABLE`, `DROP`, `DESCRIBE`.
//!
//! In: a syntax tree; out: files of a managed table first, then one catalog entry that names them, so
//! that a failure in between leaves nothing that a query could see.

mod dependents;
mod describe;

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_sql::Word;
use auspex_storage::{
    CatalogEntry, CatalogState, Change, ColumnDefinition, Definition, ExternalFormat,
    ExternalTableDefinition, ObjectKind, TableDefinition, TableShape, columns_of,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::{CreateExternalTable, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectType, OnCommit};

use dependents::check_not_referred;
pub(super) use dependents::{check_unnamed, with_dependents};
pub(crate) use describe::describe_table;

use super::materialized_views::check_use;
use super::table_references::{DeclaredReference, add_reference, release_tables, tell};
use super::table_shape::{declared_shape, query_shape, set_partitions, set_property};
use super::{kind_name, name_parts, sequences};
use crate::access::{FileUse, TableUse, own};
use crate::bind::{bind_query, distinct_names};
use crate::error::{Error, Result, nearest};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::streams::{TableRows, told};
use crate::table_writes::create_with_rows;
use crate::temporary::SCHEMA as TEMPORARY;

/// The clauses of CREATE TABLE that PostgreSQL lacks.
#[derive(Debug, Default)]
pub(super) struct TableClauses<'a> {
    pub(super) partition_columns: &'a [Word],
    pub(super) properties: &'a [(Word, String)],
}

/// `CREATE TABLE [AS]`.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &ast::CreateTable,
    clauses: TableClauses<'_>,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    refuse(create)?;
    let (mut schema, name) = session.object_parts(&name_parts(&create.name))?;
    let replaced = match create.temporary {
        true => {
            TEMPORARY.clone_into(&mut schema);
            if skips_temporary(session, &name, create, control)? {
                return Ok("CREATE TABLE".to_owned());
            }
            None
        }
        false if skips_existing(session, &schema, &name, create.if_not_exists, control)? => {
            return Ok("CREATE TABLE".to_owned());
        }
        false => {
            session.access().check_schema(&schema, "CREATE")?;
            replaced(session, &schema, &name, create.or_replace)?
        }
    };
    let definition = Definition::Table(TableDefinition::default());
    let mut entry = CatalogEntry::new(&schema, &name, definition);
    own(session, &mut entry);
    let (shape, rows) = match &create.query {
        Some(query) => {
            let query = query.as_ref().clone();
            let bound = bind_query(session, query, session.state(None)).await?;
            distinct_names(&bound.plan, "query")?;
            let rows = TableRows::plan(session, &bound, Vec::new(), control).await?;
            let shape = query_shape(&told(&rows.plan.schema(), &bound))?;
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
    if create.temporary {
        session.drop_temporary(&name).await;
        session.temporary.add(entry);
        return Ok(tag);
    }
    publish(session, &entry, replaced, text).await?;
    Ok(tag)
}

/// Puts a table whose files are written into the catalog, in the place of another one if it replaces one.
pub(super) async fn publish(
    session: &Session,
    entry: &CatalogEntry,
    replaced: Option<Arc<CatalogEntry>>,
    text: &str,
) -> Result<()> {
    let (catalog, tables) = (&session.engine.catalog, &session.engine.tables);
    let committed = catalog.commit(text, |_| Ok(put(&replaced, entry.clone())));
    if let Err(error) = committed.await {
        // The files belong to nobody; the error of the commit is the one to tell.
        if error.is_settled() {
            let _ = tables.remove_managed(&entry.id).await;
        }
        return Err(error.into());
    }
    if let Some(old) = replaced {
        let _ = tables.remove_managed(&old.id).await;
    }
    Ok(())
}

/// The definition that a `CREATE TABLE` without a query writes.
async fn declared(
    session: &Arc<Session>,
    create: &ast::CreateTable,
    entry: &CatalogEntry,
    control: &StatementControl,
) -> Result<TableShape> {
    let mut shape = declared_shape(session, create, &entry.name).await?;
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
    Ok(shape)
}

/// What `CREATE TABLE` cannot do yet, by name.
fn refuse(create: &ast::CreateTable) -> Result<()> {
    let missing = [
        (
            create.temporary && !matches!(create.on_commit, None | Some(OnCommit::PreserveRows)),
            "CREATE TEMPORARY TABLE ... ON COMMIT DELETE ROWS and DROP",
        ),
        (create.like.is_some(), "CREATE TABLE ... LIKE"),
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
    if has_no_oids(&declared.table_options) {
        declared.table_options = ast::CreateTableOptions::None;
    }
    for column in &mut declared.columns {
        if let ast::DataType::Float(precision) = &column.data_type {
            column.data_type = float_type(precision);
        }
    }
    let statement = ast::Statement::CreateTable(declared);
    let statement = SqlStatement::Statement(Box::new(statement));
    match session.state(None).statement_to_plan(statement).await? {
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => {
            Ok(Arc::clone(table.input.schema().inner()))
        }
        _ => Err(Error::unsupported("this form of CREATE TABLE")),
    }
}

/// `WITH (OIDS = false)`, which says what is always so.
fn has_no_oids(options: &ast::CreateTableOptions) -> bool {
    let says_it = |option: &ast::SqlOption| match option {
        ast::SqlOption::KeyValue {
            key,
            value: ast::Expr::Value(value),
        } => key.value.eq_ignore_ascii_case("oids") && value.value == ast::Value::Boolean(false),
        _ => false,
    };
    matches!(options, ast::CreateTableOptions::With(options) if options.iter().all(says_it))
}

/// FLOAT is double precision unless few binary digits are asked for.
fn float_type(precision: &ast::ExactNumberInfo) -> ast::DataType {
    match precision {
        ast::ExactNumberInfo::Precision(1..=24) => ast::DataType::Real,
        _ => ast::DataType::DoublePrecision,
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
    let catalog = session.engine.catalog.state();
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
    match session.engine.catalog.state().get(schema, name) {
        None => Ok(None),
        Some(old) if or_replace && is_table(&old.definition) => {
            session.access().check_owner(old)?;
            check_not_referred(&session.engine.catalog.state(), old)?;
            Ok(Some(Arc::clone(old)))
        }
        Some(old) if matches!(old.definition, Definition::Model(_)) => Err(Error::Duplicate {
            kind: "model",
            name: name.to_owned(),
        }),
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

fn put(replaced: &Option<Arc<CatalogEntry>>, entry: CatalogEntry) -> Vec<Change> {
    let dropped = replaced
        .iter()
        .map(|old| Change::Drop { id: old.id.clone() });
    dropped.chain(std::iter::once(Change::Put(entry))).collect()
}

/// `CREATE EXTERNAL TABLE`.
pub(super) async fn create_external(
    session: &Arc<Session>,
    create: &CreateExternalTable,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE EXTERNAL TABLE";
    let (owner_schema, name) = session.object_parts(&name_parts(&create.name))?;
    if skips_existing(session, &owner_schema, &name, create.if_not_exists, control)? {
        return Ok(TAG.to_owned());
    }
    session.access().check_schema(&owner_schema, "CREATE")?;
    let replaced = replaced(session, &owner_schema, &name, create.or_replace)?;
    let format = match create.file_type.to_uppercase().as_str() {
        "PARQUET" => ExternalFormat::Parquet,
        "CSV" => ExternalFormat::Csv,
        "NDJSON" | "JSON" => ExternalFormat::NdJson,
        "ARROW" => ExternalFormat::Arrow,
        "AVRO" => ExternalFormat::Avro,
        "DELTA" => ExternalFormat::Delta,
        "ICEBERG" => ExternalFormat::Iceberg,
        other => return Err(Error::unsupported(format!("STORED AS {other}"))),
    };
    let engine = &session.engine;
    let mut urls = Vec::new();
    for location in &create.locations {
        urls.push(session.file_url(location, FileUse::Read)?.to_string());
    }
    let Some((first, further)) = urls.split_first() else {
        let hint = "Write LOCATION 'folder', 'file' or 'pattern'.";
        return Err(Error::invalid(
            "42601",
            "an external table needs a LOCATION",
            Some(hint),
        ));
    };
    let options: BTreeMap<String, String> = create
        .options
        .iter()
        .map(|(name, value)| {
            let text = match value {
                ast::Value::SingleQuotedString(text) => text.clone(),
                other => other.to_string(),
            };
            (
                name.to_lowercase().trim_start_matches("format.").to_owned(),
                text,
            )
        })
        .collect();
    let schema: Option<Vec<ColumnDefinition>> = match create.columns.is_empty() {
        true => None,
        false => Some(external_columns(session, create).await?),
    };
    let definition = ExternalTableDefinition {
        location: first.clone(),
        further_locations: further.to_vec(),
        format,
        options,
        schema,
        partition_columns: create.table_partition_cols.clone(),
    };
    let state = session.state(None);
    engine.tables.external_provider(&definition, &state).await?;
    let mut entry = CatalogEntry::new(&owner_schema, &name, Definition::ExternalTable(definition));
    own(session, &mut entry);
    engine
        .catalog
        .commit(text, |_| Ok(put(&replaced, entry.clone())))
        .await?;
    Ok(TAG.to_owned())
}

async fn external_columns(
    session: &Arc<Session>,
    create: &CreateExternalTable,
) -> Result<Vec<ColumnDefinition>> {
    let columns: Vec<String> = create.columns.iter().map(ToString::to_string).collect();
    let text = format!("CREATE TABLE declared ({})", columns.join(", "));
    let parsed = auspex_sql::parse(&text, auspex_sql::Dialect::Postgres)?;
    let Some(auspex_sql::Statement::Sql(statement)) =
        parsed.into_iter().next().map(|parsed| parsed.statement)
    else {
        return Err(Error::unsupported("these columns of an external table"));
    };
    match *statement {
        SqlStatement::Statement(statement) => match *statement {
            ast::Statement::CreateTable(table) => {
                Ok(columns_of(declared_schema(session, &table).await?.as_ref()))
            }
            _ => Err(Error::unsupported("these columns of an external table")),
        },
        _ => Err(Error::unsupported("these columns of an external table")),
    }
}

/// The words behind `DROP`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drop {
    pub(super) if_exists: bool,
    pub(super) cascade: bool,
}

/// `DROP TABLE | VIEW | MATERIALIZED VIEW | SCHEMA | SEQUENCE`.
pub(super) async fn drop(
    session: &Arc<Session>,
    object_type: ObjectType,
    names: &[ObjectName],
    words: Drop,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let catalog = session.engine.catalog.state();
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
            None if words.if_exists => {
                let what = object_type.to_string().to_lowercase();
                let message = format!("{what} \"{name}\" does not exist, skipping");
                control.notify(Notice::plain(message));
            }
            None => {
                let parts = name_parts(name);
                let kind = if object_type == ObjectType::Schema {
                    "schema"
                } else {
                    "relation"
                };
                return Err(Error::Undefined {
                    kind,
                    name: parts.join("."),
                    nearest: None,
                    position: None,
                });
            }
        }
    }
    if dropped.is_empty() {
        return Ok(format!("DROP {object_type}"));
    }
    let mut all = with_dependents(&catalog, dropped, words.cascade)?;
    Box::pin(sequences::drop_along(session, &mut all)).await?;
    drop_entries(session, &all, text).await?;
    Ok(format!("DROP {object_type}"))
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

/// Puts the tombstones of objects in one catalog entry, then removes their files.
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
    Box::pin(release_tables(session, entries, text)).await?;
    session
        .engine
        .catalog
        .commit(text, |_| Ok(changes.clone()))
        .await?;
    for entry in entries {
        remove_files(session, entry).await;
    }
    Ok(())
}

/// Removes an object's files after its tombstone; what stays is found by the garbage collector.
async fn remove_files(session: &Session, entry: &CatalogEntry) {
    let engine = &session.engine;
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
    let expected = match object_type {
        ObjectType::View => "view",
        ObjectType::MaterializedView => "materialized view",
        ObjectType::Sequence => "sequence",
        _ => "table",
    };
    Err(Error::WrongKind {
        name,
        expected,
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
            Some(entry) if matches!(entry.definition, Definition::Table(_)) => {
                usage.check(&self.access(), &entry)?;
                check_use(&entry, usage)?;
                Ok(entry)
            }
            Some(entry) => {
                let kind = kind_name(&entry.definition);
                let message = format!("cannot change rows of {kind} \"{name}\"");
                let hint = "Only managed tables take rows; make one with CREATE TABLE.";
                Err(Error::invalid("42809", message, Some(hint)))
            }
            None => Err(self.undefined_relation(schema, name)),
        }
    }
}
