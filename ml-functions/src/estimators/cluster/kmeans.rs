//! The estimator `kmeans`.
//!
//! In: samples without label; out: centroids. One pass takes a sample from which the start is chosen,
//! then each iteration is one pass. Never gathers the samples.

use async_trait::async_trait;
use serde_json::json;

use super::distance::Distance;
use super::kmeans_init::{Choice, MarkedStep, SampleStep, Starter, too_few};
use super::kmeans_model::KMeansModel;
use super::lloyd::{LloydStep, Update};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::{BesideDevice, Estimator, EstimatorSpec, Tags, Task};
use crate::estimators::feature_space::{FeatureSpace, Scaling};
use crate::features::FeatureBlock;
use crate::model::Model;
use crate::options::{Hyperparameter, Kind, Options};
use crate::run::{Iteration, TrainingRun};
use crate::training::SampleShape;
use crate::training_set::{Part, StepDecoder, TrainingSet, Visit, reduce};

/// Groups samples around `num_clusters` centroids by Lloyd's iterations.
pub(crate) struct KMeans;

const DOC: &str = "\
Groups samples around `num_clusters` centroids by Lloyd's iterations.

Space: numbers minus their mean and divided by their sample standard deviation (as they are with \
`standardize_features = false`), then one indicator for each category, which is not scaled.
Shapes: features (n_samples, n_features); centroids (num_clusters, n_columns), where each category is \
a column.
Nulls: numbers take the mean; NULL is a category of its own, `_null_filler`, where training saw one. A \
category that training did not see has no indicator.
Number of clusters: without `num_clusters`, the whole part of log10(n_samples), at least 2.
Start: `KMEANS++` chooses from a sample of at least 4,096 distinct rows by the greedy k-means++ (the \
best of up to eight choices) and iterates on the sample first; `RANDOM`, the default of BigQuery ML, takes \
random rows of it. `warm_start` continues from the centroids of the model's last version.
Distance: `COSINE` is one minus the cosine; samples then count with length one, and centroids have \
length one.
Iterations: with `early_stop` they end when the loss, the mean squared distance (mean distance for \
`COSINE`), falls by less than `min_rel_progress` of itself; else when it no longer falls. A cluster that \
loses all its samples moves to the row of the sample that is farthest from all centroids.
Radius: the root mean squared distance of a cluster's training samples; `ML.DETECT_ANOMALIES` divides \
distances by it.
Cost: O(n_samples · num_clusters · n_columns) a pass; O(num_clusters · n_columns) memory a partition \
beyond its block.
Determinism: the same model for a seed, whatever the number of threads.
Errors: `TooFewSamples` if there are fewer distinct rows than clusters.
Source: Lloyd 1982, doi:10.1109/TIT.1982.1056489; start: Arthur & Vassilvitskii 2007; cosine: Dhillon & \
Modha 2001, doi:10.1023/A:1007612920971.";

