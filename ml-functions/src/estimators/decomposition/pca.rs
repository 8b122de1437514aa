//! The estimator `pca`.
//!
//! In: samples without label; out: the directions of greatest variance. With few columns one pass sums
//! all products; with many each pass multiplies the covariances by some vectors, which turn towards the
//! components, so that the covariances are never in memory. Never gathers the samples.

use async_trait::async_trait;
use auspex_gpu::Loss;
use serde::{Deserialize, Serialize};

use super::eigen::{Eigen, eigen, fix_sign, orthonormal};
use super::pca_model::PcaModel;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::{Estimator, EstimatorSpec, Tags, Task};
use crate::estimators::feature_space::{FeatureSpace, Scaling};
use crate::estimators::random::Random;
use crate::features::FeatureBlock;
use crate::model::Model;
use crate::options::{Hyperparameter, Kind, Options};
use crate::run::{Iteration, TrainingRun};
use crate::training_set::{Part, PartitionStep, StepDecoder, TrainingSet, Visit, reduce};

/// Finds the directions along which samples differ most.
pub(crate) struct Pca;

const DOC: &str = "\
Finds the directions along which samples differ most, and describes each sample by its coordinates \
along them.

Space: numbers minus their mean and divided by their sample standard deviation (only minus their mean \
with `scale_features = false`), then one indicator for each category, neither centred nor scaled.
Components: the eigenvectors with the greatest eigenvalues of ZᵀZ / (n_samples − 1); of each the loading \
of greatest size is positive.
Shapes: features (n_samples, n_features); components (n_components, n_columns), where each category is a \
column.
Nulls: numbers take the mean; NULL is a category of its own, `_null_filler`, where training saw one. A \
category that training did not see has no indicator.
Number of components: `num_principal_components`, or the fewest whose eigenvalues are \
`pca_explained_variance_ratio` of all variance.
Cost: `FULL` is one pass of O(n_samples · n_columns²), O(n_columns²) memory a thread, up to 4,096 columns; \
`RANDOMIZED` is at most 30 passes of O(n_samples · n_columns · n_components). `AUTO` is `FULL` up to 4,096 \
columns.
Determinism: the same model whatever the number of threads, for `RANDOMIZED` with the same seed.
Errors: `TooFewSamples` for fewer than two rows; an option error for more components than columns.
Source: Hotelling 1933, doi:10.1037/h0071325; randomised: Halko, Martinsson & Tropp 2011, \
doi:10.1137/090771806.";

static SPEC: EstimatorSpec = EstimatorSpec {
    name: "pca",
    aliases: &["principal_component_analysis"],
    task: Task::Decomposition,
    summary: "Finds the directions along which samples differ most.",
    doc: DOC,
    hyperparameters: &[
        Hyperparameter {
            name: "num_principal_components",
            aliases: &["n_components", "k"],
            kind: Kind::Integer { min: 1, max: i64::MAX },
            default: "NULL",
            doc: "Number of components.",
        },
        Hyperparameter {
            name: "pca_explained_variance_ratio",
            aliases: &[],
            kind: Kind::Float { min: 0.0, min_inclusive: false, max: 1.0 },
            default: "NULL",
            doc: "The part of all variance that the components explain at least.",
        },
        Hyperparameter {
            name: "scale_features",
            aliases: &[],
            kind: Kind::Bool,
            default: "TRUE",
            doc: "Whether numbers are divided by their sample standard deviation.",
        },
        Hyperparameter {
            name: "pca_solver",
            aliases: &["svd_solver"],
            kind: Kind::Choice(&["AUTO", "FULL", "RANDOMIZED"]),
            default: "AUTO",
            doc: "Whether all covariances are computed, or their products with some vectors.",
        },
    ],
    check,
    tags: Tags { gathers: false, inexact_over_partitions: None },
    inspections: &["principal_components", "principal_component_info"],
    steps: &[StepDecoder::of::<ProductsStep>(), StepDecoder::of::<TurnStep>()],
    load: PcaModel::load,
};

