//! What boosting asks of the training set: passes over the chunks' states, and a place for what it keeps of itself.

use std::future::Future;

use super::chunk::TreeChunk;
use super::resume::TreeRecord;
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

    /// Runs a step over every state of each part in one pass.
    fn both_parts<T, E>(
        &self,
        training: &T,
        evaluation: &E,
    ) -> impl Future<Output = Result<(T::Partial, E::Partial)>> + Send
    where
        T: StateStep<State = TreeChunk>,
        E: StateStep<State = TreeChunk>;

    /// Threads for work between passes.
    fn threads(&self) -> usize;

    /// Whether records of trees are wanted.
    fn keeps_records(&self) -> bool {
        false
    }

    /// Keeps the record of a tree.
    fn keep_record(&self, _record: &TreeRecord) -> Result<()> {
        Ok(())
    }

    /// The records that an earlier life of the training kept.
    fn earlier_records(&self) -> Result<Vec<TreeRecord>> {
        Ok(Vec::new())
    }
}
