//! What a role may use at a time: statements, their time, and memory.
//!
//! In: the limits that a superuser set for a role (`ALTER ROLE … SET max_memory = '1GB'`); out: slots that statements hold,
//! and a pool of memory below the engine's. What is over a limit fails alone.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use auspex_storage::{CatalogState, RoleDefinition};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::access::{HeldRole, roles};
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::settings::{milliseconds, size_bytes};

/// The settings of a role that are its limits; only a superuser sets them, and no session changes them.
pub(crate) const LIMITS: [&str; 3] = [
    "max_memory",
    "max_concurrent_statements",
    "max_statement_time",
];

/// The limits of a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoleLimits {
    /// Bytes of memory for all its statements together.
    pub(crate) memory_bytes: Option<usize>,
    /// Statements at a time.
    pub(crate) statements: Option<usize>,
    /// The time of a statement, which no `SET statement_timeout` makes longer.
    pub(crate) time: Option<Duration>,
}

impl RoleLimits {
    pub(crate) fn of(role: &RoleDefinition) -> RoleLimits {
        let setting = |name: &str| role.settings.get(name).map(String::as_str);
        let time_ms = setting("max_statement_time").and_then(milliseconds);
        RoleLimits {
            memory_bytes: setting("max_memory").and_then(size_bytes),
            statements: setting("max_concurrent_statements").and_then(|text| text.parse().ok()),
            time: time_ms.filter(|time| *time > 0).map(Duration::from_millis),
        }
    }

    /// The shorter of a session's own timeout and the role's.
    pub(crate) fn timeout(&self, own: Option<Duration>) -> Option<Duration> {
        match (own, self.time) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        }
    }
}

/// What the roles use now, by their ids: whoever gets the name of another has nothing to do with what that one uses.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    roles: Mutex<BTreeMap<String, Weak<RoleLoad>>>,
}

/// What a role uses: one for all its sessions, as long as there are some.
#[derive(Debug)]
pub(crate) struct RoleLoad {
    role: HeldRole,
    /// What was known of it last: a role that is dropped leaves its sessions under the limits that it had.
    known: Mutex<KnownRole>,
    statements: AtomicUsize,
    reserved_bytes: AtomicUsize,
    limit_bytes: AtomicUsize,
}

/// A role's name and limits.
#[derive(Debug, Default)]
struct KnownRole {
    name: String,
    limits: RoleLimits,
}

/// The right to run a statement, given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<RoleLoad>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.statements.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Workload {
    /// What a role uses, to be kept by each of its sessions.
    pub(crate) fn load(&self, role: &HeldRole) -> Arc<RoleLoad> {
        let mut roles = lock(&self.roles);
        if let Some(load) = roles.get(role.key()).and_then(Weak::upgrade) {
            return load;
        }
        roles.retain(|_, load| load.strong_count() > 0);
        let load = Arc::new(RoleLoad {
            role: role.clone(),
            known: Mutex::default(),
            statements: AtomicUsize::new(0),
            reserved_bytes: AtomicUsize::new(0),
            limit_bytes: AtomicUsize::new(0),
        });
        roles.insert(role.key().to_owned(), Arc::downgrade(&load));
        load
    }
}

impl RoleLoad {
    /// The role's limits in a state of the catalog.
    pub(crate) fn limits(&self, state: &CatalogState) -> RoleLimits {
        let mut known = lock(&self.known);
        let name = self.role.name_in(state);
        if let Some(role) = roles::find(state, &name) {
            known.limits = RoleLimits::of(&role);
            known.name = name;
        }
        known.limits
    }

    /// What it was called last.
    fn name(&self) -> String {
        lock(&self.known).name.clone()
    }

    /// A slot for a statement; `None` where the number is not limited.
    pub(crate) fn enter(self: &Arc<Self>, limits: &RoleLimits) -> Result<Option<Slot>> {
        let Some(limit) = limits.statements else {
            return Ok(None);
        };
        let before = self.statements.fetch_add(1, Ordering::AcqRel);
        let slot = Slot(Arc::clone(self));
        match before < limit {
            true => Ok(Some(slot)),
            false => Err(Error::TooManyStatements {
                role: self.name(),
                limit,
            }),
        }
    }

    /// A pool of the role's memory, below the engine's; one for all its sessions.
    pub(crate) fn pool(
        self: &Arc<Self>,
        limit_bytes: usize,
        engine: &Arc<dyn MemoryPool>,
    ) -> Arc<dyn MemoryPool> {
        self.limit_bytes.store(limit_bytes, Ordering::Release);
        Arc::new(RolePool {
            load: Arc::clone(self),
            engine: Arc::clone(engine),
        })
    }
}