static SPEC: EstimatorSpec = EstimatorSpec {
    name: "kmeans",
    aliases: &["k_means", "k-means"],
    task: Task::Clustering,
    summary: "Groups samples around `num_clusters` centroids by Lloyd's iterations.",
    doc: DOC,
    hyperparameters: &[
        Hyperparameter {
            name: "num_clusters",
            aliases: &["n_clusters", "k"],
            kind: Kind::Integer {
                min: 1,
                max: 10_000,
            },
            default: "NULL",
            doc: "Number of clusters; without it the whole part of log10 of the number of rows, at least 2.",
        },
        Hyperparameter {
            name: "kmeans_init_method",
            aliases: &["init", "init_mode"],
            kind: Kind::Choice(&["KMEANS++", "RANDOM", "CUSTOM"]),
            default: "KMEANS++",
            doc: "How the first centroids are chosen.",
        },
        Hyperparameter {
            name: "kmeans_init_col",
            aliases: &[],
            kind: Kind::Text,
            default: "NULL",
            doc: "For CUSTOM: the BOOL column that marks the first centroids.",
        },
        Hyperparameter {
            name: "distance_type",
            aliases: &["distance_measure"],
            kind: Kind::Choice(&["EUCLIDEAN", "COSINE"]),
            default: "EUCLIDEAN",
            doc: "How far a sample is from a centroid.",
        },
        Hyperparameter {
            name: "standardize_features",
            aliases: &[],
            kind: Kind::Bool,
            default: "TRUE",
            doc: "Whether numbers are shifted by their mean and divided by their sample standard deviation.",
        },
        Hyperparameter {
            name: "max_iterations",
            aliases: &["max_iter"],
            kind: Kind::Integer {
                min: 1,
                max: i64::MAX,
            },
            default: "20",
            doc: "Most iterations; each is one pass over the rows.",
        },
        Hyperparameter {
            name: "early_stop",
            aliases: &[],
            kind: Kind::Bool,
            default: "TRUE",
            doc: "Whether iterations end at the first that brings less than `min_rel_progress`.",
        },
        Hyperparameter {
            name: "min_rel_progress",
            aliases: &[],
            kind: Kind::Float {
                min: 0.0,
                min_inclusive: false,
                max: 1.0,
            },
            default: "0.01",
            doc: "The least fall of the loss, as a part of itself, with which `early_stop` goes on.",
        },
        Hyperparameter {
            name: "warm_start",
            aliases: &[],
            kind: Kind::Bool,
            default: "FALSE",
            doc: "Whether to start from the centroids of the model's last version.",
        },
    ],
    check,
    tags: Tags {
        revisits: true,
        ..Tags::NONE
    },
    inspections: &["centroids"],
    steps: &[
        StepDecoder::of::<SampleStep>(),
        StepDecoder::of::<MarkedStep>(),
        StepDecoder::of::<LloydStep>(),
    ],
    state_steps: &[],
    load: KMeansModel::load,
};

/// Clusters at least where their number is not written.
const FEWEST_AUTOMATIC: u32 = 2;
/// A relative fall of the loss below this is rounding.
const NO_PROGRESS: f64 = 1e-12;

