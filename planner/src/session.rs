//! One client: its settings, its names, and the statements that it prepares and executes.
//!
//! In: parsed statements and parameter values; out: rows or a command tag. Every statement can be
//! cancelled and timed out here, whatever it does. `prepared` plans them, `kept` and `full_digits` are about plans that stay,
//! `declared_enums` about types that clients tell by numbers.

mod declared_enums;
mod full_digits;
mod kept;
mod limits;
mod long_texts;
mod models;
mod parameters;
mod prepared;
mod tables_read;

use std::fmt::{Debug, Formatter};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use auspex_sql::ParsedStatement;
use auspex_storage::{CatalogEntry, RoleDefinition};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio_util::sync::CancellationToken;

use crate::access::{HeldRole, Identity, roles};
use crate::activity::Backend;
use crate::advisory_locks::SessionLocks;
use crate::backend;
use crate::catalog::SessionCatalogs;
use crate::catalog::facts::CatalogFacts;
use crate::catalog::table_relations::TableRelations;
use crate::engine::{ClientFacts, Engine, SessionFacts};
use crate::error::{Error, Result};
use crate::execute::{self, Work};
use crate::functions::FILE_TEXTS;
use crate::listening::Listening;
use crate::memory;
use crate::named::Named;
use crate::physical::AuspexQueryPlanner;
use crate::query_meaning;
use crate::sequences::Taken;
use crate::settings::Settings;
use crate::statement_clock::StatementClock;
use crate::statement_run::{Outcome, StatementControl};
use crate::streams;
use crate::temporary::TemporaryTables;
use crate::transaction::{Transaction, refuse_locked_rows};
use crate::workload::{RoleLimits, RoleLoad};

pub use kept::KeptStatement;
pub(crate) use limits::Limits;
pub use long_texts::SyntaxMemory;
pub(crate) use prepared::Planned;
pub use prepared::Prepared;
pub(crate) use tables_read::TablesRead;

/// The one database of a warehouse, which every tool guesses.
pub(crate) const DATABASE: &str = "postgres";
/// The stack of a thread that plans, runs or drops statements: enough for the deepest tree that `sql` lets through, in an
/// unoptimised build. Only what is touched becomes memory.
pub const STACK_BYTES: usize = 128 << 20;
/// The schema of names without one.
pub(crate) const PUBLIC: &str = "public";

/// One client of an engine.
pub struct Session {
    pub(crate) engine: Arc<Engine>,
    identity: Arc<Identity>,
    /// What the role uses that logged in.
    load: Arc<RoleLoad>,
    backend: Arc<Backend>,
    process_id: i32,
    settings: Settings,
    context: SessionContext,
    /// What kept statements plan with, while there are some.
    kept_state: Mutex<Weak<SessionState>>,
    pub(crate) clock: StatementClock,
    pub(crate) transaction: Transaction,
    pub(crate) temporary: TemporaryTables,
    /// The numbers of identity columns that it got.
    pub(crate) taken: Arc<Mutex<Taken>>,
    pub(crate) advisory_locks: SessionLocks,
    pub(crate) listening: Arc<Listening>,
    /// Relations that its statements look up by name and no entry of the catalog is of.
    pub(crate) table_relations: Mutex<Arc<TableRelations>>,
    /// What it takes whatever it does.
    _memory: MemoryReservation,
}

impl Debug for Session {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} of {})", self.process_id, self.user())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.set_running(self.process_id, None);
        self.engine.activity.leave(self.process_id);
    }
}

