//! Ensembles of independent models. The trees that they are made of are `tree`'s.

mod random_forest;

use crate::estimator::Estimator;

/// The family's estimators.
pub(crate) static ESTIMATORS: &[&dyn Estimator] = &[
    &random_forest::RANDOM_FOREST_CLASSIFIER,
    &random_forest::RANDOM_FOREST_REGRESSOR,
];
