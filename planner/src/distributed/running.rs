//! Runs a query on the workers, and again on the rest if one failed it before any row left.
//!
//! In: a physical plan; out: its rows. The plan is placed anew for each attempt, at last on the coordinator alone.
//! Whether an error means that a worker is gone is asked of the workers, not read from the error. Of those that answer,
//! one is left out that another one does not reach, that had too little memory or disk, or that did not find the files:
//! if they are lost, the coordinator says so in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use auspex_ml::surprises::Surprises;
use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::call::{Call, Found};
use super::cluster::Cluster;
use super::connections::{Connections, address_of};
use super::error::{ClusterError, Told, is_short, is_unread, named};
use super::place::{Distributed, Place, place};
use super::statement_form::LocalFunction;
use crate::engine::{Engine, lock};
use crate::error::Result;
use crate::measured::{note_started, note_staying};
use crate::physical::{LastRow, cancellable, cancellable_noting};

/// How often a query is run again.
const MAX_ATTEMPTS: usize = 8;
/// How many workers a query leaves out one by one that answer and fail it; then it runs on the coordinator alone.
const MAX_AVOIDED: usize = 2;
/// How long a worker has to tell what predictions met.
const FINDINGS_TIMEOUT: Duration = Duration::from_secs(5);

/// A query and where it may run.
struct Query {
    cluster: Arc<Cluster>,
    engine: Arc<Engine>,
    state: SessionState,
    plan: Arc<dyn ExecutionPlan>,
    task_bytes: u64,
    cancel: CancellationToken,
    /// Workers that answer and failed it.
    avoided: BTreeSet<Url>,
}

/// One attempt. Dropping its stream ends the requests for its tasks, and with them the tasks, see `node::unread`.
struct Attempt {
    stream: SendableRecordBatchStream,
    /// `None`: on the coordinator alone.
    on_workers: Option<OnWorkers>,
}

struct OnWorkers {
    workers: BTreeMap<Url, u64>,
    statement: String,
    functions: Vec<LocalFunction>,
    /// Of the stage that the coordinator runs itself.
    last_row: LastRow,
}

