//! The sessions that are open, and what each does: the rows of `pg_stat_activity`.
//!
//! In: what the server and the sessions tell of themselves; out: a picture of one moment, and the means to end a session.
//! Texts are kept without secrets and up to a length.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::access::{HeldRole, Identity};
use crate::engine::lock;
use crate::observe::StatementText;
use crate::session_lists::{CursorFacts, SessionList, StatementFacts};

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendState {
    /// Waits for its client.
    Idle,
    /// Runs a statement.
    Active,
    /// Waits for its client in a transaction block.
    IdleInTransaction,
    /// Waits for its client in a block that has failed.
    IdleInFailedTransaction,
}

impl BackendState {
    /// As `pg_stat_activity` spells it.
    pub fn name(self) -> &'static str {
        match self {
            BackendState::Idle => "idle",
            BackendState::Active => "active",
            BackendState::IdleInTransaction => "idle in transaction",
            BackendState::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// One open session.
#[derive(Debug)]
pub struct Backend {
    process_id: i32,
    user: Arc<Identity>,
    address: Option<SocketAddr>,
    started_us: i64,
    encryption: OnceLock<Encryption>,
    doing: Mutex<Doing>,
    statements: SessionList<StatementFacts>,
    cursors: SessionList<CursorFacts>,
    terminated: CancellationToken,
}

/// How a connection is encrypted, as `pg_stat_ssl` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `TLSv1.3`.
    pub version: String,
    /// `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The length of its keys.
    pub bits: i32,
    /// The name in the client's certificate.
    pub client: Option<String>,
}

#[derive(Debug, Clone)]
struct Doing {
    state: BackendState,
    text: Arc<str>,
    application: String,
    statement_us: Option<i64>,
    changed_us: i64,
    transaction_us: Option<i64>,
}

/// A session at one moment; times are in microseconds since 1970.
#[derive(Debug, Clone)]
pub struct BackendFacts {
    /// The number that cancel requests use.
    pub process_id: i32,
    /// Who logged in.
    pub user: String,
    /// Where from; `None` in this process.
    pub address: Option<SocketAddr>,
    /// How its connection is encrypted, if it is.
    pub encryption: Option<Encryption>,
    /// The application's name.
    pub application: String,
    /// When it came.
    pub started_us: i64,
    /// What it does.
    pub state: BackendState,
    /// The statement that it runs, or ran last.
    pub text: Arc<str>,
    /// When that statement began.
    pub statement_us: Option<i64>,
    /// When the state changed.
    pub changed_us: i64,
    /// When its transaction block began.
    pub transaction_us: Option<i64>,
}

impl Backend {
    pub(crate) fn new(
        process_id: i32,
        user: Arc<Identity>,
        application: &str,
        address: Option<SocketAddr>,
    ) -> Backend {
        let now = now_us();
        Backend {
            process_id,
            user,
            address,
            started_us: now,
            encryption: OnceLock::new(),
            doing: Mutex::new(Doing {
                state: BackendState::Idle,
                text: "".into(),
                application: application.to_owned(),
                statement_us: None,
                changed_us: now,
                transaction_us: None,
            }),
            statements: SessionList::default(),
            cursors: SessionList::default(),
            terminated: CancellationToken::new(),
        }
    }

    /// Says how its connection is encrypted, once.
    pub fn note_encryption(&self, encryption: Encryption) {
        let _ = self.encryption.set(encryption);
    }

    /// It begins a statement.
    pub fn begin(&self, text: &StatementText) {
        let now = now_us();
        let mut doing = lock(&self.doing);
        doing.state = BackendState::Active;
        doing.text = text.shown();
        doing.statement_us = Some(now);
        doing.changed_us = now;
        doing.transaction_us.get_or_insert(now);
    }

    /// It waits for its client.
    pub fn wait(&self, state: BackendState) {
        let mut doing = lock(&self.doing);
        if doing.state != state {
            doing.state = state;
            doing.changed_us = now_us();
        }
        if state == BackendState::Idle {
            doing.transaction_us = None;
        }
    }

    /// The application's name, which `SET application_name` changes.
    pub fn set_application(&self, name: &str) {
        name.clone_into(&mut lock(&self.doing).application);
    }

    /// When it came, in microseconds since 1970.
    pub(crate) fn started_us(&self) -> i64 {
        self.started_us
    }

    /// Where its client is.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The prepared statements that its client keeps by name.
    pub fn statements(&self) -> &SessionList<StatementFacts> {
        &self.statements
    }

    /// The cursors and portals that its client has.
    pub fn cursors(&self) -> &SessionList<CursorFacts> {
        &self.cursors
    }

    /// Cancelled when the session is to end.
    pub fn terminated(&self) -> &CancellationToken {
        &self.terminated
    }

    fn facts(&self) -> BackendFacts {
        let doing = lock(&self.doing).clone();
        BackendFacts {
            process_id: self.process_id,
            user: self.user.authenticated_user(),
            address: self.address,
            encryption: self.encryption.get().cloned(),
            application: doing.application,
            started_us: self.started_us,
            state: doing.state,
            text: doing.text,
            statement_us: doing.statement_us,
            changed_us: doing.changed_us,
            transaction_us: doing.transaction_us,
        }
    }
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// The sessions of an engine.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    backends: Mutex<BTreeMap<i32, Arc<Backend>>>,
}

impl Activity {
    pub(crate) fn enter(&self, backend: Arc<Backend>) {
        lock(&self.backends).insert(backend.process_id, backend);
    }

    pub(crate) fn leave(&self, process_id: i32) {
        lock(&self.backends).remove(&process_id);
    }

    pub(crate) fn n_sessions_of(&self, role: &HeldRole) -> usize {
        let backends = lock(&self.backends);
        backends
            .values()
            .filter(|backend| backend.user.is_of(role))
            .count()
    }

    pub(crate) fn n_sessions(&self) -> usize {
        lock(&self.backends).len()
    }

    /// Whose a session is; `None`: there is no such session.
    pub(crate) fn user_of(&self, process_id: i32) -> Option<String> {
        let backends = lock(&self.backends);
        Some(backends.get(&process_id)?.user.authenticated_user())
    }

    /// Ends a session; whether there is such a one.
    pub(crate) fn terminate(&self, process_id: i32) -> bool {
        let backends = lock(&self.backends);
        let found = backends.get(&process_id);
        if let Some(backend) = found {
            backend.terminated.cancel();
        }
        found.is_some()
    }

    pub(crate) fn facts(&self) -> Vec<BackendFacts> {
        lock(&self.backends)
            .values()
            .map(|backend| backend.facts())
            .collect()
    }
}
