//! `decision_tree_classifier` and `decision_tree_regressor`: one tree.

use super::estimator::{TreeEstimator, tree_spec};
use super::objective::Objective;
use super::options::{
    MAX_LEAVES, ONE_ITERATION, SCALE_POS_WEIGHT, SHARED, colsample_bynode, concat, l2_reg,
    max_tree_depth,
};
use crate::estimator::{EstimatorSpec, Task};
use crate::options::Hyperparameter;

const DOC: &str = "\
Splits the rows level by level, each time by the feature and the value that leave the least squared error. Of a class indicator \
that is Gini's impurity: a leaf of a classifier answers with the frequencies of its classes. Of more than two classes each has a \
tree of its own, and their frequencies are scaled to sum to one.

Shapes, nulls, categories: as `boosted_tree_classifier`.
Cost: O(rows · features) a level.
Deterministic: sums are integers, so the tree does not depend on threads, partitions or memory.
Errors: a monotone direction for a column that is no numeric feature.
Source: Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees.";

static REGRESSION: [Hyperparameter; 16] = concat(&[
    &[
        // As Spark MLlib's: a tree of any depth learns its training rows by heart.
        max_tree_depth("5"),
        MAX_LEAVES,
        colsample_bynode("1"),
        l2_reg("0"),
    ],
    &ONE_ITERATION,
    &SHARED,
]);

static CLASSIFICATION: [Hyperparameter; 17] = concat(&[&REGRESSION, &[SCALE_POS_WEIGHT]]);

static CLASSIFIER: EstimatorSpec = tree_spec(
    "decision_tree_classifier",
    &[],
    Task::Classification,
    "Predicts the class frequencies of a leaf of one tree.",
    DOC,
    &CLASSIFICATION,
);

static REGRESSOR: EstimatorSpec = tree_spec(
    "decision_tree_regressor",
    &[],
    Task::Regression,
    "Predicts the mean label of a leaf of one tree.",
    DOC,
    &REGRESSION,
);

fn frequencies(n_classes: usize) -> Objective {
    Objective::Frequencies { n_classes }
}

pub(super) static DECISION_TREE_CLASSIFIER: TreeEstimator = TreeEstimator {
    spec: &CLASSIFIER,
    of_classes: frequencies,
};

pub(super) static DECISION_TREE_REGRESSOR: TreeEstimator = TreeEstimator {
    spec: &REGRESSOR,
    of_classes: frequencies,
};
