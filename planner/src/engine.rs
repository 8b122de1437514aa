//! An open warehouse: the catalog, its tables and models, the memory, and the sessions that use them.
//!
//! In: an [`EngineConfig`]; out: a [`Session`] for each client. Holds no per-client state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use auspex_ml::run::{Iteration, Warning};
use auspex_ml::trained_model::TrainedModel;
use auspex_storage::{
    Catalog, CheckReport, CheckpointStore, CredentialKey, Garbage, GarbageOptions, Locations,
    ModelStore, StoreOptions, StoreRegistry, Tables, Upkeep, Warehouse,
};
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::access::{Identity, ProvenRole};
use crate::activity::{Activity, Backend, BackendFacts};
use crate::advisory_locks::AdvisoryLocks;
use crate::background::Background;
use crate::bind::ColumnAliases;
use crate::catalog::facts::CatalogFacts;
use crate::channels::Channels;
use crate::checkpoints::LiveRuns;
use crate::distributed::Cluster;
use crate::error::Result;
use crate::jobs::Jobs;
use crate::observe::Observer;
use crate::optimize::{logical_rules, physical_rules};
use crate::resources::{memory_bytes, runtime};
use crate::session::Session;
use crate::spill_folder::SpillFolder;
use crate::timers::Timers;
use crate::training_threads::TrainingThreads;
use crate::transaction::ExportedSnapshots;
use crate::workload::{RoleLoad, Workload};

/// How many loaded model versions are kept ready for prediction.
const CACHED_MODELS: usize = 64;
/// How many warnings of statements other than trainings `ml.warnings` remembers.
const REMEMBERED_WARNINGS: usize = 1000;

/// Of remote files, what is kept in memory unless the configuration says so.
const DEFAULT_CACHE_BYTES: usize = 256 << 20;
/// How soon changes by other servers are seen, where to ask costs little.
const LOCAL_REFRESH: Duration = Duration::from_millis(100);
/// The same where to ask is a request.
const REMOTE_REFRESH: Duration = Duration::from_secs(1);

/// A text that no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The warehouse: a folder or a URL.
    pub warehouse: String,
    /// Memory for queries and trainings; `None` is 80 % of the machine's.
    pub memory_limit_bytes: Option<usize>,
    /// Threads for queries and trainings; `None` is one a core.
    pub threads: Option<usize>,
    /// Where to spill; `None` is the system's temporary folder.
    pub spill_dir: Option<PathBuf>,
    /// Locations beyond the warehouse that SQL may read.
    pub allow_locations: Vec<String>,
    /// How soon changes by other servers are seen; `None` is 100 ms for a local warehouse, else 1 s.
    pub catalog_refresh_interval: Option<Duration>,
    /// Bytes of remote files that are kept in memory.
    pub cache_bytes: usize,
    /// The text that secrets of credentials are sealed with.
    pub credential_key: Option<SecretText>,
    /// File that records of statements are appended to.
    pub audit_log: Option<PathBuf>,
    /// Settings of new sessions.
    pub default_settings: BTreeMap<String, String>,
    /// What the server adds to the SQL of a session.
    pub extension: Option<Arc<dyn SessionExtension>>,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            warehouse: "./warehouse".to_owned(),
            memory_limit_bytes: None,
            threads: None,
            spill_dir: None,
            allow_locations: Vec::new(),
            catalog_refresh_interval: None,
            cache_bytes: DEFAULT_CACHE_BYTES,
            credential_key: None,
            audit_log: None,
            default_settings: BTreeMap::new(),
            extension: None,
        }
    }
}

/// Who opens a session.
#[derive(Debug, Clone, Default)]
pub struct ClientFacts {
    /// The role, which has proved who it is.
    pub user: String,
    /// The application's name.
    pub application: String,
    /// Where from; `None` in this process.
    pub address: Option<SocketAddr>,
    /// The role whose password was given; `None` if none was asked for.
    pub proven: Option<ProvenRole>,
}

