//! `OPTIMIZE`, `VACUUM`, `RESTORE TABLE`, `TRUNCATE`, `DESCRIBE HISTORY` and `DESCRIBE DETAIL`.
//!
//! In: a syntax tree; out: a command tag with notices that say what was done, or the rows of a description.

use std::sync::Arc;

use auspex_sql::{ParsedStatement, Restore, RestorePoint, Vacuum};
use auspex_storage::{CatalogEntry, Definition, OptimizeOptions, VersionSpec};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast::{self, ObjectName};

use super::alter_table::record;
use super::name_parts;
use super::table_references::referring;
use crate::access::TableUse;
use crate::bind::{column_place, time_of_text};
use crate::catalog::rows::{Cell, ColumnType, batch_of};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// Files of younger versions may still be read, as Delta's own default says.
const DEFAULT_RETENTION_HOURS: u64 = 168;

/// Tells who may not analyze the table of an `ANALYZE` so, which does nothing in any case.
pub(crate) fn tell_not_analyzed(
    session: &Session,
    statement: &ParsedStatement,
    control: &StatementControl,
) -> Result<()> {
    let Some(ast::Statement::Analyze(ast::Analyze {
        table_name: Some(name),
        ..
    })) = statement.sql()
    else {
        return Ok(());
    };
    let (schema, name) = session.relation_parts(&name_parts(name))?;
    let entry = session.entry(&schema, &name);
    if entry.is_some_and(|entry| session.access().check_owner(&entry).is_err()) {
        control.notify(Notice::warning(format!(
            "skipping \"{name}\" --- only table or database owner can analyze it"
        )));
    }
    Ok(())
}

/// `OPTIMIZE t [WHERE …] [ZORDER BY (…)]`.
pub(super) async fn optimize(
    session: &Arc<Session>,
    name: &ObjectName,
    predicate: Option<&ast::Expr>,
    zorder: &[ast::Expr],
    control: &StatementControl,
) -> Result<String> {
    let table = entry(session, &name_parts(name), TableUse::Define)?;
    let tables = &session.tables();
    let shape = tables.shape(&table.id).await?;
    let state = session.state(None);
    let schema = DFSchema::try_from(shape.schema())?;
    let mut options = OptimizeOptions::default();
    if let Some(predicate) = predicate {
        let filter = state.create_logical_expr(&predicate.to_string(), &schema)?;
        options.filter = Some(filter);
    }
    for column in zorder {
        let column = match column {
            ast::Expr::Identifier(ident) => super::folded(ident),
            ast::Expr::Nested(inner) => inner.to_string(),
            other => other.to_string(),
        };
        let place = column_place(&shape, &column, &table.name)?;
        let field = &shape.columns()[place];
        if shape.partition_columns.contains(field.name()) {
            let message = format!("column \"{}\" divides the files already", field.name());
            return Err(Error::invalid(
                "22023",
                message,
                Some("Leave it out of ZORDER BY."),
            ));
        }
        options.zorder.push(field.name().clone());
    }
    let done = tables.optimize(&table.id, &options, &state).await?;
    let message = match done.removed {
        0 => format!("table \"{}\" has no files to put together", table.name),
        _ => format!("rewrote {} files as {}", done.removed, done.added),
    };
    control.notify(Notice::plain(message));
    Ok("OPTIMIZE".to_owned())
}

/// `VACUUM [t, …] [RETAIN n HOURS] [DRY RUN]`.
pub(super) async fn vacuum(
    session: &Arc<Session>,
    vacuum: &Vacuum,
    control: &StatementControl,
) -> Result<String> {
    let tables = match vacuum.tables.is_empty() {
        true => {
            let catalog = session.engine.catalog.state();
            let access = session.access();
            let is_table = |entry: &&Arc<CatalogEntry>| {
                matches!(entry.definition, Definition::Table(_)) && access.is(&entry.owner)
            };
            catalog.all().filter(is_table).cloned().collect()
        }
        false => {
            let entries = vacuum.tables.iter();
            let entries = entries.map(|name| entry(session, &name.parts, TableUse::Define));
            entries.collect::<Result<Vec<_>>>()?
        }
    };
    if let Some(hours) = vacuum
        .retain_hours
        .filter(|hours| *hours < DEFAULT_RETENTION_HOURS)
    {
        control.notify(Notice {
            hint: Some("Statements that still read such files fail.".to_owned()),
            ..Notice::warning(format!(
                "files are removed that were needed {hours} hours ago"
            ))
        });
    }
    for table in tables {
        let removed = session
            .engine
            .tables
            .vacuum(&table.id, vacuum.retain_hours, vacuum.dry_run);
        let removed = removed.await?;
        if removed.is_empty() && vacuum.tables.is_empty() {
            continue;
        }
        let verb = if vacuum.dry_run {
            "would remove"
        } else {
            "removed"
        };
        let message = format!("{verb} {} files of table \"{}\"", removed.len(), table.name);
        control.notify(Notice {
            hint: vacuum
                .dry_run
                .then(|| removed.join(", "))
                .filter(|list| !list.is_empty()),
            ..Notice::plain(message)
        });
    }
    Ok("VACUUM".to_owned())
}

/// `RESTORE TABLE t TO …`.
pub(super) async fn restore(
    session: &Arc<Session>,
    restore: &Restore,
    text: &str,
) -> Result<String> {
    let table = entry(session, &restore.table.parts, TableUse::Define)?;
    let version = match &restore.to {
        RestorePoint::Version(number) => VersionSpec::Number(*number),
        RestorePoint::Time(text) => VersionSpec::AtMs(time_of_text(session, text).await?),
    };
    let tables = session.tables();
    let before = tables.shape(&table.id).await?;
    tables.restore(&table.id, version).await?;
    let after = tables.shape(&table.id).await?;
    if before.references() != after.references() {
        record(session, &table, &after, &[], text).await?;
    }
    Ok("RESTORE TABLE".to_owned())
}

