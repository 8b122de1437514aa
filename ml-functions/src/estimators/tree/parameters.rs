//! The hyperparameters of tree training, already checked, with the defaults of BigQuery ML.

use super::objective::Objective;

/// In which order leaves are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum GrowPolicy {
    /// All leaves of a level before those of the next.
    DepthWise,
    /// The leaf with the greatest gain first.
    LossGuide,
}

/// How the weights of trees change when dropped trees come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum DartNormalization {
    /// The new tree weighs as much as each dropped one.
    Tree,
    /// The new tree weighs as much as all dropped ones together.
    Forest,
}

/// DART's options.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dart {
    /// Probability of each earlier tree to be left out of an iteration's scores.
    pub(crate) dropout: f64,
    /// How weights change afterwards.
    pub(crate) normalization: DartNormalization,
}

/// What of the columns a tree, a level and a node may split on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ColumnSampling {
    /// Fraction of the columns for each tree.
    pub(crate) by_tree: f64,
    /// Fraction of the tree's columns for each depth.
    pub(crate) by_level: f64,
    /// Fraction of the level's columns for each node.
    pub(crate) by_node: f64,
}

/// What a split must satisfy and how leaves are regularised.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Regularization {
    /// XGBoost's `alpha`.
    pub(crate) l1_reg: f64,
    /// XGBoost's `lambda`.
    pub(crate) l2_reg: f64,
    /// XGBoost's `gamma`: the least gain of a split.
    pub(crate) min_split_loss: f64,
    /// The least sum of hessians of a child.
    pub(crate) min_tree_child_weight: f64,
    /// The greatest magnitude of a leaf's value before the learn rate; 0 for any.
    pub(crate) max_delta_step: f64,
    /// Added to the sum of hessians of a category when categories are put in order.
    pub(crate) category_smoothing: f64,
    /// Added to `l2_reg` in the gain of splits of more than four categories, as the best of many
    /// partitions looks better than it is.
    pub(crate) category_l2: f64,
    /// Per feature: 1 if the score must not fall with it, -1 if it must not rise, else 0. Empty for
    /// none; categorical features have 0.
    pub(crate) monotone: Vec<i8>,
}

/// Everything that decides what is learned.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct TreeParameters {
    /// What is minimised.
    pub(crate) objective: Objective,
    /// Iterations of boosting.
    pub(crate) max_iterations: usize,
    /// Factor of every leaf's value.
    pub(crate) learn_rate: f64,
    /// Trees that an iteration grows on the same gradients, each for its share of the step.
    pub(crate) num_parallel_tree: usize,
    /// Order of growth.
    pub(crate) grow_policy: GrowPolicy,
    /// Greatest depth of a leaf; 0 for any.
    pub(crate) max_tree_depth: usize,
    /// Greatest number of leaves; 0 for any.
    pub(crate) max_leaves: usize,
    /// Of splits and leaves.
    pub(crate) regularization: Regularization,
    /// Fraction of the samples for each tree.
    pub(crate) subsample: f64,
    /// Fractions of the columns.
    pub(crate) columns: ColumnSampling,
    /// `None` for plain boosting.
    pub(crate) dart: Option<Dart>,
    /// Stop when an iteration lowers the held-out loss by less than this fraction of it; `None` to
    /// run all iterations.
    pub(crate) min_rel_progress: Option<f64>,
    /// Where all randomness starts.
    pub(crate) seed: u64,
    /// Memory for histograms and rows of leaves that wait for their split.
    pub(crate) working_bytes: usize,
    /// Whether sparse columns may share a byte.
    pub(crate) bundles: bool,
    /// Nodes of up to this number of rows are split where all their rows are brought together.
    pub(crate) gather_rows: u64,
}

impl TreeParameters {
    /// The defaults of BigQuery ML's boosted trees.
    pub(crate) fn boosted(objective: Objective) -> TreeParameters {
        TreeParameters {
            objective,
            max_iterations: 20,
            learn_rate: 0.3,
            num_parallel_tree: 1,
            grow_policy: GrowPolicy::DepthWise,
            max_tree_depth: 6,
            max_leaves: 0,
            regularization: Regularization {
                l1_reg: 0.0,
                l2_reg: 1.0,
                min_split_loss: 0.0,
                min_tree_child_weight: 1.0,
                max_delta_step: objective.max_delta_step(),
                category_smoothing: 10.0,
                category_l2: 10.0,
                monotone: Vec::new(),
            },
            subsample: 1.0,
            columns: ColumnSampling {
                by_tree: 1.0,
                by_level: 1.0,
                by_node: 1.0,
            },
            dart: None,
            min_rel_progress: Some(0.01),
            seed: 0,
            working_bytes: 256 << 20,
            bundles: true,
            gather_rows: 8192,
        }
    }

    /// The defaults of BigQuery ML's random forests: one iteration of a hundred trees.
    #[cfg(test)]
    pub(crate) fn forest(objective: Objective) -> TreeParameters {
        let boosted = TreeParameters::boosted(objective);
        TreeParameters {
            max_iterations: 1,
            learn_rate: 1.0,
            num_parallel_tree: 100,
            max_tree_depth: 15,
            subsample: 0.8,
            columns: ColumnSampling {
                by_node: 0.8,
                ..boosted.columns
            },
            min_rel_progress: None,
            ..boosted
        }
    }
}
