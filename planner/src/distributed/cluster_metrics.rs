//! What those who watch a coordinator see of its workers: gauges and counters in Prometheus' text format.
//!
//! In: a cluster; out: a text, as it is now.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::cluster::Cluster;

/// All states of workers, so that a series does not end when its last worker has another state.
const STATES: [&str; 5] = ["expected", "ready", "draining", "lost", "refused"];

impl Cluster {
    /// Workers by state, and what has happened to them.
    pub(crate) fn metrics_text(&self) -> String {
        let rows = self.rows();
        let mut text = String::from(
            "# HELP auspex_cluster_workers Workers by state.\n# TYPE auspex_cluster_workers gauge\n",
        );
        // A text takes whatever is written.
        for state in STATES {
            let n_workers = rows.iter().filter(|row| row.state == state).count();
            let _ = writeln!(
                text,
                "auspex_cluster_workers{{state=\"{state}\"}} {n_workers}"
            );
        }
        let counters = [
            (
                "losses_total",
                "Workers that no longer answered.",
                &self.counts.n_losses,
            ),
            (
                "replans_total",
                "Queries that began anew without a worker.",
                &self.counts.n_replans,
            ),
        ];
        for (name, help, counter) in counters {
            let value = counter.load(Ordering::Relaxed);
            let _ = write!(
                text,
                "# HELP auspex_cluster_{name} {help}\n# TYPE auspex_cluster_{name} counter\nauspex_cluster_{name} {value}\n"
            );
        }
        text
    }
}
