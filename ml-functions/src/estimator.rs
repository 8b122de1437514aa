//! The contract of an estimator: what it is called, which hyperparameters it has, and how it learns.
//!
//! In: the samples of a training run behind [`TrainingSet`], and checked [`Options`]; out: a fitted
//! [`Model`] with its training curve. An estimator never learns where the partitions live, never
//! reads SQL text and never opens a file.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::model::{Model, ModelContext, ModelState};
use crate::options::{Hyperparameter, Options};
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::{AnyStep, StateDecoder, StepDecoder, TrainingSet};

/// What a model predicts; decides the output columns, the metrics and the common options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A number for each sample.
    Regression,
    /// A probability of each class for each sample.
    Classification,
    /// A group for each sample.
    Clustering,
    /// Coordinates for each sample.
    Decomposition,
}

impl Task {
    /// Whether training needs a label column.
    pub fn is_supervised(self) -> bool {
        matches!(self, Task::Regression | Task::Classification)
    }
}

/// What holds for an estimator beyond its task; each departure from the rule is a tag.
#[derive(Debug, Clone, Copy)]
pub struct Tags {
    /// Gathers all samples in one place instead of learning over partitions.
    pub gathers: bool,
    /// Visits the training samples many times, so that the first reading keeps them encoded.
    pub revisits: bool,
    /// Learns from missing numbers as such: blocks have NaN in their place, not the mean.
    pub keeps_missing: bool,
    /// Why no device but the CPU computes, where that is so.
    pub cpu_only: Option<&'static str>,
    /// Its models are the CPU's to the bit on any device; those of others but for rounding.
    pub is_exact_on_devices: bool,
    /// Why the model may depend on the partitioning, where it does.
    pub inexact_over_partitions: Option<&'static str>,
}

impl Tags {
    /// The rule.
    pub const NONE: Tags = Tags {
        gathers: false,
        revisits: false,
        keeps_missing: false,
        cpu_only: None,
        is_exact_on_devices: false,
        inexact_over_partitions: None,
    };
}

/// The static description of an estimator, from which the registry, the option checks, the
/// documentation pages and the contract suite are made.
pub struct EstimatorSpec {
    /// The canonical name in lower snake case: `linear_reg`.
    pub name: &'static str,
    /// Other names that `model_type` and `USING` accept.
    pub aliases: &'static [&'static str],
    /// What its models predict.
    pub task: Task,
    /// The first sentence of its page.
    pub summary: &'static str,
    /// Its page: shapes, nulls, cost, determinism, errors, source.
    pub doc: &'static str,
    /// Its own hyperparameters; the common ones of the task are added by `Options`.
    pub hyperparameters: &'static [Hyperparameter],
    /// Checks that concern more than one option.
    pub check: fn(&Options) -> Result<()>,
    /// Departures from the rule.
    pub tags: Tags,
    /// The `ML.` functions that its models answer beyond predict, evaluate, feature_info and
    /// training_info, in lower case without `ml.`: `weights`.
    pub inspections: &'static [&'static str],
    /// The steps that it sends to partitions, so that another machine can decode them.
    pub steps: &'static [StepDecoder],
    /// The steps over states that it sends to partitions.
    pub state_steps: &'static [StateDecoder],
    /// Makes a model of its saved state.
    pub load: fn(&ModelState, &ModelContext) -> Result<Box<dyn Model>>,
}

/// Passes over the rows of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// Readings of the training query.
    pub source: u64,
    /// Passes over encoded samples that are kept; 0 where none are.
    pub kept: u64,
}

/// Bytes of each sample that metrics bring back of a model with one output, a number.
pub const METRICS_BYTES: u64 = 8;

/// What a training on a device takes beside its kernels, in bytes for each sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BesideDevice {
    /// What the CPU passes over, whatever the device.
    pub on_cpu: u64,
    /// What is moved to the device and from it beside the samples.
    pub moved: u64,
}

/// An algorithm that learns a model from samples.
#[async_trait]
pub trait Estimator: Send + Sync {
    /// Its static description.
    fn spec(&self) -> &'static EstimatorSpec;

    /// About how often a training passes over its rows, unless it ends early, for `EXPLAIN`.
    fn passes(&self, options: &Options, shape: &SampleShape) -> Passes {
        let tags = self.spec().tags;
        let needs_dictionary = shape.n_categorical > 0 || options.weighs_classes();
        let keeps = tags.revisits || tags.gathers;
        let factor = |name| {
            options
                .opt_f64_if_known(name)
                .map_or(1, |value| value as u64)
        };
        let iterations = factor("max_iterations").saturating_mul(factor("num_parallel_tree"));
        Passes {
            // The statistics, the samples unless the first reading kept them, and the metrics.
            source: 1 + u64::from(needs_dictionary || !tags.revisits) + u64::from(!keeps),
            kept: iterations.saturating_mul(factor("max_tree_depth")),
        }
    }

    /// What a device neither keeps nor computes of a training, to weigh it against the CPU; the predictions that the
    /// metrics are made of among it.
    fn beside_device(&self, _options: &Options, _shape: &SampleShape) -> BesideDevice {
        BesideDevice {
            on_cpu: 0,
            moved: METRICS_BYTES,
        }
    }

    /// A step that may run over the training samples while they are read for the first time, when no
    /// statistics are known yet: blocks hold numbers as they are, NaN where they are missing. It is
    /// asked for only where no feature is a category. Its partial is
    /// [`TrainingSet::take_first_partial`]; a training set may ignore it.
    fn first_step(&self, _options: &Options, _shape: &SampleShape) -> Option<Arc<dyn AnyStep>> {
        None
    }

    /// Learns from the samples; `options` are already checked.
    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>>;
}