/// `TRUNCATE [TABLE] t, …`.
pub(super) async fn truncate(
    session: &Arc<Session>,
    truncate: &ast::Truncate,
    control: &StatementControl,
) -> Result<String> {
    if truncate.partitions.is_some() {
        return Err(Error::unsupported("TRUNCATE ... PARTITION"));
    }
    let mut tables = Vec::new();
    for target in &truncate.table_names {
        let parts = name_parts(&target.name);
        match entry(session, &parts, TableUse::Truncate) {
            Err(Error::Undefined { .. }) if truncate.if_exists => {}
            found => tables.push(found?),
        }
    }
    let restarts = matches!(
        truncate.identity,
        Some(ast::TruncateIdentityOption::Restart)
    );
    if matches!(truncate.cascade, Some(ast::CascadeOption::Cascade)) {
        tables = with_referring(session, tables, control)?;
    }
    for table in tables {
        session.change_table("TRUNCATE", &table)?;
        let rewrite = session.tables().rewrite(&table.id).await?;
        rewrite.truncate(restarts).await?;
    }
    Ok("TRUNCATE TABLE".to_owned())
}

/// The tables with those that refer to them, and to these: what CASCADE empties.
fn with_referring(
    session: &Session,
    mut tables: Vec<Arc<CatalogEntry>>,
    control: &StatementControl,
) -> Result<Vec<Arc<CatalogEntry>>> {
    let catalog = session.seen_catalog();
    let mut idx = 0;
    while let Some(table) = tables.get(idx).cloned() {
        for (other, _) in referring(&catalog, &table.id) {
            if tables.iter().all(|known| known.id != other.id) {
                let message = format!("truncate cascades to table \"{}\"", other.name);
                let usage = TableUse::Truncate;
                tables.push(session.managed_table(&other.schema, &other.name, usage)?);
                control.notify(Notice::plain(message));
            }
        }
        idx += 1;
    }
    Ok(tables)
}

fn entry(session: &Session, parts: &[String], usage: TableUse) -> Result<Arc<CatalogEntry>> {
    let (schema, name) = session.changed_parts(parts)?;
    session.managed_table(&schema, &name, usage)
}

const HISTORY: &[(&str, ColumnType)] = &[
    ("version", ColumnType::Integer),
    ("timestamp", ColumnType::Timestamp),
    ("operation", ColumnType::Text),
    ("operation_parameters", ColumnType::Text),
    ("files_added", ColumnType::Integer),
    ("files_removed", ColumnType::Integer),
];

/// The rows of `DESCRIBE HISTORY t`, the newest commit first.
pub(crate) async fn table_history(session: &Session, name: &[String]) -> Result<RecordBatch> {
    let commits = match session.foreign_parts(name) {
        Some((catalog, namespace, name)) => {
            session.access().check(&catalog, "USAGE")?;
            let tables = session.tables();
            let found = Box::pin(tables.foreign_history(&catalog, &namespace, name)).await?;
            found.ok_or_else(|| session.undefined_relation(&namespace, name))?
        }
        None => {
            let table = session.read_relation(name)?;
            Box::pin(session.tables().history(&table)).await?
        }
    };
    let row = |commit: auspex_storage::TableCommit| {
        vec![
            commit.version.into(),
            Cell::Timestamp(commit.timestamp_ms),
            commit.operation.into(),
            commit.parameters.into(),
            commit.files_added.into(),
            commit.files_removed.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = commits.into_iter().map(row).collect();
    Ok(batch_of(HISTORY, &rows)?)
}

const DETAIL: &[(&str, ColumnType)] = &[
    ("format", ColumnType::Text),
    ("id", ColumnType::Text),
    ("name", ColumnType::Text),
    ("location", ColumnType::Text),
    ("created_at", ColumnType::Timestamp),
    ("version", ColumnType::Integer),
    ("partition_columns", ColumnType::Text),
    ("num_files", ColumnType::Integer),
    ("size_in_bytes", ColumnType::Integer),
    ("num_rows", ColumnType::Integer),
    ("properties", ColumnType::Text),
    ("min_reader_version", ColumnType::Integer),
    ("min_writer_version", ColumnType::Integer),
];

/// The row of `DESCRIBE DETAIL t`.
pub(crate) async fn table_detail(session: &Session, name: &[String]) -> Result<RecordBatch> {
    let (shown, detail) = match session.foreign_parts(name) {
        Some((catalog, namespace, name)) => {
            session.access().check(&catalog, "USAGE")?;
            let tables = session.tables();
            let found = Box::pin(tables.foreign_detail(&catalog, &namespace, name)).await?;
            let detail = found.ok_or_else(|| session.undefined_relation(&namespace, name))?;
            (format!("{}.{namespace}.{name}", catalog.name), detail)
        }
        None => {
            let table = session.read_relation(name)?;
            let detail = Box::pin(session.tables().detail(&table)).await?;
            (format!("{}.{}", table.schema, table.name), detail)
        }
    };
    let row = vec![
        detail.format.into(),
        detail.id.into(),
        shown.into(),
        detail.location.into(),
        detail.created_ms.map_or(Cell::Null, Cell::Timestamp),
        detail.version.into(),
        detail.partition_columns.join(", ").into(),
        detail.n_files.into(),
        detail.bytes.into(),
        detail.n_rows.into(),
        detail.properties.into(),
        Cell::Integer(i64::from(detail.min_reader_version)),
        Cell::Integer(i64::from(detail.min_writer_version)),
    ];
    Ok(batch_of(DETAIL, &[row])?)
}
