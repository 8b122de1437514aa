//! What a piece of a chunk keeps between passes: its samples as bins and everything that training adds
//! to them.
//!
//! In: a block, once; out: slices for the passes. A piece has at most 65,536 rows, so that a row's
//! number is two bytes. Never holds raw values.

use std::sync::Arc;

use auspex_gpu::Version;

use super::binning::FeatureBins;
use super::ensemble::TreeEnsemble;
use super::objective::Objective;
use super::scoring::CompiledEnsemble;
use crate::error::{Error, Result};
use crate::features::{FeatureBlock, TargetValues};
use crate::training_set::{ChunkState, PieceId, StartStep, Values};

/// Most rows of a chunk.
pub(crate) const MAX_ROWS: usize = 65_536;

/// Numbers in four bytes each where that loses nothing.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Numbers {
    /// Small whole numbers: classes.
    U8(Vec<u8>),
    /// Exact in f32.
    F32(Vec<f32>),
    /// Others.
    F64(Vec<f64>),
}

/// Quantised gradients and hessians, those of output `k` from `k · n_rows`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Pairs {
    /// i16 gradient in the high half, u16 hessian in the low half.
    Narrow(Vec<u32>),
    /// i32 gradient in the high half, u32 hessian in the low half: for ranges beyond 16 bits.
    Wide(Vec<u64>),
}

/// Names the contents of what a device may hold of a state, anew at every change.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Versions {
    /// Of the bins.
    pub(crate) bins: Version,
    /// Of the first output's pairs; those of the others follow.
    pub(crate) pairs: Version,
    /// Of the order.
    pub(crate) order: Version,
}

impl Versions {
    fn new() -> Versions {
        Versions {
            bins: Version::new(),
            pairs: Version::new(),
            order: Version::new(),
        }
    }

    /// That of the pairs of an output.
    pub(crate) fn pairs_of(&self, output: usize) -> Version {
        self.pairs.nth(output)
    }
}

/// The state of a chunk.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct TreeChunk {
    /// Number of rows.
    pub(crate) n_rows: usize,
    /// Number of columns.
    pub(crate) n_columns: usize,
    /// Row-major, so that a row's bins share a cache line.
    pub(crate) bins: Vec<u8>,
    /// The label of each row.
    pub(crate) labels: Numbers,
    /// The weight of each row if not 1.
    pub(crate) weights: Option<Numbers>,
    /// The scores of output `k` from `k · n_rows`.
    pub(crate) scores: Vec<f64>,
    /// Of the running iteration.
    pub(crate) pairs: Pairs,
    /// The rows in the running tree's sample, those of a node side by side and ascending.
    pub(crate) order: Vec<u16>,
    /// Start and length in `order` of each node of the running tree that has rows of its own.
    pub(crate) segments: Vec<(u32, u32)>,
    /// Of what is here now.
    pub(crate) versions: Versions,
}

impl TreeChunk {
    /// The bins of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.bins[row * self.n_columns..(row + 1) * self.n_columns]
    }
}

/// Numbers of the sections, from those that every pass changes to those that few read.
pub(crate) mod section {
    /// Which rows are where; every pass over a growing tree changes it.
    pub(crate) const ORDER: u32 = 0;
    /// Gradients; changed once an iteration.
    pub(crate) const PAIRS: u32 = 1;
    /// Never changed, read by every pass over a growing tree.
    pub(crate) const BINS: u32 = 2;
    /// Read and changed once or twice a tree.
    pub(crate) const SCORES: u32 = 3;
    /// Never changed: labels and weights.
    pub(crate) const LABELS: u32 = 4;
}

impl ChunkState for TreeChunk {
    fn sections(&mut self) -> Vec<Vec<Values<'_>>> {
        let pairs = match &mut self.pairs {
            Pairs::Narrow(pairs) => Values::U32(pairs),
            Pairs::Wide(pairs) => Values::U64(pairs),
        };
        let mut labels = vec![self.labels.values()];
        labels.extend(self.weights.as_mut().map(Numbers::values));
        vec![
            vec![Values::U16(&mut self.order)],
            vec![pairs],
            vec![Values::U8(&mut self.bins)],
            vec![Values::F64(&mut self.scores)],
            labels,
        ]
    }
}

