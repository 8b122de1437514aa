//! The metric of decomposition.
//!
//! In: each row's mean square before projection and what the components leave of it; out: two sums.

use serde::{Deserialize, Serialize};

use super::anomaly::AnomalyScores;
use super::sum::Sum;

/// Names and order of the metrics.
pub(super) const NAMES: &[&str] = &["total_explained_variance_ratio"];

/// What is known of some rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DecompositionEvaluation {
    n_samples: u64,
    reconstruction_errors: Sum,
    mean_squares: Sum,
    /// The reconstruction error of each row.
    pub(super) scores: AnomalyScores,
}

impl DecompositionEvaluation {
    pub(super) fn n_samples(&self) -> u64 {
        self.n_samples
    }

    pub(super) fn update(&mut self, reconstruction_errors: &[f64], mean_squares: &[f64]) {
        self.n_samples += mean_squares.len() as u64;
        self.scores.add(reconstruction_errors.iter().copied());
        reconstruction_errors
            .iter()
            .for_each(|error| self.reconstruction_errors.add(*error));
        mean_squares
            .iter()
            .for_each(|square| self.mean_squares.add(*square));
    }

    pub(super) fn merge(&mut self, later: DecompositionEvaluation) {
        self.n_samples += later.n_samples;
        self.reconstruction_errors
            .merge(later.reconstruction_errors);
        self.mean_squares.merge(later.mean_squares);
        self.scores.merge(later.scores);
    }

    /// `1 − Σ reconstruction error / Σ mean square`; no value when all rows are zero.
    pub(super) fn metrics(&self) -> [Option<f64>; 1] {
        let whole = self.mean_squares.value();
        [(whole > 0.0).then(|| 1.0 - self.reconstruction_errors.value() / whole)]
    }
}
