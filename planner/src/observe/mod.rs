//! What statements did: for the metrics, the audit log and the server's log.
//!
//! In: the beginning and the end of each statement, and of each log-in; out: counters, records without secrets, lines of a
//! file. Bounded in memory whatever clients send; slows no statement down.

mod audit;
mod metrics;
mod statement_text;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use audit::{Audit, AuditRecord};
pub(crate) use metrics::{Counter, Metrics};
pub use statement_text::StatementText;

use crate::engine::Engine;
use crate::error::Result;
use crate::session::Session;

/// Counters and records of one engine.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) audit: Audit,
    requests: AtomicU64,
}

impl Observer {
    /// Starts to write into a file, if one is given.
    pub(crate) fn start(audit_log: Option<&Path>) -> Result<Observer> {
        Ok(Observer {
            metrics: Metrics::default(),
            audit: Audit::start(audit_log)?,
            requests: AtomicU64::new(1),
        })
    }
}

/// A statement that is being watched; its end is told once, at the latest when it is dropped.
pub struct StatementWatch {
    engine: Arc<Engine>,
    /// What is known of it; `None` once it was told.
    record: Option<AuditRecord>,
    request: u64,
    started: Instant,
    rows: u64,
}

impl Session {
    /// Watches a statement from now on.
    pub fn watch(&self, text: &StatementText) -> StatementWatch {
        let request = self
            .engine
            .observer
            .requests
            .fetch_add(1, Ordering::Relaxed);
        let identity = self.identity();
        let address = self.backend().address();
        let record = AuditRecord {
            at_ms: chrono::Utc::now().timestamp_millis(),
            request,
            process_id: self.process_id(),
            event: "statement",
            user: identity.authenticated_user().to_owned(),
            role: identity.current_user(),
            address: address.map(|address| address.ip().to_canonical().to_string()),
            application: self.settings().get("application_name").unwrap_or_default(),
            kind: text.kind(),
            statement: text.shown(),
            duration_ms: 0.0,
            rows: 0,
            outcome: "abandoned",
            sqlstate: None,
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "measures the statement, not its result"
        )]
        let started = Instant::now();
        StatementWatch {
            engine: Arc::clone(&self.engine),
            record: Some(record),
            request,
            started,
            rows: 0,
        }
    }
}

impl StatementWatch {
    /// The number by which logs tell the statement.
    pub fn request(&self) -> u64 {
        self.request
    }

    /// So many rows more went to the client.
    pub fn add_rows(&mut self, n_rows: usize) {
        self.rows += n_rows as u64;
    }

    /// It is not run this way after all: nobody is told.
    pub fn ignore(mut self) {
        self.record = None;
    }

    /// It ended well; a command's tag tells how many rows it changed.
    pub fn succeeded(mut self, tag: Option<&str>) {
        let changed = tag.and_then(|tag| tag.rsplit(' ').next()?.parse().ok());
        self.rows += changed.unwrap_or(0);
        self.end("ok", None);
    }

    /// It ended with an error.
    pub fn failed(mut self, sqlstate: &str) {
        let outcome = if sqlstate == "57014" {
            "cancelled"
        } else {
            "error"
        };
        self.end(outcome, Some(sqlstate.to_owned()));
    }

    fn end(&mut self, outcome: &'static str, sqlstate: Option<String>) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        let elapsed = self.started.elapsed();
        record.duration_ms = elapsed.as_secs_f64() * 1e3;
        record.rows = self.rows;
        record.outcome = outcome;
        record.sqlstate = sqlstate;
        tracing::debug!(
            request = record.request,
            process_id = record.process_id,
            user = record.user,
            kind = record.kind,
            duration_ms = record.duration_ms,
            rows = record.rows,
            outcome,
            sqlstate = record.sqlstate,
            "statement"
        );
        let observer = &self.engine.observer;
        observer
            .metrics
            .statement(record.kind, outcome, elapsed, record.rows);
        observer.audit.keep(record);
    }
}

impl Drop for StatementWatch {
    fn drop(&mut self) {
        self.end("abandoned", None);
    }
}

impl Engine {
    /// Somebody wanted in; the SQLSTATE tells why not.
    pub fn observe_login(&self, user: &str, address: Option<SocketAddr>, refused: Option<&str>) {
        let observer = &self.observer;
        let is_let_in = refused.is_none();
        observer.metrics.login(is_let_in);
        observer.audit.keep(AuditRecord {
            at_ms: chrono::Utc::now().timestamp_millis(),
            request: observer.requests.fetch_add(1, Ordering::Relaxed),
            process_id: 0,
            event: "login",
            user: user.chars().take(128).collect(),
            role: String::new(),
            address: address.map(|address| address.ip().to_canonical().to_string()),
            application: String::new(),
            kind: "LOGIN",
            statement: "".into(),
            duration_ms: 0.0,
            rows: 0,
            outcome: if is_let_in { "ok" } else { "error" },
            sqlstate: refused.map(ToOwned::to_owned),
        });
    }

    /// All metrics in Prometheus' text format.
    pub fn metrics_text(&self) -> String {
        let pool = &self.base_state().runtime_env().memory_pool.clone();
        let mut text = self.observer.metrics.text(&[
            (
                "auspex_sessions",
                "Sessions that are open.",
                self.n_sessions() as u64,
            ),
            (
                "auspex_memory_reserved_bytes",
                "Memory that queries and trainings have reserved.",
                pool.reserved() as u64,
            ),
            (
                "auspex_trainings_running",
                "Trainings that run now.",
                self.trainings().len() as u64,
            ),
            (
                "auspex_catalog_generation",
                "The number of the catalog's newest entry.",
                self.catalog.generation(),
            ),
        ]);
        if let Some(cluster) = self.cluster() {
            text.push_str(&cluster.metrics_text());
        }
        text
    }

    /// Whether the catalog can be read.
    pub async fn check_ready(&self) -> Result<()> {
        Ok(self.catalog.refresh().await?)
    }
}
