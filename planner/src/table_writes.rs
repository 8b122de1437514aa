//! Rows of a query on their way into a managed table, in files that workers write where that gains.
//!
//! In: a planned query and its table; out: rows that are added, or put in the place of all others. Each writer tells this
//! machine of its files, which show in one commit once all have ended: a worker that is lost before leaves files that no
//! log names.

use std::sync::Arc;

use auspex_storage::{Rewrite, RowChecks, TableOperation, TableShape, WrittenFiles};
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties as _, ReplaceChildrenOptions,
};
use datafusion::prelude::SessionConfig;

use crate::bind::{BoundInsert, BoundQuery};
use crate::distributed::{HERE, collected, describe, reads_little};
use crate::error::Result;
use crate::measured::note_staying;
use crate::physical::{WriteFilesExec, WriteTarget, files_written};
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::{TableRows, tell_findings};

/// Why the rows of a statement with RETURNING pass this machine.
const RETURNED: &str = "RETURNING gives the rows to the client";

/// Creates a managed table with the rows of a query; returns their number. A failure removes what was written.
pub(crate) async fn create_with_rows(
    session: &Arc<Session>,
    (id, shape): (&str, &TableShape),
    (query, rows): (&BoundQuery, TableRows),
    control: &StatementControl,
) -> Result<u64> {
    let tables = &session.engine.tables;
    if session.engine.cluster().is_none() || is_noted(too_little(session, &rows)) {
        let streams = rows.streams(session, query, control)?;
        return Ok(tables.create_managed_from(id, shape, streams).await?);
    }
    let filling = create_and_fill(session, (id, shape), (query, rows), control);
    let filled = Box::pin(filling).await;
    if filled.is_err() {
        // The error of the rows is the one to tell.
        let _ = tables.remove_managed(id).await;
    }
    filled
}

async fn create_and_fill(
    session: &Arc<Session>,
    (id, shape): (&str, &TableShape),
    (query, rows): (&BoundQuery, TableRows),
    control: &StatementControl,
) -> Result<u64> {
    let tables = &session.engine.tables;
    tables.create_managed(id, shape).await?;
    // It has properties of its own by now.
    let shape = tables.shape(id).await?;
    let (table, checks) = ((id, &shape), Arc::default());
    let far = append_on_workers(session, table, (query, &rows), &checks, control);
    if let Some(n_rows) = Box::pin(far).await? {
        return Ok(n_rows);
    }
    let streams = rows.streams(session, query, control)?;
    Ok(tables.append(id, &shape, streams, checks).await?)
}

/// Appends the rows of a query to a managed table in files that workers write; returns their number. `None`: nothing was
/// done, since workers would gain nothing, or rows must pass this machine.
///
/// Errors: those of the query and of [`auspex_storage::Append::show`].
pub(crate) async fn append_on_workers(
    session: &Arc<Session>,
    (id, shape): (&str, &TableShape),
    (query, rows): (&BoundQuery, &TableRows),
    checks: &Arc<RowChecks>,
    control: &StatementControl,
) -> Result<Option<u64>> {
    if session.engine.cluster().is_none() {
        return Ok(None);
    }
    let reason = stays(session, shape).or(looked_at(checks));
    let reason = reason.map(ToOwned::to_owned);
    if is_noted(reason.or_else(|| too_little(session, rows))) {
        return Ok(None);
    }
    let append = session.engine.tables.begin_append(id, shape).await?;
    let target = target((id, append.version()), checks);
    let written = Box::pin(written_by_workers(session, target, rows, control)).await?;
    let Some(written) = written else {
        return Ok(None);
    };
    let n_rows = append.show(written, checks).await?;
    tell_findings(session, &query.findings, control);
    Ok(Some(n_rows))
}

/// Replaces all rows of a managed table by those of a query, in one commit and in files that workers write where that
/// gains.
///
/// Errors: those of the query and of [`Rewrite::redefine`].
pub(crate) async fn replace_rows(
    session: &Arc<Session>,
    (id, rewrite): (&str, &Rewrite),
    (query, rows): (&BoundQuery, TableRows),
    checks: Arc<RowChecks>,
    control: &StatementControl,
) -> Result<()> {
    let shape = rewrite.shape();
    if may_leave(session, shape, &rows) {
        let target = target((id, rewrite.version()), &checks);
        let written = Box::pin(written_by_workers(session, target, &rows, control)).await?;
        if let Some(written) = written {
            rewrite.replace_rows(written, &checks).await?;
            tell_findings(session, &query.findings, control);
            return Ok(());
        }
    }
    let rows = Some((rows.streams(session, query, control)?, checks));
    Ok(rewrite
        .redefine(shape, rows, TableOperation::Columns)
        .await?)
}