/// Who a session is.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The role that logged in.
    pub user: String,
    /// The role that it is now.
    pub identity: Arc<Identity>,
    /// What it keeps by name.
    pub backend: Arc<Backend>,
    /// The engine, to ask about roles and privileges.
    pub engine: Weak<Engine>,
    /// The number that cancel requests and `pg_backend_pid()` use.
    pub process_id: i32,
    /// The database's name.
    pub database: &'static str,
    /// What the warehouse holds, as the session sees it.
    pub catalog: CatalogFacts,
    /// When the engine was opened, in microseconds since 1970.
    pub started_at_us: i64,
}

/// A function that is the same on every machine.
#[derive(Debug, Clone)]
pub struct ValueFunction {
    /// The function.
    pub function: ScalarUDF,
    /// Whether it looks at the marks of its arguments, beside their types.
    pub reads_marks: bool,
}

/// What the server adds to the SQL of a session: `pg_catalog` and its functions.
pub trait SessionExtension: Send + Sync + Debug {
    /// Registers schemas and functions in a new session's context.
    fn install(
        &self,
        context: &SessionContext,
        session: &SessionFacts,
    ) -> datafusion::error::Result<()>;

    /// Functions that need nothing of a session, so that they are the same on every machine.
    fn functions(&self) -> Vec<ValueFunction> {
        Vec::new()
    }

    /// Rewrites what clients of PostgreSQL write and the planner does not know; leaves the rest alone.
    fn rewrite(&self, statement: &mut ast::Statement) -> datafusion::error::Result<()>;

    /// Gives the columns of a client's query the form in which they travel; leaves the rest alone.
    fn present(
        &self,
        plan: LogicalPlan,
        state: &SessionState,
    ) -> datafusion::error::Result<LogicalPlan>;
}

/// The state of a running training, a row of `pg_stat_progress_train`.
#[derive(Debug, Clone)]
pub(crate) struct TrainingProgress {
    pub(crate) model: String,
    pub(crate) phase: &'static str,
    pub(crate) rows: u64,
    pub(crate) iteration: Option<Iteration>,
    pub(crate) started: Instant,
}

/// A warning of a statement that is not stored with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatementWarning {
    pub(crate) model: String,
    pub(crate) version: u64,
    pub(crate) statement: &'static str,
    pub(crate) warning: Warning,
}

/// An open warehouse.
pub struct Engine {
    pub(crate) warehouse: Arc<Warehouse>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) locations: Arc<Locations>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) models: ModelStore,
    pub(crate) threads: usize,
    /// Its memory limit.
    pub(crate) memory_bytes: usize,
    pub(crate) timers: Timers,
    pub(crate) default_settings: BTreeMap<String, String>,
    pub(crate) extension: Option<Arc<dyn SessionExtension>>,
    /// When it was opened, in microseconds since 1970.
    pub(crate) started_at_us: i64,
    pub(crate) activity: Activity,
    /// Trainings that run apart from a session.
    pub(crate) background: Background,
    pub(crate) advisory_locks: Arc<AdvisoryLocks>,
    /// What sessions notify each other by.
    pub(crate) channels: Arc<Channels>,
    /// The snapshots of blocks that others may read.
    pub(crate) snapshots: ExportedSnapshots,
    pub(crate) observer: Observer,
    pub(crate) workload: Workload,
    pub(crate) training_threads: TrainingThreads,
    /// Trainings that run, or ran lately.
    pub(crate) jobs: Jobs,
    /// Those of them that keep checkpoints.
    pub(crate) live_runs: LiveRuns,
    /// Random bytes of this start.
    pub(crate) secret: [u8; 32],
    cluster: OnceLock<Arc<Cluster>>,
    base: SessionContext,
    /// Goes after what writes there.
    _spill: Option<SpillFolder>,
    readers_of_marks: BTreeSet<String>,
    loaded: Mutex<VecDeque<(String, u64, Arc<TrainedModel>)>>,
    trainings: Mutex<BTreeMap<i32, TrainingProgress>>,
    warnings: Mutex<VecDeque<StatementWarning>>,
    /// What each process runs, or ran last.
    running: Mutex<BTreeMap<i32, CancellationToken>>,
    next_process_id: AtomicI32,
}

impl Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.warehouse.url())
    }
}