/// Most columns whose covariances are computed: 128 MiB a thread.
const MAX_FULL_COLUMNS: usize = 4096;
/// Passes of the randomised solver at most, and the relative change of eigenvalues that ends them.
const MAX_PASSES: usize = 30;
const CHANGE: f64 = 1e-10;
/// Vectors beyond the components that the randomised solver carries, at least.
const MORE_VECTORS: usize = 10;

fn check(options: &Options) -> Result<()> {
    let conflict = |message: &str, hint: &str| {
        Err(Error::ConflictingOptions { message: message.to_owned(), hint: hint.to_owned() })
    };
    let has_ratio = options.opt_f64("pca_explained_variance_ratio").is_some();
    match (options.opt_usize("num_principal_components").is_some(), has_ratio) {
        (true, true) => conflict(
            "options \"num_principal_components\" and \"pca_explained_variance_ratio\" exclude each other",
            "Leave one of them out.",
        ),
        (false, false) => conflict(
            "pca needs option \"num_principal_components\" or \"pca_explained_variance_ratio\"",
            "Set num_principal_components = 2, or pca_explained_variance_ratio = 0.9.",
        ),
        _ if has_ratio && options.text("pca_solver") == Some("RANDOMIZED") => conflict(
            "option \"pca_explained_variance_ratio\" does not go with pca_solver 'RANDOMIZED'",
            "Set num_principal_components instead, or pca_solver = 'FULL'.",
        ),
        _ => Ok(()),
    }
}

#[async_trait]
impl Estimator for Pca {
    fn spec(&self) -> &'static EstimatorSpec {
        &SPEC
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let scaling = if options.bool("scale_features") {
            Scaling::Standardised
        } else {
            Scaling::Centred
        };
        let space = FeatureSpace::new(samples.encoder(), scaling);
        let n_components = options.opt_usize("num_principal_components");
        let is_full = check_width(options, space.n_cols(), n_components)?;
        let n_samples = samples.n_samples(Part::Training);
        if n_samples < 2 {
            let hint = "One row has no variance.".to_owned();
            return Err(Error::TooFewSamples { needed: 2, found: n_samples, hint });
        }
        let began = run.now();
        let variances = match n_components {
            Some(n_components) if !is_full => {
                randomised(samples, run, &space, n_components).await?
            }
            _ => full(samples, run, &space).await?,
        };
        let model = variances.into_model(space, n_components, options);
        if model.total_variance == 0.0 {
            let message = "no feature varies, so the components explain nothing".to_owned();
            run.warn("zero_variance", message, None);
        }
        let left = model.total_variance - model.eigenvalues.iter().sum::<f64>();
        run.iteration(Iteration {
            // The mean squared reconstruction error, as ML.DETECT_ANOMALIES shows it for each row.
            loss: left.max(0.0) * (n_samples - 1) as f64
                / (n_samples as f64 * model.space.n_cols() as f64),
            duration_ms: run.now().saturating_sub(began).as_millis() as u64,
            ..Iteration::default()
        });
        Ok(Box::new(model))
    }
}

/// Whether all covariances are to be computed, once the number of columns allows what was asked.
fn check_width(options: &Options, n_cols: usize, n_components: Option<usize>) -> Result<bool> {
    if let Some(n_components) = n_components.filter(|wanted| *wanted > n_cols) {
        return Err(Error::InvalidOption {
            name: "num_principal_components".to_owned(),
            expected: format!("at most {n_cols}, the number of columns with each category as one"),
            found: n_components.to_string(),
        });
    }
    let solver = options.text("pca_solver").unwrap_or("AUTO");
    if n_cols <= MAX_FULL_COLUMNS {
        return Ok(solver != "RANDOMIZED");
    }
    if solver == "FULL" {
        return Err(Error::ConflictingOptions {
            message: format!(
                "pca_solver 'FULL' takes at most {MAX_FULL_COLUMNS} columns, with each category as \
                 one, got {n_cols}"
            ),
            hint: "Set pca_solver = 'RANDOMIZED', or leave out text columns with many values."
                .to_owned(),
        });
    }
    if n_components.is_none() {
        return Err(Error::ConflictingOptions {
            message: format!(
                "option \"pca_explained_variance_ratio\" takes at most {MAX_FULL_COLUMNS} columns, \
                 with each category as one, got {n_cols}"
            ),
            hint: "Set num_principal_components instead.".to_owned(),
        });
    }
    Ok(false)
}

