//! What a coordinator knows of its workers.
//!
//! In: addresses, from a list, from DNS, from signs in the warehouse, or from workers that join; out: those that answer now.
//! Each is asked how it is every second; who does not answer gets no new work, and is taken in again when it does. Joining
//! and leaving need no restart of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use auspex_storage::Warehouse;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::call::{Call, Hello, Pong, VERSION, WorkerFacts, to_bytes};
use super::connections::{CallFailure, Connections, address_of, url_of};
use super::error::ClusterError;
use super::live_hosts::LiveHosts;
use super::node::{ClusterToken, Node, NodePort};
use super::probe::{keep_young, sealed};
use super::sources::{SignedWorkers, Sources};
use super::tls::ClusterTls;
use crate::engine::{Engine, SecretText, lock};
use crate::error::{Error, Result};

/// How often each worker is asked how it is.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long it has to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it has to open the warehouse.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a worker that nobody named stays in the list when it is lost, in milliseconds.
const LOST_STAYS_MS: i64 = 3_600_000;
/// How long a worker that another one does not reach gets no stages of queries, in milliseconds; then they are tried again.
const MISSED_STAYS_MS: i64 = 60_000;
/// Workers in the list beyond which none is added that is refused.
const MAX_REFUSED: usize = 10_000;
/// How often names are looked up again.
const LOOKUP_EVERY: u64 = 5;

/// What a coordinator is started with.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// Workers: `HOST:PORT`, `dns:NAME:PORT` for all addresses of a name, or `auto` for those that show themselves in the
    /// warehouse.
    pub workers: Vec<String>,
    /// Where workers may join: `HOST:PORT`.
    pub worker_listen: Option<String>,
    /// What all machines of the cluster know.
    pub token: Option<ClusterToken>,
    /// What their connections are encrypted with.
    pub tls: Option<ClusterTls>,
    /// What secrets of credentials are sealed with.
    pub credential_key: Option<SecretText>,
}

/// A coordinator's workers.
#[derive(Debug)]
pub struct Cluster {
    pub(super) connections: Arc<Connections>,
    pub(super) hello: Hello,
    sources: Sources,
    workers: Mutex<BTreeMap<Url, Member>>,
    next: AtomicU64,
    /// What those who watch the cluster count.
    pub(super) counts: ClusterCounts,
    address: Option<SocketAddr>,
    /// Of trainings.
    pub(super) hosts: Arc<LiveHosts>,
    /// Where the probe of `hello` is.
    pub(super) warehouse: Arc<Warehouse>,
    /// Its name and its content.
    pub(super) probe: (String, String),
    pub(super) stop: CancellationToken,
    _stop: DropGuard,
}

/// What has happened since the coordinator's start.
#[derive(Debug, Default)]
pub(super) struct ClusterCounts {
    pub(super) n_losses: AtomicU64,
    /// Queries that began anew.
    pub(super) n_replans: AtomicU64,
}

/// A worker as its coordinator sees it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    state: MemberState,
    facts: Option<WorkerFacts>,
    pong: Pong,
    /// Milliseconds since 1970.
    last_seen_ms: Option<i64>,
    /// Nobody asked for it to be there: it goes when it left in order, or has not answered for long.
    has_joined: bool,
    sign: Sign,
    /// A worker that did not reach this one, and until when that counts.
    missed: Option<(String, i64)>,
}

/// Whether a worker shows itself in the warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It was not found there.
    None,
    /// It does.
    Given,
    /// It did, and goes once it does not answer.
    Lapsed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum MemberState {
    /// It was never heard of, for these reasons, the latest last; each is told once.
    Expected(Vec<String>),
    Ready,
    /// It answers, and takes no new work.
    Draining,
    /// It does not answer, for this reason.
    Lost(String),
    /// It does not want to, for this reason.
    Refused(String),
}

/// A row of `ml.workers`.
#[derive(Debug, Clone)]
pub(crate) struct WorkerRow {
    pub(crate) address: String,
    pub(crate) state: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) cores: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) version: Option<String>,
    pub(crate) tasks: Option<u64>,
    pub(crate) partitions_held: Option<u64>,
    pub(crate) bytes_held: Option<u64>,
    pub(crate) last_seen_ms: Option<i64>,
}