impl Session {
    pub(crate) fn open(
        engine: Arc<Engine>,
        client: &ClientFacts,
        (held, role): (HeldRole, RoleDefinition),
        process_id: i32,
    ) -> Result<Arc<Session>> {
        let settings = Settings::new(&engine.default_settings)?;
        settings.adopt(&engine.common_settings());
        settings.adopt(&role.settings);
        // A client that tells no name has that of its role.
        if !client.application.is_empty() {
            settings.start_with("application_name", &client.application)?;
        }
        let load = engine.workload.load(&held);
        let identity = Arc::new(Identity::new(&engine.catalog, held));
        let application = settings.get("application_name").unwrap_or_default();
        let user = Arc::clone(&identity);
        let backend = Backend::new(process_id, user, &application, client.address);
        let backend = Arc::new(backend);
        let extension = engine.extension.clone();
        let base = engine.state_for(&load)?;
        let memory = memory::of_session(&engine, engine.is_superuser(&client.user))?;
        let session = Arc::new_cyclic(|weak: &Weak<Session>| {
            let catalogs = Arc::new(SessionCatalogs::new(Arc::clone(&engine), weak.clone()));
            let state = SessionStateBuilder::new_from_existing(base)
                .with_config(session_config(engine.threads))
                .with_catalog_list(catalogs)
                .with_query_planner(Arc::new(AuspexQueryPlanner))
                .with_session_id(process_id.to_string())
                .build();
            Session {
                listening: Arc::new(Listening::new(&engine.channels, process_id)),
                engine,
                identity,
                load,
                backend,
                process_id,
                settings,
                context: SessionContext::new_with_state(state),
                kept_state: Mutex::default(),
                clock: StatementClock::default(),
                transaction: Transaction::default(),
                temporary: TemporaryTables::default(),
                taken: Arc::default(),
                advisory_locks: SessionLocks::default(),
                table_relations: Mutex::default(),
                _memory: memory,
            }
        });
        session
            .engine
            .set_running(process_id, Some(&CancellationToken::new()));
        let backend = Arc::clone(session.backend());
        session.engine.activity.enter(backend);
        for function in crate::sequences::functions(&session) {
            session.context.register_udf(function);
        }
        for function in backend::functions(&session) {
            session.context.register_udf(function);
        }
        session.show_identity();
        if let Some(extension) = extension {
            let facts = SessionFacts {
                user: client.user.clone(),
                identity: Arc::clone(session.identity()),
                backend: Arc::clone(session.backend()),
                engine: Arc::downgrade(&session.engine),
                process_id,
                database: DATABASE,
                catalog: CatalogFacts::new(Arc::downgrade(&session)),
                started_at_us: session.engine.started_at_us,
            };
            extension.install(&session.context, &facts)?;
        }
        Ok(session)
    }

    /// Lets `SHOW` tell what the session's roles are.
    pub(crate) fn show_identity(&self) {
        let user = self.user();
        let state = self.engine.catalog.state();
        let is_superuser = roles::is_superuser(&state, &user);
        let shown = [
            ("role", self.identity.role_setting()),
            ("session_authorization", self.identity.session_user()),
            (
                "is_superuser",
                if is_superuser { "on" } else { "off" }.to_owned(),
            ),
        ];
        for (name, value) in shown {
            self.settings.show(name, value);
        }
    }

    /// The number that cancel requests use.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// The role that it acts as: `current_user`.
    pub fn user(&self) -> String {
        self.identity.current_user()
    }

    /// Its roles.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What it does, for those who look.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// What `SET` changes.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The statements of a client's text.
    pub fn parse(&self, text: &str) -> Result<Vec<ParsedStatement>> {
        Ok(auspex_sql::parse(text, self.settings.dialect())?)
    }

    /// Reads the commits of other servers, as far as a statement needs them.
    async fn know_catalog(&self, statement: &ParsedStatement) -> Result<()> {
        let catalog = &self.engine.catalog;
        match execute::needs_no_catalog(statement) {
            true => catalog.refresh_if_heard(catalog.refresh_interval()).await,
            false => catalog.refresh().await?,
        }
        Ok(())
    }

    /// The rows of a statement whose only inputs are its parameters, at once: no planning, no task, no lock that others
    /// hold. `None`: it must be run by `execute`, since it is not of that kind or what it names has changed.
    pub fn execute_point(
        self: &Arc<Session>,
        prepared: &Prepared,
        parameters: &[ScalarValue],
        control: &StatementControl,
    ) -> Option<Result<RecordBatch>> {
        let planned = prepared.planned();
        let is_ready = self.engine.catalog.is_fresh() && planned.is_current(self);
        if !is_ready || !prepared.takes(parameters) {
            return None;
        }
        self.point_rows(&planned, parameters, control)
    }

    /// The rows of a plan whose only inputs are parameters; `None` if it is another.
    pub(crate) fn point_rows(
        self: &Arc<Session>,
        planned: &Planned,
        parameters: &[ScalarValue],
        control: &StatementControl,
    ) -> Option<Result<RecordBatch>> {
        let point = planned.point.as_ref()?;
        let Work::Query { query, .. } = &planned.work else {
            return None;
        };
        self.take_snapshot();
        let rows = point.run(parameters);
        streams::tell_findings(self, &query.findings, control);
        Some(rows.map_err(Error::from))
    }

