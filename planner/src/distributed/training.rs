//! Hosts of a training's partitions: the workers, each with a share of the bytes to read.
//!
//! In: the plan of a training query; out: hosts that read its partitions where they are, or the reason why the training
//! stays on this machine. A partition stays with its host from pass to pass; of a host that is lost, the others take
//! over, at last the coordinator itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use auspex_ml::compute::Compute;
use auspex_ml::error::{Error as MlError, Result as MlResult};
use auspex_ml::run::TrainingRun;
use auspex_ml::training::TrainingRequest;
use auspex_ml::training_set::{HostFailure, HostPool, HostedPartitions, PartitionHost};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::DistributedExt as _;
use url::Url;

use super::call::{Call, HostId, OpenHost};
use super::cluster::Cluster;
use super::codec::{PlanCodec, encode_plan};
use super::connections::{CallFailure, Connections, address_of};
use super::error::{ClusterError, is_short, is_unread};
use super::host_peers::HostPlace;
use super::live_hosts::LiveHost;
use super::place::{files_of, scanned_bytes};
use super::shares::divide;
use super::statement_form::StatementForm;
use super::training_figures::TrainingFigures;
use super::written_rows::unstorable;
use crate::bind::BoundQuery;
use crate::engine::lock;
use crate::error::Result;
use crate::logical::FitTask;
use crate::physical::PlanSource;

/// How long a worker has to open a host, which loads models but reads no rows.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How many workers may fail to read what a training needs; then it is read on the coordinator, which knows if it is lost.
const MAX_UNREAD: usize = 2;

/// Where a training runs.
pub(crate) enum TrainingPlace {
    /// On this machine, for this reason.
    Here(String),
    /// On these workers.
    Workers(Arc<WorkerPool>),
}

/// The workers as hosts of the partitions of one training.
pub(crate) struct WorkerPool {
    cluster: Arc<Cluster>,
    task: Arc<FitTask>,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    options: String,
    statement: String,
    encoded: Vec<u8>,
    /// Bytes that each partition reads.
    weights: Vec<u64>,
    /// The workers that have its partitions, or had them at its end.
    hosts: Workers,
    /// Those that had too little memory or disk for their share.
    short: Workers,
    /// Those that could not read what it needs.
    unread: Workers,
}

/// Workers, shared with the hosts on them.
type Workers = Arc<Mutex<BTreeSet<Url>>>;

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerPool({:?})", self.addresses())
    }
}

/// Why a training stays on this machine, as far as its plan tells; `None`: the workers may have it.
fn stays_here(task: &FitTask, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let cluster = task.engine.cluster()?;
    let Some(scan) = scan_below(plan) else {
        return Some("only scans, filters and projections are read where the files are".to_owned());
    };
    stays_with(&cluster, task, scan)
}

/// The query whose rows workers write into files before they train; `None`: they read the rows where these are, or the
/// training stays here.
pub(super) fn writes_rows<'a>(
    task: &'a FitTask,
    plan: &Arc<dyn ExecutionPlan>,
) -> Option<&'a BoundQuery> {
    let (cluster, query) = (task.engine.cluster()?, task.in_no_order.as_ref()?);
    if scan_below(plan).is_some() || writes_here(&cluster, task, plan).is_some() {
        return None;
    }
    cannot_be_sent(task, plan).is_none().then_some(query)
}

/// Why workers write no rows for a training; `None`: they may.
fn writes_here(cluster: &Cluster, task: &FitTask, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    stays_with(cluster, task, plan).or_else(|| unstorable(&plan.schema()))
}

/// Why a training that reads what `scan` does stays on this machine.
fn stays_with(cluster: &Cluster, task: &FitTask, scan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    if task.estimator.spec().tags.gathers {
        return Some("this model type gathers all samples in one place".to_owned());
    }
    if let Some(device) = task.compute.accelerator() {
        let kind = device.info().kind;
        return Some(format!("device {kind} is this machine's"));
    }
    let read = scanned_bytes(scan).unwrap_or(0);
    if read < task.min_distributed_bytes.max(1) {
        return Some(format!(
            "it reads {read} bytes of files, less than min_distributed_size"
        ));
    }
    if cluster.ready().is_empty() {
        return Some("no worker is ready".to_owned());
    }
    None
}

