//! From a bound query to streams of its rows.
//!
//! In: a [`BoundQuery`] and parameters; out: one stream for a client, or several for the writers of a table. Nothing is
//! collected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::bind::{BoundQuery, Findings};
use crate::distributed;
use crate::engine::StatementWarning;
use crate::error::{Error, Result};
use crate::look_up_plan::Reads;
use crate::measured::note_started;
use crate::optimize::with_partitions;
use crate::physical::{cancellable, sent_rows, warning_notice};
use crate::session::{Limits, Session, TablesRead};
use crate::statement_clock::timed;
use crate::statement_run::StatementControl;

/// The rows of a plan under PostgreSQL's column names; warns at its end of what predictions met.
pub(crate) async fn stream(
    session: &Arc<Session>,
    query: &BoundQuery,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<SendableRecordBatchStream> {
    let Some(cluster) = session.engine.cluster() else {
        let (physical, task) = physical(session, query, &query.state, parameters, control).await?;
        note_started(&physical, None);
        return one_stream(session, query, execute_stream(physical, task)?, control);
    };
    let (state, plan) = ready_to_plan(session, query, &query.state, parameters, control)?;
    let plan = state.create_physical_plan(&plan).await?;
    let state = for_client(state, &plan)?;
    let (engine, bytes) = (&session.engine, session.settings().min_distributed_bytes());
    let rows = distributed::rows(&cluster, engine, &state, plan, bytes, &control.cancel);
    one_stream(session, query, Box::pin(rows).await?, control)
}

/// The same of a plan that is optimized and has its parameters.
pub(crate) async fn stream_of_optimized(
    session: &Arc<Session>,
    query: &BoundQuery,
    (plan, reads): (LogicalPlan, Reads),
    control: &StatementControl,
) -> Result<SendableRecordBatchStream> {
    let mut state = state_of_statement(session, &query.state, control);
    if reads == Reads::Few {
        // Of most files a page is read: to open them in several partitions takes longer.
        let optimizer = &mut state.config_mut().options_mut().optimizer;
        optimizer.repartition_file_min_size = LOOK_UP_BYTES;
        optimizer.enable_round_robin_repartition = false;
    }
    let planner = Arc::clone(state.query_planner());
    let physical = planner.create_physical_plan(&plan, &state).await?;
    let state = for_client(state, &physical)?;
    let physical = cancellable(physical, &control.cancel)?;
    let task = Arc::new(TaskContext::from(&state));
    one_stream(session, query, execute_stream(physical, task)?, control)
}

fn one_stream(
    session: &Arc<Session>,
    query: &BoundQuery,
    stream: SendableRecordBatchStream,
    control: &StatementControl,
) -> Result<SendableRecordBatchStream> {
    tell(session, query.findings.known(), control);
    let n_open = Arc::new(AtomicUsize::new(1));
    Ok(telling(session, query, stream, control, n_open))
}

/// A stream under PostgreSQL's column names; the last of those still open warns of what predictions met in all.
fn telling(
    session: &Arc<Session>,
    query: &BoundQuery,
    stream: SendableRecordBatchStream,
    control: &StatementControl,
    n_open: Arc<AtomicUsize>,
) -> SendableRecordBatchStream {
    let (session, findings) = (Arc::clone(session), query.findings.clone());
    let control = control.clone();
    let at_end = async move {
        if n_open.fetch_sub(1, Ordering::AcqRel) == 1 {
            tell(&session, findings.take_counted(), &control);
        }
        None
    };
    with_names(stream, query, at_end)
}

/// Smaller files that are looked into are read by one thread.
const LOOK_UP_BYTES: usize = 4 << 20;
/// What reads fewer bytes of files is written by one thread, into one file.
const PARALLEL_BYTES: u64 = 8 << 20;
/// Into how many files larger sources are written, whatever the machine and however many at a time: the division of a
/// table's rows among files decides the parts in which a training reads them.
const WRITERS: usize = 8;

/// The rows of a plan for a table: in several streams where much is read.
///
/// The streams in their order hold the rows in the plan's order.
pub(crate) async fn streams(
    session: &Arc<Session>,
    query: &BoundQuery,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Vec<SendableRecordBatchStream>> {
    let rows = TableRows::plan(session, query, parameters, control).await?;
    rows.streams(session, query, control)
}

/// A query that is planned for the rows of a table.
pub(crate) struct TableRows {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) state: SessionState,
}

impl TableRows {
    /// Plans a query.
    pub(crate) async fn plan(
        session: &Session,
        query: &BoundQuery,
        parameters: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<TableRows> {
        let state = for_tables(query);
        let (state, plan) = ready_to_plan(session, query, &state, parameters, control)?;
        let plan = state.create_physical_plan(&plan).await?;
        Ok(TableRows { plan, state })
    }

    /// Plans a query without a session's parameters: to show it, or for another statement that runs it.
    pub(crate) async fn shown(query: &BoundQuery) -> Result<TableRows> {
        let state = for_tables(query);
        let plan = state.create_physical_plan(&query.plan).await?;
        Ok(TableRows { plan, state })
    }

    /// How many bytes of files are read.
    pub(crate) fn read_bytes(&self) -> u64 {
        scanned_bytes(&self.plan)
    }

    /// See [`streams`].
    pub(crate) fn streams(
        self,
        session: &Arc<Session>,
        query: &BoundQuery,
        control: &StatementControl,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let plan = cancellable(self.plan, &control.cancel)?;
        note_started(&plan, None);
        let task = Arc::new(TaskContext::from(&self.state));
        streams_of(session, query, (plan, task), control)
    }
}

/// What plans the rows of a table.
fn for_tables(query: &BoundQuery) -> SessionState {
    let mut state = query.state.as_ref().clone();
    let options = state.config_mut().options_mut();
    // Neither the order of rows nor the division among files may depend on which thread is faster.
    options.optimizer.enable_round_robin_repartition = false;
    options.execution.enable_file_stream_work_stealing = false;
    with_partitions(options, WRITERS);
    options.optimizer.repartition_file_min_size = PARALLEL_BYTES as usize;
    state
}

fn streams_of(
    session: &Arc<Session>,
    query: &BoundQuery,
    (physical, task): (Arc<dyn ExecutionPlan>, Arc<TaskContext>),
    control: &StatementControl,
) -> Result<Vec<SendableRecordBatchStream>> {
    let is_small = scanned_bytes(&physical) < PARALLEL_BYTES;
    if is_small && has_exchange(&physical) {
        let stream = execute_stream(physical, task)?;
        return Ok(vec![one_stream(session, query, stream, control)?]);
    }
    let is_chain = is_chain(&physical);
    let streams = execute_stream_partitioned(physical, task)?.into_iter();
    let turns = Arc::new(Semaphore::new(query.state.config().target_partitions()));
    let streams: Vec<SendableRecordBatchStream> = match is_chain {
        true => streams
            .map(|rows| in_turn(rows, Arc::clone(&turns)))
            .collect(),
        // A join tells the scan of its larger side what it looks for once all its partitions have begun: each runs until
        // it has a batch, whoever reads first.
        false => streams.map(|rows| spawn_buffered(rows, 1)).collect(),
    };
    tell(session, query.findings.known(), control);
    let n_open = Arc::new(AtomicUsize::new(streams.len()));
    let streams: Vec<SendableRecordBatchStream> = streams
        .into_iter()
        .map(|stream| telling(session, query, stream, control, Arc::clone(&n_open)))
        .collect();
    Ok(match is_small {
        true => one_after_the_other(streams).into_iter().collect(),
        false => streams,
    })
}

/// The rows of streams in order; `None` if there is no stream.
pub(crate) fn one_after_the_other(
    streams: Vec<SendableRecordBatchStream>,
) -> Option<SendableRecordBatchStream> {
    let schema = streams.first()?.schema();
    let rows = futures::stream::iter(streams).flatten();
    Some(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Whether rows change partitions on their way, so that their order is nobody's.
fn has_exchange(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.children().into_iter().any(has_exchange)
}

/// Whether no partition of a plan waits for another one.
fn is_chain(plan: &Arc<dyn ExecutionPlan>) -> bool {
    !has_exchange(plan)
        && match plan.children().as_slice() {
            [] => true,
            [input] => is_chain(input),
            _ => false,
        }
}

/// A stream that begins when one of those before it has ended, so that only as many writers hold rows as are at work.
fn in_turn(stream: SendableRecordBatchStream, turns: Arc<Semaphore>) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let begun = async move {
        let turn = turns.acquire_owned().await;
        stream.inspect(move |_| {
            let _held = &turn;
        })
    };
    let rows = futures::stream::once(begun).flatten();
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// How many bytes of files a plan reads.
fn scanned_bytes(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let source = plan.downcast_ref::<DataSourceExec>();
    let files = source.and_then(|source| source.data_source().downcast_ref::<FileScanConfig>());
    let groups = files.iter().flat_map(|files| files.file_groups.iter());
    let own: u64 = groups
        .flat_map(|group| group.iter())
        .map(|file| file.effective_size())
        .sum();
    own + plan.children().into_iter().map(scanned_bytes).sum::<u64>()
}

async fn physical(
    session: &Session,
    query: &BoundQuery,
    state: &SessionState,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
    let (state, plan) = ready_to_plan(session, query, state, parameters, control)?;
    let physical = crate::physical::ready(&state, &plan).await?;
    let state = for_client(state, &physical)?;
    Ok((physical, Arc::new(TaskContext::from(&state))))
}

/// The state that runs a plan whose rows a client reads.
fn for_client(mut state: SessionState, plan: &Arc<dyn ExecutionPlan>) -> Result<SessionState> {
    let n_rows = sent_rows(plan)?;
    if n_rows < state.config().batch_size() {
        let config = state.config().clone();
        *state.config_mut() = config.with_batch_size(n_rows);
    }
    Ok(state)
}

/// The query with its parameters, and the state that plans it for its statement.
fn ready_to_plan(
    session: &Session,
    query: &BoundQuery,
    state: &SessionState,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<(SessionState, LogicalPlan)> {
    let mut plan = query.plan.clone();
    if !parameters.is_empty() {
        let values = parameters
            .into_iter()
            .map(|value| ScalarAndMetadata::new(value, None));
        plan = plan.replace_params_with_values(&ParamValues::List(values.collect()))?;
    }
    let state = state_of_statement(session, state, control);
    Ok((state, timed(plan, session.clock.started())?))
}

/// The state that plans a query, for one statement.
fn state_of_statement(
    session: &Session,
    state: &SessionState,
    control: &StatementControl,
) -> SessionState {
    let mut state = state.clone();
    let config = state.config().clone();
    *state.config_mut() = config.with_extension(Arc::new(control.clone()));
    // It may have been bound long before.
    state.execution_props_mut().query_execution_start_time = Some(session.now());
    state
}

type Batch = std::result::Result<RecordBatch, DataFusionError>;

fn with_names(
    stream: SendableRecordBatchStream,
    query: &BoundQuery,
    at_end: impl Future<Output = Option<Batch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let schema = told(&stream.schema(), query);
    let output = Arc::clone(&schema);
    let batches = stream.map(move |batch| {
        let (_, columns, n_rows) = batch?.into_parts();
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&output), columns, &options)?;
        Ok::<_, DataFusionError>(batch)
    });
    let at_end = futures::stream::once(at_end).filter_map(futures::future::ready);
    let batches = batches.chain(at_end);
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Tells what the predictions of a statement have met, at its end.
pub(crate) fn tell_findings(session: &Session, findings: &Findings, control: &StatementControl) {
    if !findings.is_empty() {
        tell(session, findings.known(), control);
        tell(session, findings.take_counted(), control);
    }
}

/// Sends warnings, and remembers them for `ml.warnings`.
fn tell(session: &Session, warnings: Vec<StatementWarning>, control: &StatementControl) {
    for warning in warnings {
        control.notify(warning_notice(&warning.warning));
        session.engine.remember_warning(warning);
    }
}

/// A schema under other column names.
pub(crate) fn renamed(schema: &Schema, names: &[Option<String>]) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(idx, field)| match names.get(idx) {
            Some(Some(name)) => field.as_ref().clone().with_name(name),
            _ => field.as_ref().clone(),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema of a query's rows as its client is told it.
pub(crate) fn told(schema: &Schema, query: &BoundQuery) -> SchemaRef {
    let schema = renamed(schema, &query.names);
    if query.origins.iter().all(Option::is_none) {
        return schema;
    }
    let marked = |(idx, field): (usize, &FieldRef)| match query.origins.get(idx) {
        Some(Some(origin)) => origin.mark(field.as_ref().clone()),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = schema.fields().iter().enumerate().map(marked).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// A stream that ends when its statement is cancelled or its time is over, and tells of tables that are gone.
pub(crate) fn guarded(
    stream: SendableRecordBatchStream,
    limits: Limits,
    tables: TablesRead,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let batches = futures::stream::unfold(Some((stream, limits, tables)), |state| async move {
        let (mut stream, limits, tables) = state?;
        let next = tokio::select! {
            biased;
            () = limits.token.cancelled() => Some(Err(limits.error().into())),
            next = stream.next() => next,
        };
        match next? {
            Ok(batch) => Some((Ok(batch), Some((stream, limits, tables)))),
            Err(_) if limits.timed_out() => Some((Err(Error::TimedOut.into()), None)),
            Err(error) => {
                let told: DataFusionError = tables.told(error.into()).await.into();
                Some((Err(told), None))
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}
