//! A machine that executes: it runs stages of queries and keeps partitions of trainings, for one coordinator or several
//! over one warehouse.
//!
//! In: calls; out: replies. It learns the warehouse, unless it was told, and the key of its credentials from the first
//! coordinator that takes it in, keeps them in memory only, and opens an engine on it after it has read what that coordinator
//! wrote there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use auspex_storage::Warehouse;
use datafusion::execution::memory_pool::MemoryLimit;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::call::{Call, Hello, Pong, to_bytes};
use super::cluster::own_facts;
use super::connections::{CallFailure, Connections, url_of};
use super::counted::WireBytes;
use super::error::ClusterError;
use super::node::{ClusterToken, Node, NodePort};
use super::probe::opened;
use super::sources::{AUTO, give_signs};
use super::tls::ClusterTls;
use super::worker_hosts::WorkerHosts;
use super::worker_metrics::WorkerWatch;
use super::worker_session::{Tasks, worker_service};
use crate::engine::{Engine, EngineConfig, lock, open_warehouse};
use crate::error::Result;

/// How often a worker that no coordinator hears asks to be taken in.
const JOIN_INTERVAL: Duration = Duration::from_secs(1);
/// Rounds of that interval after which a worker asks although some coordinator was heard.
const REJOIN_EVERY: u64 = 15;
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a worker looks whether the warehouse is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long it takes at most where it is.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// What a coordinator keeps on a worker goes this long after it was last heard of.
const COORDINATOR_LEASE: Duration = Duration::from_secs(60);
/// How often a worker that ends looks whether its work is done.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// Within this time a coordinator notices that a worker ends.
const NOTICE_TIME: Duration = Duration::from_secs(2);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where it listens: `HOST:PORT`.
    pub listen: String,
    /// Where others reach it, if that is not where it listens.
    pub advertise: Option<String>,
    /// The coordinator to ask to be taken in, or `auto` for those that find workers in the warehouse.
    pub coordinator: Option<String>,
    /// What all machines of the cluster know.
    pub token: Option<ClusterToken>,
    /// What their connections are encrypted with.
    pub tls: Option<ClusterTls>,
    /// Memory, threads and disk; its warehouse counts only where `has_warehouse` is.
    pub engine: EngineConfig,
    /// Whether the worker works for the warehouse of `engine` alone.
    pub has_warehouse: bool,
}

/// A worker that listens.
#[derive(Debug)]
pub struct WorkerNode {
    worker: Arc<Worker>,
    address: SocketAddr,
    /// It takes no new work from then on.
    leaving: CancellationToken,
    /// Gives signs in the warehouse until then, and takes the last one back.
    signs: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

/// What a worker has and keeps.
pub(super) struct Worker {
    config: WorkerConfig,
    /// The only one that it works for, if it was told.
    warehouse: Option<Arc<Warehouse>>,
    instance: u64,
    pub(super) connections: Arc<Connections>,
    engine: OnceCell<Arc<Engine>>,
    pub(super) tasks: Tasks,
    pub(super) hosts: WorkerHosts,
    pub(super) is_draining: AtomicBool,
    /// Bytes of its port.
    pub(super) wire_bytes: Arc<WireBytes>,
    /// What is known of each coordinator.
    heard: Mutex<BTreeMap<u64, Heard>>,
}

/// A coordinator that was heard of.
struct Heard {
    at: Instant,
    /// The file that it wrote into the warehouse, if it has said so since it was forgotten.
    probe: Option<String>,
    /// Whether that is no longer found.
    is_missed: bool,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({})", self.config.listen)
    }
}

