//! `boosted_tree_classifier` and `boosted_tree_regressor`: gradient boosting over histograms.

use super::estimator::{TreeEstimator, log_loss, tree_spec};
use super::options::{
    BOOSTING, LOSSES, MAX_LEAVES, SCALE_POS_WEIGHT, SHARED, colsample_bynode, concat, l2_reg,
    max_tree_depth, num_parallel_tree, subsample,
};
use crate::estimator::{EstimatorSpec, Task};
use crate::options::Hyperparameter;

const DOC: &str = "\
Adds trees one after another, each fitted to the gradients of the loss at the scores so far (XGBoost's second-order gain and leaf \
values). A classifier of two classes minimises log loss with one score, of more classes softmax log loss with a score and a tree \
for each class; a regressor minimises `objective`.

Shapes: a feature is one column of at most 255 bins and one for NULL; text is one column however many categories it has.
Nulls: NULL and NaN numbers go the way that training found better at each split, the side of more rows where training saw none. \
NULL text is a category. A category that training never saw goes the same way as a missing number.
Categories: a split takes the best set of categories by their gradient statistics. Beyond 255 categories they are first grouped by \
their mean label in the training part.
Growth: DEPTH_WISE splits every leaf of a level that gains; LOSS_GUIDE with `max_leaves` splits the leaf that gains most, as \
LightGBM does.
Early stopping: training ends after an iteration that lowers the evaluation loss (the training loss where no row is held out) by \
less than `min_rel_progress`; the trees of that iteration stay.
Cost: O(rows · features) a level; about 1 byte a value and 20 bytes a row in memory, beyond the memory limit on disk.
Deterministic: gradients are summed as integers, so the trees do not depend on threads, partitions or memory.
Errors: a monotone direction for a column that is no numeric feature; negative labels with POISSON and TWEEDIE.
Source: Chen and Guestrin 2016, doi:10.1145/2939672.2939785; Ke et al. 2017, LightGBM; Rashmi and Gilad-Bachrach 2015, DART.";

static REGRESSION: [Hyperparameter; 28] = concat(&[
    &BOOSTING,
    &[
        max_tree_depth("6"),
        MAX_LEAVES,
        num_parallel_tree("1", 1, &[]),
        subsample("1"),
        colsample_bynode("1"),
        l2_reg("1"),
    ],
    &SHARED,
    &LOSSES,
]);

static CLASSIFICATION: [Hyperparameter; 25] = concat(&[
    &BOOSTING,
    &[
        max_tree_depth("6"),
        MAX_LEAVES,
        num_parallel_tree("1", 1, &[]),
        subsample("1"),
        colsample_bynode("1"),
        l2_reg("1"),
        SCALE_POS_WEIGHT,
    ],
    &SHARED,
]);

static CLASSIFIER: EstimatorSpec = tree_spec(
    "boosted_tree_classifier",
    &[
        "gradient_boosting_classifier",
        "hist_gradient_boosting_classifier",
        "xgb_classifier",
        "lgbm_classifier",
        "gbt_classifier",
    ],
    Task::Classification,
    "Predicts a class by the sum of many trees, each correcting those before it.",
    DOC,
    &CLASSIFICATION,
);

static REGRESSOR: EstimatorSpec = tree_spec(
    "boosted_tree_regressor",
    &[
        "gradient_boosting_regressor",
        "hist_gradient_boosting_regressor",
        "xgb_regressor",
        "lgbm_regressor",
        "gbt_regressor",
    ],
    Task::Regression,
    "Predicts a number by the sum of many trees, each correcting those before it.",
    DOC,
    &REGRESSION,
);

pub(super) static BOOSTED_TREE_CLASSIFIER: TreeEstimator = TreeEstimator {
    spec: &CLASSIFIER,
    of_classes: log_loss,
};

pub(super) static BOOSTED_TREE_REGRESSOR: TreeEstimator = TreeEstimator {
    spec: &REGRESSOR,
    of_classes: log_loss,
};