impl Numbers {
    /// The narrowest form of the numbers.
    pub(crate) fn new(values: &[f64]) -> Numbers {
        if values.iter().all(|&value| f64::from(value as u8) == value) {
            Numbers::U8(values.iter().map(|&value| value as u8).collect())
        } else if values.iter().all(|&value| f64::from(value as f32) == value) {
            Numbers::F32(values.iter().map(|&value| value as f32).collect())
        } else {
            Numbers::F64(values.to_vec())
        }
    }

    /// Copies the numbers from `first` on.
    #[inline(always)]
    pub(crate) fn copy(&self, first: usize, into: &mut [f64]) {
        let rows = first..first + into.len();
        match self {
            Numbers::U8(values) => copy_from(&values[rows], into),
            Numbers::F32(values) => copy_from(&values[rows], into),
            Numbers::F64(values) => copy_from(&values[rows], into),
        }
    }

    fn values(&mut self) -> Values<'_> {
        match self {
            Numbers::U8(values) => Values::U8(values),
            Numbers::F32(values) => Values::F32(values),
            Numbers::F64(values) => Values::F64(values),
        }
    }
}

#[inline(always)]
fn copy_from<T: Copy + Into<f64>>(values: &[T], into: &mut [f64]) {
    for (into, &value) in into.iter_mut().zip(values) {
        *into = value.into();
    }
}

/// Makes a chunk's state: bins its values and scores it with the trees so far.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct StartTreeChunk {
    /// How values become bins.
    pub(crate) bins: FeatureBins,
    /// What the labels are.
    pub(crate) objective: Objective,
    /// Base scores and, for a warm start or a lost chunk, the trees so far.
    pub(crate) ensemble: TreeEnsemble,
}

impl StartStep for StartTreeChunk {
    type State = TreeChunk;
    const NAME: &'static str = "tree.start";

    fn start(&self, _piece: PieceId, block: &FeatureBlock) -> Result<TreeChunk> {
        if block.n_samples > MAX_ROWS {
            return Err(internal("a chunk of more than 65,536 samples"));
        }
        let (labels, weights) = match &block.target {
            TargetValues::Numbers(numbers) => (Numbers::new(numbers), block.weights.clone()),
            TargetValues::Classes(classes) => {
                let weights = block.weights.as_deref();
                let (labels, weights) = known_classes(classes, self.objective.n_classes(), weights);
                (Numbers::new(&labels), weights)
            }
            TargetValues::None => return Err(internal("trees need a label")),
        };
        Ok(TreeChunk {
            n_rows: block.n_samples,
            n_columns: self.bins.columns.len(),
            bins: super::lookup::bin_block(&self.bins, block),
            labels,
            weights: weights.as_deref().map(Numbers::new),
            scores: self.scores(block)?,
            pairs: Pairs::Narrow(Vec::new()),
            order: Vec::new(),
            segments: Vec::new(),
            versions: Versions::new(),
        })
    }
}

impl StartTreeChunk {
    /// The scores of each output side by side.
    fn scores(&self, block: &FeatureBlock) -> Result<Vec<f64>> {
        let base_scores = &self.ensemble.base_scores;
        if self.ensemble.trees.is_empty() {
            let of_output = |&base: &f64| std::iter::repeat_n(base, block.n_samples);
            return Ok(base_scores.iter().flat_map(of_output).collect());
        }
        let compiled = CompiledEnsemble::new(Arc::new(self.ensemble.clone()));
        let by_row = compiled.score(block)?;
        let n_outputs = base_scores.len();
        let of_output = |output| by_row.iter().skip(output).step_by(n_outputs).copied();
        Ok((0..n_outputs).flat_map(of_output).collect())
    }
}

/// The classes of a block as numbers, and its weights; a class that training never saw, which only held
/// out rows can have, weighs nothing.
fn known_classes(
    classes: &[u32],
    n_classes: usize,
    weights: Option<&[f64]>,
) -> (Vec<f64>, Option<Vec<f64>>) {
    let is_known = |class: u32| (class as usize) < n_classes;
    let labels = classes.iter().map(|&class| {
        if is_known(class) {
            f64::from(class)
        } else {
            0.0
        }
    });
    let labels = labels.collect();
    if classes.iter().all(|&class| is_known(class)) {
        return (labels, weights.map(<[f64]>::to_vec));
    }
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let of_row = |(row, &class): (usize, &u32)| if is_known(class) { weight(row) } else { 0.0 };
    (
        labels,
        Some(classes.iter().enumerate().map(of_row).collect()),
    )
}

fn internal(what: &str) -> Error {
    Error::Internal {
        what: what.to_string(),
    }
}
