//! Estimators that put samples into groups.
//!
//! In: samples without label; out: models that give each sample its cluster.

mod core_samples;
mod dbscan;
mod distance;
mod kmeans;
mod kmeans_init;
mod kmeans_model;
mod lloyd;
#[cfg(test)]
mod tests;

use crate::estimator::Estimator;

/// The estimators of this family.
pub(crate) static ESTIMATORS: &[&dyn Estimator] = &[&kmeans::KMeans, &dbscan::Dbscan];
