//! Tells how a training goes: NOTICEs to its client, and the row of `pg_stat_progress_train`.
//!
//! In: what the run reports, from any of its threads; out: notices at a bearable rate, and the exact
//! state for other sessions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use auspex_ml::run::{Iteration, Progress};

use super::warning_notice;
use crate::engine::lock;
use crate::logical::FitTask;
use crate::statement_run::{Notice, StatementControl};

/// Tells client and progress view how the training goes.
pub(super) struct Reporter {
    task: Arc<FitTask>,
    control: Arc<StatementControl>,
    started: Instant,
    /// Rows visited in phases that ended.
    earlier_rows: AtomicU64,
    /// Rows visited in the phase that runs.
    phase_rows: AtomicU64,
    /// About how many rows a reading gives.
    n_rows: Option<usize>,
    /// Iterations that ended.
    n_iterations: AtomicU64,
    notices: Mutex<IterationNotices>,
}

/// What the client was told of iterations.
#[derive(Default)]
struct IterationNotices {
    /// When, since the training started.
    last_told: Option<Duration>,
    /// The newest iteration, not told since another one was told a moment ago.
    held: Option<Notice>,
    /// When rows were told last, since the training started.
    rows_told: Duration,
}

/// Fast iterations are told no more often, since a client would drown in them; the first and the last
/// are always told.
const NOTICE_INTERVAL: Duration = Duration::from_millis(250);
/// How often the rows of a reading are told.
const ROWS_INTERVAL: Duration = Duration::from_secs(1);

impl Reporter {
    pub(super) fn new(
        task: Arc<FitTask>,
        control: Arc<StatementControl>,
        started: Instant,
        n_rows: Option<usize>,
    ) -> Reporter {
        Reporter {
            task,
            control,
            started,
            earlier_rows: AtomicU64::new(0),
            phase_rows: AtomicU64::new(0),
            n_rows,
            n_iterations: AtomicU64::new(0),
            notices: Mutex::default(),
        }
    }

    pub(super) fn report(&self, progress: Progress) {
        let (engine, id) = (&self.task.engine, self.task.process_id);
        match progress {
            Progress::Phase(phase) => {
                self.tell_held();
                let n_rows = self.phase_rows.swap(0, Ordering::Relaxed);
                self.earlier_rows.fetch_add(n_rows, Ordering::Relaxed);
                engine.update_training(id, |training| {
                    training.phase = phase;
                    training.rows = 0;
                });
            }
            Progress::Rows(rows) => {
                self.phase_rows.fetch_max(rows, Ordering::Relaxed);
                self.tell_rows(rows);
                engine.update_training(id, |training| training.rows = rows);
            }
            Progress::Iteration(iteration) => {
                self.tell(Notice {
                    progress: self.share_done(),
                    ..Notice::plain(self.describe(&iteration))
                });
                engine.update_training(id, |training| training.iteration = Some(iteration));
            }
            Progress::HostLost(reason) => {
                self.tell_held();
                let message = format!("the training lost worker {reason}; others take over");
                self.control.notify(Notice::warning(message));
            }
            Progress::Warning(warning) => {
                self.tell_held();
                self.control.notify(warning_notice(&warning));
            }
        }
    }

    /// Tells an iteration, or holds it back until its successor or the end of the phase.
    fn tell(&self, iteration: Notice) {
        let now = self.started.elapsed();
        let mut notices = lock(&self.notices);
        let is_due = |told: Duration| now.saturating_sub(told) >= NOTICE_INTERVAL;
        if notices.last_told.is_none_or(is_due) {
            notices.last_told = Some(now);
            notices.held = None;
            self.control.notify(iteration);
        } else {
            notices.held = Some(iteration);
        }
    }

    fn tell_held(&self) {
        if let Some(iteration) = lock(&self.notices).held.take() {
            self.control.notify(iteration);
        }
    }

    /// Tells how many rows a long reading has seen, until there are iterations to tell of.
    fn tell_rows(&self, rows: u64) {
        let now = self.started.elapsed();
        // Called for every block by every thread: whoever finds the lock taken has nothing to add.
        let Ok(mut notices) = self.notices.try_lock() else {
            return;
        };
        if notices.last_told.is_some() || now.saturating_sub(notices.rows_told) < ROWS_INTERVAL {
            return;
        }
        notices.rows_told = now;
        let seconds = now.as_secs_f64();
        let share = |n_rows: usize| rows as f64 / n_rows.max(1) as f64;
        self.control.notify(Notice {
            progress: self.n_rows.map(share),
            ..Notice::plain(format!("{rows} rows read ({seconds:.1} s)"))
        });
    }

    /// The share of the iterations that are allowed at most. Estimators number them from 0 or from 1, so they are counted.
    fn share_done(&self) -> Option<f64> {
        let n_iterations = self.n_iterations.fetch_add(1, Ordering::Relaxed) + 1;
        let task = &self.task;
        let passes = task.estimator.passes(&task.options, &task.shape);
        let depth = task.options.opt_f64_if_known("max_tree_depth");
        let most = passes.kept as f64 / depth.unwrap_or(1.0).max(1.0);
        (most > 0.0).then(|| (n_iterations as f64 / most).min(1.0))
    }

    fn describe(&self, iteration: &Iteration) -> String {
        let eval = iteration
            .eval_loss
            .map_or(String::new(), |loss| format!(", eval loss {loss:.6}"));
        let seconds = self.started.elapsed().as_secs_f64();
        let n_rows =
            self.earlier_rows.load(Ordering::Relaxed) + self.phase_rows.load(Ordering::Relaxed);
        format!(
            "iteration {}: loss {:.6}{eval}, {:.0} rows/s ({seconds:.1} s)",
            iteration.iteration,
            iteration.loss,
            n_rows as f64 / seconds.max(1e-3),
        )
    }
}