fn check(options: &Options) -> Result<()> {
    let conflict = |message: &str, hint: &str| {
        Err(Error::ConflictingOptions {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let is_custom = options.text("kmeans_init_method") == Some("CUSTOM");
    match (is_custom, options.text("kmeans_init_col").is_some()) {
        (true, false) => conflict(
            "kmeans_init_method 'CUSTOM' needs option \"kmeans_init_col\"",
            "Name a boolean column that is TRUE in the rows to start from.",
        ),
        (false, true) => conflict(
            "option \"kmeans_init_col\" needs kmeans_init_method 'CUSTOM'",
            "Leave out kmeans_init_col.",
        ),
        _ => Ok(()),
    }
}

#[async_trait]
impl Estimator for KMeans {
    fn spec(&self) -> &'static EstimatorSpec {
        &SPEC
    }

    fn beside_device(&self, options: &Options, shape: &SampleShape) -> BesideDevice {
        let distance = distance(options.text_if_known("distance_type"));
        let n_passes = self.passes(options, shape).kept;
        let n_clusters = options.opt_f64_if_known("num_clusters");
        let n_clusters = n_clusters.map_or(u64::from(FEWEST_AUTOMATIC), |n| n as u64);
        let of_passes = n_passes.saturating_mul(distance.moved_bytes());
        BesideDevice {
            on_cpu: 0,
            moved: of_passes.saturating_add(distance.metrics_bytes(n_clusters)),
        }
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let scaling = if options.bool("standardize_features") {
            Scaling::Standardised
        } else {
            Scaling::None
        };
        let distance = distance(options.text("distance_type"));
        let space = FeatureSpace::new(samples.encoder(), scaling);
        let mut fit = Fit {
            samples,
            options,
            run,
            space,
            distance,
            starter: None,
        };
        let centroids = fit.start().await?;
        fit.iterate(centroids).await
    }
}

fn distance(option: Option<&str>) -> Distance {
    match option {
        Some("COSINE") => Distance::Cosine,
        _ => Distance::Euclidean,
    }
}

/// A running fit.
struct Fit<'a> {
    samples: &'a dyn TrainingSet,
    options: &'a Options,
    run: &'a TrainingRun,
    space: FeatureSpace,
    distance: Distance,
    /// Taken when it is first needed, since a warm start may not need it.
    starter: Option<Starter>,
}

impl Fit<'_> {
    async fn start(&mut self) -> Result<Vec<f64>> {
        if let Some(model) = self.run.warm_start.clone() {
            return self.warm_start(model.as_ref());
        }
        if self.options.text("kmeans_init_method") == Some("CUSTOM") {
            return self.marked_start().await;
        }
        let n_samples = self.samples.n_samples(Part::Training);
        let automatic = n_samples
            .checked_ilog10()
            .unwrap_or(0)
            .max(FEWEST_AUTOMATIC) as usize;
        let num_clusters = self.options.opt_usize("num_clusters").unwrap_or(automatic);
        if n_samples < num_clusters as u64 {
            return Err(too_few(num_clusters, n_samples as usize));
        }
        let choice = match self.options.text("kmeans_init_method") {
            Some("RANDOM") => Choice::Random,
            _ => Choice::PlusPlus,
        };
        let starter = self.starter(num_clusters).await?.clone();
        // Choosing may take seconds for many clusters and must not hold up other tasks.
        let chosen = tokio::task::spawn_blocking(move || starter.choose(choice, num_clusters));
        chosen.await.map_err(|source| Error::Internal {
            what: format!("k-means++: {source}"),
        })?
    }

    /// Starts from the rows that `kmeans_init_col` marks.
    async fn marked_start(&self) -> Result<Vec<f64>> {
        /// Start rows at most where num_clusters is not written.
        const MAX_MARKED: usize = 100_000;
        let wanted = self.options.opt_usize("num_clusters");
        let step = MarkedStep {
            limit: wanted.unwrap_or(MAX_MARKED) + 1,
        };
        let marked = reduce(self.samples, &step, Part::Training, Visit::Again, self.run).await?;
        let block = marked.unwrap_or_default().into_block();
        let n_marked = block.n_samples;
        if n_marked == 0 || n_marked > MAX_MARKED || wanted.is_some_and(|wanted| wanted != n_marked)
        {
            let found = match wanted {
                Some(wanted) if n_marked > wanted => format!("more than {wanted}"),
                _ => n_marked.to_string(),
            };
            let column = self.options.text("kmeans_init_col").unwrap_or_default();
            return Err(Error::ConflictingOptions {
                message: format!("column \"{column}\" is TRUE in {found} rows"),
                hint: "It must be TRUE in as many rows as there are clusters.".to_owned(),
            });
        }
        Ok(self.starter_of(block).given())
    }

    fn starter_of(&self, sample: FeatureBlock) -> Starter {
        Starter {
            sample,
            space: self.space.clone(),
            distance: self.distance,
            // The sample is small, and of starts that are equally good a rounding would decide, so that a device would
            // number its clusters otherwise.
            compute: Compute::cpu(),
            seed: self.run.seed,
            cancel: self.run.cancel.clone(),
        }
    }

    fn warm_start(&self, model: &dyn Model) -> Result<Vec<f64>> {
        let conflict = |message: &str, hint: &str| Error::ConflictingOptions {
            message: message.to_owned(),
            hint: hint.to_owned(),
        };
        let model = model
            .as_any()
            .downcast_ref::<KMeansModel>()
            .ok_or_else(|| {
                conflict("warm_start needs a kmeans model", "Set warm_start = false.")
            })?;
        if self.options.is_written("num_clusters")
            && self.options.opt_usize("num_clusters") != Some(model.n_clusters())
        {
            return Err(conflict(
                &format!("warm_start continues with {} clusters", model.n_clusters()),
                "Leave out num_clusters, or set warm_start = false.",
            ));
        }
        model
            .centroids_in(&self.space, self.distance)
            .ok_or_else(|| {
                conflict(
                    "warm_start needs the same features and categories as the model's last version",
                    "Set warm_start = false.",
                )
            })
    }

    async fn starter(&mut self, num_clusters: usize) -> Result<&Starter> {
        if self.starter.is_none() {
            let schema = &self.samples.encoder().schema;
            let step = SampleStep::new(self.run.seed, num_clusters, schema.features.len());
            let sample = reduce(self.samples, &step, Part::Training, Visit::Again, self.run)
                .await?
                .ok_or_else(|| too_few(num_clusters, 0))?;
            self.starter = Some(self.starter_of(sample.into_block()));
        }
        let missing = || Error::Internal {
            what: "k-means has no sample".to_owned(),
        };
        self.starter.as_ref().ok_or_else(missing)
    }

    async fn iterate(&mut self, centroids: Vec<f64>) -> Result<Box<dyn Model>> {
        let max_iterations = self.options.u64("max_iterations");
        let min_rel_progress = if self.options.bool("early_stop") {
            self.options.f64("min_rel_progress").max(NO_PROGRESS)
        } else {
            NO_PROGRESS
        };
        let (space, distance) = (self.space.clone(), self.distance);
        let mut step = LloydStep {
            space,
            distance,
            centroids,
        };
        let mut radii = Vec::new();
        let mut loss = f64::INFINITY;
        let mut has_converged = false;
        for iteration in 0..max_iterations {
            let began = self.run.now();
            let mut update = self.pass(&step).await?;
            let has_moved = self.reseed(&mut update).await?;
            self.record(iteration, &update, began);
            let is_at_rest = update.centroids == step.centroids
                || (loss.is_finite() && loss - update.loss <= min_rel_progress * loss);
            has_converged = is_at_rest && !has_moved;
            (loss, step.centroids, radii) = (update.loss, update.centroids, update.radii);
            if has_converged {
                break;
            }
        }
        if !has_converged {
            let message = format!("k-means did not converge in {max_iterations} iterations");
            self.run.warn(
                "no_convergence",
                message,
                Some("Set max_iterations higher."),
            );
        }
        let LloydStep {
            space,
            distance,
            centroids,
        } = step;
        Ok(Box::new(KMeansModel {
            space,
            distance,
            centroids,
            radii,
        }))
    }

    async fn pass(&self, step: &LloydStep) -> Result<Update> {
        let n_cols = step.space.n_cols();
        let partial = reduce(self.samples, step, Part::Training, Visit::Again, self.run)
            .await?
            .ok_or_else(|| too_few(step.centroids.len() / n_cols, 0))?;
        let update = step.update(&partial);
        if update.loss.is_finite() {
            return Ok(update);
        }
        Err(Error::Diverged {
            estimator: "kmeans".to_owned(),
            what: "squared distances are beyond the range of numbers".to_owned(),
            hint: "Set standardize_features = true, or scale the features in the query.".to_owned(),
        })
    }

    async fn reseed(&mut self, update: &mut Update) -> Result<bool> {
        if update.empty.is_empty() {
            return Ok(false);
        }
        let starter = self.starter(update.sizes.len()).await?;
        starter.reseed(&mut update.centroids, &update.empty)
    }

    fn record(&self, iteration: u64, update: &Update, began: std::time::Duration) {
        let clusters = update.radii.iter().zip(&update.sizes).enumerate();
        let extra = clusters
            .map(|(id, (radius, size))| {
                json!({
                    "centroid_id": id + 1,
                    "cluster_radius": radius,
                    "cluster_size": size.round() as u64,
                })
            })
            .collect();
        self.run.iteration(Iteration {
            iteration,
            loss: update.loss,
            eval_loss: None,
            learning_rate: None,
            duration_ms: self.run.now().saturating_sub(began).as_millis() as u64,
            extra,
        });
    }
}