impl Member {
    fn expected(has_joined: bool) -> Member {
        Member {
            state: MemberState::Expected(Vec::new()),
            facts: None,
            pong: Pong::default(),
            last_seen_ms: None,
            has_joined,
            sign: Sign::None,
            missed: None,
        }
    }

    /// It was not reached.
    fn miss(&mut self, url: &Url, reason: String) {
        let MemberState::Expected(reasons) = &mut self.state else {
            self.state = MemberState::Lost(reason);
            return;
        };
        match reasons.iter().position(|told| *told == reason) {
            Some(told) => reasons[told..].rotate_left(1),
            None => {
                tracing::warn!(worker = address_of(url), reason, "cannot reach a worker");
                reasons.push(reason);
            }
        }
    }

    fn answers(&self) -> bool {
        matches!(self.state, MemberState::Ready | MemberState::Draining)
    }

    /// A worker that did not reach this one lately.
    fn missed_by(&self) -> Option<&str> {
        let (by, until_ms) = self.missed.as_ref()?;
        (chrono::Utc::now().timestamp_millis() < *until_ms).then_some(by)
    }

    fn row(&self, address: &Url) -> WorkerRow {
        let (state, reason) = match &self.state {
            MemberState::Expected(reasons) => ("expected", reasons.last().cloned()),
            MemberState::Ready => {
                let reason = self.missed_by().map(|by| format!("{by} does not reach it"));
                ("ready", reason)
            }
            MemberState::Draining => ("draining", None),
            MemberState::Lost(reason) => ("lost", Some(reason.clone())),
            MemberState::Refused(reason) => ("refused", Some(reason.clone())),
        };
        let facts = self.facts.as_ref();
        let pong = facts.map(|_| match self.state {
            // What it had is given to others.
            MemberState::Lost(_) => Pong::default(),
            _ => self.pong,
        });
        WorkerRow {
            address: address_of(address),
            state,
            reason,
            cores: facts.map(|facts| facts.threads),
            memory_bytes: facts.map(|facts| facts.memory_bytes),
            version: facts.map(|facts| facts.version.clone()),
            tasks: pong.map(|pong| pong.n_tasks),
            partitions_held: pong.map(|pong| pong.n_partitions),
            bytes_held: pong.map(|pong| pong.held_bytes),
            last_seen_ms: self.last_seen_ms,
        }
    }
}

