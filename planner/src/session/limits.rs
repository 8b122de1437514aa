//! What ends a statement before it is done: its client, its time, or that nobody takes its rows.
//!
//! In: the client's control, the time that is allowed and the statement's place among those that run; out: a token that
//! tells the end, and why it came. The place is free again when the limits are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::TablesRead;
use crate::error::{Error, Result};
use crate::statement_run::{CopyIn, Outcome, StatementControl};
use crate::streams;
use crate::timers::Timers;
use crate::workload::Slot;

/// What ends a statement early: the client, the clock, or dropping its rows.
pub(crate) struct Limits {
    pub(crate) token: CancellationToken,
    timed_out: Arc<AtomicBool>,
    _ends_timer: DropGuard,
    _slot: Option<Slot>,
}

impl Limits {
    pub(super) fn start(
        control: &StatementControl,
        timeout: Option<Duration>,
        timers: &Timers,
        slot: Option<Slot>,
    ) -> Limits {
        let token = control.cancel.child_token();
        let timed_out = Arc::new(AtomicBool::new(false));
        let finished = CancellationToken::new();
        if let Some(timeout) = timeout {
            let (token, timed_out) = (token.clone(), Arc::clone(&timed_out));
            let finished = finished.clone();
            timers.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(timeout) => {
                        timed_out.store(true, Ordering::Relaxed);
                        token.cancel();
                    }
                    () = finished.cancelled() => {}
                }
            });
        }
        Limits {
            token,
            timed_out,
            _ends_timer: finished.drop_guard(),
            _slot: slot,
        }
    }

    /// The same work, which ends early when it is cancelled or its time is over.
    pub(super) fn guard<T: Send + 'static>(
        self,
        work: BoxFuture<'static, Result<T>>,
    ) -> BoxFuture<'static, Result<T>> {
        let guarded = async move {
            let done = tokio::select! {
                biased;
                () = self.token.cancelled() => Err(self.error()),
                done = work => done,
            };
            match done {
                Err(_) if self.timed_out() => Err(Error::TimedOut),
                done => done,
            }
        };
        guarded.boxed()
    }

    /// What a statement gives, under its limits; an error tells of tables that are gone.
    pub(super) async fn guard_outcome(
        self,
        outcome: Result<Outcome>,
        tables: TablesRead,
    ) -> Result<Outcome> {
        match outcome {
            Ok(Outcome::Rows {
                schema,
                stream,
                tag,
            }) => {
                let stream = streams::guarded(stream, self, tables);
                Ok(Outcome::Rows {
                    schema,
                    stream,
                    tag,
                })
            }
            Ok(Outcome::CopyOut {
                schema,
                stream,
                options,
            }) => {
                let stream = streams::guarded(stream, self, tables);
                Ok(Outcome::CopyOut {
                    schema,
                    stream,
                    options,
                })
            }
            Ok(Outcome::CopyIn(copy)) => {
                let end = self.guard(copy.end);
                Ok(Outcome::CopyIn(CopyIn { end, ..copy }))
            }
            Err(_) if self.timed_out() => Err(Error::TimedOut),
            Err(error) => Err(tables.told(error).await),
            other => other,
        }
    }

    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    pub(crate) fn error(&self) -> Error {
        if self.timed_out() {
            Error::TimedOut
        } else {
            Error::Cancelled
        }
    }
}
