//! The passes between trees: new trees' values into the scores, losses, and the next gradients.
//!
//! In: grown trees; out: losses per chunk, and maxima that fix the next scale.
//! Never sees histograms.

use auspex_gpu::Version;

use super::chunk::{Pairs, TreeChunk, section};
use super::math::round_to_i64;
use super::objective::{BLOCK_ROWS, BlockScores, Objective};
use super::random;
use super::walk::{BinnedTree, Segments};
use crate::error::Result;
use crate::training_set::{Access, PieceId, SectionSet, StateStep};

/// A tree whose values the scores do not have yet.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ScoreUpdate {
    /// The tree.
    pub(crate) tree: BinnedTree,
    /// The output that it adds to.
    pub(crate) output: usize,
    /// Factor of its values.
    pub(crate) factor: f64,
    /// Where the rows of its sample still are; without, every row walks from the root.
    pub(crate) segments: Option<Segments>,
}

/// How gradients become whole numbers.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Quantization {
    /// Powers of two that gradients and hessians are multiplied by.
    pub(crate) scales: [f64; 2],
    /// 32 bits each instead of 16.
    pub(crate) wide: bool,
    /// What the draws of the rounding are for: hash of seed and iteration.
    pub(crate) key: u64,
}

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ScoreStep {
    /// What is minimised.
    pub(crate) objective: Objective,
    /// Trees to add to the scores, in order.
    pub(crate) updates: Vec<ScoreUpdate>,
    /// Whether to compute losses and gradients then.
    pub(crate) measure: bool,
    /// Whether to keep the gradients.
    pub(crate) quantization: Option<Quantization>,
}

/// The sums of one piece.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PieceLoss {
    /// Which rows.
    pub(crate) piece: PieceId,
    /// Sum of weighted losses.
    pub(crate) loss: f64,
    /// Sum of weights.
    pub(crate) weight: f64,
    /// Sums of |gradient| and of hessians.
    pub(crate) magnitudes: [f64; 2],
}

/// What the pass yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Scored {
    /// To be summed in the order of the pieces.
    pub(crate) pieces: Vec<PieceLoss>,
    /// Greatest |gradient| and hessian.
    pub(crate) maxima: [f64; 2],
    /// Greatest weight.
    pub(crate) max_weight: f64,
    /// Number of rows.
    pub(crate) n_rows: u64,
}

impl Scored {
    /// Mean loss of all rows, in the order of the pieces.
    pub(crate) fn mean_loss(&self) -> f64 {
        let sum = |of: fn(&PieceLoss) -> f64| -> f64 { self.in_order().iter().map(of).sum() };
        let weight = sum(|piece| piece.weight);
        if weight > 0.0 {
            sum(|piece| piece.loss) / weight
        } else {
            0.0
        }
    }

    /// Mean |gradient| and hessian of a row and output.
    pub(crate) fn mean_magnitudes(&self, n_outputs: usize) -> [f64; 2] {
        let pieces = self.in_order();
        let n_pairs = (self.n_rows as f64 * n_outputs as f64).max(1.0);
        [0, 1].map(|of| pieces.iter().map(|piece| piece.magnitudes[of]).sum::<f64>() / n_pairs)
    }

    fn in_order(&self) -> Vec<PieceLoss> {
        let mut pieces = self.pieces.clone();
        pieces.sort_unstable_by_key(|piece| piece.piece);
        pieces
    }

    /// Adds what other pieces yield.
    pub(crate) fn merge(&mut self, other: Scored) {
        self.pieces.extend(other.pieces);
        self.maxima = [0, 1].map(|of| self.maxima[of].max(other.maxima[of]));
        self.max_weight = self.max_weight.max(other.max_weight);
        self.n_rows += other.n_rows;
    }
}

impl StateStep for ScoreStep {
    type State = TreeChunk;
    type Partial = Scored;
    const NAME: &'static str = "tree.score";

    fn partial(&self) -> Scored {
        Scored::default()
    }

    fn access(&self) -> Access {
        let walks = !self.updates.is_empty();
        let (mut reads, mut writes) = (vec![section::SCORES], Vec::new());
        if walks {
            reads.extend([section::ORDER, section::BINS]);
            writes.push(section::SCORES);
        }
        if self.measure {
            reads.push(section::LABELS);
        }
        if self.quantization.is_some() {
            writes.push(section::PAIRS);
        }
        Access {
            reads: SectionSet::of(&reads),
            writes: SectionSet::of(&writes),
        }
    }

