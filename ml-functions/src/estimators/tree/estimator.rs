//! The estimator behind every tree model type: they differ in their descriptions and defaults alone.
//!
//! In: a spec; out: an [`Estimator`] that learns what the spec's task and options say.

use async_trait::async_trait;

use super::fit::{fit, target};
use super::model::TreeModel;
use super::objective::Objective;
use super::options::{check, regression_objective};
use super::{BLOCK_STEPS, TREE_STEPS};
use crate::error::Result;
use crate::estimator::{Estimator, EstimatorSpec, Passes, Tags, Task};
use crate::model::Model;
use crate::options::{Hyperparameter, Options};
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::TrainingSet;

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

#[async_trait]
impl Estimator for TreeEstimator {
    fn spec(&self) -> &'static EstimatorSpec {
        self.spec
    }

    /// A tree samples its rows, sums a level a pass, brings small nodes together, sums its leaves and scores both parts; those
    /// that begin in the pass which scores the one before, and gather nothing, need two passes less.
    fn passes(&self, options: &Options, _: &SampleShape) -> Passes {
        let factor = |name| {
            options
                .opt_f64_if_known(name)
                .map_or(1, |value| value as u64)
        };
        let n_trees = factor("max_iterations").saturating_mul(factor("num_parallel_tree"));
        let of_tree = factor("max_tree_depth").saturating_add(4);
        Passes {
            // The statistics, the samples and the metrics.
            source: 3,
            kept: n_trees.saturating_mul(of_tree).saturating_add(4),
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
