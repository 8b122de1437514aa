//! The pass between two trees: the scores get what ended, and the next tree begins on the gradients that follow from it.
//!
//! In: what both passes would get; out: what both would bring. Nothing else: a pass over the rows is saved.

use auspex_gpu::Device;

use super::chunk::TreeChunk;
use super::grow_step::{GrowPartial, GrowStep};
use super::score_step::{ScoreStep, Scored};
use crate::error::Result;
use crate::training_set::{Access, PieceId, StateStep};

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NextTreeStep {
    /// Comes first, and makes gradients.
    pub(crate) score: ScoreStep,
    /// Begins the tree.
    pub(crate) grow: GrowStep,
}

impl StateStep for NextTreeStep {
    type State = TreeChunk;
    type Partial = (Scored, GrowPartial);
    const NAME: &'static str = "tree.next";

    fn partial(&self) -> (Scored, GrowPartial) {
        (self.score.partial(), self.grow.partial())
    }

    fn access(&self) -> Access {
        let (score, grow) = (self.score.access(), self.grow.access());
        Access {
            reads: score.reads.union(grow.reads),
            writes: score.writes.union(grow.writes),
        }
    }

    fn run(
        &self,
        piece: PieceId,
        state: &mut TreeChunk,
        (scored, grown): &mut (Scored, GrowPartial),
    ) -> Result<()> {
        self.score.run(piece, state, scored)?;
        self.grow.run(piece, state, grown)
    }

    fn run_on(
        &self,
        device: &dyn Device,
        piece: PieceId,
        state: &mut TreeChunk,
        (scored, grown): &mut (Scored, GrowPartial),
    ) -> Result<()> {
        self.score.run_on(device, piece, state, scored)?;
        self.grow.run_on(device, piece, state, grown)
    }

    fn merge(&self, into: &mut (Scored, GrowPartial), other: (Scored, GrowPartial)) -> Result<()> {
        self.score.merge(&mut into.0, other.0)?;
        self.grow.merge(&mut into.1, other.1)
    }
}
