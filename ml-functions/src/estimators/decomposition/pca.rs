//! The estimator `pca`.
//!
//! In: samples without label; out: the directions of greatest variance. With few columns one pass sums
//! all products; with many each pass multiplies the covariances by some vectors, which turn towards the
//! components, so that the covariances are never in memory. Never gathers the samples.

use async_trait::async_trait;

use super::covariances::{ProductsStep, Variances, full};
use super::eigen::fix_sign;
use super::pca_model::PcaModel;
use super::randomised::{TurnStep, randomised};
use crate::error::{Error, Result};
use crate::estimator::{BesideDevice, Estimator, EstimatorSpec, Passes, Tags, Task};
use crate::estimators::feature_space::{FeatureSpace, Scaling};
use crate::model::Model;
use crate::options::{Hyperparameter, Kind, Options};
use crate::run::{Iteration, TrainingRun};
use crate::training::SampleShape;
use crate::training_set::{Part, StepDecoder, TrainingSet};

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
            kind: Kind::Integer {
                min: 1,
                max: i64::MAX,
            },
            default: "NULL",
            doc: "Number of components.",
        },
        Hyperparameter {
            name: "pca_explained_variance_ratio",
            aliases: &[],
            kind: Kind::Float {
                min: 0.0,
                min_inclusive: false,
                max: 1.0,
            },
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
    tags: Tags::NONE,
    inspections: &["principal_components", "principal_component_info"],
    steps: &[
        StepDecoder::of::<ProductsStep>(),
        StepDecoder::of::<TurnStep>(),
    ],
    state_steps: &[],
    load: PcaModel::load,
};

/// Most columns whose covariances are computed: 128 MiB a thread.
const MAX_FULL_COLUMNS: usize = 4096;

fn check(options: &Options) -> Result<()> {
    let conflict = |message: &str, hint: &str| {
        Err(Error::ConflictingOptions {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let has_ratio = options.opt_f64("pca_explained_variance_ratio").is_some();
    match (
        options.opt_usize("num_principal_components").is_some(),
        has_ratio,
    ) {
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

    fn passes(&self, _: &Options, _: &SampleShape) -> Passes {
        // The statistics, the products of the columns and the metrics.
        Passes { source: 3, kept: 0 }
    }

    fn beside_device(&self, options: &Options, shape: &SampleShape) -> BesideDevice {
        // Without a number of components they may be as many as the features.
        let n_features = (shape.n_numeric + shape.n_categorical) as u64;
        let n_components = options.opt_f64_if_known("num_principal_components");
        let n_components = n_components.map_or(n_features, |n| n as u64);
        BesideDevice {
            on_cpu: 0,
            moved: PcaModel::moved_bytes(n_components),
        }
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
            return Err(Error::TooFewSamples {
                needed: 2,
                found: n_samples,
                hint,
            });
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

impl Variances {
    fn into_model(
        mut self,
        space: FeatureSpace,
        n_components: Option<usize>,
        options: &Options,
    ) -> PcaModel {
        // Rounding may bring a variance of zero below it.
        self.eigen
            .values
            .iter_mut()
            .for_each(|value| *value = value.max(0.0));
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
        components
            .chunks_exact_mut(space.n_cols())
            .for_each(fix_sign);
        let mut eigenvalues = self.eigen.values;
        eigenvalues.truncate(n_components);
        PcaModel {
            space,
            components,
            eigenvalues,
            total_variance: self.total,
        }
    }
}