impl WorkerNode {
    /// Binds the port and serves it.
    pub async fn start(config: WorkerConfig) -> Result<WorkerNode> {
        let is_shown = config.is_shown()?;
        let coordinator = config.coordinator.as_deref().filter(|_| !is_shown);
        let coordinator = coordinator.map(url_of).transpose()?;
        let port = NodePort::bind(&config.listen, config.token.as_ref(), config.tls.as_ref());
        let port = port.await?;
        let address = port.address();
        let advertised = config.advertised(address)?;
        let warehouse = match config.has_warehouse {
            true => Some(open_warehouse(&config.engine).await?),
            false => None,
        };
        let mut instance = [0; 8];
        auspex_storage::random(&mut instance)?;
        let connections = Connections::new(config.token.clone(), config.tls.clone())?;
        connections.advertise(&advertised);
        let worker = Arc::new(Worker {
            instance: u64::from_le_bytes(instance),
            connections: Arc::clone(&connections),
            engine: OnceCell::new(),
            tasks: Tasks::default(),
            hosts: WorkerHosts::new(&connections),
            is_draining: AtomicBool::new(false),
            wire_bytes: port.bytes(),
            heard: Mutex::default(),
            warehouse,
            config,
        });
        let (stop, leaving) = (CancellationToken::new(), CancellationToken::new());
        let node: Arc<dyn Node> = Arc::<Worker>::clone(&worker);
        let service = worker_service(&worker);
        let runtimes = (connections.wire(), tokio::runtime::Handle::current());
        let token = worker.config.token.clone();
        port.serve(token.clone(), node, Some(service), runtimes, stop.clone());
        let shown_in = worker.warehouse.clone().filter(|_| is_shown);
        let signs = shown_in.map(|warehouse| {
            let signs = give_signs(advertised.clone(), token, warehouse, leaving.clone());
            // Queries that keep all other threads busy do not delay them.
            connections.wire().spawn(signs)
        });
        let looking = look_for_warehouse(Arc::clone(&worker), stop.clone());
        connections.wire().spawn(looking);
        tokio::spawn(keep_up(
            Arc::clone(&worker),
            coordinator.map(|coordinator| (coordinator, advertised)),
            stop.clone(),
        ));
        Ok(WorkerNode {
            worker,
            address,
            leaving,
            signs,
            stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What watches it.
    pub fn watch(&self) -> WorkerWatch {
        WorkerWatch::new(&self.worker)
    }

    /// Takes no new work, waits for what runs, and ends; after `within` in any case.
    pub async fn drain(self, within: Duration) {
        let (worker, signs) = (self.worker, self.signs);
        worker.is_draining.store(true, Ordering::Relaxed);
        self.leaving.cancel();
        let ended = async {
            // Until the coordinator has noticed, it may still send work.
            tokio::time::sleep(NOTICE_TIME).await;
            if let Some(signs) = signs {
                // A failure was told in the log.
                let _ = signs.await;
            }
            while worker.is_busy() {
                tokio::time::sleep(DRAIN_INTERVAL).await;
            }
        };
        // Whoever waits longer is told that the worker is lost, and goes on elsewhere.
        let _ = tokio::time::timeout(within, ended).await;
        self.stop.cancel();
    }
}

impl WorkerConfig {
    /// Whether coordinators look for it in the warehouse. Errors: `NoWarehouse`.
    fn is_shown(&self) -> std::result::Result<bool, ClusterError> {
        match self.coordinator.as_deref() {
            Some(AUTO) if !self.has_warehouse => Err(ClusterError::NoWarehouse),
            named => Ok(named == Some(AUTO)),
        }
    }

    /// Where others reach a worker that listens on `address`. Errors: `NoAdvertise`, `Address`.
    fn advertised(&self, address: SocketAddr) -> std::result::Result<String, ClusterError> {
        let advertised = match &self.advertise {
            Some(advertised) => advertised.clone(),
            None if self.coordinator.is_some() && address.ip().is_unspecified() => {
                let address = self.listen.clone();
                return Err(ClusterError::NoAdvertise { address });
            }
            None => address.to_string(),
        };
        url_of(&advertised)?;
        Ok(advertised)
    }
}

impl Worker {
    /// The engine on the coordinator's warehouse. Errors: `NotTakenIn`.
    pub(super) fn engine(&self) -> std::result::Result<&Arc<Engine>, ClusterError> {
        self.engine.get().ok_or(ClusterError::NotTakenIn)
    }

    fn is_busy(&self) -> bool {
        self.tasks.n_running() > 0 || self.hosts.n_partitions() > 0
    }

    fn check_not_draining(&self) -> std::result::Result<(), ClusterError> {
        match self.is_draining.load(Ordering::Relaxed) {
            true => Err(ClusterError::Draining),
            false => Ok(()),
        }
    }

    async fn take_in(&self, hello: Hello) -> Result<Vec<u8>> {
        self.check_not_draining()?;
        let engine = self
            .engine
            .get_or_try_init(|| Box::pin(self.open(&hello)))
            .await?;
        if engine.warehouse_url() != hello.warehouse {
            let (own, other) = (engine.warehouse_url(), hello.warehouse);
            return Err(ClusterError::WarehouseTaken { own, other }.into());
        }
        let (coordinator, probe) = (hello.coordinator, hello.probe);
        let is_known = lock(&self.heard).contains_key(&coordinator);
        if !is_known && !engine.warehouse.has_probe(&probe).await? {
            let warehouse = hello.warehouse;
            return Err(ClusterError::OtherWarehouse { warehouse }.into());
        }
        self.hear(coordinator, Some(probe));
        let runtime = engine.base_state().runtime_env().clone();
        let memory = match runtime.memory_pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit,
            _ => 0,
        };
        to_bytes(&own_facts(self.instance, engine.threads, memory))
    }

    async fn open(&self, hello: &Hello) -> Result<Arc<Engine>> {
        if let Some(own) = self.warehouse.as_ref().map(|own| own.url().to_string())
            && own != hello.warehouse
        {
            let other = hello.warehouse.clone();
            return Err(ClusterError::WarehouseTaken { own, other }.into());
        }
        let mut config = EngineConfig {
            warehouse: hello.warehouse.clone(),
            ..self.config.engine.clone()
        };
        let content = Engine::read_probe(&config, &hello.probe).await?;
        let letter = content.and_then(|content| opened(&content, &hello.letter));
        config.credential_key = letter.ok_or_else(|| ClusterError::OtherWarehouse {
            warehouse: hello.warehouse.clone(),
        })?;
        let engine = Box::pin(Engine::open(config)).await?;
        tracing::info!(
            warehouse = engine.warehouse_url(),
            "taken in by a coordinator"
        );
        Ok(engine)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the time since a coordinator was heard of, which no result depends on"
    )]
    fn hear(&self, coordinator: u64, probe: Option<String>) {
        let at = Instant::now();
        let mut heard = lock(&self.heard);
        let heard = heard.entry(coordinator).or_insert(Heard {
            at,
            probe: None,
            is_missed: false,
        });
        heard.at = at;
        heard.probe = probe.or_else(|| heard.probe.take());
    }

    /// The coordinators that are there, with the files that they wrote.
    fn probes(&self) -> Vec<(u64, String)> {
        let heard = lock(&self.heard);
        let there = heard.iter().filter(|(_, heard)| heard.is_there());
        let probes = there.filter_map(|(coordinator, heard)| {
            let probe = heard.probe.clone()?;
            Some((*coordinator, probe))
        });
        probes.collect()
    }

    /// A coordinator's file is there, or is not.
    fn note_probe(&self, coordinator: u64, found: &std::result::Result<bool, String>) {
        let mut heard = lock(&self.heard);
        let Some(heard) = heard.get_mut(&coordinator) else {
            return;
        };
        let was_missed = std::mem::replace(&mut heard.is_missed, *found != Ok(true));
        if heard.is_missed && !was_missed {
            let reason = found
                .as_ref()
                .err()
                .map_or("it is not there", String::as_str);
            tracing::warn!(
                reason,
                "cannot find the coordinator's file in the warehouse"
            );
        }
    }

    /// Forgets coordinators that were not heard of for long, with what they kept; whether any is left.
    fn forget(&self) -> bool {
        let mut heard = lock(&self.heard);
        heard.retain(|coordinator, heard| {
            let is_kept = heard.at.elapsed() < COORDINATOR_LEASE;
            if !is_kept {
                self.hosts.close_all_of(*coordinator);
            }
            is_kept
        });
        heard.values().any(Heard::is_there)
    }

    fn pong(&self, coordinator: u64) -> Pong {
        let heard = lock(&self.heard);
        let heard = heard.get(&coordinator);
        Pong {
            misses_warehouse: heard.is_some_and(|heard| heard.is_missed),
            instance: self.instance,
            is_draining: self.is_draining.load(Ordering::Relaxed),
            n_tasks: self.tasks.n_running(),
            n_partitions: self.hosts.n_partitions(),
            held_bytes: self.hosts.held_bytes(),
        }
    }
}

impl Heard {
    /// Whether it was heard lately.
    fn is_there(&self) -> bool {
        self.at.elapsed() < 5 * JOIN_INTERVAL
    }
}

#[async_trait]
impl Node for Worker {
    async fn answer(self: Arc<Self>, call: Call) -> Result<Vec<u8>> {
        match call {
            Call::Hello(hello) => self.take_in(hello).await,
            Call::Ping { coordinator, hosts } => {
                self.hear(coordinator, None);
                self.hosts.close_others(coordinator, &hosts);
                to_bytes(&self.pong(coordinator))
            }
            Call::OpenHost(open) => {
                self.check_not_draining()?;
                self.hosts.open(self.engine()?, *open).await?;
                to_bytes(&())
            }
            Call::AskHost { host, request } => self.hosts.ask(self.engine()?, host, request).await,
            Call::CloseHost(host) => {
                self.hosts.close(host);
                to_bytes(&())
            }
            Call::TakeFindings(statement) => to_bytes(&self.tasks.take_findings(&statement)?),
            Call::Join(_) => Err(crate::error::Error::unsupported("joining a worker")),
        }
    }
}

/// Looks now and then whether the warehouse is still the one that the coordinators have: a mount may go, a store may no longer
/// be reached from here.
async fn look_for_warehouse(worker: Arc<Worker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let Some(engine) = worker.engine.get().cloned() else {
            continue;
        };
        for (coordinator, probe) in worker.probes() {
            let looking = async { engine.warehouse.has_probe(&probe).await };
            let mut looking = std::pin::pin!(looking);
            let mut found = tokio::time::timeout(LOOK_TIMEOUT, looking.as_mut()).await;
            if found.is_err() {
                let late = format!("no answer within {} s", LOOK_TIMEOUT.as_secs());
                worker.note_probe(coordinator, &Err(late));
                // One look at a time: a mount that hangs keeps the thread that looks.
                found = tokio::select! {
                    () = stop.cancelled() => return,
                    found = looking => Ok(found),
                };
            }
            if let Ok(found) = found {
                worker.note_probe(coordinator, &found.map_err(|error| error.to_string()));
            }
        }
    }
}

/// Asks the coordinator to be taken in as long as none is heard, and now and then beside another one, since its own may
/// have been started anew; forgets those that are gone.
async fn keep_up(worker: Arc<Worker>, coordinator: Option<(Url, String)>, stop: CancellationToken) {
    let mut told = None;
    for round in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        let is_heard = worker.forget() && round % REJOIN_EVERY != 0;
        if let Some((url, address)) = coordinator.as_ref().filter(|_| !is_heard) {
            let join = Call::Join(address.clone());
            let joined: std::result::Result<(), _> = worker
                .connections
                .call(url, &join, Some(JOIN_TIMEOUT))
                .await;
            let reason = match joined {
                Ok(()) => None,
                Err(CallFailure::Lost(reason)) => Some(reason),
                Err(CallFailure::Refused(error)) => Some(error.to_string()),
            };
            if let Some(reason) = reason
                .as_ref()
                .filter(|reason| told.as_ref() != Some(*reason))
            {
                tracing::warn!(coordinator = %url, reason, "cannot join");
            }
            told = reason;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(JOIN_INTERVAL) => {}
        }
    }
}
