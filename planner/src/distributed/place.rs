//! Where a query runs: on the coordinator, or in stages on the workers.
//!
//! In: a finished physical plan; out: the plan cut at its exchanges, or the reason why it stays as it is: nothing to
//! gain, or something in it that cannot leave this machine. A plan that leaves was written as bytes before, as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session as PlanningSession;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DfResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::async_func::AsyncFuncExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{
    DistributedExec, DistributedExt as _, SessionStateBuilderExt as _, WorkerResolver,
    display_plan_ascii,
};
use url::{Host, Url};

use super::cluster::Cluster;
use super::codec::{PlanCodec, encode_plan};
use super::connections::Channels;
use super::divide::divide_files;
use super::one_task::at_most_one_task;
use super::routes::Routes;
use super::statement_form::{LocalFunction, StatementForm};
use crate::engine::Engine;
use crate::physical::{FitModelExec, WriteFilesExec};

/// Where a plan runs.
pub(super) enum Place {
    /// On the coordinator, for this reason.
    Here(String),
    /// On the coordinator and workers.
    Workers(Box<Distributed>),
}

/// A plan in stages.
pub(super) struct Distributed {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) context: Arc<TaskContext>,
    /// The workers that may run stages, each with the start that it was asked in.
    pub(super) workers: BTreeMap<Url, u64>,
    pub(super) statement: String,
    pub(super) functions: Vec<LocalFunction>,
    /// Which worker runs which task.
    pub(super) routes: Routes,
}

/// The workers of one plan.
struct Workers(Vec<Url>);

impl WorkerResolver for Workers {
    fn get_urls(&self) -> DfResult<Vec<Url>> {
        Ok(self.0.clone())
    }
}

/// A task reads this part of what makes a query leave: with larger tasks the scans of smaller tables are on one worker,
/// for which the others wait.
const TASKS: u64 = 8;