/// The plan as bytes, or why it cannot be sent.
fn encoded(
    task: &FitTask,
    plan: &Arc<dyn ExecutionPlan>,
    config: &SessionConfig,
) -> std::result::Result<Vec<u8>, String> {
    let config = config
        .clone()
        .with_distributed_user_codec(PlanCodec::of(&task.engine));
    let context = TaskContext::default().with_session_config(config);
    encode_plan(plan, &context).map_err(|error| {
        tracing::debug!(%error, "a training stays on the coordinator");
        "an operator of its query cannot be sent".to_owned()
    })
}

/// Why a plan cannot be sent to the workers; `None`: it can.
fn cannot_be_sent(task: &FitTask, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let config = SessionConfig::new();
    match StatementForm::of(&task.engine, &config, plan, String::new()) {
        Ok(Ok(_)) => encoded(task, plan, &config).err(),
        Ok(Err(reason)) => Some(format!("it needs {reason}")),
        Err(error) => Some(error.to_string()),
    }
}

/// What `EXPLAIN` says of where a training runs; `None` without a cluster.
pub(crate) fn describe_training(task: &FitTask, plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let cluster = task.engine.cluster()?;
    let is_apart = scan_below(plan).is_some() || task.in_no_order.is_none();
    let stays = match is_apart {
        true => stays_here(task, plan),
        false => writes_here(&cluster, task, plan),
    };
    Some(match stays.or_else(|| cannot_be_sent(task, plan)) {
        Some(reason) => format!("on this machine: {reason}"),
        None => {
            let ready = cluster.ready();
            let workers: Vec<String> = ready.iter().map(|(url, _)| address_of(url)).collect();
            let first = match is_apart {
                true => "",
                false => ", which write its rows into files first",
            };
            format!("workers: {}{first}", workers.join(" "))
        }
    })
}

/// The scan of a plan whose partitions can be read apart from each other.
fn scan_below(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    if files_of(plan.as_ref()).is_some() {
        return Some(plan);
    }
    let is_apart =
        plan.is::<FilterExec>() || plan.is::<ProjectionExec>() || plan.is::<CooperativeExec>();
    match plan.children().as_slice() {
        [child] if is_apart => scan_below(child),
        _ => None,
    }
}

impl TrainingPlace {
    /// Places a training.
    pub(crate) fn of(
        task: &Arc<FitTask>,
        plan: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
    ) -> Result<TrainingPlace> {
        let Some(cluster) = task.engine.cluster() else {
            return Ok(TrainingPlace::Here("there is no cluster".to_owned()));
        };
        if let Some(reason) = stays_here(task, plan) {
            return Ok(TrainingPlace::Here(reason));
        }
        let id = format!(
            "{:016x}-{}",
            cluster.hello.coordinator,
            cluster.new_number()
        );
        let config = context.session_config();
        let form = match StatementForm::of(&task.engine, config, plan, id)? {
            Ok((form, _)) => form,
            Err(reason) => return Ok(TrainingPlace::Here(format!("it needs {reason}"))),
        };
        let encoded = match encoded(task, plan, config) {
            Ok(encoded) => encoded,
            Err(reason) => return Ok(TrainingPlace::Here(reason)),
        };
        Ok(TrainingPlace::Workers(Arc::new(WorkerPool {
            options: serde_json::to_string(&task.options).unwrap_or_default(),
            statement: form.text()?,
            weights: weights_of(plan),
            hosts: Arc::default(),
            short: Arc::default(),
            unread: Arc::default(),
            encoded,
            cluster,
            task: Arc::clone(task),
            plan: Arc::clone(plan),
            context: Arc::clone(context),
        })))
    }
}

/// Bytes that each partition reads; 1 where that is not known.
fn weights_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<u64> {
    let n_partitions = plan.output_partitioning().partition_count();
    let files = scan_below(plan).and_then(|scan| files_of(scan.as_ref()));
    let bytes = |group: &FileGroup| group.iter().map(bytes_of).sum::<u64>();
    match files {
        Some(files) if files.file_groups.len() == n_partitions => {
            files.file_groups.iter().map(bytes).collect()
        }
        _ => vec![1; n_partitions],
    }
}

