//! The pass of iterative solvers over blocks: loss with derivatives.
//!
//! In: a block; out: sums that add up over blocks. All arithmetic on rows is the device's.

use auspex_gpu::Loss;
use serde::{Deserialize, Serialize};

use super::layout::Frame;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::{Dense, FeatureBlock, TargetValues};
use crate::training_set::PartitionStep;

/// Sums loss, gradient and Hessian at some coefficients.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GlmStep {
    pub(super) frame: Frame,
    pub(super) loss: Loss,
    /// Number of classes; 0 for regression.
    pub(super) n_classes: u32,
    pub(super) n_outputs: usize,
    /// `(n_outputs, n_cols + 1)`.
    pub(super) coefficients: Vec<f64>,
    pub(super) with_hessian: bool,
    pub(super) response_shift: f64,
    /// Visits only this share of each block's rows: the first 1 in so many.
    pub(super) one_in: usize,
}

/// What [`GlmStep`] sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GlmSums {
    /// Σ w.
    pub(super) weight: f64,
    /// Σ w·loss.
    pub(super) loss: f64,
    /// Its gradient in the kernel's coefficients.
    pub(super) gradient: Vec<f64>,
    /// Its Hessian, or nothing.
    pub(super) hessian: Vec<f64>,
}

impl GlmStep {
    /// The response of a block, and its weights; a class that training never saw weighs nothing.
    fn response(&self, block: &FeatureBlock) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
        if self.n_classes == 0 {
            let response = numbers(block)?
                .iter()
                .map(|y| y - self.response_shift)
                .collect();
            return Ok((response, block.weights.clone()));
        }
        let TargetValues::Classes(classes) = &block.target else {
            return Err(wrong_target("classes"));
        };
        let response = classes.iter().map(|&class| f64::from(class)).collect();
        if classes.iter().all(|&class| class < self.n_classes) {
            return Ok((response, block.weights.clone()));
        }
        let mut weights = block
            .weights
            .clone()
            .unwrap_or_else(|| vec![1.0; classes.len()]);
        for (weight, &class) in weights.iter_mut().zip(classes) {
            if class >= self.n_classes {
                *weight = 0.0;
            }
        }
        Ok((response, Some(weights)))
    }
}

impl PartitionStep for GlmStep {
    type Partial = GlmSums;
    const NAME: &'static str = "linear_model.glm";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<GlmSums> {
        let prefix =
            (self.one_in > 1).then(|| first_rows(block, block.n_samples.div_ceil(self.one_in)));
        let block = prefix.as_ref().unwrap_or(block);
        let (response, weights) = self.response(block)?;
        let partial = compute.device().glm(
            &self.frame.design(block),
            &response,
            weights.as_deref(),
            &self.coefficients,
            self.n_outputs,
            self.loss,
            self.with_hessian,
        )?;
        Ok(GlmSums {
            weight: partial.weight,
            loss: partial.loss,
            gradient: partial.gradient,
            hessian: partial.hessian,
        })
    }

    fn merge(&self, into: &mut GlmSums, later: GlmSums) -> Result<()> {
        into.weight += later.weight;
        into.loss += later.loss;
        add(&mut into.gradient, &later.gradient);
        add(&mut into.hessian, &later.hessian);
        Ok(())
    }
}

pub(super) fn numbers(block: &FeatureBlock) -> Result<&[f64]> {
    match &block.target {
        TargetValues::Numbers(values) => Ok(values),
        _ => Err(wrong_target("numbers")),
    }
}

fn wrong_target(expected: &str) -> Error {
    Error::Internal {
        what: format!("a block of a linear model has no {expected} as its target"),
    }
}

pub(super) fn add(into: &mut [f64], later: &[f64]) {
    into.iter_mut()
        .zip(later)
        .for_each(|(into, later)| *into += later);
}

/// The first rows of a block.
fn first_rows(block: &FeatureBlock, n_rows: usize) -> FeatureBlock {
    fn columns<T: Copy>(values: &[T], n_samples: usize, n_rows: usize) -> Vec<T> {
        values
            .chunks_exact(n_samples.max(1))
            .flat_map(|column| &column[..n_rows])
            .copied()
            .collect()
    }
    let n = block.n_samples;
    FeatureBlock {
        n_samples: n_rows,
        dense: match &block.dense {
            Dense::F32(values) => Dense::F32(columns(values, n, n_rows)),
            Dense::F64(values) => Dense::F64(columns(values, n, n_rows)),
        },
        codes: block
            .codes
            .iter()
            .map(|codes| codes[..n_rows].to_vec())
            .collect(),
        target: match &block.target {
            TargetValues::None => TargetValues::None,
            TargetValues::Numbers(values) => TargetValues::Numbers(values[..n_rows].to_vec()),
            TargetValues::Classes(values) => TargetValues::Classes(values[..n_rows].to_vec()),
        },
        weights: block
            .weights
            .as_ref()
            .map(|weights| weights[..n_rows].to_vec()),
    }
}
