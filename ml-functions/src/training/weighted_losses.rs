//! The losses of weighted samples: the model's, and that of the constant which any model must beat.
//!
//! In: blocks with weights and a model's predictions for them; out: sums from which both mean losses
//! follow. Metrics ignore weights, but a model that was trained with weights minimises weighted losses,
//! so that only those say whether it learned anything.

use serde::{Deserialize, Serialize};

use crate::features::{FeatureBlock, TargetEncoding, TargetValues};
use crate::metrics::CERTAIN;
use crate::model::Prediction;

/// Sums over samples, each times its weight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct WeightedLosses {
    /// Of 1.
    weight: f64,
    /// Of the model's losses.
    model: f64,
    labels: WeightedLabels,
}

/// What weighted labels tell of constant predictions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct WeightedLabels {
    /// Σ w.
    weight: f64,
    /// Of numbers: Σ w·y / Σ w.
    mean: f64,
    /// Of numbers: Σ w·(y − mean)².
    squares: f64,
    /// Of classes: Σ w of each.
    classes: Vec<f64>,
}

impl WeightedLabels {
    /// Those of a block; `None` where nothing has a weight of its own.
    pub(super) fn of(target: &TargetEncoding, block: &FeatureBlock) -> Option<WeightedLabels> {
        let weights = block.weights.as_deref()?;
        match &block.target {
            TargetValues::None => None,
            TargetValues::Numbers(values) => Some(WeightedLabels::of_numbers(values, weights)),
            TargetValues::Classes(classes) => {
                let mut labels = WeightedLabels {
                    classes: vec![0.0; target.classes.len()],
                    ..WeightedLabels::default()
                };
                for (class, weight) in classes.iter().zip(weights) {
                    // A class that training never saw is told elsewhere.
                    if let Some(sum) = labels.classes.get_mut(*class as usize) {
                        *sum += weight;
                        labels.weight += weight;
                    }
                }
                Some(labels)
            }
        }
    }

    fn of_numbers(values: &[f64], weights: &[f64]) -> WeightedLabels {
        let pairs = || values.iter().zip(weights);
        let weight: f64 = weights.iter().sum();
        if weight <= 0.0 {
            return WeightedLabels::default();
        }
        let mean = pairs().map(|(y, w)| w * y).sum::<f64>() / weight;
        WeightedLabels {
            weight,
            mean,
            squares: pairs().map(|(y, w)| w * (y - mean).powi(2)).sum(),
            classes: Vec::new(),
        }
    }

    /// Joins the moments of two parts: Chan, Golub and LeVeque 1983, doi:10.2307/2683386.
    pub(super) fn merge(&mut self, later: &WeightedLabels) {
        let weight = self.weight + later.weight;
        if weight > 0.0 {
            let distance = later.mean - self.mean;
            self.squares +=
                later.squares + distance * distance * self.weight * later.weight / weight;
            self.mean += distance * later.weight / weight;
        }
        self.weight = weight;
        self.classes
            .resize(later.classes.len().max(self.classes.len()), 0.0);
        for (sum, later) in self.classes.iter_mut().zip(&later.classes) {
            *sum += later;
        }
    }

    /// The mean loss of predicting for each of these samples the weighted mean, or the weighted
    /// frequencies of the classes, of `training`.
    fn loss_of(&self, training: &WeightedLabels) -> f64 {
        if self.classes.is_empty() {
            return self.squares / self.weight + (self.mean - training.mean).powi(2);
        }
        let pairs = self.classes.iter().zip(&training.classes);
        let losses = pairs.map(|(sum, of_training)| {
            let share = of_training / training.weight;
            -sum * share.clamp(CERTAIN, 1.0 - CERTAIN).ln()
        });
        losses.sum::<f64>() / self.weight
    }
}

