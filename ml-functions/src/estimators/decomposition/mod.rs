//! Estimators that describe samples by fewer numbers.
//!
//! In: samples without label; out: models that give each sample its coordinates.

mod covariances;
mod eigen;
mod pca;
mod pca_model;
mod randomised;
#[cfg(test)]
mod tests;

use crate::estimator::Estimator;

/// The estimators of this family.
pub(crate) static ESTIMATORS: &[&dyn Estimator] = &[&pca::Pca];