/// Gives the plan that is there already: the library plans by wrapping the planner of a session.
#[derive(Debug)]
struct Planned(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Planned {
    async fn create_physical_plan(
        &self,
        _: &LogicalPlan,
        _: &dyn PlanningSession,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

/// Places a plan on the workers that are not to be avoided; what reads less than `task_bytes` of files stays on one
/// machine.
pub(super) async fn place(
    (cluster, avoided): (&Cluster, &BTreeSet<Url>),
    engine: &Engine,
    state: &SessionState,
    plan: &Arc<dyn ExecutionPlan>,
    task_bytes: u64,
) -> DfResult<Place> {
    let read = scanned_bytes(plan)?;
    if read < task_bytes.max(1) {
        return Ok(Place::Here(reads_little(read)));
    }
    let workers = cluster.connected().into_iter();
    let workers: Vec<Url> = workers.filter(|url| !avoided.contains(url)).collect();
    if workers.is_empty() {
        return Ok(Place::Here("no worker is ready".to_owned()));
    }
    if let Some(operator) = operator_of_this_machine(plan)? {
        return Ok(Place::Here(format!("{operator} runs on one machine")));
    }
    let number = cluster.new_number();
    let statement = format!("{:016x}-{number}", cluster.hello.coordinator);
    let routes = Routes::new(workers.clone(), number);
    let (form, functions) =
        match StatementForm::of(engine, state.config(), plan, statement.clone())? {
            Ok(form) => form,
            Err(reason) => return Ok(Place::Here(format!("it needs {reason}"))),
        };
    let Some(headers) = form.headers()? else {
        return Ok(Place::Here("it names too many models".to_owned()));
    };
    let partition_bytes = partition_bytes(plan, task_bytes, state.config().target_partitions())?;
    let config = state
        .config()
        .clone()
        .with_distributed_worker_resolver(Workers(workers.clone()))
        .with_distributed_route_tasks_handler(routes.clone())
        .with_distributed_channel_resolver(Channels(Arc::clone(&cluster.connections)))
        .with_distributed_user_codec(PlanCodec::of(engine))
        .with_distributed_scale_up_leaf_node_handler(divide_files)
        .with_distributed_desired_task_count_handler(at_most_one_task)
        .with_distributed_file_scan_config_bytes_per_partition(partition_bytes)?
        .with_distributed_passthrough_headers(headers)?;
    let config = packing(config, &workers)?;
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_query_planner(Arc::new(Planned(Arc::clone(plan))))
        .with_distributed_planner()
        .build();
    let context = Arc::new(TaskContext::from(&state));
    let shipped = plan.downcast_ref::<AnalyzeExec>();
    let shipped = shipped.map_or(plan, |analyze| analyze.input());
    if let Err(error) = encode_plan(shipped, &context) {
        tracing::debug!(%error, "a plan stays on the coordinator");
        return Ok(Place::Here(reason_of(&error)));
    }
    let nothing = LogicalPlanBuilder::empty(false).build()?;
    let planner = Arc::clone(state.query_planner());
    let distributed = planner.create_physical_plan(&nothing, &state).await?;
    if !is_distributed(&distributed) {
        return Ok(Place::Here(
            "it has nothing that several machines do sooner".to_owned(),
        ));
    }
    let instances = cluster.instances();
    let instance = |url: Url| instances.get(&url).map(|instance| (url.clone(), *instance));
    Ok(Place::Workers(Box::new(Distributed {
        plan: distributed,
        context,
        workers: workers.into_iter().filter_map(instance).collect(),
        statement,
        functions,
        routes,
    })))
}

/// What each partition of a task reads of files at least. Tasks that write files are larger, since each writes some.
fn partition_bytes(
    plan: &Arc<dyn ExecutionPlan>,
    task_bytes: u64,
    n_partitions: usize,
) -> DfResult<usize> {
    let task_bytes = match plan.exists(|node| Ok(node.is::<WriteFilesExec>()))? {
        true => task_bytes,
        false => task_bytes / TASKS,
    };
    let task_bytes = usize::try_from(task_bytes).unwrap_or(usize::MAX);
    Ok(task_bytes.div_ceil(n_partitions.max(1)).max(1))
}

/// Rows are packed on their way between machines, which is the library's default; where no network is between, that takes
/// longer than copying them.
fn packing(config: SessionConfig, workers: &[Url]) -> DfResult<SessionConfig> {
    match workers.iter().all(is_this_machine) {
        true => config.with_distributed_compression(None),
        false => Ok(config),
    }
}

/// Whether a worker is a process of this machine.
fn is_this_machine(worker: &Url) -> bool {
    match worker.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What `EXPLAIN` says first of a plan that stays on the coordinator; the reason follows.
pub(crate) const HERE: &str = "on this machine";

/// Why a plan stays on the coordinator that reads so many bytes of files.
pub(crate) fn reads_little(n_bytes: u64) -> String {
    format!("it reads {n_bytes} bytes of files, less than min_distributed_size")
}

/// What `EXPLAIN` says of where a plan runs.
pub(crate) async fn describe(
    cluster: &Cluster,
    engine: &Engine,
    state: &SessionState,
    plan: &Arc<dyn ExecutionPlan>,
    task_bytes: u64,
) -> DfResult<String> {
    Ok(
        match place((cluster, &BTreeSet::new()), engine, state, plan, task_bytes).await? {
            Place::Here(reason) => format!("{HERE}: {reason}"),
            Place::Workers(distributed) => {
                let workers: Vec<String> = distributed
                    .workers
                    .keys()
                    .map(super::connections::address_of)
                    .collect();
                let stages = display_plan_ascii(distributed.plan.as_ref(), false);
                let stages = distributed.routes.told(&stages);
                format!("workers={}\n{stages}", workers.join(", "))
            }
        },
    )
}

fn is_distributed(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<DistributedExec>()
        || plan
            .children()
            .into_iter()
            .any(|child| child.is::<DistributedExec>())
}

/// An operator that is known to run on one machine only.
fn operator_of_this_machine(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Option<&'static str>> {
    let mut found = None;
    plan.apply(|node| {
        if node.is::<FitModelExec>() {
            found = Some("a training, which asks hosts of partitions itself,");
        } else if node.is::<RecursiveQueryExec>() {
            found = Some("a recursion");
        } else if node.is::<AsyncFuncExec>() {
            found = Some("a function that waits");
        }
        Ok(match found {
            None => TreeNodeRecursion::Continue,
            Some(_) => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(found)
}

/// Bytes of the files that a plan reads.
pub(super) fn scanned_bytes(plan: &Arc<dyn ExecutionPlan>) -> DfResult<u64> {
    let mut n_bytes = 0;
    plan.apply(|node| {
        if let Some(scan) = files_of(node.as_ref()) {
            let files = scan.file_groups.iter().flat_map(FileGroup::iter);
            n_bytes += files.map(|file| file.effective_size()).sum::<u64>();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(n_bytes)
}

/// The files that an operator scans.
pub(super) fn files_of(node: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let scan = node.downcast_ref::<DataSourceExec>()?;
    scan.data_source().downcast_ref::<FileScanConfig>()
}

/// The words of an error that say what stays here.
fn reason_of(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace();
    let stays = " stays on the coordinator";
    match text.find(stays) {
        Some(end) => {
            let start = text[..end].rfind([':', '[']).map_or(0, |colon| colon + 1);
            text[start..end + stays.len()].trim().to_owned()
        }
        None => "an operator of it cannot be sent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;
    use crate::distributed::connections::url_of;

    #[test]
    fn tasks_read_a_part_of_what_makes_a_query_leave() {
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let found = |task_bytes, n_partitions| partition_bytes(&plan, task_bytes, n_partitions);
        assert_eq!(found(64 << 20, 2).unwrap(), 4 << 20);
        assert_eq!(found(100, 5).unwrap(), 3);
        assert_eq!(found(0, 2).unwrap(), 1);
        assert_eq!(found(u64::MAX, 0).unwrap(), usize::MAX / 8);
    }

    #[test]
    fn workers_of_this_machine_are_known_by_their_addresses() {
        let is_near = |address| is_this_machine(&url_of(address).unwrap());
        for address in ["127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1"] {
            assert!(is_near(address), "{address}");
        }
        for address in [
            "10.0.0.7:1",
            "[fe80::1]:1",
            "localhost.example:1",
            "worker:1",
        ] {
            assert!(!is_near(address), "{address}");
        }
    }
}
