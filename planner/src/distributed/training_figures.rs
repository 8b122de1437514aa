//! What the workers did for one training: `EXPLAIN ANALYZE` tells of it.
//!
//! In: each request of a pass and its reply; out: lines of text. A training asks all its workers once a pass, so that the
//! slowest of them is how long the pass took.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use url::Url;

use super::connections::address_of;
use crate::engine::lock;

/// The figures of a training.
#[derive(Debug, Default)]
pub(crate) struct TrainingFigures(Mutex<BTreeMap<Url, WorkerFigures>>);

#[derive(Debug, Default)]
struct WorkerFigures {
    sent_bytes: usize,
    received_bytes: usize,
    /// Of each pass.
    times: Vec<Duration>,
}

impl TrainingFigures {
    /// A worker answered a request, which took it and the network so long.
    pub(super) fn add(&self, worker: &Url, (sent, received): (usize, usize), took: Duration) {
        let mut workers = lock(&self.0);
        let figures = workers.entry(worker.clone()).or_default();
        figures.sent_bytes += sent;
        figures.received_bytes += received;
        figures.times.push(took);
    }

    /// The same of a request that belongs to the pass before.
    pub(super) fn add_to_last(
        &self,
        worker: &Url,
        (sent, received): (usize, usize),
        took: Duration,
    ) {
        let mut workers = lock(&self.0);
        let figures = workers.entry(worker.clone()).or_default();
        figures.sent_bytes += sent;
        figures.received_bytes += received;
        match figures.times.last_mut() {
            Some(last) => *last += took,
            None => figures.times.push(took),
        }
    }

    /// A line for the passes and one for each worker; `None`: no worker took part.
    pub(crate) fn text(&self) -> Option<String> {
        let workers = lock(&self.0);
        let n_passes = workers.values().map(|worker| worker.times.len()).max()?;
        let slowest = |pass: usize| {
            let times = workers.values().filter_map(|worker| worker.times.get(pass));
            times.max().copied().unwrap_or_default()
        };
        let passes: Vec<Duration> = (0..n_passes).map(slowest).collect();
        let mut lines = vec![format!("passes={n_passes}, {}", times_text(&passes))];
        for (worker, figures) in workers.iter() {
            lines.push(format!(
                "{}: passes={}, {}, sent_bytes={}, received_bytes={}",
                address_of(worker),
                figures.times.len(),
                times_text(&figures.times),
                figures.sent_bytes,
                figures.received_bytes,
            ));
        }
        Some(lines.join("\n"))
    }
}

/// `time=12.00ms, mean=4.00ms, slowest=8.00ms (pass 2)`
fn times_text(times: &[Duration]) -> String {
    let ms = |time: Duration| format!("{:.2}ms", time.as_secs_f64() * 1e3);
    let total: Duration = times.iter().sum();
    let n_times = u32::try_from(times.len().max(1)).unwrap_or(u32::MAX);
    let slowest = times.iter().enumerate().max_by_key(|(_, time)| **time);
    let (pass, slowest) = slowest.map_or((0, Duration::ZERO), |(pass, time)| (pass + 1, *time));
    format!(
        "time={}, mean={}, slowest={} (pass {pass})",
        ms(total),
        ms(total / n_times),
        ms(slowest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::connections::url_of;

    #[test]
    fn the_slowest_worker_is_how_long_a_pass_took() {
        let figures = TrainingFigures::default();
        assert_eq!(figures.text(), None);
        let [first, second] = ["a:1", "b:1"].map(|worker| url_of(worker).unwrap());
        for (worker, times) in [(&first, [1, 3]), (&second, [2, 2])] {
            for time in times {
                figures.add(worker, (10, 100), Duration::from_millis(time));
            }
        }
        // What `b` merged for others belongs to its last pass.
        figures.add_to_last(&second, (1, 50), Duration::from_millis(2));
        let expected = "passes=2, time=6.00ms, mean=3.00ms, slowest=4.00ms (pass 2)\n\
                        a:1: passes=2, time=4.00ms, mean=2.00ms, slowest=3.00ms (pass 2), sent_bytes=20, received_bytes=200\n\
                        b:1: passes=2, time=6.00ms, mean=3.00ms, slowest=4.00ms (pass 2), sent_bytes=21, received_bytes=250";
        assert_eq!(figures.text().unwrap(), expected);
    }
}
