//! The view `ml.jobs`: trainings that run on this server, and those that ran lately.
//!
//! In: what trainings told of themselves; out: rows as they are now.

use super::rows::{Cell, ColumnType};
use crate::access::roles;
use crate::jobs::{Job, JobState};
use crate::session::Session;

use ColumnType::{Float, Integer, Text, Timestamp};

/// The columns of `ml.jobs`.
pub(super) const COLUMNS: &[(&str, ColumnType)] = &[
    ("job", Integer),
    ("pid", Integer),
    ("model", Text),
    ("user_name", Text),
    ("state", Text),
    ("phase", Text),
    ("pass", Integer),
    ("iteration", Integer),
    ("rows", Integer),
    ("loss", Float),
    ("workers", Text),
    ("resumed", Text),
    ("last_checkpoint", Timestamp),
    ("started_at", Timestamp),
    ("ended_at", Timestamp),
    ("version", Integer),
    ("error", Text),
];

/// The rows of `ml.jobs`: those of the role itself, or all for who monitors.
pub(super) fn rows(session: &Session) -> Vec<Vec<Cell>> {
    let running = session.engine.trainings();
    let access = session.access();
    let row = |job: Job| {
        let own = running.iter().filter(|(pid, _)| *pid == job.process_id);
        let now = own.map(|(_, progress)| progress).next();
        let now = now.filter(|_| job.state == JobState::Running);
        let progress = now.or(job.progress.as_ref());
        let iteration = progress.and_then(|progress| progress.iteration.as_ref());
        vec![
            job.number.into(),
            Cell::Integer(i64::from(job.process_id)),
            job.model.clone().into(),
            job.user.name_in(access.state()).into(),
            job.state.name().into(),
            progress.map_or(Cell::Null, |progress| progress.phase.into()),
            job.passes().into(),
            iteration.map(|iteration| iteration.iteration).into(),
            progress.map(|progress| progress.rows).into(),
            iteration.map_or(Cell::Null, |iteration| Cell::Float(iteration.loss)),
            Some(job.workers().join(", "))
                .filter(|workers| !workers.is_empty())
                .into(),
            if job.is_resumed { "yes" } else { "no" }.into(),
            job.last_checkpoint_ms().map_or(Cell::Null, Cell::Timestamp),
            Cell::Timestamp(job.started_ms),
            job.ended_ms.map_or(Cell::Null, Cell::Timestamp),
            job.version.into(),
            job.error.clone().into(),
        ]
    };
    let jobs = session.engine.jobs.list().into_iter();
    let is_own = |job: &Job| access.is(&job.user.name_in(access.state()));
    jobs.filter(|job| access.is(roles::MONITOR) || is_own(job))
        .map(row)
        .collect()
}
