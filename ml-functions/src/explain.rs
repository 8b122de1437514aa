//! How much each feature contributes to each prediction.
//!
//! In: a model's attributions of its scores to features; out: the same for the score that answers, and
//! their mean magnitudes over many rows. What a score is, the task says: the prediction of a regressor
//! before its inverse link, the log-odds of a class against the other, or a class's score before softmax.

use serde::{Deserialize, Serialize};

use crate::model::Prediction;
use crate::output::argmax;

/// The attributions of the scores of some samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributions {
    /// The features, in the order of `values`.
    pub features: Vec<String>,
    /// The score of each output where nothing is known of a sample.
    pub baseline: Vec<f64>,
    /// `(n_samples, n_outputs)` row-major.
    pub scores: Vec<f64>,
    /// `(n_samples, n_outputs, n_features)` row-major; with the baseline they sum to the score.
    pub values: Vec<f64>,
}

/// The attributions of one score of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OfSample<'a> {
    pub(crate) baseline: f64,
    pub(crate) score: f64,
    /// By feature; to be multiplied by `sign`.
    pub(crate) values: &'a [f64],
    /// −1 for the first of two classes, whose log-odds are the negative of the second's.
    pub(crate) sign: f64,
}

impl Attributions {
    /// Those of the score that answers: of a classifier that of the predicted class.
    pub(crate) fn of_sample(&self, row: usize, class: Option<usize>) -> OfSample<'_> {
        let n_outputs = self.baseline.len();
        let (output, sign) = match class {
            Some(0) if n_outputs == 1 => (0, -1.0),
            Some(class) if n_outputs > 1 => (class, 1.0),
            _ => (0, 1.0),
        };
        let n_features = self.features.len();
        let at = row * n_outputs + output;
        OfSample {
            baseline: sign * self.baseline[output],
            score: sign * self.scores[at],
            values: &self.values[at * n_features..][..n_features],
            sign,
        }
    }
}

/// The predicted class of each sample; `None` where a prediction has no classes.
pub(crate) fn predicted_class(prediction: &Prediction, row: usize) -> Option<usize> {
    match prediction {
        Prediction::Probabilities { n_classes, values } => {
            Some(argmax(&values[row * n_classes..][..*n_classes]) as usize)
        }
        _ => None,
    }
}

/// Sums of the magnitudes of attributions over samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GlobalAttributions {
    /// The features.
    pub features: Vec<String>,
    /// Number of samples.
    pub n_samples: u64,
    /// `(n_outputs, n_features)`: sums of magnitudes.
    pub sums: Vec<f64>,
}

impl GlobalAttributions {
    /// Adds the samples of a block.
    pub(crate) fn add(&mut self, found: &Attributions) {
        if self.sums.is_empty() {
            self.features.clone_from(&found.features);
            self.sums = vec![0.0; found.baseline.len() * found.features.len()];
        }
        self.n_samples += (found.scores.len() / found.baseline.len().max(1)) as u64;
        for values in found.values.chunks_exact(self.sums.len().max(1)) {
            for (sum, value) in self.sums.iter_mut().zip(values) {
                *sum += value.abs();
            }
        }
    }

    /// Adds later samples.
    pub(crate) fn merge(&mut self, later: GlobalAttributions) {
        if self.sums.is_empty() {
            *self = later;
            return;
        }
        self.n_samples += later.n_samples;
        for (sum, more) in self.sums.iter_mut().zip(&later.sums) {
            *sum += more;
        }
    }

    /// The mean magnitude of each feature, of one output or the mean over all.
    pub(crate) fn means(&self, output: Option<usize>) -> Vec<f64> {
        let n_features = self.features.len();
        let n_outputs = self.sums.len() / n_features.max(1);
        let count = self.n_samples.max(1) as f64;
        let of_output =
            |output: usize, feature: usize| self.sums[output * n_features + feature] / count;
        let of_feature = |feature| match output {
            Some(output) => of_output(output, feature),
            None => {
                let sum: f64 = (0..n_outputs)
                    .map(|output| of_output(output, feature))
                    .sum();
                sum / n_outputs.max(1) as f64
            }
        };
        (0..n_features).map(of_feature).collect()
    }
}
