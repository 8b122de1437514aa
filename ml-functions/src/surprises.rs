//! What is surprising in the rows that a model is asked about, counted while they are encoded.
//!
//! In: the feature columns of a batch and the block that was made of them; out: counts that merge over
//! any partitioning of the rows, and the warnings that they amount to. Changes no prediction.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use serde::{Deserialize, Serialize};

use crate::features::{Dense, Element, FeatureBlock, NumericStatistics, name_some};
use crate::run::Warning;
use crate::trained_model::TrainedModel;

/// Counts of surprising rows; of features in the order of the encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surprises {
    /// Whether an evaluation found no row with a label.
    pub nothing_evaluated: bool,
    /// Rows without a label, which an evaluation leaves out.
    pub null_labels: u64,
    /// Rows of a class that training never saw.
    pub unknown_classes: u64,
    /// Of each numeric feature the NULL and NaN values, which the mean stands for.
    filled: Vec<u64>,
    /// Of each numeric feature the values outside of what training saw.
    out_of_range: Vec<u64>,
    /// Of each categorical feature the values that training never saw, NULL among them.
    unseen: Vec<u64>,
}

impl Surprises {
    /// Adds what is surprising in a block; `n_missing` are the NULL and NaN values of the features behind it, asked for
    /// where they were filled.
    pub(crate) fn note(
        &mut self,
        model: &TrainedModel,
        n_missing: impl Iterator<Item = u64>,
        block: &FeatureBlock,
    ) {
        let encoder = &model.encoder;
        if !model.spec.tags.keeps_missing {
            let numeric = encoder.statistics.iter().zip(n_missing);
            let filled = numeric.filter_map(|(statistics, n_missing)| {
                let statistics = statistics.numeric()?;
                Some(if statistics.count == 0 { 0 } else { n_missing })
            });
            add(&mut self.filled, filled);
        }
        let ranges: Vec<&NumericStatistics> =
            encoder.numeric().map(|(_, numeric)| numeric).collect();
        match &block.dense {
            Dense::F32(values) => {
                add(
                    &mut self.out_of_range,
                    outside(values, block.n_samples, &ranges),
                );
            }
            Dense::F64(values) => {
                add(
                    &mut self.out_of_range,
                    outside(values, block.n_samples, &ranges),
                );
            }
        }
        let unseen = encoder
            .categorical()
            .zip(&block.codes)
            .map(|((_, categories), codes)| {
                let null_code = categories.null_code() as u32;
                // A NULL is a category too, if training saw one.
                let first_unseen = null_code + u32::from(categories.null_count > 0);
                codes.iter().filter(|code| **code >= first_unseen).count() as u64
            });
        add(&mut self.unseen, unseen);
    }

    /// Adds what other rows held.
    pub fn merge(&mut self, later: &Surprises) {
        self.nothing_evaluated |= later.nothing_evaluated;
        self.null_labels += later.null_labels;
        self.unknown_classes += later.unknown_classes;
        add(&mut self.filled, later.filled.iter().copied());
        add(&mut self.out_of_range, later.out_of_range.iter().copied());
        add(&mut self.unseen, later.unseen.iter().copied());
    }

