//! The estimator behind every tree model type: they differ in their descriptions and defaults alone.
//!
//! In: a spec; out: an [`Estimator`] that learns what the spec's task and options say.

use async_trait::async_trait;

use super::fit::{fit, target};
use super::model::TreeModel;
use super::objective::Objective;
use super::options::{check, regression_objective};
use super::quantile_step::QUANTILE_PASSES;
use super::{BLOCK_STEPS, TREE_STEPS};
use crate::compute::BLOCK_ROWS;
use crate::error::Result;
use crate::estimator::{BesideDevice, Estimator, EstimatorSpec, METRICS_BYTES, Passes, Tags, Task};
use crate::model::Model;
use crate::options::{Hyperparameter, Options};
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::TrainingSet;

/// Of a sample and tree, the CPU reads its label and its score, and writes its next score and its gradient.
const BYTES_BETWEEN_TREES: u64 = 28;
/// Of a node's column: a gradient and a hessian for each of 256 bins.
const BYTES_OF_SUMS: u64 = 4096;
/// Deeper trees seldom have all nodes of their deepest level.
const DEEPEST_WHOLE_TREE: u64 = 10;

/// The description of a tree model type.
pub(in crate::estimators) const fn tree_spec(
    name: &'static str,
    aliases: &'static [&'static str],
    task: Task,
    summary: &'static str,
    doc: &'static str,
    hyperparameters: &'static [Hyperparameter],
) -> EstimatorSpec {
    EstimatorSpec {
        name,
        aliases,
        task,
        summary,
        doc,
        hyperparameters,
        check,
        tags: Tags {
            keeps_missing: true,
            // Histograms add whole numbers.
            is_exact_on_devices: true,
            ..Tags::NONE
        },
        inspections: &["feature_importance"],
        steps: BLOCK_STEPS,
        state_steps: TREE_STEPS,
        load: TreeModel::load,
    }
}

/// A tree model type.
pub(in crate::estimators) struct TreeEstimator {
    /// Its description.
    pub(in crate::estimators) spec: &'static EstimatorSpec,
    /// What a classifier of so many classes minimises.
    pub(in crate::estimators) of_classes: fn(usize) -> Objective,
}

/// Log loss, as boosting and XGBoost's forests minimise it.
pub(in crate::estimators) fn log_loss(n_classes: usize) -> Objective {
    if n_classes == 2 {
        Objective::Logistic
    } else {
        Objective::Softmax { n_classes }
    }
}

/// What a tree of any depth is taken for: below a few levels, nodes are gathered.
const LEVELS_OF_ANY_DEPTH: u64 = 3;

#[async_trait]
impl Estimator for TreeEstimator {
    fn spec(&self) -> &'static EstimatorSpec {
        self.spec
    }

    /// A tree of depth `d` sums its root, `d - 1` levels and its leaves, and its values reach the scores of both parts in one
    /// pass more; the first of an iteration is begun in the pass that scores the one before, unless trees are dropped in
    /// between. Nodes that are gathered, and leaves above the greatest depth, make it less.
    fn passes(&self, options: &Options, _: &SampleShape) -> Passes {
        let factor = |name| {
            options
                .opt_f64_if_known(name)
                .map_or(1, |value| value as u64)
        };
        let objective = match self.spec.task {
            Task::Classification => (self.of_classes)(2),
            _ => regression_objective(options),
        };
        let depth = match factor("max_tree_depth") {
            0 => LEVELS_OF_ANY_DEPTH,
            depth => depth,
        };
        let narrowing = objective.leaf_quantile().map_or(0, |_| QUANTILE_PASSES);
        let of_tree = depth + 1 + narrowing;
        let is_dart = options.text_if_known("booster_type") == Some("DART");
        let n_parallel = factor("num_parallel_tree").max(1);
        let begun_alone = n_parallel - u64::from(!is_dart);
        let of_iteration = n_parallel.saturating_mul(of_tree) + begun_alone;
        Passes {
            // The statistics, the samples and the metrics.
            source: 3,
            // Both parts as bins, their first losses and gradients, and the metrics.
            kept: factor("max_iterations")
                .saturating_mul(of_iteration)
                .saturating_add(4),
        }
    }

    /// Of each tree: gradients, scores and sums of leaves on the CPU; to the device gradients, from it the order of rows a
    /// level, and the sums of half of each level's nodes, which are so many bytes a chunk.
    fn beside_device(&self, options: &Options, shape: &SampleShape) -> BesideDevice {
        let factor = |name| {
            let value = options.opt_f64_if_known(name);
            value.map_or(1, |value| value as u64).max(1)
        };
        let n_trees = factor("max_iterations").saturating_mul(factor("num_parallel_tree"));
        let depth = match options.opt_f64_if_known("max_tree_depth") {
            Some(depth) if depth >= 1.0 => (depth as u64).min(DEEPEST_WHOLE_TREE),
            _ => LEVELS_OF_ANY_DEPTH,
        };
        let n_columns = (shape.n_numeric + shape.n_categorical) as u64;
        let sums = (n_columns << (depth - 1)) * BYTES_OF_SUMS / BLOCK_ROWS;
        BesideDevice {
            on_cpu: n_trees.saturating_mul(BYTES_BETWEEN_TREES),
            moved: (n_trees.saturating_mul(4 + 2 * depth + sums)).saturating_add(METRICS_BYTES),
        }
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let objective = if self.spec.task == Task::Classification {
            (self.of_classes)(target(samples)?.classes.len())
        } else {
            regression_objective(options)
        };
        Ok(Box::new(fit(samples, objective, options, run).await?))
    }
}