/// Bytes that are read of a file, some of whose rows may be skipped.
fn bytes_of(file: &PartitionedFile) -> u64 {
    let whole = file.effective_size();
    let Some(selection) = file.extension::<ParquetRowSelection>() else {
        return whole;
    };
    let selection = selection.selection();
    let n_selected = selection.row_count() as u64;
    let n_rows = n_selected + selection.skipped_row_count() as u64;
    u64::try_from(u128::from(whole) * u128::from(n_selected) / u128::from(n_rows.max(1)))
        .unwrap_or(whole)
}

impl WorkerPool {
    /// The workers that have partitions.
    pub(crate) fn addresses(&self) -> Vec<String> {
        lock(&self.hosts).iter().map(address_of).collect()
    }

    /// Whether a worker that answers had too little for its share, or did not find what it was to read.
    fn has_failed(&self, worker: &Url) -> bool {
        lock(&self.short).contains(worker) || lock(&self.unread).contains(worker)
    }

    async fn open_on(
        &self,
        worker: &Url,
        partitions: Vec<usize>,
    ) -> std::result::Result<Arc<dyn PartitionHost>, (Vec<usize>, CallFailure)> {
        let host = HostId {
            coordinator: self.cluster.hello.coordinator,
            number: self.cluster.new_number(),
        };
        let open = OpenHost {
            host,
            partitions: partitions.clone(),
            estimator: self.task.estimator.spec().name.to_owned(),
            options: self.options.clone(),
            label: self.task.label.clone(),
            seed: self.task.options.u64("seed"),
            statement: self.statement.clone(),
            plan: self.encoded.clone(),
        };
        let call = Call::OpenHost(Box::new(open));
        let live = self.cluster.hosts.add(worker, host.number);
        let connections = &self.cluster.connections;
        let opened: std::result::Result<(), _> =
            connections.call(worker, &call, Some(OPEN_TIMEOUT)).await;
        match opened {
            Ok(()) => {
                lock(&self.hosts).insert(worker.clone());
                Ok(Arc::new(RemoteHost {
                    connections: Arc::clone(connections),
                    worker: worker.clone(),
                    host,
                    partitions,
                    hosts: Arc::clone(&self.hosts),
                    short: Arc::clone(&self.short),
                    unread: Arc::clone(&self.unread),
                    task: Arc::clone(&self.task),
                    _live: live,
                }))
            }
            Err(failure) => Err((partitions, failure)),
        }
    }

    /// Hosts partitions on this machine, since no other is left.
    fn open_here(&self, partitions: &[usize]) -> MlResult<Arc<dyn PartitionHost>> {
        let task = &self.task;
        let request = TrainingRequest {
            estimator: task.estimator,
            options: task.options.clone(),
            source: Arc::new(PlanSource {
                plan: Arc::clone(&self.plan),
                context: Arc::clone(&self.context),
            }),
            label: task.label.clone(),
            features: None,
            memory: Arc::clone(self.context.memory_pool()),
            spill: Arc::clone(&self.context.runtime_env().disk_manager),
            threads: task.threads,
        };
        let run = TrainingRun::quiet(task.options.u64("seed"), Compute::cpu());
        Ok(Arc::new(HostedPartitions::open(request, partitions, run)?))
    }
}

#[async_trait]
impl HostPool for WorkerPool {
    async fn open(&self, partitions: &[usize]) -> MlResult<Vec<Arc<dyn PartitionHost>>> {
        let mut hosts = Vec::new();
        let mut waiting = partitions.to_vec();
        while !waiting.is_empty() {
            let mut ready = self.cluster.ready();
            ready.retain(|(url, _)| !self.has_failed(url));
            let (workers, threads): (Vec<Url>, Vec<u64>) = ready.into_iter().unzip();
            if workers.is_empty() || lock(&self.unread).len() > MAX_UNREAD {
                hosts.push(self.open_here(&waiting)?);
                break;
            }
            let shares = divide(&waiting, &self.weights, &threads);
            let opening = workers
                .iter()
                .zip(shares)
                .filter(|(_, share)| !share.is_empty())
                .map(|(worker, share)| async move { (worker, self.open_on(worker, share).await) });
            waiting.clear();
            for (worker, opened) in futures::future::join_all(opening).await {
                match opened {
                    Ok(host) => hosts.push(host),
                    Err((share, CallFailure::Lost(reason))) => {
                        self.cluster.lose(worker, &reason);
                        waiting.extend(share);
                    }
                    Err((share, CallFailure::Refused(error))) if is_gone(&error) => {
                        self.cluster.lose(worker, &error.to_string());
                        waiting.extend(share);
                    }
                    Err((share, CallFailure::Refused(error))) if is_short(error.sqlstate()) => {
                        lock(&self.short).insert(worker.clone());
                        waiting.extend(share);
                    }
                    Err((share, CallFailure::Refused(error))) if is_unread(error.sqlstate()) => {
                        lock(&self.unread).insert(worker.clone());
                        waiting.extend(share);
                    }
                    Err((_, CallFailure::Refused(error))) => return Err(query_error(error)),
                }
            }
            waiting.sort_unstable();
        }
        Ok(hosts)
    }
}