/// Eigenvalues of the covariances with their vectors, perhaps the first ones only.
struct Variances {
    eigen: Eigen,
    total: f64,
}

impl Variances {
    fn into_model(
        mut self,
        space: FeatureSpace,
        n_components: Option<usize>,
        options: &Options,
    ) -> PcaModel {
        // Rounding may bring a variance of zero below it.
        self.eigen.values.iter_mut().for_each(|value| *value = value.max(0.0));
        let n_components = n_components.unwrap_or_else(|| {
            let wanted = options.f64("pca_explained_variance_ratio") * self.total;
            let mut sum = 0.0;
            let is_short = |value: &&f64| {
                let is_short = sum < wanted;
                sum += **value;
                is_short
            };
            self.eigen.values.iter().take_while(is_short).count().max(1)
        });
        let mut components = self.eigen.vectors;
        components.truncate(n_components * space.n_cols());
        components.chunks_exact_mut(space.n_cols()).for_each(fix_sign);
        let mut eigenvalues = self.eigen.values;
        eigenvalues.truncate(n_components);
        PcaModel { space, components, eigenvalues, total_variance: self.total }
    }
}

/// Sums the products of all pairs of columns.
#[derive(Debug, Serialize, Deserialize)]
struct ProductsStep {
    space: FeatureSpace,
}

/// Sums over samples.
#[derive(Debug, Serialize, Deserialize)]
struct Products {
    /// Σ w.
    weight: f64,
    /// Σ w·z·zᵀ, or of each vector v the sum Σ w·z·(zᵀv), row-major.
    products: Vec<f64>,
    /// Σ w·|z|².
    squares: f64,
}

impl Products {
    fn add(&mut self, later: &Products) {
        self.weight += later.weight;
        self.squares += later.squares;
        for (sum, x) in self.products.iter_mut().zip(&later.products) {
            *sum += x;
        }
    }

    /// Divides by n − 1.
    fn into_covariances(mut self) -> Result<Products> {
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
        let gram = compute.device().gram(&self.space.design(block), None, weights)?;
        let diagonal = gram.xx.iter().step_by(self.space.n_cols() + 1);
        let squares = diagonal.sum();
        Ok(Products { weight: gram.moments[0], products: gram.xx, squares })
    }

    fn merge(&self, into: &mut Products, later: Products) -> Result<()> {
        into.add(&later);
        Ok(())
    }
}

async fn full(
    samples: &dyn TrainingSet,
    run: &TrainingRun,
    space: &FeatureSpace,
) -> Result<Variances> {
    let step = ProductsStep { space: space.clone() };
    let sums = reduce(samples, &step, Part::Training, Visit::Once, run).await?;
    let covariances = sums.ok_or_else(no_samples)?.into_covariances()?;
    let n_cols = space.n_cols();
    // Seconds for thousands of columns, which must not hold up other tasks.
    let decompose = move || {
        let eigen = eigen(&covariances.products, n_cols)?;
        Ok(Variances { eigen, total: covariances.squares })
    };
    let found = tokio::task::spawn_blocking(decompose).await;
    found.map_err(|source| Error::Internal { what: format!("eigenvalues: {source}") })?
}

