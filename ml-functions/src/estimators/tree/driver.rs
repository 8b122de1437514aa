//! What boosting asks of the training set: passes over the chunks' states.

use std::future::Future;

use super::chunk::TreeChunk;
use crate::error::Result;
use crate::training_set::{Part, StateStep};

/// Runs passes; the training set implements it.
pub(crate) trait Pass: Send + Sync {
    /// Runs a step over every state of a part and merges what the threads bring.
    fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> impl Future<Output = Result<S::Partial>> + Send;

    /// Threads for work between passes.
    fn threads(&self) -> usize;
}
