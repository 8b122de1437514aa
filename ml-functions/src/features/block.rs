//! Encoded samples: the only form in which estimators, models and kernels see rows.
//!
//! In: what the encoder wrote; out: slices for the inner loops. Holds no names and no types of SQL.

use std::ops::Range;

/// The dense part of a block, column-major: column `j` is `values[j * n_samples..][..n_samples]`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Dense {
    /// When every numeric feature is exact in f32.
    F32(Vec<f32>),
    /// Otherwise.
    F64(Vec<f64>),
}

impl Dense {
    /// Size in memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Dense::F32(values) => size_of_val(values.as_slice()),
            Dense::F64(values) => size_of_val(values.as_slice()),
        }
    }
}

/// The label of each sample.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum TargetValues {
    /// There is none (unsupervised tasks and prediction).
    None,
    /// Regression.
    Numbers(Vec<f64>),
    /// Classification: the index of the class.
    Classes(Vec<u32>),
}

/// Some samples, encoded. NULL and NaN numbers hold the training mean; categories are codes:
/// `0..k` the categories of training in sort order, `k` NULL, `k + 1` never seen in training.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FeatureBlock {
    /// Number of samples.
    pub n_samples: usize,
    /// The numeric features in schema order.
    pub dense: Dense,
    /// The categorical features in schema order: one vector of codes each.
    pub codes: Vec<Vec<u32>>,
    /// The label.
    pub target: TargetValues,
    /// The weight of each sample (instance weight × class weight); `None` is 1.
    pub weights: Option<Vec<f64>>,
}

impl FeatureBlock {
    /// Number of dense columns.
    pub fn n_dense(&self) -> usize {
        let n_values = match &self.dense {
            Dense::F32(values) => values.len(),
            Dense::F64(values) => values.len(),
        };
        n_values.checked_div(self.n_samples).unwrap_or(0)
    }

    /// Some neighbouring samples.
    pub(crate) fn rows(&self, rows: Range<usize>) -> FeatureBlock {
        fn cut<T: Copy>(values: &[T], n_samples: usize, rows: &Range<usize>) -> Vec<T> {
            let columns = values.chunks_exact(n_samples.max(1));
            columns
                .flat_map(|column| &column[rows.clone()])
                .copied()
                .collect()
        }
        FeatureBlock {
            n_samples: rows.len(),
            dense: match &self.dense {
                Dense::F32(values) => Dense::F32(cut(values, self.n_samples, &rows)),
                Dense::F64(values) => Dense::F64(cut(values, self.n_samples, &rows)),
            },
            codes: self
                .codes
                .iter()
                .map(|codes| codes[rows.clone()].to_vec())
                .collect(),
            target: match &self.target {
                TargetValues::None => TargetValues::None,
                TargetValues::Numbers(values) => {
                    TargetValues::Numbers(values[rows.clone()].to_vec())
                }
                TargetValues::Classes(values) => {
                    TargetValues::Classes(values[rows.clone()].to_vec())
                }
            },
            weights: self.weights.as_ref().map(|weights| weights[rows].to_vec()),
        }
    }

    /// Every `step`th sample, without targets and weights.
    pub(crate) fn every(&self, step: usize) -> FeatureBlock {
        fn pick<T: Copy>(values: &[T], n_samples: usize, step: usize) -> Vec<T> {
            let columns = values.chunks_exact(n_samples.max(1));
            let picked = columns.flat_map(|column| column.iter().step_by(step));
            picked.copied().collect()
        }
        let n_samples = self.n_samples;
        FeatureBlock {
            n_samples: n_samples.div_ceil(step),
            dense: match &self.dense {
                Dense::F32(values) => Dense::F32(pick(values, n_samples, step)),
                Dense::F64(values) => Dense::F64(pick(values, n_samples, step)),
            },
            codes: self
                .codes
                .iter()
                .map(|codes| pick(codes, n_samples, step))
                .collect(),
            target: TargetValues::None,
            weights: None,
        }
    }

    /// Size in memory.
    pub fn memory_bytes(&self) -> usize {
        let target = match &self.target {
            TargetValues::None => 0,
            TargetValues::Numbers(values) => size_of_val(values.as_slice()),
            TargetValues::Classes(values) => size_of_val(values.as_slice()),
        };
        let codes: usize = self
            .codes
            .iter()
            .map(|codes| size_of_val(codes.as_slice()))
            .sum();
        let weights = self
            .weights
            .as_ref()
            .map_or(0, |weights| size_of_val(weights.as_slice()));
        size_of::<FeatureBlock>() + self.dense.memory_bytes() + codes + target + weights
    }
}