    /// Runs a prepared statement; plans again when the catalog or a table that it reads changed since.
    pub async fn execute(
        self: &Arc<Session>,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<Outcome> {
        self.clock.start();
        refuse_locked_rows(self, prepared.locked_rows)?;
        self.know_catalog(&prepared.statement).await?;
        let role = self.role_limits();
        let slot = self.load.enter(&role)?;
        let timeout = self.time_limit();
        let limits = Limits::start(control, timeout, &self.engine.timers, slot);
        self.engine
            .set_running(self.process_id, Some(&limits.token));
        let inner = StatementControl {
            cancel: limits.token.clone(),
            ..control.clone()
        };
        let met = Named::default();
        let run = met.scope(async {
            let (own, parameters) = self.in_full(prepared, parameters).await?;
            let prepared = own.as_deref().unwrap_or(prepared);
            let planned = prepared.planned();
            // Files are listed when a statement is planned.
            let was_used = planned.used.swap(true, Ordering::Relaxed);
            if !(was_used && planned.named.reads_files())
                && planned.is_current(self)
                && !execute::is_outdated(self, prepared, &planned).await?
            {
                return execute::run(self, prepared, &planned, parameters, &inner).await;
            }
            let again = self.replan(prepared).await?;
            execute::run(self, prepared, &again, parameters, &inner).await
        });
        let room = self.room();
        let outcome = tokio::select! {
            biased;
            outcome = Box::pin(room.scope(run)) => outcome,
            // A commit may be durable already: only its own result tells.
            () = limits.token.cancelled(), if !execute::is_commit(&prepared.statement) => {
                Err(Error::Cancelled)
            }
        };
        let named = vec![prepared.planned().named.clone(), met];
        let tables = TablesRead::of(&self.engine.catalog, named);
        limits.guard_outcome(outcome, tables).await
    }

    /// How long a statement may take, its planning included.
    pub fn time_limit(&self) -> Option<Duration> {
        let timeout = self.settings.statement_timeout();
        self.role_limits().timeout(timeout)
    }

    /// What the role that logged in may use.
    fn role_limits(&self) -> RoleLimits {
        self.load.limits(&self.engine.catalog.state())
    }

    /// A state that plans one statement: with the session's settings as they are now.
    pub(crate) fn state(&self, control: Option<&StatementControl>) -> SessionState {
        let mut state = self.context.state();
        let mut config = state.config().clone();
        if let Some(control) = control {
            config = config.with_extension(Arc::new(control.clone()));
        }
        let options = config.options_mut();
        options.execution.time_zone =
            query_meaning::time_zone().or_else(|| Some(self.settings.time_zone()));
        if let Some(threads) = self.settings.threads() {
            options.execution.target_partitions = threads;
        }
        options.catalog.default_schema = self.default_schema();
        if self.engine.cluster().is_some() {
            // Joins can be cut into stages; a subquery that an operator asks while it runs cannot.
            options
                .optimizer
                .enable_physical_uncorrelated_scalar_subquery = false;
        }
        configure(&mut state, config);
        // Functions read the settings where the start of the statement is marked.
        query_meaning::mark_start(&mut state, self.now());
        state
    }
}

/// Gives a state other settings, also the functions that keep some of them. A state that is built anew hashes the names of all
/// functions once more, which took most of the time of a small statement.
fn configure(state: &mut SessionState, config: SessionConfig) {
    let of_settings: Vec<ScalarUDF> = (state.scalar_functions().values())
        .filter_map(|function| function.inner().with_updated_config(config.options()))
        .collect();
    *state.config_mut() = config;
    for function in of_settings {
        // Only a registry that cannot be written refuses one.
        let _ = state.register_udf(Arc::new(function));
    }
}

/// A name as statements write it.
pub(crate) fn display_name(entry: &CatalogEntry) -> String {
    if entry.schema == PUBLIC {
        entry.name.clone()
    } else {
        format!("{}.{}", entry.schema, entry.name)
    }
}

fn session_config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(DATABASE, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        .with_target_partitions(threads)
        .with_extension(Arc::new(FILE_TEXTS));
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    // Rows keep the order of a query within where none follows, as in PostgreSQL.
    options.sql_parser.enable_subquery_sort_elimination = false;
    options.execution.parquet.schema_force_view_types = false;
    // Small files are read faster by one thread than split among many.
    options.optimizer.repartition_file_min_size = 1 << 20;
    // Keys of groups that a join wants in another order are found again by their names, which two of them may share.
    options.optimizer.top_down_join_key_reordering = false;
    // `x IS TRUE` is never NULL, which its operator does not know: DISTINCT and UNION would refuse it.
    options.execution.skip_physical_aggregate_schema_check = true;
    config
}
