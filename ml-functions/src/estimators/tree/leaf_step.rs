//! The pass that ends a tree: the unrounded gradients of each leaf, and how great the next gradients get.
//!
//! In: a tree with the values of its rounded gradients; out: exact sums a leaf, from which its values follow, and what the
//! scores would measure with the rounded values, where no bounds of gradients are known. Changes no score.

use super::chunk::{TreeChunk, section};
use super::grow_step::{PendingSplit, follow_split};
use super::math::round_to_i64;
use super::objective::{BLOCK_ROWS, Objective};
use super::score_step::{GradientBlock, ScoreUpdate, Scored, add_values, measure};
use crate::error::{Error, Result};
use crate::training_set::{Access, PieceId, SectionSet, StateStep};

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LeafStep {
    /// What is minimised; of one output.
    pub(crate) objective: Objective,
    /// Splits to follow first.
    pub(crate) splits: Vec<PendingSplit>,
    /// The tree and where its rows are.
    pub(crate) update: ScoreUpdate,
    /// Number of its leaves.
    pub(crate) n_leaves: usize,
    /// Powers of two that gradients and hessians are multiplied by; without, they are not summed.
    pub(crate) scales: Option<[f64; 2]>,
    /// Whether to measure the scores that the update would give.
    pub(crate) foresees: bool,
}

/// What the pass yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct LeafSums {
    /// Of each leaf and, last, of the rows outside the sample.
    pub(crate) sums: Vec<[i64; 2]>,
    /// Of the scores that the update would give.
    pub(crate) foreseen: Scored,
    /// The greatest magnitude of such a score.
    pub(crate) max_score: f64,
    /// The leaf of each row of a chunk.
    #[serde(skip)]
    leaf_of_row: Vec<u32>,
    /// Room for the scores that the update would give.
    #[serde(skip)]
    scores: Vec<f64>,
    /// Room for the rows that go right.
    #[serde(skip)]
    scratch: Vec<u16>,
}

impl StateStep for LeafStep {
    type State = TreeChunk;
    type Partial = LeafSums;
    const NAME: &'static str = "tree.leaves";

    fn partial(&self) -> LeafSums {
        let n_sums = self.scales.map_or(0, |_| self.n_leaves + 1);
        LeafSums {
            sums: vec![[0; 2]; n_sums],
            ..LeafSums::default()
        }
    }

    fn access(&self) -> Access {
        Access {
            reads: SectionSet::of(&[section::BINS, section::SCORES, section::LABELS]),
            writes: SectionSet::of(&[section::ORDER]),
        }
    }

    fn run(&self, piece: PieceId, state: &mut TreeChunk, into: &mut LeafSums) -> Result<()> {
        for split in &self.splits {
            follow_split(split, state, &mut into.scratch)?;
        }
        if let Some(scales) = self.scales {
            self.sum(scales, state, into)?;
        }
        if self.foresees {
            self.foresee(piece, state, into)?;
        }
        Ok(())
    }

    fn merge(&self, into: &mut LeafSums, other: LeafSums) -> Result<()> {
        for (sums, more) in into.sums.iter_mut().zip(other.sums) {
            *sums = [sums[0] + more[0], sums[1] + more[1]];
        }
        into.foreseen.merge(other.foreseen);
        into.max_score = into.max_score.max(other.max_score);
        Ok(())
    }
}

impl LeafStep {
    /// Adds the gradients of a piece's rows to the sums of their leaves.
    fn sum(&self, scales: [f64; 2], state: &TreeChunk, into: &mut LeafSums) -> Result<()> {
        let segments = self.update.segments.as_ref();
        let segments = segments.ok_or_else(|| Error::Internal {
            what: "a tree ends, and nobody knows where its rows are".to_owned(),
        })?;
        into.leaf_of_row.clear();
        into.leaf_of_row.resize(state.n_rows, self.n_leaves as u32);
        self.update
            .tree
            .for_each_row(segments, state, |row, leaf| {
                into.leaf_of_row[row] = leaf.column;
            })?;
        pulp::Arch::new().dispatch(SumLeaves {
            objective: self.objective,
            scales,
            state,
            leaf_of_row: &into.leaf_of_row,
            sums: &mut into.sums,
        });
        Ok(())
    }

    /// Measures a piece at the scores that the update would give, and leaves it with those that it has.
    fn foresee(&self, piece: PieceId, state: &mut TreeChunk, into: &mut LeafSums) -> Result<()> {
        let mut copy = std::mem::take(&mut into.scores);
        copy.clone_from(&state.scores);
        let scores = std::mem::replace(&mut state.scores, copy);
        add_values(&self.update, state)?;
        measure(self.objective, None, piece, state, &mut into.foreseen);
        into.scores = std::mem::replace(&mut state.scores, scores);
        let magnitudes = into.scores.iter().map(|score| score.abs());
        into.max_score = magnitudes.fold(into.max_score, f64::max);
        Ok(())
    }
}

/// The rows of a chunk that are summed by leaf, compiled for the instructions of the machine.
struct SumLeaves<'a> {
    objective: Objective,
    scales: [f64; 2],
    state: &'a TreeChunk,
    leaf_of_row: &'a [u32],
    sums: &'a mut [[i64; 2]],
}

impl pulp::WithSimd for SumLeaves<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let [g_scale, h_scale] = self.scales;
        let mut block = GradientBlock::new(self.objective, self.state.weights.is_some());
        let mut rounded = [[0i64; 2]; BLOCK_ROWS];
        let mut first = 0;
        while first < self.state.n_rows {
            let n_rows = block.compute(self.state, first);
            for ((pair, g), h) in rounded.iter_mut().zip(&block.g).zip(&block.h) {
                *pair = [round_to_i64(g * g_scale), round_to_i64(h * h_scale)];
            }
            for (&leaf, pair) in self.leaf_of_row[first..first + n_rows].iter().zip(&rounded) {
                let sums = &mut self.sums[leaf as usize];
                sums[0] += pair[0];
                sums[1] += pair[1];
            }
            first += n_rows;
        }
    }
}
