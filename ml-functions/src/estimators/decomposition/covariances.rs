//! Sums of products over the samples, and their eigenvalues where all of them fit the memory.
//!
//! In: one pass over the samples; out: the covariances, or their eigenvalues with vectors. Partials hold a
//! square of the number of columns.

use serde::{Deserialize, Serialize};

use super::eigen::{Eigen, eigen};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::FeatureSpace;
use crate::features::FeatureBlock;
use crate::run::TrainingRun;
use crate::training_set::{Part, PartitionStep, TrainingSet, Visit, reduce};

/// Eigenvalues of the covariances with their vectors, perhaps the first ones only.
pub(super) struct Variances {
    pub(super) eigen: Eigen,
    /// The variance of all columns together.
    pub(super) total: f64,
}

/// Sums the products of all pairs of columns.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProductsStep {
    space: FeatureSpace,
}

/// Sums over samples.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Products {
    /// Σ w.
    pub(super) weight: f64,
    /// Σ w·z·zᵀ, or of each vector v the sum Σ w·z·(zᵀv), row-major.
    pub(super) products: Vec<f64>,
    /// Σ w·|z|².
    pub(super) squares: f64,
}

impl Products {
    pub(super) fn add(&mut self, later: &Products) {
        self.weight += later.weight;
        self.squares += later.squares;
        for (sum, x) in self.products.iter_mut().zip(&later.products) {
            *sum += x;
        }
    }

    /// Divides by n − 1.
    pub(super) fn into_covariances(mut self) -> Result<Products> {
        let degrees = self.weight - 1.0;
        self.squares /= degrees;
        self.products.iter_mut().for_each(|x| *x /= degrees);
        if self.squares.is_finite() && self.products.iter().all(|x| x.is_finite()) {
            return Ok(self);
        }
        Err(Error::Diverged {
            estimator: "pca".to_owned(),
            what: "variances are beyond the range of numbers".to_owned(),
            hint: "Set scale_features = true, or scale the features in the query.".to_owned(),
        })
    }
}

impl PartitionStep for ProductsStep {
    type Partial = Products;
    const NAME: &'static str = "pca.products";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<Products> {
        let weights = block.weights.as_deref();
        let gram = compute
            .device()
            .gram(&self.space.design(block), None, weights)?;
        let diagonal = gram.xx.iter().step_by(self.space.n_cols() + 1);
        let squares = diagonal.sum();
        Ok(Products {
            weight: gram.moments[0],
            products: gram.xx,
            squares,
        })
    }

    fn merge(&self, into: &mut Products, later: Products) -> Result<()> {
        into.add(&later);
        Ok(())
    }
}

/// The eigenvalues of all covariances, by one pass.
pub(super) async fn full(
    samples: &dyn TrainingSet,
    run: &TrainingRun,
    space: &FeatureSpace,
) -> Result<Variances> {
    let step = ProductsStep {
        space: space.clone(),
    };
    let sums = reduce(samples, &step, Part::Training, Visit::Once, run).await?;
    let covariances = sums.ok_or_else(no_samples)?.into_covariances()?;
    let n_cols = space.n_cols();
    // Seconds for thousands of columns, which must not hold up other tasks.
    let decompose = move || {
        let eigen = eigen(&covariances.products, n_cols)?;
        Ok(Variances {
            eigen,
            total: covariances.squares,
        })
    };
    let found = tokio::task::spawn_blocking(decompose).await;
    found.map_err(|source| Error::Internal {
        what: format!("eigenvalues: {source}"),
    })?
}

/// The error for a part without rows.
pub(super) fn no_samples() -> Error {
    let hint = "The training query returned no row.".to_owned();
    Error::TooFewSamples {
        needed: 2,
        found: 0,
        hint,
    }
}
