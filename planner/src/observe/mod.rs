//! What statements did: for the metrics, the audit log and the server's log.
//!
//! In: the beginning and the end of each statement, and of each session; out: counters, records without secrets, lines of a
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

/// The outcome of what its client did not wait for.
const ABANDONED: &str = "abandoned";

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

    /// The number by which logs tell what is asked for now.
    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}

/// A statement that is being watched; its end is told once, at the latest when it is dropped.
pub struct StatementWatch {
    engine: Arc<Engine>,
    /// What is known of it; `None` once it was told.
    record: Option<AuditRecord>,
    started: Instant,
    rows: u64,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd<'a> {
    /// Its client said goodbye.
    Left,
    /// Its client has gone without a word.
    Lost,
    /// The server ended it, with this SQLSTATE.
    Ended(&'a str),
}

impl Session {
    /// Watches a statement that was asked for at this time.
    pub fn watch(&self, text: &StatementText, started: Instant) -> StatementWatch {
        let mut record = self.record("statement", text.kind(), text.shown());
        let waited_ms = started.elapsed().as_millis();
        record.at_ms -= i64::try_from(waited_ms).unwrap_or_default();
        StatementWatch {
            engine: Arc::clone(&self.engine),
            record: Some(record),
            started,
            rows: 0,
        }
    }

    /// The session has begun.
    pub fn observe_login(&self) {
        let observer = &self.engine.observer;
        observer.metrics.login(true);
        observer.audit.keep(AuditRecord {
            outcome: "ok",
            ..self.record("login", "LOGIN", "".into())
        });
    }

    /// The session has ended.
    pub fn observe_end(&self, end: SessionEnd<'_>) {
        let (outcome, sqlstate) = match end {
            SessionEnd::Left => ("ok", None),
            SessionEnd::Lost => (ABANDONED, None),
            SessionEnd::Ended(sqlstate) => ("error", Some(sqlstate.to_owned())),
        };
        let lived_us = chrono::Utc::now().timestamp_micros() - self.backend().started_us();
        self.engine.observer.audit.keep(AuditRecord {
            duration_ms: lived_us as f64 / 1e3,
            outcome,
            sqlstate,
            ..self.record("logout", "LOGOUT", "".into())
        });
    }

    /// What is known of something that begins now.
    fn record(&self, event: &'static str, kind: &'static str, statement: Arc<str>) -> AuditRecord {
        let (identity, address) = (self.identity(), self.backend().address());
        AuditRecord {
            at_ms: chrono::Utc::now().timestamp_millis(),
            request: self.engine.observer.next_request(),
            process_id: self.process_id(),
            event,
            user: identity.authenticated_user(),
            role: identity.current_user(),
            address: address.map(|address| address.ip().to_canonical().to_string()),
            application: self.settings().get("application_name").unwrap_or_default(),
            kind,
            statement,
            duration_ms: 0.0,
            rows: 0,
            outcome: ABANDONED,
            sqlstate: None,
        }
    }
}

impl StatementWatch {
    /// So many rows more went to the client.
    pub fn add_rows(&mut self, n_rows: usize) {
        self.rows += n_rows as u64;
    }

    /// It was no statement after all: nobody is told.
    pub fn ignore(mut self) {
        self.record = None;
    }

    /// It ended well; its tag tells how many rows it changed, if none were sent.
    pub fn succeeded(mut self, tag: &str) {
        let told = tag.rsplit(' ').next().and_then(|word| word.parse().ok());
        self.rows = self.rows.max(told.unwrap_or(0));
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
        self.end(ABANDONED, None);
    }
}

impl Engine {
    /// Somebody is not let in; the SQLSTATE tells why.
    pub fn observe_refusal(&self, user: &str, address: Option<SocketAddr>, sqlstate: &str) {
        let observer = &self.observer;
        observer.metrics.login(false);
        observer.audit.keep(AuditRecord {
            at_ms: chrono::Utc::now().timestamp_millis(),
            request: observer.next_request(),
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
            outcome: "error",
            sqlstate: Some(sqlstate.to_owned()),
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
