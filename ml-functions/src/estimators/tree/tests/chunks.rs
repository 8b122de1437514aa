//! Kept chunk states for tests: passes on any number of threads, through bytes if asked.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use auspex_gpu::CpuDevice;

use super::super::chunk::TreeChunk;
use super::super::driver::Pass;
use crate::error::{Error, Result};
use crate::training_set::{Part, PieceId, StateStep};

/// The states of a part.
pub(crate) type Pieces = Vec<(PieceId, TreeChunk)>;

/// Kept chunk states of both parts.
pub(crate) struct Chunks {
    pub(crate) training: Mutex<Pieces>,
    pub(crate) evaluation: Mutex<Pieces>,
    pub(crate) n_threads: usize,
    /// Sends every state through bytes before every pass.
    pub(crate) through_bytes: bool,
    /// Where rows part and are summed, if not by the loops of the CPU.
    pub(crate) device: Option<CpuDevice>,
}

impl Chunks {
    fn run<S: StateStep<State = TreeChunk>>(&self, part: Part, step: &S) -> Result<S::Partial> {
        let states = match part {
            Part::Training => &self.training,
            Part::Evaluation => &self.evaluation,
        };
        let mut states = states.lock().map_err(|_| Error::Cancelled)?;
        if self.through_bytes {
            for (_, state) in states.iter_mut() {
                *state = through_bytes(state);
            }
        }
        let n_threads = self.n_threads.max(1);
        let mut shares: Vec<Vec<(PieceId, &mut TreeChunk)>> =
            (0..n_threads).map(|_| Vec::new()).collect();
        for (number, (piece, state)) in states.iter_mut().enumerate() {
            shares[number % n_threads].push((*piece, state));
        }
        let share = |share: Vec<(PieceId, &mut TreeChunk)>| -> Result<S::Partial> {
            let mut partial = step.partial();
            for (piece, state) in share {
                match &self.device {
                    None => step.run(piece, state, &mut partial)?,
                    Some(device) => step.run_on(device, piece, state, &mut partial)?,
                }
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

    fn both_parts<T, E>(
        &self,
        training: &T,
        evaluation: &E,
    ) -> impl Future<Output = Result<(T::Partial, E::Partial)>> + Send
    where
        T: StateStep<State = TreeChunk>,
        E: StateStep<State = TreeChunk>,
    {
        let partials = self.run(Part::Training, training).and_then(|training| {
            let evaluation = self.run(Part::Evaluation, evaluation)?;
            Ok((training, evaluation))
        });
        std::future::ready(partials)
    }

    fn threads(&self) -> usize {
        self.n_threads
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
