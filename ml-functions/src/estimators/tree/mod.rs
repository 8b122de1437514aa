//! Decision trees: what they are, how they are learned, scored and explained, and the estimators that
//! are made of them.
//!
//! Code map, in reading order: `boosted_tree`, `decision_tree` (and `ensemble/random_forest`) describe
//! the model types, `options` their hyperparameters, `estimator` and `fit` walk one training; `survey` →
//! `binning` → `lookup` → `chunk` → `bundling` turn values into bins; `histogram` (`sums_form` between machines) → `split` → `grow_step` (`device_step` on a device) → `growth` →
//! `gathered` → `grow` grow a tree; `objective`, `score_step`, `quantize`, `leaf_step`, `next_tree`, `walk`, `assemble` and `boost` make an ensemble of trees (`resume` goes on with one);
//! `ensemble` and `state` are what is learned and stored; `model` predicts by `scoring` (`device_forest` on a device) and
//! explains by `shap` and `importance`.

mod assemble;
mod binning;
mod boost;
mod boosted_tree;
mod bundling;
mod chunk;
mod decision_tree;
mod device_forest;
mod device_step;
mod driver;
mod ensemble;
mod estimator;
mod fit;
mod gathered;
mod grow;
mod grow_step;
mod growth;
mod histogram;
mod importance;
mod leaf_step;
mod lookup;
mod math;
mod model;
mod next_tree;
mod objective;
mod options;
mod parallel;
mod parameters;
mod prefetch;
mod quantile_step;
mod quantize;
mod random;
mod resume;
mod score_step;
mod scoring;
mod shap;
mod split;
mod state;
mod sums_form;
mod survey;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;

use crate::estimator::Estimator;
use crate::training_set::{StateDecoder, StepDecoder};

pub(in crate::estimators) use estimator::{TreeEstimator, log_loss, tree_spec};
pub(in crate::estimators) use options::{
    MAX_LEAVES, ONE_ITERATION, SCALE_POS_WEIGHT, SHARED, colsample_bynode, concat, l2_reg,
    max_tree_depth, num_parallel_tree, subsample,
};

/// The family's estimators.
pub(crate) static ESTIMATORS: &[&dyn Estimator] = &[
    &boosted_tree::BOOSTED_TREE_CLASSIFIER,
    &boosted_tree::BOOSTED_TREE_REGRESSOR,
    &decision_tree::DECISION_TREE_CLASSIFIER,
    &decision_tree::DECISION_TREE_REGRESSOR,
];

/// The steps over blocks that every tree estimator sends.
const BLOCK_STEPS: &[StepDecoder] = &[StepDecoder::of::<survey::SurveyStep>()];

/// The steps over bins that every tree estimator sends.
const TREE_STEPS: &[StateDecoder] = &[
    StateDecoder::of_start::<chunk::StartTreeChunk>(),
    StateDecoder::of_step::<bundling::ConflictStep>(),
    StateDecoder::of_step::<bundling::BundleStep>(),
    StateDecoder::of_step::<grow_step::GrowStep>(),
    StateDecoder::of_step::<leaf_step::LeafStep>(),
    StateDecoder::of_step::<next_tree::NextTreeStep>(),
    StateDecoder::of_step::<quantile_step::QuantileStep>(),
    StateDecoder::of_step::<score_step::ScoreStep>(),
];
