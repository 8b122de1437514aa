//! The audit log: who did what, when, with which outcome. Lines of JSON in a file, and the last records in memory.
//!
//! In: records without secrets; out: lines, in order. A disk that is slower than the statements makes the log lose records,
//! which it says in a line of its own, rather than the server lose time or memory.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use datafusion::error::DataFusionError;
use serde::Serialize;

use crate::engine::lock;
use crate::error::Result;

/// How many records the view shows.
const KEPT: usize = 2000;
/// How many records may wait for the disk.
const WAITING: usize = 10_000;

/// One statement, one error that a client was told, one attempt to log in, or the end of a session.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AuditRecord {
    pub(crate) at_ms: i64,
    pub(crate) request: u64,
    pub(crate) process_id: i32,
    /// `statement`, `login` or `logout`.
    pub(crate) event: &'static str,
    /// Who logged in.
    pub(crate) user: String,
    /// As whom it was run.
    pub(crate) role: String,
    pub(crate) address: Option<String>,
    pub(crate) application: String,
    pub(crate) kind: &'static str,
    /// Empty for a message that names no statement.
    pub(crate) statement: Arc<str>,
    pub(crate) duration_ms: f64,
    /// Those that were sent, or changed.
    pub(crate) rows: u64,
    /// `ok`, `error`, `cancelled`, or `abandoned`: its client left, or read no further.
    pub(crate) outcome: &'static str,
    /// What the client was told.
    pub(crate) sqlstate: Option<String>,
}

/// The audit log of an engine.
#[derive(Debug)]
pub(crate) struct Audit {
    kept: Mutex<VecDeque<AuditRecord>>,
    file: Option<SyncSender<Line>>,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Line {
    Record(Box<AuditRecord>),
    /// So many records before it were not written.
    Lost(u64),
}

impl Audit {
    /// Opens the file, if there is to be one, to append to it.
    pub(crate) fn start(path: Option<&Path>) -> Result<Audit> {
        let file = match path {
            None => None,
            Some(path) => {
                let mut options = OpenOptions::new();
                options.create(true).append(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(path).map_err(|error| {
                    let message = format!("cannot open audit log \"{}\": {error}", path.display());
                    DataFusionError::IoError(std::io::Error::new(error.kind(), message))
                })?;
                let (lines_in, lines) = sync_channel(WAITING);
                std::thread::Builder::new()
                    .name("auspex-audit".to_owned())
                    .spawn(move || write(file, &lines))
                    .map_err(DataFusionError::from)?;
                Some(lines_in)
            }
        };
        Ok(Audit {
            kept: Mutex::default(),
            file,
            lost: AtomicU64::new(0),
        })
    }

    /// Keeps a record.
    pub(crate) fn keep(&self, record: AuditRecord) {
        if let Some(file) = &self.file {
            let lost = self.lost.swap(0, Ordering::AcqRel);
            let mut missing = lost;
            if lost > 0 && file.try_send(Line::Lost(lost)).is_ok() {
                missing = 0;
            }
            if missing > 0
                || file
                    .try_send(Line::Record(Box::new(record.clone())))
                    .is_err()
            {
                self.lost.fetch_add(missing + 1, Ordering::AcqRel);
            }
        }
        let mut kept = lock(&self.kept);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    /// The last records, the oldest first.
    pub(crate) fn last(&self) -> Vec<AuditRecord> {
        lock(&self.kept).iter().cloned().collect()
    }
}

/// Writes lines until nobody sends any more.
fn write(mut file: std::fs::File, lines: &Receiver<Line>) {
    let mut is_failing = false;
    while let Ok(line) = lines.recv() {
        let text = match &line {
            Line::Record(record) => serde_json::to_string(record).unwrap_or_default(),
            Line::Lost(n) => serde_json::json!({ "event": "lost", "records": n }).to_string(),
        };
        let written = writeln!(file, "{text}");
        if let Err(error) = &written
            && !is_failing
        {
            tracing::error!(%error, "the audit log cannot be written");
        }
        is_failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(request: u64) -> AuditRecord {
        AuditRecord {
            at_ms: 0,
            request,
            process_id: 1,
            event: "statement",
            user: "ada".to_owned(),
            role: "ada".to_owned(),
            address: None,
            application: String::new(),
            kind: "SELECT",
            statement: "SELECT 1\nFROM t".into(),
            duration_ms: 1.5,
            rows: 1,
            outcome: "ok",
            sqlstate: None,
        }
    }

    #[test]
    fn the_last_records_are_kept() {
        let audit = Audit::start(None).unwrap();
        for request in 0..KEPT as u64 + 10 {
            audit.keep(record(request));
        }
        let last = audit.last();
        assert_eq!((last.len(), last[0].request), (KEPT, 10));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = Audit::start(Some(Path::new("/no/such/folder/audit.ndjson"))).unwrap_err();
        let report = error.report();
        assert_eq!(report.sqlstate, "58030");
        assert!(
            report.message.contains("/no/such/folder"),
            "{}",
            report.message
        );
    }
}
