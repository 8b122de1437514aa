//! Counters in Prometheus' text format.
//!
//! In: what happened; out: a text. The number of series is bounded: kinds and outcomes are known words, and of model
//! versions the first thousand are told apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::engine::lock;

/// A number that only grows.
pub(crate) type Counter = Arc<AtomicU64>;

/// The upper ends of the buckets of latencies, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0,
];
/// How many model versions have a series of their own; the others share one.
const MAX_MODELS: usize = 1000;

/// The counters of an engine.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    statements: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    latencies: Mutex<BTreeMap<&'static str, Latency>>,
    rows: AtomicU64,
    logins: [AtomicU64; 2],
    /// Trainings by model type and outcome.
    trainings: Mutex<BTreeMap<(String, &'static str), u64>>,
    predictions: Mutex<BTreeMap<(String, u64), Counter>>,
    /// Model versions that were found in memory, and those that were read.
    model_cache: [AtomicU64; 2],
}

#[derive(Debug, Default, Clone)]
struct Latency {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Metrics {
    /// A statement ended.
    pub(crate) fn statement(
        &self,
        kind: &'static str,
        outcome: &'static str,
        elapsed: Duration,
        rows: u64,
    ) {
        *lock(&self.statements).entry((kind, outcome)).or_default() += 1;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64();
        let mut latencies = lock(&self.latencies);
        let latency = latencies.entry(kind).or_default();
        latency.count += 1;
        latency.seconds += seconds;
        for (bucket, end) in latency.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
    }

    /// Somebody logged in, or was refused.
    pub(crate) fn login(&self, is_let_in: bool) {
        self.logins[usize::from(is_let_in)].fetch_add(1, Ordering::Relaxed);
    }

    /// A training ended.
    pub(crate) fn training(&self, model_type: &str, outcome: &'static str) {
        let key = (model_type.to_owned(), outcome);
        *lock(&self.trainings).entry(key).or_default() += 1;
    }

    /// A model version was asked for.
    pub(crate) fn model_lookup(&self, is_in_memory: bool) {
        self.model_cache[usize::from(is_in_memory)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counter of the rows that a model version predicts.
    pub(crate) fn predictions(&self, model: &str, version: u64) -> Counter {
        let mut predictions = lock(&self.predictions);
        let key = (model.to_owned(), version);
        let key = match predictions.len() < MAX_MODELS || predictions.contains_key(&key) {
            true => key,
            false => ("other".to_owned(), 0),
        };
        Arc::clone(predictions.entry(key).or_default())
    }

    /// All counters, and gauges with their help.
    pub(crate) fn text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut text = Text::default();
        for (name, help, value) in gauges {
            text.head(name, help, "gauge");
            text.line(name, &[], *value as f64);
        }
        let name = "auspex_statements_total";
        text.head(name, "Statements by kind and outcome.", "counter");
        for ((kind, outcome), count) in lock(&self.statements).iter() {
            text.line(name, &[("kind", kind), ("outcome", outcome)], *count as f64);
        }
        self.latencies(&mut text);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let name = "auspex_rows_total";
        text.head(name, "Rows that statements returned or changed.", "counter");
        text.line(name, &[], load(&self.rows));
        let name = "auspex_logins_total";
        text.head(name, "Attempts to log in.", "counter");
        for (counter, outcome) in self.logins.iter().zip(["refused", "ok"]) {
            text.line(name, &[("outcome", outcome)], load(counter));
        }
        let name = "auspex_model_cache_total";
        text.head(
            name,
            "Model versions asked for, by where they were found.",
            "counter",
        );
        for (counter, found) in self.model_cache.iter().zip(["storage", "memory"]) {
            text.line(name, &[("found", found)], load(counter));
        }
        let name = "auspex_trainings_total";
        text.head(name, "Trainings by type of model and outcome.", "counter");
        for ((model_type, outcome), count) in lock(&self.trainings).iter() {
            text.line(
                name,
                &[("model_type", model_type), ("outcome", outcome)],
                *count as f64,
            );
        }
        let name = "auspex_predictions_total";
        text.head(name, "Rows predicted, by model version.", "counter");
        for ((model, version), count) in lock(&self.predictions).iter() {
            let version = version.to_string();
            text.line(
                name,
                &[("model", model), ("version", &version)],
                load(count),
            );
        }
        text.0
    }

    fn latencies(&self, text: &mut Text) {
        let name = "auspex_statement_seconds";
        text.head(
            name,
            "Time from a statement's arrival to its last row.",
            "histogram",
        );
        for (kind, latency) in lock(&self.latencies).iter() {
            let bucket = format!("{name}_bucket");
            for (count, end) in latency.buckets.iter().zip(BUCKETS) {
                let end = end.to_string();
                text.line(&bucket, &[("kind", kind), ("le", &end)], *count as f64);
            }
            text.line(
                &bucket,
                &[("kind", kind), ("le", "+Inf")],
                latency.count as f64,
            );
            text.line(&format!("{name}_sum"), &[("kind", kind)], latency.seconds);
            text.line(
                &format!("{name}_count"),
                &[("kind", kind)],
                latency.count as f64,
            );
        }
    }
}

/// A text in Prometheus' format.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| {
                let value = value
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{label}=\"{value}\"")
            })
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_prometheus() {
        let metrics = Metrics::default();
        metrics.statement("SELECT", "ok", Duration::from_millis(3), 7);
        metrics.statement("SELECT", "error", Duration::from_secs(1000), 0);
        metrics
            .predictions("a\"b", 2)
            .fetch_add(5, Ordering::Relaxed);
        metrics.login(false);
        let text = metrics.text(&[("auspex_sessions", "Sessions.", 3)]);
        for line in [
            "# TYPE auspex_sessions gauge",
            "auspex_sessions 3",
            "auspex_statements_total{kind=\"SELECT\",outcome=\"ok\"} 1",
            "auspex_statement_seconds_bucket{kind=\"SELECT\",le=\"0.0025\"} 0",
            "auspex_statement_seconds_bucket{kind=\"SELECT\",le=\"0.005\"} 1",
            "auspex_statement_seconds_bucket{kind=\"SELECT\",le=\"300\"} 1",
            "auspex_statement_seconds_bucket{kind=\"SELECT\",le=\"+Inf\"} 2",
            "auspex_statement_seconds_count{kind=\"SELECT\"} 2",
            "auspex_rows_total 7",
            "auspex_logins_total{outcome=\"refused\"} 1",
            "auspex_predictions_total{model=\"a\\\"b\",version=\"2\"} 5",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn models_without_end_share_a_series() {
        let metrics = Metrics::default();
        for version in 0..2 * MAX_MODELS as u64 {
            metrics
                .predictions("m", version)
                .fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(lock(&metrics.predictions).len(), MAX_MODELS + 1);
    }
}