fn store_options(config: &EngineConfig) -> Result<StoreOptions> {
    let key = config.credential_key.as_ref();
    Ok(StoreOptions {
        cache_bytes: config.cache_bytes,
        credential_key: key.map(|key| CredentialKey::new(&key.0)).transpose()?,
    })
}

/// The warehouse of a configuration alone, made if there is none.
pub(crate) async fn open_warehouse(config: &EngineConfig) -> Result<Arc<Warehouse>> {
    Ok(Warehouse::open_with(&config.warehouse, store_options(config)?).await?)
}

/// What all sessions begin with, and the names of functions that read marks of columns.
fn base(
    runtime: Arc<RuntimeEnv>,
    extension: Option<&dyn SessionExtension>,
) -> Result<(SessionContext, BTreeSet<String>)> {
    let mut base = SessionContext::new_with_state(
        SessionStateBuilder::new()
            .with_expr_planners(crate::functions::first_planners())
            .with_default_features()
            .with_runtime_env(runtime)
            .with_type_planner(Arc::new(crate::functions::Types))
            .with_relation_planners(vec![Arc::new(ColumnAliases)])
            .with_optimizer_rules(logical_rules())
            .with_physical_optimizer_rules(physical_rules())
            .build(),
    );
    crate::functions::install(&mut base)?;
    let mut readers_of_marks = BTreeSet::new();
    for added in extension.into_iter().flat_map(|added| added.functions()) {
        if added.reads_marks {
            readers_of_marks.insert(added.function.name().to_owned());
        }
        base.register_udf(added.function);
    }
    Ok((base, readers_of_marks))
}

impl Engine {
    /// Opens a warehouse, making it if there is none.
    pub async fn open(config: EngineConfig) -> Result<Arc<Engine>> {
        let observer = Observer::start(config.audit_log.as_deref())?;
        let warehouse = open_warehouse(&config).await?;
        let locations = Arc::new(Locations::new(&warehouse, &config.allow_locations)?);
        let refresh_interval = match (config.catalog_refresh_interval, warehouse.is_local()) {
            (Some(interval), _) => interval,
            (None, true) => LOCAL_REFRESH,
            (None, false) => REMOTE_REFRESH,
        };
        let catalog = Catalog::open(Arc::clone(&warehouse), refresh_interval).await?;
        let mut default_settings = config.default_settings.clone();
        for (name, value) in [
            ("cache_size", format!("{}kB", config.cache_bytes >> 10)),
            (
                "catalog_refresh_interval",
                format!("{}ms", refresh_interval.as_millis()),
            ),
        ] {
            default_settings.insert(name.to_owned(), value);
        }
        let registry = StoreRegistry::new(Arc::clone(warehouse.stores()));
        let (runtime, spill) = runtime(&config, registry)?;
        let mut secret = [0; 32];
        auspex_storage::random(&mut secret)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = config.threads.unwrap_or(cores).max(1);
        let (base, readers_of_marks) = base(runtime, config.extension.as_deref())?;
        Ok(Arc::new(Engine {
            tables: Arc::new(Tables::new(Arc::clone(&warehouse), Arc::clone(&locations))),
            models: ModelStore::new(Arc::clone(&warehouse)),
            warehouse,
            catalog,
            locations,
            threads,
            memory_bytes: memory_bytes(&config),
            channels: Arc::new(Channels::new(memory_bytes(&config))),
            timers: Timers::start().map_err(DataFusionError::from)?,
            default_settings,
            extension: config.extension,
            started_at_us: now_us(),
            activity: Activity::default(),
            background: Background::default(),
            advisory_locks: Arc::default(),
            snapshots: ExportedSnapshots::default(),
            observer,
            workload: Workload::default(),
            training_threads: TrainingThreads::start(threads).map_err(DataFusionError::from)?,
            jobs: Jobs::default(),
            live_runs: LiveRuns::default(),
            secret,
            cluster: OnceLock::new(),
            base,
            _spill: spill,
            readers_of_marks,
            loaded: Mutex::default(),
            trainings: Mutex::default(),
            warnings: Mutex::default(),
            running: Mutex::default(),
            next_process_id: AtomicI32::new(1),
        }))
    }

