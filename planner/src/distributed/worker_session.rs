//! The sessions in which a worker runs stages of queries.
//!
//! In: stages of the library, with the headers that a coordinator sent; out: sessions with the functions, settings and
//! models of the statement. Errors leave in the words of a report, since the library keeps of ours no more than text.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use auspex_ml::surprises::Surprises;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use datafusion_distributed::{
    DistributedExt as _, Worker as StageWorker, WorkerPlanRewriteEvent,
    WorkerPlanRewriteEventResponse, WorkerQueryContext, WorkerSessionBuilder,
};
use tokio_util::sync::CancellationToken;

use super::call::{Found, VERSION};
use super::codec::PlanCodec;
use super::connections::Channels;
use super::error::{ClusterError, for_the_way};
use super::node::unread;
use super::statement_form::StatementForm;
use super::task_rows::TaskRows;
use super::worker::Worker;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::observe::Counter;
use crate::physical::cancellable;

/// The service that runs stages on a worker.
pub(super) fn worker_service(worker: &Arc<Worker>) -> StageWorker {
    let sessions = Sessions(Arc::downgrade(worker));
    StageWorker::from_session_builder(sessions).with_version(VERSION)
}

/// The tasks of queries on a worker.
#[derive(Debug, Default, Clone)]
pub(super) struct Tasks {
    n_running: Arc<AtomicU64>,
    n_started: Arc<AtomicU64>,
    n_cancelled: Arc<AtomicU64>,
    findings: Arc<Mutex<BTreeMap<String, Vec<Finding>>>>,
}

/// What the rows of one prediction function hold that is surprising.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) function: String,
    pub(super) surprises: Arc<Mutex<Surprises>>,
    pub(super) n_rows: Counter,
}

/// Statements whose findings nobody asked for, kept at most: those of coordinators that are gone.
const KEPT_STATEMENTS: usize = 1000;

impl Tasks {
    pub(super) fn n_running(&self) -> u64 {
        self.n_running.load(Ordering::Relaxed)
    }

    pub(super) fn n_started(&self) -> u64 {
        self.n_started.load(Ordering::Relaxed)
    }

    pub(super) fn n_cancelled(&self) -> u64 {
        self.n_cancelled.load(Ordering::Relaxed)
    }

    /// Remembers where a function of a statement will count.
    pub(super) fn count(&self, statement: &str, finding: Finding) {
        let mut findings = lock(&self.findings);
        findings
            .entry(statement.to_owned())
            .or_default()
            .push(finding);
        while findings.len() > KEPT_STATEMENTS {
            findings.pop_first();
        }
    }

    /// What the predictions of a statement met, once.
    pub(super) fn take_findings(&self, statement: &str) -> Result<Vec<Found>> {
        let findings = lock(&self.findings).remove(statement).unwrap_or_default();
        let found = |finding: Finding| {
            let surprises = serde_json::to_string(&*lock(&finding.surprises));
            let surprises = surprises.map_err(|error| {
                Error::invalid("XX000", format!("findings cannot be sent: {error}"), None)
            })?;
            Ok(Found {
                function: finding.function,
                surprises,
                n_rows: finding.n_rows.load(Ordering::Relaxed),
            })
        };
        findings.into_iter().map(found).collect()
    }
}

/// Makes the session of each task.
struct Sessions(Weak<Worker>);

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(&self, query: WorkerQueryContext) -> DfResult<SessionState> {
        let worker = self.0.upgrade().ok_or(ClusterError::Draining)?;
        Box::pin(session(&worker, query)).await.map_err(for_the_way)
    }
}

async fn session(worker: &Arc<Worker>, mut query: WorkerQueryContext) -> DfResult<SessionState> {
    let engine = worker.engine()?;
    let form = StatementForm::from_headers(&query.headers)?;
    let config = std::mem::take(query.builder.config()).unwrap_or_default();
    worker.tasks.n_started.fetch_add(1, Ordering::Relaxed);
    // The coordinator keeps its request for a task open as long as anybody reads the task's rows.
    let task = Task {
        all: worker.tasks.clone(),
        unread: unread(),
    };
    let rewrite = move |event: WorkerPlanRewriteEvent<'_>| {
        let plan = watched(cancellable(event.plan, &task.unread)?, &task)?;
        Ok(WorkerPlanRewriteEventResponse::new(plan))
    };
    let config = config
        .with_distributed_channel_resolver(Channels(Arc::clone(&worker.connections)))
        .with_distributed_user_codec(PlanCodec::of(engine))
        .with_distributed_worker_plan_rewrite_handler(rewrite);
    let state = form.session(engine, config, Some(&worker.tasks)).await;
    state.map_err(DataFusionError::from)
}

/// A stage whose errors are told in full. The library may take the head off, so that its inputs are watched, too.
fn watched(plan: Arc<dyn ExecutionPlan>, task: &Task) -> DfResult<Arc<dyn ExecutionPlan>> {
    let watch = |inner: Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
        let task = task.clone();
        Arc::new(WatchedExec { inner, task })
    };
    let children: Vec<_> = plan.children().into_iter().cloned().map(watch).collect();
    if children.is_empty() {
        return Ok(watch(plan));
    }
    let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Ok(watch(plan.replace_children(children, same)?))
}

/// Stands for another operator in everything but its errors, and counts as a task as long as it runs.
struct WatchedExec {
    inner: Arc<dyn ExecutionPlan>,
    task: Task,
}

/// A task among those of its worker.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) all: Tasks,
    /// Cancelled once nobody reads its rows.
    pub(super) unread: CancellationToken,
}

/// A task that runs.
pub(super) struct Running(Task);

impl Running {
    pub(super) fn new(task: &Task) -> Running {
        task.all.n_running.fetch_add(1, Ordering::Relaxed);
        Running(task.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Running(Task { all, unread }) = self;
        all.n_running.fetch_sub(1, Ordering::Relaxed);
        if unread.is_cancelled() {
            all.n_cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Debug for WatchedExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl DisplayAs for WatchedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_as(format, f)
    }
}

impl ExecutionPlan for WatchedExec {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.inner.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(WatchedExec {
            inner: Arc::clone(&self.inner).replace_children(children, options)?,
            task: self.task.clone(),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.inner.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        self.inner.statistics_from_inputs(inputs, args)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let rows = self.inner.execute(partition, context);
        let rows = rows.map_err(for_the_way)?;
        Ok(Box::pin(TaskRows::new(&self.task, rows)))
    }
}
