//! Kept chunk states for tests: passes on any number of threads, through bytes if asked.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use super::super::chunk::TreeChunk;
use super::super::driver::Pass;
use crate::error::{Error, Result};
use crate::training_set::{Part, StateStep};

/// Kept chunk states of both parts.
pub(crate) struct Chunks {
    pub(crate) training: Mutex<Vec<TreeChunk>>,
    pub(crate) evaluation: Mutex<Vec<TreeChunk>>,
    pub(crate) n_threads: usize,
    /// Sends every state through bytes before every pass.
    pub(crate) through_bytes: bool,
}

impl Chunks {
    fn run<S: StateStep<State = TreeChunk>>(&self, part: Part, step: &S) -> Result<S::Partial> {
        let states = match part {
            Part::Training => &self.training,
            Part::Evaluation => &self.evaluation,
        };
        let mut states = states.lock().map_err(|_| Error::Cancelled)?;
        if self.through_bytes {
            for state in states.iter_mut() {
                *state = through_bytes(state);
            }
        }
        let n_threads = self.n_threads.max(1);
        let mut shares: Vec<Vec<(u64, &mut TreeChunk)>> =
            (0..n_threads).map(|_| Vec::new()).collect();
        for (number, state) in states.iter_mut().enumerate() {
            shares[number % n_threads].push((number as u64, state));
        }
        let share = |share: Vec<(u64, &mut TreeChunk)>| -> Result<S::Partial> {
            let mut partial = step.partial();
            for (number, state) in share {
                step.run(number, state, &mut partial)?;
            }
            Ok(partial)
        };
        let mut total = step.partial();
        if n_threads == 1 {
            return share(shares.remove(0));
        }
        let partials = std::thread::scope(|scope| {
            let last = shares.remove(0);
            let others: Vec<_> = shares
                .into_iter()
                .map(|s| scope.spawn(|| share(s)))
                .collect();
            let mut partials = vec![share(last)];
            partials.extend(
                others
                    .into_iter()
                    .map(|h| h.join().unwrap_or(Err(Error::Cancelled))),
            );
            partials
        });
        for partial in partials {
            let partial = if self.through_bytes {
                through_bytes(&partial?)
            } else {
                partial?
            };
            step.merge(&mut total, partial)?;
        }
        Ok(total)
    }
}

fn through_bytes<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_allocvec(value).unwrap()).unwrap()
}

impl Pass for Chunks {
    fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> impl Future<Output = Result<S::Partial>> + Send {
        std::future::ready(self.run(part, step))
    }
}

/// Runs a future that never waits.
pub(crate) fn complete<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::Internal {
            what: "a pass waited".to_string(),
        }),
    }
}