    fn run(&self, piece: PieceId, state: &mut TreeChunk, into: &mut Scored) -> Result<()> {
        for update in &self.updates {
            add_values(update, state)?;
        }
        if self.measure {
            measure(
                self.objective,
                self.quantization.as_ref(),
                piece,
                state,
                into,
            );
        }
        Ok(())
    }

    fn merge(&self, into: &mut Scored, other: Scored) -> Result<()> {
        into.merge(other);
        Ok(())
    }
}

/// Measures a piece at its scores, and keeps its gradients if it is told how.
pub(super) fn measure(
    objective: Objective,
    quantization: Option<&Quantization>,
    piece: PieceId,
    state: &mut TreeChunk,
    into: &mut Scored,
) {
    if let Some(quantization) = quantization {
        let n_outputs = objective.n_outputs();
        resize_pairs(state, quantization.wide, n_outputs);
        state.versions.pairs = Version::several(n_outputs);
    }
    let key = quantization.map_or(0, |q| random::hash(&[q.key, piece.chunk]));
    let mut loss = PieceLoss {
        piece,
        loss: 0.0,
        weight: 0.0,
        magnitudes: [0.0; 2],
    };
    pulp::Arch::new().dispatch(MeasureRows {
        objective,
        quantization,
        state,
        first_row: piece.first_row,
        key,
        loss: &mut loss,
        into,
    });
    into.pieces.push(loss);
    into.n_rows += state.n_rows as u64;
}

/// The rows of a chunk that are measured, compiled for the instructions of the machine.
struct MeasureRows<'a> {
    objective: Objective,
    quantization: Option<&'a Quantization>,
    state: &'a mut TreeChunk,
    first_row: usize,
    key: u64,
    loss: &'a mut PieceLoss,
    into: &'a mut Scored,
}

impl pulp::WithSimd for MeasureRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let MeasureRows {
            objective,
            quantization,
            state,
            first_row,
            key,
            loss,
            into,
        } = self;
        let mut block = GradientBlock::new(objective, state.weights.is_some());
        let mut first = 0;
        while first < state.n_rows {
            let n_rows = block.compute(state, first);
            loss.loss += block.loss;
            loss.weight += block.weights[..n_rows].iter().sum::<f64>();
            for (of, values) in [&block.g, &block.h].into_iter().enumerate() {
                let (sum, max) = magnitude(&values[..n_rows * objective.n_outputs()]);
                loss.magnitudes[of] += sum;
                into.maxima[of] = into.maxima[of].max(max);
            }
            into.max_weight = block.weights[..n_rows]
                .iter()
                .fold(into.max_weight, |m, &w| m.max(w));
            if let Some(quantization) = quantization {
                block.quantize(quantization, (key, first_row), state, first);
            }
            first += n_rows;
        }
    }
}

/// Sum and maximum of absolute values, eight at a time.
#[inline(always)]
fn magnitude(values: &[f64]) -> (f64, f64) {
    let (mut sums, mut maxima) = ([0.0; 8], [0.0f64; 8]);
    let (groups, rest) = values.as_chunks::<8>();
    for group in groups {
        for lane in 0..8 {
            let value = group[lane].abs();
            sums[lane] += value;
            maxima[lane] = if value > maxima[lane] {
                value
            } else {
                maxima[lane]
            };
        }
    }
    for value in rest {
        sums[0] += value.abs();
        maxima[0] = maxima[0].max(value.abs());
    }
    (sums.iter().sum(), maxima.iter().fold(0.0, |a, &b| a.max(b)))
}

fn resize_pairs(state: &mut TreeChunk, wide: bool, n_outputs: usize) {
    let n_pairs = state.n_rows * n_outputs;
    match (&state.pairs, wide) {
        (Pairs::Narrow(pairs), false) if pairs.len() == n_pairs => {}
        (Pairs::Wide(pairs), true) if pairs.len() == n_pairs => {}
        (_, false) => state.pairs = Pairs::Narrow(vec![0; n_pairs]),
        (_, true) => state.pairs = Pairs::Wide(vec![0; n_pairs]),
    }
}

/// Adds a tree's values: by segment where rows are side by side, by walking elsewhere.
pub(super) fn add_values(update: &ScoreUpdate, state: &mut TreeChunk) -> Result<()> {
    let first = update.output * state.n_rows;
    let mut walks = Vec::new();
    let segments = update.segments.as_ref();
    if let Some(segments) = segments.filter(|_| !state.segments.is_empty()) {
        if state.order.len() < state.n_rows {
            walks.resize(state.n_rows, true);
            state
                .order
                .iter()
                .for_each(|&row| walks[row as usize] = false);
        }
        let mut scores = std::mem::take(&mut state.scores);
        let of_output = &mut scores[first..first + state.n_rows];
        let added = update.tree.for_each_row(segments, state, |row, leaf| {
            of_output[row] += update.factor * leaf.value;
        });
        state.scores = scores;
        added?;
        if walks.is_empty() {
            return Ok(());
        }
    }
    for row in 0..state.n_rows {
        if walks.is_empty() || walks[row] {
            let value = update.tree.value(state.row(row));
            state.scores[first + row] += update.factor * value;
        }
    }
    Ok(())
}

