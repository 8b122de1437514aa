//! The six metrics of regression.
//!
//! In: predicted and true numbers; out: sums, and a histogram of absolute errors for the median.
//! Instance weights are ignored, as in BigQuery's evaluation: every row counts once.

use serde::{Deserialize, Serialize};

use super::sum::Sum;
use super::value_counts::{KeyCounts, MAX_DISTINCT, ordered_key, ordered_value};
use crate::error::Result;

/// Names and order of the metrics.
pub(super) const NAMES: &[&str] = &[
    "mean_absolute_error",
    "mean_squared_error",
    "mean_squared_log_error",
    "median_absolute_error",
    "r2_score",
    "explained_variance",
];

/// What is known of some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressionEvaluation {
    /// Subtracted from labels before squaring: their mean in training, so that the variance of
    /// labels far from 0 keeps its digits.
    origin: f64,
    n_samples: u64,
    /// Rows whose label or prediction is at most −1, where the logarithm has no value.
    n_without_log: u64,
    /// Smallest and greatest label; `None` without rows.
    label_range: Option<(f64, f64)>,
    labels: Sum,
    squared_labels: Sum,
    errors: Sum,
    absolute_errors: Sum,
    squared_errors: Sum,
    squared_log_errors: Sum,
    error_counts: KeyCounts,
}

impl RegressionEvaluation {
    pub(super) fn new(origin: f64) -> RegressionEvaluation {
        RegressionEvaluation {
            origin: if origin.is_finite() { origin } else { 0.0 },
            n_samples: 0,
            n_without_log: 0,
            label_range: None,
            labels: Sum::default(),
            squared_labels: Sum::default(),
            errors: Sum::default(),
            absolute_errors: Sum::default(),
            squared_errors: Sum::default(),
            squared_log_errors: Sum::default(),
            error_counts: KeyCounts::new(MAX_DISTINCT),
        }
    }

    pub(super) fn n_samples(&self) -> u64 {
        self.n_samples
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.error_counts.memory_bytes()
    }

    pub(super) fn update(&mut self, predictions: &[f64], labels: &[f64]) {
        for (&prediction, &label) in predictions.iter().zip(labels) {
            let (offset, error) = (label - self.origin, label - prediction);
            self.labels.add(offset);
            self.squared_labels.add(offset * offset);
            self.errors.add(error);
            self.absolute_errors.add(error.abs());
            self.squared_errors.add(error * error);
            self.error_counts.push(ordered_key(error.abs()));
            if label > -1.0 && prediction > -1.0 {
                let log_error = label.ln_1p() - prediction.ln_1p();
                self.squared_log_errors.add(log_error * log_error);
            } else {
                self.n_without_log += 1;
            }
        }
        self.n_samples += labels.len() as u64;
        for &label in labels {
            self.widen_range(label, label);
        }
        self.error_counts.settle();
    }

    pub(super) fn merge(&mut self, later: RegressionEvaluation) -> Result<()> {
        if self.origin != later.origin {
            return Err(super::mismatch());
        }
        self.n_samples += later.n_samples;
        self.n_without_log += later.n_without_log;
        if let Some((min, max)) = later.label_range {
            self.widen_range(min, max);
        }
        self.labels.merge(later.labels);
        self.squared_labels.merge(later.squared_labels);
        self.errors.merge(later.errors);
        self.absolute_errors.merge(later.absolute_errors);
        self.squared_errors.merge(later.squared_errors);
        self.squared_log_errors.merge(later.squared_log_errors);
        self.error_counts.merge(later.error_counts);
        Ok(())
    }

    /// The metrics in the order of [`NAMES`]. `r2_score` and `explained_variance` have no value
    /// when all labels are equal, `mean_squared_log_error` none when a label or prediction is at
    /// most −1.
    pub(super) fn metrics(&self) -> [Option<f64>; 6] {
        let Some((min, max)) = self.label_range else {
            return [None; 6];
        };
        let n = self.n_samples as f64;
        let mean = |sum: &Sum| sum.value() / n;
        // Σ (y − ȳ)² = Σ (y − o)² − (Σ (y − o))² / n for any origin o; the same for the errors.
        let scatter = |sum: &Sum, squares: &Sum| squares.value() - sum.value() * mean(sum);
        let label_scatter = scatter(&self.labels, &self.squared_labels);
        let share = |residue: f64| (min < max).then(|| 1.0 - residue / label_scatter);
        let lower_median = self.error_counts.key_at_rank((self.n_samples - 1) / 2);
        [
            Some(mean(&self.absolute_errors)),
            Some(mean(&self.squared_errors)),
            (self.n_without_log == 0).then(|| mean(&self.squared_log_errors)),
            lower_median.map(ordered_value),
            share(self.squared_errors.value()),
            share(scatter(&self.errors, &self.squared_errors).max(0.0)),
        ]
    }

    fn widen_range(&mut self, min: f64, max: f64) {
        let (low, high) = self.label_range.unwrap_or((min, max));
        self.label_range = Some((low.min(min), high.max(max)));
    }
}
