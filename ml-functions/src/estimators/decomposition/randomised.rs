//! The greatest eigenvalues of covariances that are too many for the memory.
//!
//! In: passes over the samples, each of which multiplies the covariances by some vectors; out: the
//! vectors as they turned towards the components. The covariances themselves are never computed.
//! Source: Halko, Martinsson & Tropp 2011, doi:10.1137/090771806.

use auspex_gpu::Loss;
use serde::{Deserialize, Serialize};

use super::covariances::{Products, Variances, no_samples};
use super::eigen::{Eigen, eigen, orthonormal};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::FeatureSpace;
use crate::features::FeatureBlock;
use crate::random::Random;
use crate::run::TrainingRun;
use crate::training_set::{Part, PartitionStep, TrainingSet, Visit, reduce};

/// Passes at most, and the relative change of eigenvalues that ends them.
const MAX_PASSES: usize = 30;
const CHANGE: f64 = 1e-10;
/// Vectors beyond the components that are turned with them, at least.
const MORE_VECTORS: usize = 10;

/// Multiplies the covariances by some vectors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TurnStep {
    space: FeatureSpace,
    /// `(n_vectors, n_cols)` row-major.
    vectors: Vec<f64>,
}

impl PartitionStep for TurnStep {
    type Partial = Products;
    const NAME: &'static str = "pca.turn";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<Products> {
        let design = self.space.design(block);
        let (n_cols, weights) = (self.space.n_cols(), block.weights.as_deref());
        let zeros = vec![0.0; block.n_samples];
        let mut sums = Products {
            weight: 0.0,
            products: Vec::new(),
            squares: 0.0,
        };
        for vector in self.vectors.chunks_exact(n_cols) {
            // The gradient of the squared loss with response 0 is Σ w·z·(zᵀv).
            let coefficients = [vector, &[0.0]].concat();
            let device = compute.device();
            let mut glm = device.glm(
                &design,
                &zeros,
                weights,
                &coefficients,
                1,
                Loss::Squared,
                false,
            )?;
            glm.gradient.truncate(n_cols);
            sums.products.append(&mut glm.gradient);
            sums.weight = glm.weight;
        }
        let origin = vec![0.0; n_cols];
        let of_lengths = compute.device().cluster_sums(&design, &origin, weights)?;
        sums.squares = of_lengths.squares.iter().sum();
        Ok(sums)
    }

    fn merge(&self, into: &mut Products, later: Products) -> Result<()> {
        into.add(&later);
        Ok(())
    }
}

/// Turns random vectors towards the components by multiplying them with the covariances, until the
/// eigenvalues within the space that they span no longer change.
pub(super) async fn randomised(
    samples: &dyn TrainingSet,
    run: &TrainingRun,
    space: &FeatureSpace,
    n_components: usize,
) -> Result<Variances> {
    let n_cols = space.n_cols();
    let n_vectors = (n_components + n_components.max(MORE_VECTORS)).min(n_cols);
    let mut random = Random::new(run.seed, 0);
    let start: Vec<f64> = (0..n_vectors * n_cols)
        .map(|_| random.unit() - 0.5)
        .collect();
    let mut step = TurnStep {
        space: space.clone(),
        vectors: orthonormal(&start, n_cols),
    };
    let mut before = Vec::new();
    for pass in 1..=MAX_PASSES {
        let sums = reduce(samples, &step, Part::Training, Visit::Again, run).await?;
        let turned = sums.ok_or_else(no_samples)?.into_covariances()?;
        let within = eigen(
            &row_products(&step.vectors, &turned.products, n_cols),
            n_vectors,
        )?;
        let values = within.values[..n_components].to_vec();
        let is_at_rest = values
            .iter()
            .zip(&before)
            .all(|(x, y): (&f64, &f64)| (x - y).abs() <= CHANGE * turned.squares);
        if (is_at_rest && !before.is_empty()) || pass == MAX_PASSES {
            if !is_at_rest {
                let message = format!("pca did not converge in {MAX_PASSES} passes");
                run.warn("no_convergence", message, Some("Set pca_solver = 'FULL'."));
            }
            let vectors = combine(&within.vectors, &step.vectors, n_cols);
            let eigen = Eigen {
                values: within.values,
                vectors,
            };
            return Ok(Variances {
                eigen,
                total: turned.squares,
            });
        }
        before = values;
        step.vectors = orthonormal(&turned.products, n_cols);
    }
    Err(Error::Internal {
        what: "pca's passes ended without result".to_owned(),
    })
}

/// `A·Bᵀ` of two row-major matrices of vectors, made symmetric.
fn row_products(a: &[f64], b: &[f64], n_cols: usize) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let n = a.len() / n_cols;
    let row = |m: usize| m * n_cols..(m + 1) * n_cols;
    let entry =
        |i: usize, j: usize| (dot(&a[row(i)], &b[row(j)]) + dot(&a[row(j)], &b[row(i)])) / 2.0;
    (0..n * n).map(|ij| entry(ij / n, ij % n)).collect()
}

/// Each row of `weights` `(n, n)` applied to the vectors.
fn combine(weights: &[f64], vectors: &[f64], n_cols: usize) -> Vec<f64> {
    let n = vectors.len() / n_cols;
    let mut combined = vec![0.0; vectors.len()];
    for (target, weights) in combined
        .chunks_exact_mut(n_cols)
        .zip(weights.chunks_exact(n))
    {
        for (vector, weight) in vectors.chunks_exact(n_cols).zip(weights) {
            target
                .iter_mut()
                .zip(vector)
                .for_each(|(sum, x)| *sum += weight * x);
        }
    }
    combined
}
