//! `random_forest_classifier` and `random_forest_regressor`: many trees on random shares of the rows
//! and features.

use crate::estimator::{EstimatorSpec, Task};
use crate::estimators::tree::{
    MAX_LEAVES, ONE_ITERATION, SCALE_POS_WEIGHT, SHARED, TreeEstimator, colsample_bynode, concat,
    l2_reg, log_loss, max_tree_depth, num_parallel_tree, subsample, tree_spec,
};
use crate::options::Hyperparameter;

const DOC: &str = "\
Grows `num_parallel_tree` trees on the same gradients, each on its own share `subsample` of the rows, each split on its own share \
`colsample_bynode` of the features, and adds their leaves up, each for its part. That is one iteration of boosting, as XGBoost's \
and BigQuery's forests are: a classifier takes one second-order step on log loss from the class frequencies.

Shapes, nulls, categories: as `boosted_tree_classifier`. There is no `max_iterations` and no `learn_rate`.
Cost: O(trees · rows · features) a level; memory as for boosting, whatever the number of trees.
Deterministic: sums are integers and samples are drawn by a hash of the seed, so the forest does not depend on threads, partitions \
or memory.
Errors: a monotone direction for a column that is no numeric feature.
Source: Breiman 2001, doi:10.1023/A:1010933404324.";

static REGRESSION: [Hyperparameter; 18] = concat(&[
    &[
        num_parallel_tree("100", 2, &["n_estimators", "num_trees"]),
        // BigQuery ML's default for forests.
        max_tree_depth("15"),
        MAX_LEAVES,
        subsample("0.8"),
        colsample_bynode("0.8"),
        l2_reg("1"),
    ],
    &ONE_ITERATION,
    &SHARED,
]);

static CLASSIFICATION: [Hyperparameter; 19] = concat(&[&REGRESSION, &[SCALE_POS_WEIGHT]]);

static CLASSIFIER: EstimatorSpec = tree_spec(
    "random_forest_classifier",
    &[],
    Task::Classification,
    "Predicts a class by the vote of many trees, each on a random share of the rows.",
    DOC,
    &CLASSIFICATION,
);

static REGRESSOR: EstimatorSpec = tree_spec(
    "random_forest_regressor",
    &[],
    Task::Regression,
    "Predicts a number by the mean of many trees, each on a random share of the rows.",
    DOC,
    &REGRESSION,
);

pub(super) static RANDOM_FOREST_CLASSIFIER: TreeEstimator = TreeEstimator {
    spec: &CLASSIFIER,
    of_classes: log_loss,
};

pub(super) static RANDOM_FOREST_REGRESSOR: TreeEstimator = TreeEstimator {
    spec: &REGRESSOR,
    of_classes: log_loss,
};
