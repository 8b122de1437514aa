//! The pass that finds a quantile of the residuals of each leaf, where a Newton step would say little.
//!
//! In: a range per leaf; out: how much weight is below, in each of its equal parts, and above, so that a
//! few passes narrow each range to the quantile. Sums are whole numbers, hence the same in any order.

use super::assemble::TreeShape;
use super::chunk::{Numbers, TreeChunk, section};
use super::driver::Pass;
use super::math::{power_of_two_scale, round_to_i64};
use super::walk::{BinnedTree, Segments};
use crate::error::Result;
use crate::training_set::{Access, Part, PieceId, SectionSet, StateStep};

/// Equal parts of a range.
const PARTS: usize = 256;

/// Passes that narrow: a range shrinks by 2^32, beyond what a leaf's value means.
const ROUNDS: usize = 4;

/// Passes of [`residual_quantiles`]: one finds the ranges.
pub(crate) const QUANTILE_PASSES: u64 = 1 + ROUNDS as u64;

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct QuantileStep {
    /// The tree, without values.
    pub(crate) tree: BinnedTree,
    /// Where its rows are.
    pub(crate) segments: Segments,
    /// Number of its leaves.
    pub(crate) n_leaves: usize,
    /// Where each leaf's quantile is; without, the range of the residuals is found.
    pub(crate) ranges: Option<Vec<[f64; 2]>>,
    /// Power of two that weights are multiplied by.
    pub(crate) weight_scale: f64,
}

/// What the pass yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Residuals {
    /// Least and greatest residual of each leaf.
    pub(crate) ranges: Vec<[f64; 2]>,
    /// Weight below, in each part and above, leaf by leaf.
    pub(crate) weights: Vec<i64>,
}

impl StateStep for QuantileStep {
    type State = TreeChunk;
    type Partial = Residuals;
    const NAME: &'static str = "tree.quantiles";

    fn partial(&self) -> Residuals {
        Residuals {
            ranges: vec![[f64::INFINITY, f64::NEG_INFINITY]; self.n_leaves],
            weights: vec![0; self.ranges.as_ref().map_or(0, Vec::len) * (PARTS + 2)],
        }
    }

    fn access(&self) -> Access {
        Access {
            reads: SectionSet::of(&[
                section::ORDER,
                section::BINS,
                section::SCORES,
                section::LABELS,
            ]),
            writes: SectionSet::NONE,
        }
    }

    fn run(&self, _piece: PieceId, state: &mut TreeChunk, into: &mut Residuals) -> Result<()> {
        let mut labels = vec![0.0; state.n_rows];
        state.labels.copy(0, &mut labels);
        let mut weights = vec![1.0; state.n_rows];
        if let Some(numbers) = &state.weights {
            Numbers::copy(numbers, 0, &mut weights);
        }
        self.tree.for_each_row(&self.segments, state, |row, leaf| {
            if weights[row] > 0.0 {
                let residual = labels[row] - state.scores[row];
                self.add(leaf.column as usize, residual, weights[row], into);
            }
        })
    }

    fn merge(&self, into: &mut Residuals, other: Residuals) -> Result<()> {
        for (range, [low, high]) in into.ranges.iter_mut().zip(other.ranges) {
            *range = [range[0].min(low), range[1].max(high)];
        }
        for (sum, more) in into.weights.iter_mut().zip(other.weights) {
            *sum += more;
        }
        Ok(())
    }
}

impl QuantileStep {
    /// Adds a row to the range of its leaf, or its weight to the part of the range that it is in.
    fn add(&self, leaf: usize, residual: f64, weight: f64, into: &mut Residuals) {
        let Some(ranges) = &self.ranges else {
            let [low, high] = into.ranges[leaf];
            into.ranges[leaf] = [low.min(residual), high.max(residual)];
            return;
        };
        let [low, high] = ranges[leaf];
        let parts = PARTS as f64 / (high - low);
        let part = if residual < low {
            0
        } else if residual > high {
            PARTS + 1
        } else {
            1 + (((residual - low) * parts) as usize).min(PARTS - 1)
        };
        into.weights[leaf * (PARTS + 2) + part] += round_to_i64(weight * self.weight_scale);
    }
}

/// The weighted quantile of label - score over the sample's rows of each leaf; 0 for a leaf without
/// weight.
pub(crate) async fn residual_quantiles<P: Pass>(
    passes: &P,
    shape: &TreeShape,
    quantile: f64,
    (n_rows, max_weight): (u64, f64),
) -> Result<Vec<f64>> {
    // A sum over all rows stays below 2^62.
    let row_bits = 64 - n_rows.leading_zeros();
    let limit = 2f64.powi(62 - row_bits.max(12) as i32);
    let mut step = QuantileStep {
        tree: shape.tree.clone(),
        segments: shape.segments.clone(),
        n_leaves: shape.n_leaves,
        ranges: None,
        weight_scale: power_of_two_scale(max_weight, limit),
    };
    let mut ranges = passes.state_pass(Part::Training, &step).await?.ranges;
    for range in ranges.iter_mut().filter(|range| range[0] > range[1]) {
        *range = [0.0, 0.0];
    }
    for _ in 0..ROUNDS {
        step.ranges = Some(ranges.clone());
        let found = passes.state_pass(Part::Training, &step).await?;
        for (range, sums) in ranges.iter_mut().zip(found.weights.chunks(PARTS + 2)) {
            *range = narrowed(*range, sums, quantile);
        }
    }
    Ok(ranges
        .iter()
        .map(|[low, high]| low / 2.0 + high / 2.0)
        .collect())
}

/// The part of a range in which the sum of weights reaches the quantile.
fn narrowed([low, high]: [f64; 2], sums: &[i64], quantile: f64) -> [f64; 2] {
    let total: i64 = sums.iter().sum();
    let target = total as f64 * quantile;
    let mut sum = 0;
    for (part, weight) in sums.iter().enumerate() {
        sum += weight;
        if sum as f64 >= target && *weight > 0 {
            let width = (high - low) / PARTS as f64;
            // Below and above are empty but for rounding at the ends.
            let part = part.clamp(1, PARTS) - 1;
            return [low + width * part as f64, low + width * (part + 1) as f64];
        }
    }
    [low, high]
}