    /// Opens a warehouse that is there. Errors: those of `open`, and that its folder does not exist.
    pub async fn open_existing(config: EngineConfig) -> Result<Arc<Engine>> {
        Warehouse::require(&config.warehouse)?;
        Engine::open(config).await
    }

    /// Checks a warehouse: the catalog's log and the files that it names. Of a log that no engine can be opened with,
    /// the log alone.
    pub async fn check(config: EngineConfig) -> Result<CheckReport> {
        Warehouse::require(&config.warehouse)?;
        match Box::pin(Engine::open(config.clone())).await {
            Ok(engine) => Ok(engine.upkeep().check().await?),
            Err(error) => {
                let report = Upkeep::check_log(&*open_warehouse(&config).await?).await?;
                match report.problems.is_empty() {
                    true => Err(error),
                    false => Ok(report),
                }
            }
        }
    }

    /// Removes files that nothing names any more.
    pub async fn collect_garbage(&self, options: GarbageOptions) -> Result<Garbage> {
        Ok(self.upkeep().collect_garbage(options).await?)
    }

    /// The checkpoints of the warehouse's trainings.
    pub(crate) fn checkpoints(&self) -> CheckpointStore {
        CheckpointStore::new(Arc::clone(&self.warehouse))
    }

    fn upkeep(&self) -> Upkeep {
        let (warehouse, catalog) = (Arc::clone(&self.warehouse), Arc::clone(&self.catalog));
        Upkeep::new(warehouse, catalog, Arc::clone(&self.tables))
    }

