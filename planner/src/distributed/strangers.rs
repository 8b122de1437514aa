//! Machines at a port that have not shown yet that they belong to the cluster.
//!
//! In: connections as they come; out: when one is to end, because no request of it has passed in time, or because too
//! many others wait, too. Whoever belongs to the cluster asks something at once.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::refusals::Refusals;
use crate::engine::lock;

/// How long a machine may take until a request of it passes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Machines that may wait at a time; beyond them the one goes that has waited longest.
const MAX_WAITING: usize = 256;

/// The machines that wait at a port.
#[derive(Debug)]
pub(super) struct Strangers {
    waiting: Mutex<VecDeque<Weak<Visitor>>>,
    /// Who is sent away is told there.
    pub(super) refusals: Arc<Refusals>,
}

/// A machine behind a connection.
#[derive(Debug)]
pub(super) struct Visitor {
    from: Option<SocketAddr>,
    is_known: AtomicBool,
    /// Cancelled when it is to go.
    leaves: CancellationToken,
}

/// What its connection asks until the machine is known.
pub(super) struct Waiting {
    visitor: Arc<Visitor>,
    patience: Pin<Box<Sleep>>,
    leaves: Pin<Box<WaitForCancellationFutureOwned>>,
    refusals: Arc<Refusals>,
}

impl Strangers {
    /// Nobody waits yet.
    pub(super) fn new(refusals: Arc<Refusals>) -> Strangers {
        Strangers {
            waiting: Mutex::default(),
            refusals,
        }
    }

    /// A connection was accepted. Only within a runtime that has a clock.
    pub(super) fn receive(&self, from: Option<SocketAddr>) -> Waiting {
        let leaves = CancellationToken::new();
        let visitor = Arc::new(Visitor {
            from,
            is_known: AtomicBool::new(false),
            leaves: leaves.clone(),
        });
        let mut waiting = lock(&self.waiting);
        waiting.retain(|other| other.upgrade().is_some_and(|other| !other.is_known()));
        waiting.push_back(Arc::downgrade(&visitor));
        if waiting.len() > MAX_WAITING
            && let Some(longest) = waiting.pop_front().and_then(|longest| longest.upgrade())
        {
            longest.leaves.cancel();
        }
        Waiting {
            visitor,
            patience: Box::pin(tokio::time::sleep(PATIENCE)),
            leaves: Box::pin(leaves.cancelled_owned()),
            refusals: Arc::clone(&self.refusals),
        }
    }
}

impl Visitor {
    /// Where the machine is.
    pub(super) fn from(&self) -> Option<SocketAddr> {
        self.from
    }

    /// A request of it has passed.
    pub(super) fn welcome(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }
}

impl Waiting {
    /// The machine.
    pub(super) fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }

    /// Ready once the machine is known, or with an error when it is to go.
    pub(super) fn poll_known(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.visitor.is_known() {
            return Poll::Ready(Ok(()));
        }
        let is_late = self.patience.as_mut().poll(context).is_ready();
        if !is_late && self.leaves.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let reason = match is_late {
            true => "it did not show in time that it belongs to the cluster",
            false => "too many others wait that have not shown that they belong to the cluster",
        };
        self.refusals.tell(self.visitor.from, reason);
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(waiting: &mut Waiting) -> Poll<Result<()>> {
        waiting.poll_known(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test]
    async fn whoever_waits_longest_makes_room() {
        let strangers = Strangers::new(Arc::default());
        let mut known = strangers.receive(None);
        known.visitor().welcome();
        let mut waiting: Vec<Waiting> = (0..MAX_WAITING).map(|_| strangers.receive(None)).collect();
        assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_pending()));
        // One that has ended makes room as well.
        drop(waiting.remove(7));
        waiting.push(strangers.receive(None));
        assert!(waiting.iter_mut().all(|waiting| poll(waiting).is_pending()));
        waiting.push(strangers.receive(None));
        assert!(matches!(poll(&mut waiting[0]), Poll::Ready(Err(_))));
        let mut others = waiting.iter_mut().skip(1);
        assert!(others.all(|waiting| poll(waiting).is_pending()));
        assert!(matches!(poll(&mut known), Poll::Ready(Ok(()))));
    }
}