/// The gradients of some neighbouring rows.
pub(super) struct GradientBlock {
    objective: Objective,
    is_weighted: bool,
    labels: [f64; BLOCK_ROWS],
    weights: [f64; BLOCK_ROWS],
    scores: Vec<f64>,
    /// Gradients, output by output.
    pub(super) g: Vec<f64>,
    /// Hessians.
    pub(super) h: Vec<f64>,
    loss: f64,
}

impl GradientBlock {
    pub(super) fn new(objective: Objective, is_weighted: bool) -> GradientBlock {
        let n_values = objective.n_outputs() * BLOCK_ROWS;
        GradientBlock {
            objective,
            is_weighted,
            labels: [0.0; BLOCK_ROWS],
            weights: [1.0; BLOCK_ROWS],
            scores: vec![0.0; n_values],
            g: vec![0.0; n_values],
            h: vec![0.0; n_values],
            loss: 0.0,
        }
    }

    /// Computes up to [`BLOCK_ROWS`] rows from `first` on; returns how many.
    #[inline(always)]
    pub(super) fn compute(&mut self, state: &TreeChunk, first: usize) -> usize {
        let n_rows = (state.n_rows - first).min(BLOCK_ROWS);
        let n_outputs = self.objective.n_outputs();
        state.labels.copy(first, &mut self.labels[..n_rows]);
        if let Some(weights) = &state.weights {
            weights.copy(first, &mut self.weights[..n_rows]);
        }
        for output in 0..n_outputs {
            let from = output * state.n_rows + first;
            self.scores[output * n_rows..(output + 1) * n_rows]
                .copy_from_slice(&state.scores[from..from + n_rows]);
        }
        let block = BlockScores {
            labels: &self.labels[..n_rows],
            weights: self.is_weighted.then_some(&self.weights[..n_rows]),
            scores: &self.scores[..n_rows * n_outputs],
        };
        let n_values = n_rows * n_outputs;
        self.loss =
            self.objective
                .gradients(block, &mut self.g[..n_values], &mut self.h[..n_values]);
        n_rows
    }

    /// Rounds each number up or down at random, up with the probability of its fraction, so that sums
    /// are right in the mean also where every summand is far below the unit.
    #[inline(always)]
    fn quantize(
        &self,
        quantization: &Quantization,
        (key, first_row): (u64, usize),
        state: &mut TreeChunk,
        first: usize,
    ) {
        let n_rows = (state.n_rows - first).min(BLOCK_ROWS);
        let [g_scale, h_scale] = quantization.scales;
        for output in 0..self.objective.n_outputs() {
            let key = crate::random::hash_word(key ^ output as u64) as u32;
            let values = output * n_rows..(output + 1) * n_rows;
            let values = self.g[values.clone()]
                .iter()
                .zip(&self.h[values])
                .enumerate();
            let rounded = values.map(|(row, (g, h))| {
                let [g_shift, h_shift] = rounding(key, (first_row + first + row) as u32);
                let g = round_to_i64(g * g_scale + g_shift);
                let h = round_to_i64(h * h_scale + h_shift);
                (g as u64, h as u64)
            });
            let at = output * state.n_rows + first;
            match &mut state.pairs {
                Pairs::Narrow(pairs) => {
                    for (pair, (g, h)) in pairs[at..at + n_rows].iter_mut().zip(rounded) {
                        *pair = (g << 16 | (h & 0xffff)) as u32;
                    }
                }
                Pairs::Wide(pairs) => {
                    for (pair, (g, h)) in pairs[at..at + n_rows].iter_mut().zip(rounded) {
                        *pair = g << 32 | (h & 0xffff_ffff);
                    }
                }
            }
        }
    }
}

/// Two numbers above -1/2 and below 1/2, so that whole numbers stay what they are.
#[inline(always)]
fn rounding(key: u32, row: u32) -> [f64; 2] {
    // Wellons' `lowbias32` hash, which vector units compute.
    let mut bits = row.wrapping_add(key);
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x7feb_352d);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x846c_a68b);
    bits ^= bits >> 16;
    let shift = |bits: u32| (f64::from(bits as i32) + 0.5) / 65_536.0 - 0.5;
    [shift(bits & 0xffff), shift(bits >> 16)]
}
