//! The trainings that run on this server, and those that ran lately: `ml.jobs`.
//!
//! In: what trainings tell of themselves; out: rows. Nothing of it outlives the server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_ml::training::Usage;

use crate::access::HeldRole;
use crate::distributed::WorkerPool;
use crate::engine::{TrainingProgress, lock};
use crate::error::Error;

/// How many trainings that ended are remembered.
const REMEMBERED: usize = 200;

/// The trainings of this server.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: Mutex<VecDeque<Arc<Mutex<Job>>>>,
    next: AtomicU64,
}

/// A training.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Counts from 1.
    pub(crate) number: u64,
    pub(crate) process_id: i32,
    pub(crate) model: String,
    pub(crate) user: HeldRole,
    pub(crate) state: JobState,
    /// When it began and ended, in milliseconds since 1970.
    pub(crate) started_ms: i64,
    pub(crate) ended_ms: Option<i64>,
    /// The version that came of it.
    pub(crate) version: Option<u64>,
    /// Whether it went on with an earlier training.
    pub(crate) is_resumed: bool,
    /// What it came to at its end.
    pub(crate) progress: Option<TrainingProgress>,
    pub(crate) error: Option<String>,
    usage: Option<Arc<Usage>>,
    n_passes: u64,
    workers: Option<Arc<WorkerPool>>,
    worker_names: Vec<String>,
    last_checkpoint_ms: Option<Arc<AtomicI64>>,
}

/// How a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    Running,
    Done,
    Cancelled,
    Failed,
}

impl JobState {
    /// As the view shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
            JobState::Failed => "failed",
        }
    }
}

impl Job {
    /// Readings of the source and passes over what is kept, so far.
    pub(crate) fn passes(&self) -> u64 {
        self.usage.as_ref().map_or(self.n_passes, passes)
    }

    /// The machines that have its partitions; none: this one.
    pub(crate) fn workers(&self) -> Vec<String> {
        match &self.workers {
            Some(pool) => pool.addresses(),
            None => self.worker_names.clone(),
        }
    }

    /// When the last checkpoint was written, in milliseconds since 1970.
    pub(crate) fn last_checkpoint_ms(&self) -> Option<i64> {
        let last = self.last_checkpoint_ms.as_ref()?;
        Some(last.load(Ordering::Relaxed)).filter(|last| *last > 0)
    }
}

fn passes(usage: &Arc<Usage>) -> u64 {
    let cost = usage.cost();
    cost.source_passes + cost.kept_passes
}

impl Jobs {
    /// A training begins.
    pub(crate) fn begin(
        &self,
        process_id: i32,
        (model, user): (String, HeldRole),
        is_resumed: bool,
    ) -> RunningJob {
        let job = Arc::new(Mutex::new(Job {
            number: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            process_id,
            model,
            user,
            state: JobState::Running,
            started_ms: chrono::Utc::now().timestamp_millis(),
            ended_ms: None,
            version: None,
            is_resumed,
            progress: None,
            error: None,
            usage: None,
            n_passes: 0,
            workers: None,
            worker_names: Vec::new(),
            last_checkpoint_ms: None,
        }));
        let mut jobs = lock(&self.jobs);
        jobs.push_back(Arc::clone(&job));
        let is_over = |job: &Arc<Mutex<Job>>| lock(job).state != JobState::Running;
        while jobs.len() > REMEMBERED
            && let Some(oldest) = jobs.iter().position(is_over)
        {
            jobs.remove(oldest);
        }
        RunningJob(job)
    }

    /// All of them, the newest last.
    pub(crate) fn list(&self) -> Vec<Job> {
        let jobs: Vec<Arc<Mutex<Job>>> = lock(&self.jobs).iter().cloned().collect();
        jobs.iter().map(|job| lock(job).clone()).collect()
    }
}

/// A training that runs; one that is dropped before it ended was cancelled.
#[derive(Debug)]
pub(crate) struct RunningJob(Arc<Mutex<Job>>);

impl RunningJob {
    /// What counts its passes.
    pub(crate) fn counts(&self, usage: &Arc<Usage>) {
        lock(&self.0).usage = Some(Arc::clone(usage));
    }

    /// The machines that have its partitions.
    pub(crate) fn runs_on(&self, workers: &Arc<WorkerPool>) {
        lock(&self.0).workers = Some(Arc::clone(workers));
    }

    /// Where the time of its last checkpoint stands.
    pub(crate) fn keeps(&self, last_checkpoint_ms: Arc<AtomicI64>) {
        lock(&self.0).last_checkpoint_ms = Some(last_checkpoint_ms);
    }

    /// Whether there is a checkpoint of it, of this life or an earlier one.
    pub(crate) fn has_checkpoint(&self) -> bool {
        let job = lock(&self.0);
        job.is_resumed || job.last_checkpoint_ms().is_some()
    }

    /// It ended with a version or an error.
    pub(crate) fn end(
        &self,
        outcome: std::result::Result<u64, &Error>,
        progress: Option<TrainingProgress>,
    ) {
        let mut job = lock(&self.0);
        match outcome {
            Ok(version) => {
                job.state = JobState::Done;
                job.version = Some(version);
            }
            Err(error) => {
                let report = error.report();
                job.state = match report.sqlstate {
                    "57014" => JobState::Cancelled,
                    _ => JobState::Failed,
                };
                job.error = Some(report.message);
            }
        }
        job.progress = progress;
        job.settle();
    }
}

impl Job {
    /// Lets go of what the training used.
    fn settle(&mut self) {
        self.ended_ms = Some(chrono::Utc::now().timestamp_millis());
        self.n_passes = self.passes();
        self.usage = None;
        self.worker_names = self.workers();
        self.workers = None;
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        let mut job = lock(&self.0);
        if job.state == JobState::Running {
            job.state = JobState::Cancelled;
            job.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(model: &str) -> (String, HeldRole) {
        (model.to_owned(), HeldRole::default())
    }

    #[test]
    fn jobs_end_once_and_the_oldest_are_forgotten() {
        let jobs = Jobs::default();
        let first = jobs.begin(1, names("a"), false);
        let running = jobs.begin(2, names("b"), true);
        first.end(Ok(3), None);
        drop(first);
        let listed = jobs.list();
        assert_eq!(
            (listed[0].state, listed[0].version),
            (JobState::Done, Some(3))
        );
        assert!(listed[1].is_resumed && listed[1].ended_ms.is_none());
        for number in 0..REMEMBERED as i32 {
            let failed = jobs.begin(number, names("c"), false);
            let error = Error::invalid("22023", "no", None);
            failed.end(Err(&error), None);
        }
        let listed = jobs.list();
        assert_eq!(listed.len(), REMEMBERED);
        assert_eq!(listed[0].model, "b", "one that runs is never forgotten");
        assert_eq!(listed[1].error.as_deref(), Some("no"));
        drop(running);
        assert_eq!(jobs.list()[0].state, JobState::Cancelled);
    }
}
