//! How gradients become whole numbers: by scales that hold the greatest of them.
//!
//! In: what a pass measured, or what the pass that ends a tree foresees; out: a [`Quantization`], of the next gradients
//! where their bounds are known before the scores are. Never sees a row.

use super::boost::Boosting;
use super::driver::Pass;
use super::leaf_step::LeafSums;
use super::math::power_of_two_scale;
use super::random;
use super::score_step::{Quantization, Scored};

/// Up to this number of rows, gradients keep 32 bits: the cost is small, and so are the rounding
/// errors that a user could find by hand.
const WIDE_BELOW_ROWS: u64 = 65_536;

/// Gradients keep 32 bits if the mean is below this fraction of the greatest: 16 bits would round most
/// of them to a few units.
const WIDE_BELOW_RATIO: f64 = 1.0 / 512.0;

/// How far rounding may take two sums of a score and a value apart, for each unit of the score: some units in its last place.
const SCORE_ROUNDING: f64 = 1.0 / (1u64 << 50) as f64;

/// What is known of the next gradients before the scores have a tree's values.
#[derive(Debug)]
pub(super) struct Foreseen {
    scored: Scored,
    /// Bounds of |gradient| and hessian.
    maxima: [f64; 2],
}

impl<P: Pass> Boosting<'_, P> {
    /// Bounds of the gradients' magnitudes at the current scores.
    pub(super) fn maxima(&self) -> [f64; 2] {
        match self.parameters.objective.bounds() {
            Some((g, h)) => [g * self.scored.max_weight, h * self.scored.max_weight],
            None => self.scored.maxima,
        }
    }

    /// How to quantise gradients of which so much is known.
    pub(super) fn quantization_of(&self, scored: &Scored, maxima: [f64; 2]) -> Quantization {
        let means = scored.mean_magnitudes(self.parameters.objective.n_outputs());
        let is_spread = (0..2).any(|of| means[of] < scored.maxima[of] * WIDE_BELOW_RATIO);
        let wide = scored.n_rows <= WIDE_BELOW_ROWS || is_spread;
        let limits = if wide {
            [2_147_483_647.0, 4_294_967_295.0]
        } else {
            [32_767.0, 65_535.0]
        };
        Quantization {
            scales: [0, 1].map(|of| power_of_two_scale(maxima[of], limits[of])),
            wide,
            key: random::hash(&[self.parameters.seed, 3, self.ensemble.trees.len() as u64]),
        }
    }

    /// Whether the pass that ends an iteration's last tree must tell how great the next gradients get, so that they may be
    /// quantised in the pass that computes them.
    pub(super) fn must_foresee(&self) -> bool {
        self.parameters.objective.bounds().is_none() && self.parameters.dart.is_none()
    }

    /// Takes note of what the pass that ended a tree has told; the values that came of it differ by at most `off` from
    /// those that it had.
    pub(super) fn foresee(&mut self, found: LeafSums, off: f64) {
        let scored = found.foreseen;
        let off = match off == 0.0 {
            true => 0.0,
            false => off + (found.max_score + off) * SCORE_ROUNDING,
        };
        let objective = self.parameters.objective;
        let maxima = objective.bounds_near(scored.maxima, off);
        self.foreseen = maxima.map(|maxima| Foreseen { scored, maxima });
    }

    /// How to quantise in the same pass that computes the next gradients, if their bounds are known.
    pub(super) fn next_quantization(&mut self) -> Option<Quantization> {
        let foreseen = self.foreseen.take();
        if self.must_foresee() {
            let Foreseen { scored, maxima } = foreseen?;
            return Some(self.quantization_of(&scored, maxima));
        }
        let is_dart = self.parameters.dart.is_some();
        (!is_dart).then(|| self.quantization_of(&self.scored, self.maxima()))
    }
}
