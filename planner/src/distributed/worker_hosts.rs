//! The partitions of trainings that a worker keeps.
//!
//! In: trainings that coordinators open here, and their requests; out: replies. A training's threads are apart from
//! those of queries, as on any server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use auspex_ml::compute::Compute;
use auspex_ml::registry;
use auspex_ml::run::TrainingRun;
use auspex_ml::training::TrainingRequest;
use auspex_ml::training_set::{HostPeers, HostedPartitions, PartitionHost as _};
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionConfig;
use datafusion_distributed::DistributedExt as _;

use super::call::{HostId, OpenHost};
use super::codec::{PlanCodec, decode_plan};
use super::connections::Connections;
use super::error::ClusterError;
use super::host_peers::WorkerPeers;
use super::statement_form::StatementForm;
use crate::engine::{Engine, lock};
use crate::error::{Error, Result};
use crate::physical::PlanSource;

/// A host that was opened lately may be missing in a list that is older than it.
const LISTED_AFTER: Duration = Duration::from_secs(10);

/// The hosts of a worker. Coordinators know nothing of each other's numbers.
pub(super) struct WorkerHosts {
    hosts: Mutex<BTreeMap<HostId, Hosted>>,
    peers: Arc<WorkerPeers>,
}

/// A host.
struct Hosted {
    partitions: Arc<HostedPartitions>,
    opened: Instant,
}

impl WorkerHosts {
    /// None yet; those that come reach others over these connections.
    pub(super) fn new(connections: &Arc<Connections>) -> WorkerHosts {
        WorkerHosts {
            hosts: Mutex::default(),
            peers: Arc::new(WorkerPeers(Arc::clone(connections))),
        }
    }

    /// Hosts partitions of a training; reads nothing yet.
    #[allow(
        clippy::disallowed_methods,
        reason = "the time since it was opened, which no result depends on"
    )]
    pub(super) async fn open(&self, engine: &Arc<Engine>, open: OpenHost) -> Result<()> {
        let form = StatementForm::parse(&open.statement)?;
        let config = SessionConfig::new().with_distributed_user_codec(PlanCodec::of(engine));
        let state = form.session(engine, config, None).await?;
        let context = Arc::new(TaskContext::from(&state));
        let plan = decode_plan(&open.plan, &context)?;
        let options = serde_json::from_str(&open.options).map_err(|error| damaged(&error))?;
        let request = TrainingRequest {
            estimator: registry::find(&open.estimator)?,
            options,
            source: Arc::new(PlanSource { plan, context }),
            label: open.label,
            features: None,
            memory: Arc::clone(&state.runtime_env().memory_pool),
            spill: Arc::clone(&state.runtime_env().disk_manager),
            threads: engine.threads,
        };
        let run = TrainingRun::quiet(open.seed, Compute::cpu());
        let partitions = HostedPartitions::open(request, &open.partitions, run)?;
        let peers: Arc<dyn HostPeers> = Arc::<WorkerPeers>::clone(&self.peers);
        let partitions = Arc::new(partitions.with_peers(peers));
        let hosted = Hosted {
            partitions,
            opened: Instant::now(),
        };
        lock(&self.hosts).insert(open.host, hosted);
        Ok(())
    }

    /// Asks a host; dropping the future ends its work.
    pub(super) async fn ask(
        &self,
        engine: &Engine,
        host: HostId,
        request: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let found = lock(&self.hosts)
            .get(&host)
            .map(|hosted| Arc::clone(&hosted.partitions));
        let host = found.ok_or(ClusterError::HostUnknown)?;
        let asked = async move { Ok(host.answer(&request).await?) };
        engine.training_threads.run(asked).await
    }

    /// Forgets a host.
    pub(super) fn close(&self, host: HostId) {
        lock(&self.hosts).remove(&host);
    }

    /// Forgets all hosts of a coordinator.
    pub(super) fn close_all_of(&self, coordinator: u64) {
        lock(&self.hosts).retain(|host, _| host.coordinator != coordinator);
    }

    /// Forgets the hosts of a coordinator that it does not list, unless its list may be older than they are.
    pub(super) fn close_others(&self, coordinator: u64, listed: &BTreeSet<u64>) {
        let is_over = |id: &HostId, hosted: &Hosted| {
            id.coordinator == coordinator
                && !listed.contains(&id.number)
                && hosted.opened.elapsed() >= LISTED_AFTER
        };
        let over: Vec<Hosted> = lock(&self.hosts)
            .extract_if(.., |id, hosted| is_over(id, hosted))
            .map(|(_, hosted)| hosted)
            .collect();
        if !over.is_empty() {
            // The thread that hears of it shall not wait for files that go.
            tokio::task::spawn_blocking(|| drop(over));
        }
    }

    pub(super) fn n_partitions(&self) -> u64 {
        let hosts = lock(&self.hosts);
        hosts
            .values()
            .map(|host| host.partitions.partitions().len() as u64)
            .sum()
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let hosts = lock(&self.hosts);
        let held = hosts.values().map(|host| host.partitions.memory_bytes());
        held.sum()
    }
}

fn damaged(error: &serde_json::Error) -> Error {
    Error::invalid(
        "XX000",
        format!("options from another machine are damaged: {error}"),
        None,
    )
}
