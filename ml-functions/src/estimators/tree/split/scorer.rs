//! What a threshold is worth: XGBoost's formulas for one column of a node.
//!
//! In: sums to the left; out: the loss that a split removes. The usual case (no missing values, no
//! constraints) runs over all thresholds of a column in vector code.

use super::{Best, ColumnKind, NodeToSplit, SplitFinder, ValueBounds, plus};
use crate::estimators::tree::binning::MAX_BINS;
use crate::estimators::tree::histogram::Sums;

/// What is the same for all splits of a node on a column.
pub(super) struct Scorer<'a> {
    finder: &'a SplitFinder<'a>,
    total: Sums,
    bounds: ValueBounds,
    monotone: i8,
    pub(super) is_plain: bool,
    l1: f64,
    l2: f64,
    min_hessian: f64,
    /// The node's own score.
    parent: f64,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        finder: &'a SplitFinder<'a>,
        node: &NodeToSplit,
        kind: ColumnKind,
        more_l2: f64,
    ) -> Scorer<'a> {
        let mut scorer = Scorer {
            finder,
            total: node.total,
            bounds: node.bounds,
            monotone: kind.monotone,
            is_plain: finder.is_plain(kind, node.bounds),
            l1: finder.regularization.l1_reg,
            l2: finder.regularization.l2_reg,
            min_hessian: finder.regularization.min_tree_child_weight.max(1e-300),
            parent: 0.0,
        };
        let [gradient, hessian] = scorer.real(node.total);
        scorer.parent = if scorer.is_plain {
            scorer.plain_score(gradient, hessian)
        } else {
            let value = finder.value(gradient, hessian, node.bounds);
            scorer.score_of_value(gradient, hessian, value)
        };
        scorer.l2 += more_l2;
        scorer
    }

    /// All thresholds of a column without missing values, in vector code: the usual case by far.
    pub(super) fn scan_plain(&self, column: usize, bins: &[Sums], best: &mut Best) {
        let prefixes = best.prefixes.as_mut();
        let mut left = [0i64; 2];
        let n_thresholds = bins.len().saturating_sub(1);
        let sums = prefixes.gradients.iter_mut().zip(&mut prefixes.hessians);
        for ((gradient, hessian), &cell) in sums.zip(&bins[..n_thresholds]) {
            left = plus(left, cell);
            [*gradient, *hessian] = self.real(left);
        }
        if let Some(bin) = self.best_of(n_thresholds, best) {
            let left = bins[..=bin]
                .iter()
                .fold([0; 2], |left, &cell| plus(left, cell));
            let missing_left = 2 * left[1] >= self.total[1];
            best.set_threshold((column, bin), left, missing_left, best.gain, bins.len());
        }
    }

    /// The first of the thresholds with the greatest gain, if that is above the best so far.
    pub(super) fn best_of(&self, n_thresholds: usize, best: &mut Best) -> Option<usize> {
        pulp::Arch::new().dispatch(PlainGains {
            scorer: self,
            total: self.real(self.total),
            prefixes: &mut best.prefixes,
            n_thresholds,
        });
        let mut found = None;
        for (at, &gain) in best.prefixes.gains[..n_thresholds].iter().enumerate() {
            if gain > best.gain {
                best.gain = gain;
                found = Some(at);
            }
        }
        found
    }

    #[inline(always)]
    pub(super) fn real(&self, sums: Sums) -> [f64; 2] {
        [
            sums[0] as f64 * self.finder.units[0],
            sums[1] as f64 * self.finder.units[1],
        ]
    }

    /// The gain of sending `left` to the left, if it is allowed and above `bar`.
    #[inline(always)]
    pub(super) fn gain_above(&self, left: Sums, bar: f64) -> Option<f64> {
        let right = [self.total[0] - left[0], self.total[1] - left[1]];
        let [left_g, left_h] = self.real(left);
        let [right_g, right_h] = self.real(right);
        if left_h < self.min_hessian || right_h < self.min_hessian {
            return None;
        }
        let gain = if self.is_plain {
            self.plain_score(left_g, left_h) + self.plain_score(right_g, right_h) - self.parent
        } else {
            let left_value = self.finder.value(left_g, left_h, self.bounds);
            let right_value = self.finder.value(right_g, right_h, self.bounds);
            if f64::from(self.monotone) * (right_value - left_value) < 0.0 {
                return None;
            }
            self.score_of_value(left_g, left_h, left_value)
                + self.score_of_value(right_g, right_h, right_value)
                - self.parent
        };
        (gain > bar).then_some(gain)
    }

    /// T(G)² / (H + λ).
    #[inline(always)]
    fn plain_score(&self, gradient: f64, hessian: f64) -> f64 {
        let shrunk = gradient.abs() - self.l1;
        let shrunk = if shrunk > 0.0 { shrunk } else { 0.0 };
        shrunk * shrunk / (hessian + self.l2)
    }

    /// -(2·G·w + (H + λ)·w² + 2·α·|w|): what a leaf of value w removes.
    fn score_of_value(&self, gradient: f64, hessian: f64, value: f64) -> f64 {
        -(2.0 * gradient * value
            + (hessian + self.l2) * value * value
            + 2.0 * self.l1 * value.abs())
    }
}

/// The sums left of each threshold of a column, and the gains.
pub(super) struct Prefixes {
    pub(super) gradients: [f64; MAX_BINS + 1],
    pub(super) hessians: [f64; MAX_BINS + 1],
    gains: [f64; MAX_BINS + 1],
}

impl Default for Prefixes {
    fn default() -> Prefixes {
        Prefixes {
            gradients: [0.0; MAX_BINS + 1],
            hessians: [0.0; MAX_BINS + 1],
            gains: [0.0; MAX_BINS + 1],
        }
    }
}

/// The gains of all thresholds of a column, compiled for the instructions of the machine.
struct PlainGains<'a> {
    scorer: &'a Scorer<'a>,
    total: [f64; 2],
    prefixes: &'a mut Prefixes,
    n_thresholds: usize,
}

impl pulp::WithSimd for PlainGains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let (scorer, [total_g, total_h]) = (self.scorer, self.total);
        let (min_hessian, parent) = (scorer.min_hessian, scorer.parent);
        let Prefixes {
            gradients,
            hessians,
            gains,
        } = self.prefixes;
        let gains = gains[..self.n_thresholds].iter_mut();
        for ((gain, &left_g), &left_h) in gains.zip(&*gradients).zip(&*hessians) {
            let (right_g, right_h) = (total_g - left_g, total_h - left_h);
            let all = scorer.plain_score(left_g, left_h) + scorer.plain_score(right_g, right_h);
            let is_allowed = (left_h >= min_hessian) & (right_h >= min_hessian);
            *gain = if is_allowed {
                all - parent
            } else {
                f64::NEG_INFINITY
            };
        }
    }
}