    /// Opens a session for a client that has proved who it is.
    pub fn connect(self: &Arc<Engine>, client: &ClientFacts) -> Result<Arc<Session>> {
        let admitted = self.admit(&client.user, client.proven.as_ref())?;
        let process_id = self.new_process_id();
        Session::open(Arc::clone(self), client, admitted, process_id)
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> Vec<BackendFacts> {
        self.activity.facts()
    }

    /// Whose a process is, a session or a training in the background; `None`: there is no such process.
    pub(crate) fn user_of(&self, process_id: i32) -> Option<String> {
        let user = self.activity.user_of(process_id);
        user.or_else(|| self.background.user_of(process_id, &self.catalog.state()))
    }

    /// How many sessions are open.
    pub fn n_sessions(&self) -> usize {
        self.activity.n_sessions()
    }

    /// A number for a session, or for what runs apart from one.
    pub(crate) fn new_process_id(&self) -> i32 {
        self.next_process_id.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on, cancelling a process means this token; `None` forgets the process.
    pub(crate) fn set_running(&self, process_id: i32, token: Option<&CancellationToken>) {
        let mut running = lock(&self.running);
        match token {
            Some(token) => running.insert(process_id, token.clone()),
            None => running.remove(&process_id),
        };
    }

    /// Cancels what a process runs; whether there is such a process.
    pub(crate) fn cancel(&self, process_id: i32) -> bool {
        let running = lock(&self.running);
        let found = running.get(&process_id);
        if let Some(token) = found {
            token.cancel();
        }
        found.is_some()
    }

    /// Where the warehouse lies.
    pub fn warehouse_url(&self) -> String {
        self.warehouse.url().to_string()
    }

    /// The functions and planners that every session starts with.
    pub(crate) fn base_state(&self) -> datafusion::execution::SessionState {
        self.base.state()
    }

    /// The functions of every machine that look at the marks of their arguments.
    pub(crate) fn readers_of_marks(&self) -> &BTreeSet<String> {
        &self.readers_of_marks
    }

    /// The same for a role, within its memory.
    pub(crate) fn state_for(
        &self,
        load: &Arc<RoleLoad>,
    ) -> Result<datafusion::execution::SessionState> {
        let state = self.base.state();
        let Some(limit) = load.limits(&self.catalog.state()).memory_bytes else {
            return Ok(state);
        };
        let runtime = state.runtime_env();
        let pool = load.pool(limit, &runtime.memory_pool);
        let runtime = RuntimeEnvBuilder::from_runtime_env(runtime).with_memory_pool(pool);
        let runtime = runtime.build_arc()?;
        Ok(SessionStateBuilder::new_from_existing(state)
            .with_runtime_env(runtime)
            .build())
    }

    /// A model version that was loaded before.
    pub(crate) fn loaded_model(&self, id: &str, version: u64) -> Option<Arc<TrainedModel>> {
        let loaded = lock(&self.loaded);
        let found = loaded
            .iter()
            .find(|(model, number, _)| model == id && *number == version);
        self.observer.metrics.model_lookup(found.is_some());
        found.map(|(_, _, model)| Arc::clone(model))
    }

    /// A model version, from memory or from storage.
    pub(crate) async fn load_version(&self, id: &str, version: u64) -> Result<Arc<TrainedModel>> {
        if let Some(model) = self.loaded_model(id, version) {
            return Ok(model);
        }
        let manifest = self.models.manifest(id, version).await?;
        let tensors = self.models.tensors(id, &manifest).await?;
        let trained = manifest.get("trained").unwrap_or(&Value::Null);
        let model = Arc::new(TrainedModel::from_parts(trained, &tensors)?);
        self.keep_model(id, version, Arc::clone(&model));
        Ok(model)
    }

    /// Which version of which model this is, if it was loaded lately.
    pub(crate) fn id_of_model(&self, model: &Arc<TrainedModel>) -> Option<(String, u64)> {
        let loaded = lock(&self.loaded);
        let mut found = loaded.iter();
        let found = found.find(|(_, _, known)| Arc::ptr_eq(known, model))?;
        Some((found.0.clone(), found.1))
    }

    /// From now on, queries and trainings may run on the cluster's workers.
    pub(crate) fn use_cluster(&self, cluster: Arc<Cluster>) {
        // A second cluster would find the engine's sessions with the first.
        let _ = self.cluster.set(cluster);
    }

    /// The cluster whose coordinator this is.
    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.get().cloned()
    }

    /// What is in the file that another machine wrote into a warehouse; `None`: it is not there.
    pub(crate) async fn read_probe(config: &EngineConfig, name: &str) -> Result<Option<String>> {
        let stores = store_options(config)?;
        Ok(Warehouse::read_probe(&config.warehouse, stores, name).await?)
    }

    /// Keeps a model version ready; the oldest one makes room.
    pub(crate) fn keep_model(&self, id: &str, version: u64, model: Arc<TrainedModel>) {
        let mut loaded = lock(&self.loaded);
        if loaded.len() >= CACHED_MODELS {
            loaded.pop_front();
        }
        loaded.push_back((id.to_owned(), version, model));
    }

    /// Changes the progress of a session's training; `None` ends it.
    pub(crate) fn set_training(&self, process_id: i32, progress: Option<TrainingProgress>) {
        let mut trainings = lock(&self.trainings);
        match progress {
            Some(progress) => trainings.insert(process_id, progress),
            None => trainings.remove(&process_id),
        };
    }

    /// Updates the progress of a session's training.
    pub(crate) fn update_training(&self, process_id: i32, f: impl FnOnce(&mut TrainingProgress)) {
        if let Some(progress) = lock(&self.trainings).get_mut(&process_id) {
            f(progress);
        }
    }

    /// The trainings that run now.
    pub(crate) fn trainings(&self) -> Vec<(i32, TrainingProgress)> {
        lock(&self.trainings)
            .iter()
            .map(|(id, progress)| (*id, progress.clone()))
            .collect()
    }

    /// Remembers a warning for `ml.warnings`.
    pub(crate) fn remember_warning(&self, warning: StatementWarning) {
        let mut warnings = lock(&self.warnings);
        // What is said again and again stands there once, at its newest place.
        warnings.retain(|earlier| *earlier != warning);
        if warnings.len() >= REMEMBERED_WARNINGS {
            warnings.pop_front();
        }
        warnings.push_back(warning);
    }

    /// The warnings of statements that are not stored with a model.
    pub(crate) fn statement_warnings(&self) -> Vec<StatementWarning> {
        lock(&self.warnings).iter().cloned().collect()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "when a server started is a time of day, which no result depends on"
)]
fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Lossless for the next 290,000 years.
    since.map_or(0, |since| since.as_micros() as i64)
}

/// A panic elsewhere must not make these lists unusable: each update leaves them whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