/// The rows of a plan, from wherever it runs best.
pub(crate) async fn rows(
    cluster: &Arc<Cluster>,
    engine: &Arc<Engine>,
    state: &SessionState,
    plan: Arc<dyn ExecutionPlan>,
    task_bytes: u64,
    cancel: &CancellationToken,
) -> DfResult<SendableRecordBatchStream> {
    let query = Query::new((cluster, engine, state), plan, task_bytes, cancel);
    let first = query.start().await?;
    if first.on_workers.is_none() {
        return Ok(first.stream);
    }
    let schema = first.stream.schema();
    let rows = futures::stream::unfold(Some(Going::new(query, first)), |going| async move {
        let mut going = going?;
        match going.next().await {
            Some(Ok(batch)) => Some((Ok(batch), Some(going))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The rows of a plan that gains by running on workers, all at once; `None`: it does not. None has left before the last
/// is there, so that the loss of a worker costs none.
pub(crate) async fn collected(
    (cluster, engine, state): (&Arc<Cluster>, &Arc<Engine>, &SessionState),
    plan: Arc<dyn ExecutionPlan>,
    task_bytes: u64,
    cancel: &CancellationToken,
) -> DfResult<Option<Vec<RecordBatch>>> {
    let query = Query::new((cluster, engine, state), plan, task_bytes, cancel);
    let distributed = match query.place().await? {
        Place::Workers(distributed) => distributed,
        Place::Here(reason) => {
            note_staying(&reason);
            return Ok(None);
        }
    };
    let first = query.start_far(*distributed)?;
    let mut going = Going::new(query, first);
    let mut kept = Vec::new();
    loop {
        let n_attempts = going.n_attempts;
        let next = going.next().await;
        if going.n_attempts > n_attempts {
            kept.clear();
        }
        match next {
            Some(batch) => kept.push(batch?),
            None => return Ok(Some(kept)),
        }
        going.has_begun = false;
    }
}

impl Query {
    fn new(
        (cluster, engine, state): (&Arc<Cluster>, &Arc<Engine>, &SessionState),
        plan: Arc<dyn ExecutionPlan>,
        task_bytes: u64,
        cancel: &CancellationToken,
    ) -> Query {
        Query {
            cluster: Arc::clone(cluster),
            engine: Arc::clone(engine),
            state: state.clone(),
            plan,
            task_bytes,
            cancel: cancel.clone(),
            avoided: BTreeSet::new(),
        }
    }

    async fn place(&self) -> DfResult<Place> {
        let (engine, state) = (&self.engine, &self.state);
        let workers = (self.cluster.as_ref(), &self.avoided);
        Box::pin(place(workers, engine, state, &self.plan, self.task_bytes)).await
    }

    async fn start(&self) -> DfResult<Attempt> {
        if self.avoided.len() > MAX_AVOIDED {
            return self.start_here();
        }
        match self.place().await? {
            Place::Here(_) => self.start_here(),
            Place::Workers(distributed) => self.start_far(*distributed),
        }
    }

    fn start_far(&self, distributed: Distributed) -> DfResult<Attempt> {
        let Distributed {
            plan,
            context,
            workers,
            statement,
            functions,
            routes,
        } = distributed;
        let last_row = LastRow::default();
        let plan = cancellable_noting(plan, &self.cancel, &last_row)?;
        note_started(&plan, Some(&routes));
        let rows = execute_stream(plan, context)?;
        Ok(Attempt {
            stream: match self.plan.is::<AnalyzeExec>() {
                true => routes.told_rows(rows),
                false => rows,
            },
            on_workers: Some(OnWorkers {
                workers,
                statement,
                functions,
                last_row,
            }),
        })
    }

    fn start_here(&self) -> DfResult<Attempt> {
        let plan = cancellable(Arc::clone(&self.plan), &self.cancel)?;
        note_started(&plan, None);
        let context = Arc::new(TaskContext::from(&self.state));
        Ok(Attempt {
            stream: execute_stream(plan, context)?,
            on_workers: None,
        })
    }
}

/// A query that runs.
struct Going {
    query: Query,
    attempt: Attempt,
    n_attempts: usize,
    /// Whether a row has left.
    has_begun: bool,
}

impl Going {
    fn new(query: Query, attempt: Attempt) -> Going {
        Going {
            query,
            attempt,
            n_attempts: 1,
            has_begun: false,
        }
    }

    async fn next(&mut self) -> Option<DfResult<RecordBatch>> {
        loop {
            match self.attempt.stream.next().await {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    self.has_begun = true;
                    return Some(Ok(batch));
                }
                // A worker that is lost behind the last row takes none away; some may still be on their way.
                Some(Err(_)) if self.has_all_rows() => {}
                Some(Err(error)) => {
                    if let Err(error) = self.recover(error).await {
                        return Some(Err(error));
                    }
                }
                None => {
                    let connections = Arc::clone(&self.query.cluster.connections);
                    if let Some(on_workers) = self.attempt.on_workers.take() {
                        collect_findings(connections, on_workers).await;
                    }
                    return None;
                }
            }
        }
    }

    /// Whether the coordinator has computed the whole result, of which no more than the sending is left.
    fn has_all_rows(&self) -> bool {
        let on_workers = self.attempt.on_workers.as_ref();
        let is_complete = on_workers.is_some_and(|on_workers| on_workers.last_row.was_given());
        is_complete && !self.query.cancel.is_cancelled()
    }

    /// Begins anew without a worker that failed it if nothing has left; else the error that the client is told.
    async fn recover(&mut self, error: DataFusionError) -> DfResult<()> {
        let Some(on_workers) = &self.attempt.on_workers else {
            return Err(error);
        };
        if self.query.cancel.is_cancelled() {
            return Err(error);
        }
        let cluster = Arc::clone(&self.query.cluster);
        let lost = cluster.lost_of(&on_workers.workers).await;
        let (worker, failure) = match (lost.first(), Told::of(&error)) {
            (Some(first), _) => {
                let worker = address_of(first);
                (first.clone(), ClusterError::WorkerLost { worker })
            }
            (None, None) => return Err(error),
            (None, Some(told)) => match failed_by(&cluster, told) {
                Ok((worker, failure)) => {
                    self.query.avoided.insert(worker.clone());
                    (worker, failure)
                }
                Err(error) => return Err(error.into()),
            },
        };
        if self.has_begun {
            return Err(failure.into());
        }
        if self.n_attempts >= MAX_ATTEMPTS {
            return Err(ClusterError::WorkersLost.into());
        }
        self.n_attempts += 1;
        cluster.counts.n_replans.fetch_add(1, Ordering::Relaxed);
        let reason = failure.to_string();
        tracing::info!(
            worker = address_of(&worker),
            reason,
            "a query runs again without it"
        );
        self.query.plan = reset_plan_states(Arc::clone(&self.query.plan))?;
        self.attempt = self.query.start().await?;
        Ok(())
    }
}

/// The worker without which a query may succeed though all answer, and what its client is told if it is too late; an
/// error that any other worker would have, too.
fn failed_by(cluster: &Cluster, told: Told) -> Result<(Url, ClusterError)> {
    let report = told.error.report();
    match (told.worker, told.missed) {
        (worker, Some(missed)) => {
            let by = match &worker {
                Some(worker) => address_of(worker),
                None => "the coordinator".to_owned(),
            };
            if worker.is_some() {
                cluster.miss(&missed, &by);
            }
            let failure = ClusterError::WorkersApart {
                worker: by,
                missed: address_of(&missed),
            };
            Ok((missed, failure))
        }
        (Some(worker), None) if is_short(report.sqlstate) || is_unread(report.sqlstate) => {
            let failure = named(&worker, report);
            Ok((worker, failure))
        }
        _ => Err(told.error),
    }
}

/// Adds what predictions on workers met to what they met here; a worker that does not answer tells nothing.
async fn collect_findings(connections: Arc<Connections>, on_workers: OnWorkers) {
    if on_workers.functions.is_empty() {
        return;
    }
    let take = Call::TakeFindings(on_workers.statement.clone());
    let asked = on_workers.workers.keys().map(|worker| async {
        let found: std::result::Result<Vec<Found>, _> = connections
            .call(worker, &take, Some(FINDINGS_TIMEOUT))
            .await;
        found.unwrap_or_default()
    });
    let found = futures::future::join_all(asked).await;
    for found in found.into_iter().flatten() {
        let mut functions = on_workers.functions.iter();
        let Some(function) = functions.find(|own| own.name == found.function) else {
            continue;
        };
        if let Ok(surprises) = serde_json::from_str::<Surprises>(&found.surprises) {
            lock(&function.surprises).merge(&surprises);
        }
        function
            .predicted
            .fetch_add(found.n_rows, Ordering::Relaxed);
    }
}