/// Whether workers may write the rows of a query for a table.
fn may_leave(session: &Session, shape: &TableShape, rows: &TableRows) -> bool {
    session.engine.cluster().is_some()
        && stays(session, shape).is_none()
        && too_little(session, rows).is_none()
}

/// The rows that a statement writes are returned, and stay on the coordinator of a cluster for that.
pub(crate) fn note_returning(session: &Session) {
    if session.engine.cluster().is_some() {
        note_staying(RETURNED);
    }
}

/// Whether there is a reason to stay on the coordinator, which `EXPLAIN ANALYZE` tells.
fn is_noted(reason: Option<String>) -> bool {
    if let Some(reason) = &reason {
        note_staying(reason);
    }
    reason.is_some()
}

/// The files that workers write, in the order of the rows; `None`: nothing was done, since they gain nothing.
async fn written_by_workers(
    session: &Session,
    target: WriteTarget,
    rows: &TableRows,
    control: &StatementControl,
) -> Result<Option<Vec<WrittenFiles>>> {
    let Some(cluster) = session.engine.cluster() else {
        return Ok(None);
    };
    let plan = writing(session, target, rows)?;
    let place = (&cluster, &session.engine, &rows.state);
    let bytes = session.settings().min_distributed_bytes();
    let told = Box::pin(collected(place, plan, bytes, &control.cancel)).await?;
    told.map(|told| files_written(&told)).transpose()
}

/// The version of a table for which files are written.
fn target((id, version): (&str, u64), checks: &Arc<RowChecks>) -> WriteTarget {
    WriteTarget {
        id: id.to_owned(),
        version,
        checks: Arc::clone(checks),
    }
}

/// The plan of rows, written into files.
fn writing(
    session: &Session,
    target: WriteTarget,
    rows: &TableRows,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let plan = divided(&rows.plan, rows.state.config())?;
    let plan = plan.unwrap_or_else(|| Arc::clone(&rows.plan));
    let tables = Arc::clone(&session.engine.tables);
    Ok(Arc::new(WriteFilesExec::new(plan, tables, target)))
}

/// The scan of one large file in several partitions: the planner divides it only below an operator that computes.
fn divided(
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let n_partitions = plan.output_partitioning().partition_count();
    if n_partitions > 1 || plan.fetch().is_some() {
        return Ok(None);
    }
    match plan.children().as_slice() {
        [input] if plan.is::<ProjectionExec>() => {
            let Some(input) = divided(input, config)? else {
                return Ok(None);
            };
            let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Arc::clone(plan)
                .replace_children(vec![input], anew)
                .map(Some)
        }
        _ => plan.repartitioned(config.target_partitions(), config.options()),
    }
}

/// That a query reads less than several machines divide.
fn too_little(session: &Session, rows: &TableRows) -> Option<String> {
    let (read, least) = (
        rows.read_bytes(),
        session.settings().min_distributed_bytes(),
    );
    (read < least.max(1)).then(|| reads_little(read))
}

/// That a view has conditions for the rows, which are looked at here.
fn looked_at(checks: &RowChecks) -> Option<&'static str> {
    (!checks.views.is_empty()).then_some("a view looks at the rows")
}

/// Why the rows of a table must pass this machine, whatever their query.
fn stays(session: &Session, shape: &TableShape) -> Option<&'static str> {
    let mut columns = shape.columns().iter();
    if !Arc::ptr_eq(&session.tables(), &session.engine.tables) {
        Some("a transaction block keeps its rows")
    } else if columns.any(|column| shape.identity_of(column).is_some()) {
        Some("identity columns are numbered in the order of the rows")
    } else {
        None
    }
}

/// What `EXPLAIN` says of where an INSERT computes and writes its rows; `None` without a cluster.
pub(crate) async fn describe_insert(
    session: &Arc<Session>,
    insert: &BoundInsert,
) -> Result<Option<String>> {
    let Some(cluster) = session.engine.cluster() else {
        return Ok(None);
    };
    let returning = insert.returning.as_ref();
    let returning = returning.map(|_| RETURNED);
    let has_parameters = !insert.query.plan.get_parameter_names()?.is_empty();
    let unknown = has_parameters.then_some("its parameters are not known yet");
    let reason = stays(session, &insert.shape).or(returning);
    let reason = reason.or(unknown).or(looked_at(&insert.checks));
    if let Some(reason) = reason {
        return Ok(Some(format!("{HERE}: {reason}")));
    }
    let rows = TableRows::shown(&insert.query).await?;
    let (id, checks) = (insert.table.id.as_str(), &insert.checks);
    let append = session
        .engine
        .tables
        .begin_append(id, &insert.shape)
        .await?;
    let target = target((id, append.version()), checks);
    let plan = writing(session, target, &rows)?;
    let bytes = session.settings().min_distributed_bytes();
    let place = describe(&cluster, &session.engine, &rows.state, &plan, bytes);
    Ok(Some(Box::pin(place).await?))
}
