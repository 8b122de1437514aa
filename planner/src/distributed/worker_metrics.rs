//! What those who watch a worker see of it: counters in Prometheus' text format, and whether it is ready.
//!
//! In: a worker; out: texts as it is now.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::execution::memory_pool::MemoryLimit;

use super::worker::Worker;

/// Watches a worker.
#[derive(Debug, Clone)]
pub struct WorkerWatch(Arc<Worker>);

impl WorkerWatch {
    pub(super) fn new(worker: &Arc<Worker>) -> WorkerWatch {
        WorkerWatch(Arc::clone(worker))
    }

    /// Whether a coordinator has taken it in, and it takes work.
    pub fn is_ready(&self) -> bool {
        self.0.engine().is_ok() && !self.0.is_draining.load(Ordering::Relaxed)
    }

    /// Bytes that queries and trainings have, and those that they may have; 0 without a limit.
    fn memory(&self) -> (u64, u64) {
        let Ok(engine) = self.0.engine() else {
            return (0, 0);
        };
        let pool = Arc::clone(&engine.base_state().runtime_env().memory_pool);
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit as u64,
            MemoryLimit::Infinite | MemoryLimit::Unknown => 0,
        };
        (pool.reserved() as u64, limit)
    }

    /// Its counters.
    pub fn metrics_text(&self) -> String {
        let worker = &self.0;
        let (reserved, limit) = self.memory();
        let is_draining = worker.is_draining.load(Ordering::Relaxed);
        let gauges = [
            (
                "taken_in",
                "Whether a coordinator has taken it in.",
                u64::from(worker.engine().is_ok()),
            ),
            (
                "draining",
                "Whether it takes no new work.",
                u64::from(is_draining),
            ),
            (
                "tasks",
                "Tasks of queries that run.",
                worker.tasks.n_running(),
            ),
            (
                "partitions_held",
                "Partitions of trainings that it keeps.",
                worker.hosts.n_partitions(),
            ),
            (
                "held_bytes",
                "Memory of what it keeps for trainings.",
                worker.hosts.held_bytes(),
            ),
            (
                "memory_reserved_bytes",
                "Memory that queries and trainings have.",
                reserved,
            ),
            ("memory_limit_bytes", "Memory that they may have.", limit),
        ];
        let counters = [
            (
                "tasks_started_total",
                "Tasks of queries that were started.",
                worker.tasks.n_started(),
            ),
            (
                "tasks_cancelled_total",
                "Tasks of queries that were ended, since nobody read them any more.",
                worker.tasks.n_cancelled(),
            ),
            (
                "sent_bytes_total",
                "Bytes that left its port.",
                worker.wire_bytes.sent(),
            ),
            (
                "received_bytes_total",
                "Bytes that came to its port.",
                worker.wire_bytes.received(),
            ),
        ];
        let mut text = String::new();
        let kinds = [("gauge", &gauges[..]), ("counter", &counters[..])];
        for (kind, rows) in kinds {
            for (name, help, value) in rows {
                // A text takes whatever is written.
                let _ = write!(
                    text,
                    "# HELP auspex_worker_{name} {help}\n# TYPE auspex_worker_{name} {kind}\nauspex_worker_{name} {value}\n"
                );
            }
        }
        text
    }
}