/// The engine's pool, if a pool is a role's.
pub(crate) fn pool_below(pool: &Arc<dyn MemoryPool>) -> Option<&Arc<dyn MemoryPool>> {
    pool.downcast_ref::<RolePool>().map(|pool| &pool.engine)
}

/// What messages about a pool say of the role that it is of.
pub(crate) fn of_role(pool: &Arc<dyn MemoryPool>) -> String {
    let pool = pool.downcast_ref::<RolePool>();
    pool.map_or_else(String::new, |pool| {
        format!(" of role \"{}\"", pool.load.name())
    })
}

/// What helps where memory is exhausted, by the message.
pub(crate) fn hint_of_memory(message: &str) -> &'static str {
    match message.contains("out of memory of role \"") {
        true => {
            "Select fewer columns or rows; a superuser may raise the role's limit by ALTER ROLE ... SET max_memory."
        }
        false => "Raise --memory-limit, or select fewer columns or rows.",
    }
}

/// The engine's memory with a bound for one role.
struct RolePool {
    load: Arc<RoleLoad>,
    engine: Arc<dyn MemoryPool>,
}

impl Debug for RolePool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "RolePool({})", self.load.name())
    }
}

impl Display for RolePool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "memory of role {}", self.load.name())
    }
}

impl MemoryPool for RolePool {
    fn name(&self) -> &str {
        "role"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.engine.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.engine.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.load
            .reserved_bytes
            .fetch_add(additional, Ordering::AcqRel);
        self.engine.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.load.reserved_bytes.fetch_sub(shrink, Ordering::AcqRel);
        self.engine.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let limit = self.load.limit_bytes.load(Ordering::Acquire);
        let before = self
            .load
            .reserved_bytes
            .fetch_add(additional, Ordering::AcqRel);
        let grown = match before.saturating_add(additional) <= limit {
            true => self.engine.try_grow(reservation, additional),
            false => Err(DataFusionError::ResourcesExhausted(format!(
                "out of memory of role \"{}\": {before} of {limit} bytes are used, and {additional} more were asked for",
                self.load.name()
            ))),
        };
        if grown.is_err() {
            self.load
                .reserved_bytes
                .fetch_sub(additional, Ordering::AcqRel);
        }
        grown
    }

    fn reserved(&self) -> usize {
        self.load.reserved_bytes.load(Ordering::Acquire)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.load.limit_bytes.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::UnboundedMemoryPool;

    use super::*;

    /// The roles of two names that were never anything else.
    fn roles() -> [HeldRole; 2] {
        ["pg_monitor", "pg_signal_backend"].map(HeldRole::always_there)
    }

    #[test]
    fn slots_are_given_back() {
        let workload = Workload::default();
        let limits = RoleLimits {
            statements: Some(2),
            ..RoleLimits::default()
        };
        let [ada, bob] = roles().map(|role| workload.load(&role));
        let first = ada.enter(&limits).unwrap();
        let _second = workload.load(&ada.role).enter(&limits).unwrap();
        let refused = ada.enter(&limits).unwrap_err();
        assert_eq!(refused.report().sqlstate, "53400");
        assert!(bob.enter(&limits).is_ok());
        drop(first);
        assert!(ada.enter(&limits).is_ok());
    }

    #[test]
    fn what_no_session_uses_any_more_is_forgotten() {
        let workload = Workload::default();
        let [ada, bob] = roles();
        drop(workload.load(&ada));
        let _kept = workload.load(&bob);
        assert_eq!(lock(&workload.roles).len(), 1);
    }

    #[test]
    fn memory_is_bounded_over_all_sessions_of_a_role() {
        let engine: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let workload = Workload::default();
        let [ada, _] = roles().map(|role| workload.load(&role));
        let pools = [(); 2].map(|()| ada.pool(100, &engine));
        let [one, two] = pools
            .each_ref()
            .map(|pool| MemoryConsumer::new("x").register(pool));
        one.try_grow(60).unwrap();
        assert!(two.try_grow(60).is_err());
        two.try_grow(40).unwrap();
        drop(one);
        assert!(two.try_grow(60).is_ok());
        drop(two);
        assert_eq!((pools[0].reserved(), engine.reserved()), (0, 0));
    }

    #[test]
    fn limits_are_read_from_the_settings_of_a_role() {
        let mut role = RoleDefinition::default();
        for (name, value) in [
            ("max_memory", "1kB"),
            ("max_concurrent_statements", "3"),
            ("max_statement_time", "2s"),
        ] {
            role.settings.insert(name.to_owned(), value.to_owned());
        }
        let limits = RoleLimits::of(&role);
        assert_eq!(
            (limits.memory_bytes, limits.statements),
            (Some(1024), Some(3))
        );
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(limits.timeout(None), seconds(2));
        assert_eq!(limits.timeout(seconds(1)), seconds(1));
        assert_eq!(limits.timeout(seconds(9)), seconds(2));
    }
}
