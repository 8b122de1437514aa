//! One run of a training: cancelling, progress, warnings, the seed and the device.
//!
//! In: callbacks of whoever runs the statement; out: the training curve and the warnings.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::checkpoint::Checkpoints;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::training::Usage;

/// One row of `ML.TRAINING_INFO`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Iteration {
    /// 0-based number (1-based for trees).
    pub iteration: u64,
    /// Loss on the training part after this iteration; NULL in JSON stands for NaN.
    #[serde(deserialize_with = "null_as_nan")]
    pub loss: f64,
    /// Loss on the evaluation part, where there is one.
    pub eval_loss: Option<f64>,
    /// Step width, where the solver has one.
    pub learning_rate: Option<f64>,
    /// Time of this iteration.
    pub duration_ms: u64,
    /// What the estimator adds for its own `TRAINING_INFO` columns (k-means: `cluster_info`).
    pub extra: serde_json::Value,
}

/// Something surprising that did not stop the statement: a WARNING and a row of `ml.warnings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable name in snake case: `no_convergence`.
    pub code: String,
    /// One sentence without a final stop, in the style of PostgreSQL.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

/// What a run reports while it goes on.
#[derive(Debug, Clone)]
pub enum Progress {
    /// The phase that began: `reading`, `training`, `evaluating`.
    Phase(&'static str),
    /// Rows read or passed over so far in this phase.
    Rows(u64),
    /// An iteration ended.
    Iteration(Iteration),
    /// A warning.
    Warning(Warning),
    /// A machine that hosted samples is gone, for this reason; others take over.
    HostLost(String),
}

/// Receives progress; called from worker threads, must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// A running training.
pub struct TrainingRun {
    /// Ends the run at the next chunk of rows.
    pub cancel: CancellationToken,
    /// All randomness starts here.
    pub seed: u64,
    /// The device that computes.
    pub compute: Compute,
    /// The model to start from, where `warm_start` was asked for.
    pub warm_start: Option<Arc<dyn Model>>,
    /// What the run keeps of itself, where it is to survive its machine.
    pub checkpoints: Option<Arc<Checkpoints>>,
    /// Counts passes, memory and disk.
    pub usage: Arc<Usage>,
    progress: ProgressSink,
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    iterations: Mutex<Vec<Iteration>>,
    warnings: Mutex<Vec<Warning>>,
}

impl TrainingRun {
    /// A run that reports to `progress`; `clock` gives the time since any fixed moment.
    pub fn new(
        seed: u64,
        compute: Compute,
        cancel: CancellationToken,
        progress: ProgressSink,
        clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> TrainingRun {
        TrainingRun {
            cancel,
            seed,
            compute: compute.for_run(),
            warm_start: None,
            checkpoints: None,
            usage: Arc::default(),
            progress,
            clock,
            iterations: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// A run without progress, time or cancelling.
    pub fn quiet(seed: u64, compute: Compute) -> TrainingRun {
        let (progress, clock) = (Arc::new(|_| {}), Arc::new(|| Duration::ZERO));
        TrainingRun::new(seed, compute, CancellationToken::new(), progress, clock)
    }

    /// Fails with [`Error::Cancelled`] once the run was cancelled.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// The time since a fixed moment, for durations.
    pub fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Reports anything.
    pub fn report(&self, progress: Progress) {
        (self.progress)(progress);
    }

    /// Where progress goes, for worker threads that outlive a borrow of the run.
    pub(crate) fn progress_sink(&self) -> ProgressSink {
        Arc::clone(&self.progress)
    }

    /// Records an iteration and reports it.
    pub fn iteration(&self, iteration: Iteration) {
        self.report(Progress::Iteration(iteration.clone()));
        lock(&self.iterations).push(iteration);
    }

    /// Records a warning and reports it.
    pub fn warn(&self, code: &str, message: String, hint: Option<&str>) {
        let warning = Warning {
            code: code.to_owned(),
            message,
            hint: hint.map(ToOwned::to_owned),
        };
        self.report(Progress::Warning(warning.clone()));
        lock(&self.warnings).push(warning);
    }

    /// The iterations so far.
    pub fn iterations(&self) -> Vec<Iteration> {
        lock(&self.iterations).clone()
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<Warning> {
        lock(&self.warnings).clone()
    }
}

/// JSON has no NaN and no infinity, and writes both as null.
fn null_as_nan<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A poisoned list is still a list: a panic elsewhere must not hide what was recorded.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