/// Whether a worker's words mean that it keeps nothing for us any more.
fn is_gone(error: &ClusterError) -> bool {
    let is_of_end = |sqlstate: &str| sqlstate == "57P01";
    matches!(
        error,
        ClusterError::Draining | ClusterError::NotTakenIn | ClusterError::OtherVersion { .. }
    ) || is_of_end(error.sqlstate())
}

fn query_error(error: ClusterError) -> MlError {
    MlError::Query(DataFusionError::from(error))
}

/// How an answer is added to the figures of a training.
type AddFigures = fn(&TrainingFigures, &Url, (usize, usize), Duration);

/// A host on a worker.
struct RemoteHost {
    connections: Arc<Connections>,
    worker: Url,
    host: HostId,
    partitions: Vec<usize>,
    /// Of the pool.
    hosts: Workers,
    short: Workers,
    unread: Workers,
    task: Arc<FitTask>,
    /// What the worker is told of it again and again.
    _live: LiveHost,
}

impl RemoteHost {
    /// What it keeps goes to others.
    fn lost(&self, reason: &dyn std::fmt::Display) -> HostFailure {
        lock(&self.hosts).remove(&self.worker);
        HostFailure::Lost(format!("{}: {reason}", address_of(&self.worker)))
    }

    #[allow(clippy::disallowed_methods, reason = "measures a pass, not its result")]
    async fn answer(
        &self,
        request: Arc<[u8]>,
        add: AddFigures,
    ) -> std::result::Result<Vec<u8>, HostFailure> {
        let started = Instant::now();
        let call = Call::AskHost {
            host: self.host,
            request: request.to_vec(),
        };
        let connections = &self.connections;
        match connections.call_for_bytes(&self.worker, &call, None).await {
            Ok(reply) => {
                let bytes = (request.len(), reply.len());
                let figures = &self.task.figures;
                add(figures, &self.worker, bytes, started.elapsed());
                Ok(reply)
            }
            Err(CallFailure::Lost(reason)) => Err(self.lost(&reason)),
            Err(CallFailure::Refused(error)) if is_gone(&error) => Err(self.lost(&error)),
            Err(CallFailure::Refused(error)) if is_short(error.sqlstate()) => {
                lock(&self.short).insert(self.worker.clone());
                Err(self.lost(&error))
            }
            Err(CallFailure::Refused(error)) if is_unread(error.sqlstate()) => {
                lock(&self.unread).insert(self.worker.clone());
                Err(self.lost(&error))
            }
            Err(CallFailure::Refused(error)) => Err(HostFailure::Failed(query_error(error))),
        }
    }
}

#[async_trait]
impl PartitionHost for RemoteHost {
    fn partitions(&self) -> &[usize] {
        &self.partitions
    }

    fn address(&self) -> Option<Vec<u8>> {
        HostPlace::bytes(&self.worker, self.host)
    }

    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        self.answer(request, TrainingFigures::add).await
    }

    async fn ask_kept(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        self.answer(request, TrainingFigures::add_to_last).await
    }
}

impl Drop for RemoteHost {
    fn drop(&mut self) {
        let (connections, worker, host) = (
            Arc::clone(&self.connections),
            self.worker.clone(),
            self.host,
        );
        self.connections.wire().spawn(async move {
            let close = Call::CloseHost(host);
            // A worker that does not hear it forgets the host when it hears of others alone, or no longer of the coordinator.
            let _: std::result::Result<(), _> =
                connections.call(&worker, &close, Some(OPEN_TIMEOUT)).await;
        });
    }
}
