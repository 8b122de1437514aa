//! The weights of samples: a column of the query, the classes, or both.
//!
//! In: the weight column, the options and the counts of the classes; out: checked weights. Negative
//! and infinite weights are errors; NULL weighs nothing and is a warning.

use datafusion::arrow::array::AsArray;
use serde::{Deserialize, Serialize};

use super::chunks::RawChunk;
use super::roles::RoleColumn;
use crate::error::{Error, Result};
use crate::features::{TargetEncoding, append_with_nan, numbers};
use crate::options::Options;
use crate::run::TrainingRun;

/// What chunks tell of the weight column.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct WeightPartial {
    n_null: u64,
    /// The first that is negative or infinite.
    bad: Option<f64>,
    sum: f64,
}

/// The instance weights of a chunk; NULL and NaN are NaN.
pub(super) fn read_weights(chunk: &RawChunk) -> Result<Option<Vec<f64>>> {
    let Some(columns) = chunk.layout.weight(&chunk.batches) else {
        return Ok(None);
    };
    let mut weights = Vec::with_capacity(chunk.n_rows);
    for column in columns {
        append_with_nan(&numbers::<f64>(column)?, &mut weights);
    }
    Ok(Some(weights))
}

/// The marks of a chunk as 0 and 1; NULL is 0.
pub(super) fn read_marks(chunk: &RawChunk) -> Option<Vec<u32>> {
    let columns = chunk.layout.marks(&chunk.batches)?;
    let marks = columns.iter().filter_map(|column| column.as_boolean_opt());
    Some(
        marks
            .flat_map(|marks| marks.iter().map(|mark| u32::from(mark == Some(true))))
            .collect(),
    )
}

impl WeightPartial {
    /// What the weights of a chunk tell.
    pub(super) fn of(weights: &[f64]) -> WeightPartial {
        let mut partial = WeightPartial::default();
        for weight in weights.iter().copied() {
            partial.n_null += u64::from(weight.is_nan());
            if weight < 0.0 || weight.is_infinite() {
                partial.bad = partial.bad.or(Some(weight));
            } else if !weight.is_nan() {
                partial.sum += weight;
            }
        }
        partial
    }

    /// Adds what later chunks tell.
    pub(super) fn merge(&mut self, later: &WeightPartial) {
        self.n_null += later.n_null;
        self.bad = self.bad.or(later.bad);
        self.sum += later.sum;
    }

    /// Fails for weights that cannot be used, and warns of those that count as 0.
    pub(super) fn check(&self, weight: &RoleColumn, run: &TrainingRun) -> Result<()> {
        let bad = |value: String, hint: &str| Error::BadValue {
            column: weight.name.clone(),
            value,
            hint: hint.to_owned(),
        };
        match self.bad {
            Some(f64::INFINITY) => {
                return Err(bad("Infinity".to_owned(), "Weights must be finite."));
            }
            Some(f64::NEG_INFINITY) => {
                return Err(bad("-Infinity".to_owned(), "Weights must be finite."));
            }
            Some(value) => return Err(bad(value.to_string(), "Weights must be at least 0.")),
            None if self.sum == 0.0 => {
                return Err(bad(
                    "0".to_owned(),
                    "At least one row needs a weight greater than 0.",
                ));
            }
            None => {}
        }
        if self.n_null > 0 {
            let message = format!(
                "{} NULL weights in column \"{}\" count as 0",
                self.n_null, weight.name
            );
            run.warn("null_weights", message, None);
        }
        Ok(())
    }
}

/// The weight of each class as written, or so that all classes weigh the same in sum; the last is for
/// classes that training never saw.
pub(super) fn class_weights(
    target: &TargetEncoding,
    options: &Options,
) -> Result<Option<Vec<f64>>> {
    if options.bool("auto_class_weights") {
        let n_samples: u64 = target.class_counts.iter().sum();
        let n_classes = target.classes.len() as f64;
        let balanced = |count: &u64| n_samples as f64 / (n_classes * *count as f64);
        let weights = target.class_counts.iter().map(balanced).chain([1.0]);
        return Ok(Some(weights.collect()));
    }
    if let Some(weight) = options.scale_pos_weight() {
        if target.classes.len() != 2 {
            return Err(Error::ConflictingOptions {
                message: format!(
                    "option \"scale_pos_weight\" needs two classes, but column \"{}\" has {}",
                    target.column,
                    target.classes.len()
                ),
                hint: "Set class_weights instead.".to_owned(),
            });
        }
        return Ok(Some(vec![1.0, weight, 1.0]));
    }
    let Some(written) = options.class_weights() else {
        return Ok(None);
    };
    let labels: Vec<String> = target.classes.iter().map(|class| class.text()).collect();
    let listed = |names: &mut dyn Iterator<Item = &String>| {
        names
            .take(10)
            .map(|name| format!("'{name}'"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is_complete = labels.iter().all(|label| written.contains_key(label));
    if !is_complete || written.len() != labels.len() {
        return Err(Error::InvalidOption {
            name: "class_weights".to_owned(),
            expected: format!(
                "given for the classes {} of column \"{}\"",
                listed(&mut labels.iter()),
                target.column
            ),
            found: listed(&mut written.keys()),
        });
    }
    Ok(Some(
        labels
            .iter()
            .map(|label| written[label])
            .chain([1.0])
            .collect(),
    ))
}