impl Cluster {
    /// Starts to look for workers, and lets the engine use them. What is started ends with the cluster.
    pub async fn start(engine: &Arc<Engine>, config: ClusterConfig) -> Result<Arc<Cluster>> {
        let sources = Sources::parse(&config.workers)?;
        let listed = sources.listed.iter();
        let workers = listed.map(|url| (url.clone(), Member::expected(false)));
        let workers = workers.collect();
        let connections = Connections::new(config.token.clone(), config.tls.clone())?;
        let port = match &config.worker_listen {
            Some(address) => {
                let (token, tls) = (config.token.as_ref(), config.tls.as_ref());
                Some(NodePort::bind(address, token, tls).await?)
            }
            None => None,
        };
        let mut coordinator = [0; 8];
        auspex_storage::random(&mut coordinator)?;
        let probe = engine.warehouse.write_probe().await?;
        let hello = Hello {
            coordinator: u64::from_le_bytes(coordinator),
            warehouse: engine.warehouse_url(),
            probe: probe.0.clone(),
            letter: sealed(&probe.1, config.credential_key.as_ref())?,
        };
        let signed = match sources.has_signs {
            true => {
                let (token, has_tls) = (config.token.clone(), config.tls.is_some());
                Some(SignedWorkers::of(engine, &hello.probe, token, has_tls).await?)
            }
            false => None,
        };
        let stop = CancellationToken::new();
        let cluster = Arc::new(Cluster {
            address: port.as_ref().map(NodePort::address),
            hello,
            sources,
            workers: Mutex::new(workers),
            next: AtomicU64::new(1),
            counts: ClusterCounts::default(),
            hosts: Arc::default(),
            warehouse: Arc::clone(&engine.warehouse),
            probe,
            stop: stop.clone(),
            _stop: stop.clone().drop_guard(),
            connections: Arc::clone(&connections),
        });
        if let Some(port) = port {
            let node: Arc<dyn Node> = Arc::new(Gate(Arc::downgrade(&cluster)));
            let runtimes = (connections.wire(), tokio::runtime::Handle::current());
            port.serve(config.token, node, None, runtimes, stop.clone());
        }
        if let Some(signed) = signed {
            tokio::spawn(signed.tell(Arc::downgrade(&cluster), stop.clone()));
        }
        let (warehouse, probe) = (Arc::clone(&cluster.warehouse), cluster.probe.clone());
        tokio::spawn(keep_young(warehouse, probe, stop.clone()));
        tokio::spawn(watch(Arc::downgrade(&cluster), stop));
        engine.use_cluster(Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Where workers may join.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// A number that this cluster gave to nothing else.
    pub(super) fn new_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The workers that take work, with their threads.
    pub(super) fn ready(&self) -> Vec<(Url, u64)> {
        let workers = lock(&self.workers);
        workers
            .iter()
            .filter(|(_, member)| member.state == MemberState::Ready)
            .map(|(url, member)| (url.clone(), member.facts.as_ref().map_or(1, |f| f.threads)))
            .collect()
    }

    /// Those that other workers reach as well, as stages of queries must.
    pub(super) fn connected(&self) -> Vec<Url> {
        let workers = lock(&self.workers);
        workers
            .iter()
            .filter(|(_, member)| member.state == MemberState::Ready)
            .filter(|(_, member)| member.missed_by().is_none())
            .map(|(url, _)| url.clone())
            .collect()
    }

    /// A worker answers here, and was not reached by another one.
    pub(super) fn miss(&self, url: &Url, by: &str) {
        if let Some(member) = lock(&self.workers).get_mut(url) {
            tracing::warn!(worker = address_of(url), by, "a worker does not reach it");
            let until_ms = chrono::Utc::now().timestamp_millis() + MISSED_STAYS_MS;
            member.missed = Some((by.to_owned(), until_ms));
        }
    }

    /// The rows of `ml.workers`.
    pub(crate) fn rows(&self) -> Vec<WorkerRow> {
        let workers = lock(&self.workers);
        workers
            .iter()
            .map(|(url, member)| member.row(url))
            .collect()
    }

    /// A worker gets no new work until it answers again.
    pub(super) fn lose(&self, url: &Url, reason: &str) {
        if let Some(member) = lock(&self.workers).get_mut(url)
            && member.state == MemberState::Ready
        {
            tracing::warn!(worker = address_of(url), reason, "worker lost");
            member.state = MemberState::Lost(reason.to_owned());
            self.counts.n_losses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Which of these workers are gone, or were started again and have lost what they kept.
    pub(super) async fn lost_of(&self, workers: &BTreeMap<Url, u64>) -> Vec<Url> {
        let asked = workers.iter().map(|(url, instance)| async move {
            if self.is_lost(url) {
                return Some(url.clone());
            }
            let reason = match self.ping(url).await {
                Ok(pong) if pong.instance == *instance => return None,
                Ok(_) => "it was started again".to_owned(),
                Err(CallFailure::Lost(reason)) => reason,
                Err(CallFailure::Refused(error)) => error.to_string(),
            };
            self.lose(url, &reason);
            Some(url.clone())
        });
        let asked = futures::future::join_all(asked).await;
        asked.into_iter().flatten().collect()
    }

    /// Whether a worker did not answer when it was asked last, which costs a wait to find out again.
    fn is_lost(&self, url: &Url) -> bool {
        let workers = lock(&self.workers);
        let state = workers.get(url).map(|member| &member.state);
        matches!(state, Some(MemberState::Lost(_)))
    }

    /// Which start of each worker is the present one.
    pub(super) fn instances(&self) -> BTreeMap<Url, u64> {
        let workers = lock(&self.workers);
        workers
            .iter()
            .filter_map(|(url, member)| Some((url.clone(), member.facts.as_ref()?.instance)))
            .collect()
    }

    async fn ping(&self, url: &Url) -> std::result::Result<Pong, CallFailure> {
        let coordinator = self.hello.coordinator;
        let hosts = self.hosts.on(url);
        let ping = Call::Ping { coordinator, hosts };
        self.connections.call(url, &ping, Some(PING_TIMEOUT)).await
    }

    async fn greet(&self, url: &Url) -> std::result::Result<(WorkerFacts, Pong), CallFailure> {
        self.connections.challenge(url, HELLO_TIMEOUT).await?;
        let hello = Call::Hello(self.hello.clone());
        let facts: WorkerFacts = self
            .connections
            .call(url, &hello, Some(HELLO_TIMEOUT))
            .await?;
        Ok((facts, self.ping(url).await?))
    }

    /// Asks one worker how it is.
    async fn visit(&self, url: Url) {
        let known = lock(&self.workers).get(&url).cloned();
        let Some(known) = known else { return };
        let was_ready = known.state == MemberState::Ready;
        let found = match known.answers().then_some(known.facts).flatten() {
            Some(facts) => match self.ping(&url).await {
                Ok(pong) if pong.instance == facts.instance => Ok((facts, pong)),
                Ok(_) => self.greet(&url).await,
                Err(failure) => Err(failure),
            },
            None => self.greet(&url).await,
        };
        let misses = matches!(&found, Ok((_, pong)) if pong.misses_warehouse);
        if misses && was_ready {
            self.renew_probe().await;
        }
        self.note(&url, found);
    }

    fn note(&self, url: &Url, found: std::result::Result<(WorkerFacts, Pong), CallFailure>) {
        let mut workers = lock(&self.workers);
        let instance = found.as_ref().ok().map(|(facts, _)| facts.instance);
        let other_name = instance.and_then(|instance| name_of(&workers, instance, url));
        let Some(member) = workers.get_mut(url) else {
            return;
        };
        let before = member.state.clone();
        match found {
            Ok((facts, pong)) => {
                member.state = match (other_name, pong.is_draining) {
                    (Some(other), _) => MemberState::Refused(format!("it is {other} already")),
                    (None, true) => MemberState::Draining,
                    (None, false) if pong.misses_warehouse => {
                        let warehouse = self.hello.warehouse.clone();
                        let reason = ClusterError::OtherWarehouse { warehouse };
                        MemberState::Refused(reason.to_string())
                    }
                    (None, false) => MemberState::Ready,
                };
                (member.facts, member.pong) = (Some(facts), pong);
                member.last_seen_ms = Some(chrono::Utc::now().timestamp_millis());
            }
            Err(CallFailure::Lost(reason)) => {
                if before == MemberState::Ready {
                    self.counts.n_losses.fetch_add(1, Ordering::Relaxed);
                }
                member.miss(url, reason);
            }
            Err(CallFailure::Refused(ClusterError::Draining)) => {
                member.state = MemberState::Draining;
            }
            Err(CallFailure::Refused(error)) => {
                member.state = MemberState::Refused(error.to_string());
            }
        }
        if std::mem::discriminant(&before) != std::mem::discriminant(&member.state) {
            let WorkerRow {
                address,
                state,
                reason,
                ..
            } = member.row(url);
            tracing::info!(worker = address, reason, "worker is {state}");
        }
        let is_gone = match &member.state {
            // Of one that was drained, or that never answered, there is nothing to tell.
            MemberState::Lost(_) => {
                let since = member.last_seen_ms.unwrap_or(0);
                let silent_ms = chrono::Utc::now().timestamp_millis() - since;
                let is_silent = silent_ms > LOST_STAYS_MS && member.sign != Sign::Given;
                before == MemberState::Draining || member.sign == Sign::Lapsed || is_silent
            }
            _ => false,
        };
        if is_gone && member.has_joined {
            // It joins again when it is back.
            workers.remove(url);
        }
    }

    /// Looks names up; addresses that a name no longer has go once they do not answer.
    async fn look_up(&self) {
        for url in self.sources.look_up().await {
            self.expect(url);
        }
    }

    /// These workers show themselves in the warehouse now. Who no longer does, and does not answer, is forgotten.
    pub(super) fn expect_signed(&self, signed: &BTreeSet<Url>) {
        let mut workers = lock(&self.workers);
        for url in signed {
            let member = workers.entry(url.clone());
            let member = member.or_insert_with(|| Member::expected(true));
            member.sign = Sign::Given;
        }
        workers.retain(|url, member| {
            if member.sign == Sign::Given && !signed.contains(url) {
                member.sign = Sign::Lapsed;
            }
            let is_forgotten =
                member.sign == Sign::Lapsed && member.has_joined && !member.answers();
            if is_forgotten {
                tracing::info!(worker = address_of(url), "worker is forgotten");
            }
            !is_forgotten
        });
    }

    /// A worker of another version asked to join. It stays in the list, so that those who look see why it takes no work.
    fn refuse(&self, url: Url, version: &str) {
        let reason = ClusterError::OtherVersion {
            own: VERSION.to_owned(),
            other: version.to_owned(),
        };
        let mut workers = lock(&self.workers);
        if !workers.contains_key(&url) && workers.len() >= MAX_REFUSED {
            return;
        }
        let member = workers.entry(url).or_insert_with(|| Member::expected(true));
        if !member.answers() {
            member.state = MemberState::Refused(reason.to_string());
            member.last_seen_ms = Some(chrono::Utc::now().timestamp_millis());
        }
    }

    fn expect(&self, url: Url) {
        lock(&self.workers)
            .entry(url)
            .or_insert_with(|| Member::expected(true));
    }
}

/// The other address under which a start of a worker is in use.
fn name_of(workers: &BTreeMap<Url, Member>, instance: u64, url: &Url) -> Option<String> {
    let is_it = |member: &Member| {
        member
            .facts
            .as_ref()
            .is_some_and(|f| f.instance == instance)
    };
    workers
        .iter()
        .find(|(other, member)| *other != url && member.answers() && is_it(member))
        .map(|(other, _)| address_of(other))
}

/// Visits all workers again and again, each at its own pace.
async fn watch(cluster: Weak<Cluster>, stop: CancellationToken) {
    let busy: Arc<Mutex<BTreeSet<Url>>> = Arc::default();
    for round in 0_u64.. {
        {
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            if round % LOOKUP_EVERY == 0 {
                cluster.look_up().await;
            }
            let workers: Vec<Url> = lock(&cluster.workers).keys().cloned().collect();
            for url in workers {
                if !lock(&busy).insert(url.clone()) {
                    continue;
                }
                let (cluster, busy) = (Arc::clone(&cluster), Arc::clone(&busy));
                tokio::spawn(async move {
                    cluster.visit(url.clone()).await;
                    lock(&busy).remove(&url);
                });
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
    }
}

/// The coordinator's port: workers join there.
struct Gate(Weak<Cluster>);

#[async_trait]
impl Node for Gate {
    async fn answer(self: Arc<Self>, call: Call) -> Result<Vec<u8>> {
        let Call::Join(address) = call else {
            return Err(Error::unsupported("this call of a coordinator"));
        };
        let url = url_of(&address)?;
        if let Some(cluster) = self.0.upgrade() {
            cluster.expect(url);
        }
        to_bytes(&())
    }

    fn refused_version(&self, address: &str, version: &str) {
        if let (Some(cluster), Ok(url)) = (self.0.upgrade(), url_of(address)) {
            cluster.refuse(url, version);
        }
    }
}

/// What the log and `SHOW` say of the version of this machine.
pub(super) fn own_facts(instance: u64, threads: usize, memory_bytes: usize) -> WorkerFacts {
    WorkerFacts {
        instance,
        version: VERSION.to_owned(),
        threads: threads as u64,
        memory_bytes: memory_bytes as u64,
    }
}