    /// What to tell of them; `name` is the model's in the catalog.
    pub fn warnings(&self, model: &TrainedModel, name: &str) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, message: String, hint: Option<&str>| {
            warnings.push(Warning {
                code: code.to_owned(),
                message,
                hint: hint.map(ToOwned::to_owned),
            });
        };
        let label = model
            .target
            .as_ref()
            .map_or("", |target| target.column.as_str());
        if self.nothing_evaluated {
            let message = "there was no row to evaluate, so that nothing is known".to_owned();
            warn("nothing_evaluated", message, None);
        }
        if self.null_labels > 0 {
            let message = format!(
                "{} rows without a label in column \"{label}\" were left out",
                self.null_labels
            );
            warn("null_labels_dropped", message, None);
        }
        if self.unknown_classes > 0 {
            let message = format!(
                "{} rows have a class of \"{label}\" that model \"{name}\" never saw in training; each counts as wrong",
                self.unknown_classes
            );
            warn(
                "unknown_class",
                message,
                Some("TRAIN MODEL on rows of every class learns it."),
            );
        }
        let of_encoder = &model.encoder;
        let numeric = || of_encoder.numeric().map(|(name, _)| name);
        if let Some((n_values, columns)) = total(numeric(), &self.filled) {
            let message = format!(
                "{n_values} NULL values in {columns} were filled with the mean of training"
            );
            warn(
                "nulls_filled",
                message,
                Some("Fill them in the query to choose another value."),
            );
        }
        if let Some((n_values, columns)) = total(numeric(), &self.out_of_range) {
            let message = format!(
                "{n_values} values in {columns} lie outside of the range that model \"{name}\" saw in training"
            );
            let hint = "A model may be far off there; ML.FEATURE_INFO lists the ranges.";
            warn("out_of_range", message, Some(hint));
        }
        let categorical = of_encoder
            .categorical()
            .map(|(name, _)| name)
            .zip(&self.unseen);
        for (feature, n_rows) in categorical.filter(|(_, n_rows)| **n_rows > 0) {
            let message = format!(
                "{n_rows} rows have a value of \"{feature}\" that model \"{name}\" never saw in training"
            );
            let hint = "They are predicted as if the value were unknown; TRAIN MODEL learns it.";
            warn("unseen_category", message, Some(hint));
        }
        warnings
    }
}

/// NULL and NaN values.
pub(crate) fn n_missing(array: &ArrayRef) -> u64 {
    fn n_nan<T: Copy + PartialEq>(values: &[T]) -> usize {
        // Only NaN differs from itself.
        #[allow(
            clippy::eq_op,
            reason = "the one comparison that tells NaN for every float type"
        )]
        values.iter().filter(|value| **value != **value).count()
    }
    let n_nan = match array.data_type() {
        // A NULL may hide a NaN, which would then count twice.
        _ if array.null_count() > 0 => 0,
        DataType::Float32 => n_nan(array.as_primitive::<Float32Type>().values()),
        DataType::Float64 => n_nan(array.as_primitive::<Float64Type>().values()),
        _ => 0,
    };
    (array.logical_null_count() + n_nan) as u64
}

/// Of each column the values outside of its range; a missing value is not.
fn outside<'a, E: Element + PartialOrd>(
    values: &'a [E],
    n_samples: usize,
    ranges: &'a [&NumericStatistics],
) -> impl Iterator<Item = u64> + 'a {
    let columns = values.chunks_exact(n_samples.max(1)).zip(ranges);
    columns.map(|(column, range)| {
        if range.count == 0 {
            return 0;
        }
        let (min, max) = (E::from_f64(range.min), E::from_f64(range.max));
        let is_outside = |value: &&E| **value < min || **value > max;
        column.iter().filter(is_outside).count() as u64
    })
}

fn add(into: &mut Vec<u64>, later: impl Iterator<Item = u64>) {
    for (idx, n_rows) in later.enumerate() {
        match into.get_mut(idx) {
            Some(count) => *count += n_rows,
            None => into.push(n_rows),
        }
    }
}

/// The sum of some counts and the columns that have any.
fn total<'a>(names: impl Iterator<Item = &'a str>, counts: &[u64]) -> Option<(u64, String)> {
    let found: Vec<String> = names
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(name, _)| name.to_owned())
        .collect();
    (!found.is_empty()).then(|| (counts.iter().sum(), name_some(&found)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int64Array};

    use super::*;

    #[test]
    fn missing_values_are_null_or_nan_and_count_once() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]));
        assert_eq!(n_missing(&floats), 1);
        let with_null: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(2.0)]));
        assert_eq!(n_missing(&with_null), 1);
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1), None]));
        assert_eq!(n_missing(&integers), 2);
    }

    #[test]
    fn counts_merge_by_feature() {
        let mut one = Surprises {
            null_labels: 1,
            unseen: vec![0, 2],
            ..Surprises::default()
        };
        let other = Surprises {
            null_labels: 2,
            unseen: vec![1, 1],
            filled: vec![3],
            ..Surprises::default()
        };
        one.merge(&other);
        assert_eq!(one.null_labels, 3);
        assert_eq!(one.unseen, [1, 3]);
        assert_eq!(
            total(["a", "b"].into_iter(), &one.unseen),
            Some((4, "columns \"a\", \"b\"".to_owned()))
        );
        assert_eq!(total(["a"].into_iter(), &[0]), None);
    }
}