/// Multiplies the covariances by some vectors.
#[derive(Debug, Serialize, Deserialize)]
struct TurnStep {
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
        let mut sums = Products { weight: 0.0, products: Vec::new(), squares: 0.0 };
        for vector in self.vectors.chunks_exact(n_cols) {
            // The gradient of the squared loss with response 0 is Σ w·z·(zᵀv).
            let coefficients = [vector, &[0.0]].concat();
            let device = compute.device();
            let mut glm =
                device.glm(&design, &zeros, weights, &coefficients, 1, Loss::Squared, false)?;
            glm.gradient.truncate(n_cols);
            sums.products.append(&mut glm.gradient);
            sums.weight = glm.weight;
        }
        let squares = compute.device().squared_distances(&design, &vec![0.0; n_cols])?;
        sums.squares = match weights {
            Some(weights) => squares.iter().zip(weights).map(|(square, w)| square * w).sum(),
            None => squares.iter().sum(),
        };
        Ok(sums)
    }

    fn merge(&self, into: &mut Products, later: Products) -> Result<()> {
        into.add(&later);
        Ok(())
    }
}

/// Turns random vectors towards the components by multiplying them with the covariances, until the
/// eigenvalues within the space that they span no longer change.
async fn randomised(
    samples: &dyn TrainingSet,
    run: &TrainingRun,
    space: &FeatureSpace,
    n_components: usize,
) -> Result<Variances> {
    let n_cols = space.n_cols();
    let n_vectors = (n_components + n_components.max(MORE_VECTORS)).min(n_cols);
    let mut random = Random::new(run.seed, 0);
    let start: Vec<f64> = (0..n_vectors * n_cols).map(|_| random.unit() - 0.5).collect();
    let mut step = TurnStep { space: space.clone(), vectors: orthonormal(&start, n_cols) };
    let mut before = Vec::new();
    for pass in 1..=MAX_PASSES {
        let sums = reduce(samples, &step, Part::Training, Visit::Again, run).await?;
        let turned = sums.ok_or_else(no_samples)?.into_covariances()?;
        let within = eigen(&row_products(&step.vectors, &turned.products, n_cols), n_vectors)?;
        let values = within.values[..n_components].to_vec();
        let is_at_rest = values.iter().zip(&before).all(|(x, y): (&f64, &f64)| {
            (x - y).abs() <= CHANGE * turned.squares
        });
        if (is_at_rest && !before.is_empty()) || pass == MAX_PASSES {
            if !is_at_rest {
                let message = format!("pca did not converge in {MAX_PASSES} passes");
                run.warn("no_convergence", message, Some("Set pca_solver = 'FULL'."));
            }
            let vectors = combine(&within.vectors, &step.vectors, n_cols);
            let eigen = Eigen { values: within.values, vectors };
            return Ok(Variances { eigen, total: turned.squares });
        }
        before = values;
        step.vectors = orthonormal(&turned.products, n_cols);
    }
    Err(Error::Internal { what: "pca's passes ended without result".to_owned() })
}

/// `A·Bᵀ` of two row-major matrices of vectors, made symmetric.
fn row_products(a: &[f64], b: &[f64], n_cols: usize) -> Vec<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let n = a.len() / n_cols;
    let row = |m: usize| m * n_cols..(m + 1) * n_cols;
    let entry = |i: usize, j: usize| (dot(&a[row(i)], &b[row(j)]) + dot(&a[row(j)], &b[row(i)])) / 2.0;
    (0..n * n).map(|ij| entry(ij / n, ij % n)).collect()
}

/// Each row of `weights` `(n, n)` applied to the vectors.
fn combine(weights: &[f64], vectors: &[f64], n_cols: usize) -> Vec<f64> {
    let n = vectors.len() / n_cols;
    let mut combined = vec![0.0; vectors.len()];
    for (target, weights) in combined.chunks_exact_mut(n_cols).zip(weights.chunks_exact(n)) {
        for (vector, weight) in vectors.chunks_exact(n_cols).zip(weights) {
            target.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
        }
    }
    combined
}

fn no_samples() -> Error {
    let hint = "The training query returned no row.".to_owned();
    Error::TooFewSamples { needed: 2, found: 0, hint }
}