impl WeightedLosses {
    /// Those of a block; `None` where nothing has a weight of its own.
    pub(super) fn of(
        target: &TargetEncoding,
        prediction: &Prediction,
        block: &FeatureBlock,
    ) -> Option<WeightedLosses> {
        let labels = WeightedLabels::of(target, block)?;
        let weights = block.weights.as_deref()?;
        let model: f64 = match (prediction, &block.target) {
            (Prediction::Values(values), TargetValues::Numbers(numbers)) => {
                let losses = values
                    .iter()
                    .zip(numbers)
                    .map(|(value, label)| (value - label).powi(2));
                losses
                    .zip(weights)
                    .map(|(loss, weight)| loss * weight)
                    .sum()
            }
            (Prediction::Probabilities { n_classes, values }, TargetValues::Classes(classes)) => {
                let of_row = values.chunks_exact(*n_classes).zip(classes);
                let losses = of_row.map(|(row, class)| {
                    let known = row.get(*class as usize);
                    known.map_or(0.0, |p| -p.clamp(CERTAIN, 1.0 - CERTAIN).ln())
                });
                losses
                    .zip(weights)
                    .map(|(loss, weight)| loss * weight)
                    .sum()
            }
            _ => return None,
        };
        Some(WeightedLosses {
            weight: labels.weight,
            model,
            labels,
        })
    }

    pub(super) fn merge(&mut self, later: &WeightedLosses) {
        self.weight += later.weight;
        self.model += later.model;
        self.labels.merge(&later.labels);
    }

    /// The labels of these samples.
    pub(super) fn labels(&self) -> &WeightedLabels {
        &self.labels
    }

    /// The mean losses of the model and of the constant that fits `training` best.
    pub(super) fn against(&self, training: &WeightedLabels) -> (f64, f64) {
        (self.model / self.weight, self.labels.loss_of(training))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClassLabel, Dense};

    fn block(target: TargetValues, weights: &[f64]) -> FeatureBlock {
        FeatureBlock {
            n_samples: weights.len(),
            dense: Dense::F64(Vec::new()),
            codes: Vec::new(),
            target,
            weights: Some(weights.to_vec()),
        }
    }

    fn target(n_classes: usize, mean: f64) -> TargetEncoding {
        TargetEncoding {
            column: "y".to_owned(),
            sql_type: "bigint".to_owned(),
            classes: (0..n_classes as i64).map(ClassLabel::Integer).collect(),
            class_counts: vec![1; n_classes],
            mean,
        }
    }

    #[test]
    fn numbers_weigh_what_their_weights_say() {
        let target = target(0, 2.0);
        let prediction = Prediction::Values(vec![1.0, 2.0, 5.0]);
        let whole = block(TargetValues::Numbers(vec![1.0, 4.0, 5.0]), &[3.0, 1.0, 0.0]);
        let losses = WeightedLosses::of(&target, &prediction, &whole).unwrap();
        // Model: 1 * (4 - 2)² / 4; constant 1.75: (3 * 0.75² + 2.25²) / 4.
        let (model, constant) = losses.against(losses.labels());
        assert!((model - 1.0).abs() < 1e-12 && (constant - 1.6875).abs() < 1e-12);
    }

    #[test]
    fn moments_of_parts_merge_without_losing_digits() {
        let (values, weights) = ([1e8, 1e8 + 1.0, 1e8 + 5.0], [2.0, 1.0, 0.5]);
        let whole = WeightedLabels::of_numbers(&values, &weights);
        let mut parts = WeightedLabels::default();
        for (value, weight) in values.iter().zip(&weights) {
            parts.merge(&WeightedLabels::of_numbers(&[*value], &[*weight]));
        }
        assert!((parts.squares - whole.squares).abs() < 1e-6 * whole.squares);
        assert!((parts.loss_of(&parts) - whole.loss_of(&whole)).abs() < 1e-6);
    }

    #[test]
    fn parts_merge_to_the_whole_and_unknown_classes_count_nowhere() {
        let target = target(2, 0.0);
        let probabilities = |values: &[f64]| Prediction::Probabilities {
            n_classes: 2,
            values: values.to_vec(),
        };
        let first = block(TargetValues::Classes(vec![0, 2]), &[1.0, 9.0]);
        let second = block(TargetValues::Classes(vec![1]), &[3.0]);
        let mut losses =
            WeightedLosses::of(&target, &probabilities(&[0.5, 0.5, 0.1, 0.9]), &first).unwrap();
        let later = WeightedLosses::of(&target, &probabilities(&[0.5, 0.5]), &second).unwrap();
        losses.merge(&later);
        let (model, constant) = losses.against(losses.labels());
        assert!((model - 2.0_f64.ln()).abs() < 1e-12);
        let expected = -(0.25 * 0.25_f64.ln() + 0.75 * 0.75_f64.ln());
        assert!((constant - expected).abs() < 1e-12);
    }
}
