//! The hyperparameters that tree estimators share, and what they mean for training.
//!
//! In: checked [`Options`]; out: [`TreeParameters`]. Names and defaults are BigQuery ML's, then
//! XGBoost's, LightGBM's and scikit-learn's.

use super::objective::Objective;
use super::parameters::{
    ColumnSampling, Dart, DartNormalization, GrowPolicy, Regularization, TreeParameters,
};
use crate::error::{Error, Result};
use crate::features::{FeatureEncoder, FeatureKind};
use crate::options::{Hyperparameter, Kind, Options};

/// Trees of one training at most, so that a slip of the pen is an error at once.
const MAX_TREES: i64 = 1_000_000;

const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

/// A number of at least 0.
const fn cost() -> Kind {
    Kind::Float {
        min: 0.0,
        min_inclusive: true,
        max: f64::MAX,
    }
}

/// A number above 0 and at most `max`.
const fn positive(max: f64) -> Kind {
    Kind::Float {
        min: 0.0,
        min_inclusive: false,
        max,
    }
}

pub(in crate::estimators) const fn max_tree_depth(default: &'static str) -> Hyperparameter {
    let aliases = &["max_depth"];
    let doc = "Splits on the way to a leaf at most; 0 for any number.";
    Hyperparameter::new("max_tree_depth", aliases, integer(0, 1_000), default, doc)
}

pub(in crate::estimators) const fn subsample(default: &'static str) -> Hyperparameter {
    let aliases = &["bagging_fraction", "subsampling_rate"];
    let doc = "Share of the rows that each tree sees, drawn anew for each.";
    Hyperparameter::new("subsample", aliases, positive(1.0), default, doc)
}

pub(in crate::estimators) const fn colsample_bynode(default: &'static str) -> Hyperparameter {
    let aliases = &["feature_fraction_bynode", "max_features"];
    let doc = "Share of the features that each split may use, of those of its level.";
    Hyperparameter::new("colsample_bynode", aliases, positive(1.0), default, doc)
}

pub(in crate::estimators) const fn num_parallel_tree(
    default: &'static str,
    min: i64,
    aliases: &'static [&'static str],
) -> Hyperparameter {
    let doc = "Trees grown on the same gradients, each for its share of the step.";
    Hyperparameter::new(
        "num_parallel_tree",
        aliases,
        integer(min, 100_000),
        default,
        doc,
    )
}

pub(in crate::estimators) const fn l2_reg(default: &'static str) -> Hyperparameter {
    let doc = "Cost of half the squared value of a leaf; XGBoost's lambda.";
    Hyperparameter::new("l2_reg", &["reg_lambda", "lambda_l2"], cost(), default, doc)
}

pub(in crate::estimators) const MAX_LEAVES: Hyperparameter = Hyperparameter::new(
    "max_leaves",
    &["num_leaves", "max_leaf_nodes"],
    integer(0, 1_000_000),
    "0",
    "Leaves of a tree at most; 0 for any number.",
);

/// The hyperparameters of every tree estimator beside those whose default is its own.
pub(in crate::estimators) const SHARED: [Hyperparameter; 9] = [
    Hyperparameter::new(
        "min_tree_child_weight",
        &["min_child_weight", "min_sum_hessian_in_leaf"],
        cost(),
        "1",
        "Sum of hessians that each side of a split needs at least; for squared errors the number of rows.",
    ),
    Hyperparameter::new(
        "min_split_loss",
        &["gamma", "min_gain_to_split", "min_impurity_decrease"],
        cost(),
        "0",
        "Loss that a split must save at least.",
    ),
    Hyperparameter::new(
        "l1_reg",
        &["reg_alpha", "lambda_l1"],
        cost(),
        "0",
        "Cost of the absolute value of a leaf; XGBoost's alpha.",
    ),
    Hyperparameter::new(
        "colsample_bytree",
        &["feature_fraction"],
        positive(1.0),
        "1",
        "Share of the features that each tree may use.",
    ),
    Hyperparameter::new(
        "colsample_bylevel",
        &[],
        positive(1.0),
        "1",
        "Share of the features that each level may use, of those of its tree.",
    ),
    Hyperparameter::new(
        "max_bin",
        &["max_bins"],
        integer(2, 255),
        "255",
        "Bins of a number at most; NULL has one more.",
    ),
    Hyperparameter::new(
        "tree_method",
        &[],
        Kind::Choice(&["AUTO", "EXACT", "APPROX", "HIST"]),
        "AUTO",
        "XGBoost's choice of algorithm; every value means histograms, which are exact for features of at most max_bin values.",
    ),
    Hyperparameter::new(
        "monotone_constraints",
        &["monotonic_cst"],
        Kind::Directions,
        "NULL",
        "Features with which the prediction may only rise (1) or only fall (-1): [STRUCT('age', 1)].",
    ),
    Hyperparameter::new(
        "category_encoding_method",
        &["category_encoding"],
        Kind::Choice(&[
            "NATIVE",
            "ONE_HOT_ENCODING",
            "TARGET_ENCODING",
            "LABEL_ENCODING",
            "ONE_HOT",
            "TARGET",
            "LABEL",
        ]),
        "NATIVE",
        "BigQuery's choice of encoding; every value means that a split takes the best set of categories, which includes what the encodings can express.",
    ),
];

/// A hyperparameter of classifiers.
pub(in crate::estimators) const SCALE_POS_WEIGHT: Hyperparameter = Hyperparameter::new(
    "scale_pos_weight",
    &[],
    positive(f64::MAX),
    "1",
    "Weight of the rows of the positive class, where there are two classes.",
);

/// Options of boosting that every tree accepts, and that change nothing where there is one iteration.
pub(in crate::estimators) const ONE_ITERATION: [Hyperparameter; 3] = [
    Hyperparameter::new(
        "early_stop",
        &["early_stopping"],
        Kind::Bool,
        "TRUE",
        "Accepted as for boosted trees; without effect, since there is one iteration.",
    ),
    Hyperparameter::new(
        "min_rel_progress",
        &["tol"],
        positive(f64::MAX),
        "0.01",
        "See early_stop.",
    ),
    APPROX_GLOBAL_FEATURE_CONTRIB,
];

/// The hyperparameters of boosting.
pub(in crate::estimators) const BOOSTING: [Hyperparameter; 9] = [
    Hyperparameter::new(
        "max_iterations",
        &[
            "num_boost_round",
            "num_iterations",
            "n_iter",
            "n_estimators",
            "num_trees",
        ],
        integer(1, MAX_TREES),
        "20",
        "Iterations at most; each adds num_parallel_tree trees, a classifier of several classes as many for each class.",
    ),
    Hyperparameter::new(
        "learn_rate",
        &["learning_rate", "eta"],
        positive(f64::MAX),
        "0.3",
        "Factor of every leaf.",
    ),
    Hyperparameter::new(
        "early_stop",
        &["early_stopping"],
        Kind::Bool,
        "TRUE",
        "Whether training ends after an iteration that lowers the evaluation loss by a smaller share than min_rel_progress.",
    ),
    Hyperparameter::new(
        "min_rel_progress",
        &["tol"],
        positive(f64::MAX),
        "0.01",
        "See early_stop.",
    ),
    Hyperparameter::new(
        "grow_policy",
        &[],
        Kind::Choice(&["DEPTH_WISE", "LOSS_GUIDE", "DEPTHWISE", "LOSSGUIDE"]),
        "DEPTH_WISE",
        "Whether trees grow level by level, or at the leaf that saves most.",
    ),
    Hyperparameter::new(
        "booster_type",
        &["booster"],
        Kind::Choice(&["GBTREE", "DART"]),
        "GBTREE",
        "Whether an iteration leaves earlier trees out (DART).",
    ),
    Hyperparameter::new(
        "dropout",
        &["rate_drop"],
        Kind::Float {
            min: 0.0,
            min_inclusive: true,
            max: 1.0,
        },
        "0",
        "DART: share of the earlier trees that an iteration leaves out.",
    ),
    Hyperparameter::new(
        "dart_normalize_type",
        &["normalize_type"],
        Kind::Choice(&["TREE", "FOREST"]),
        "TREE",
        "DART: whether a new tree weighs as each of the trees left out, or as all of them.",
    ),
    APPROX_GLOBAL_FEATURE_CONTRIB,
];

/// BigQuery's choice between exact and approximate attributions.
const APPROX_GLOBAL_FEATURE_CONTRIB: Hyperparameter = Hyperparameter::new(
    "approx_global_feature_contrib",
    &[],
    Kind::Bool,
    "FALSE",
    "Accepted for BigQuery's text; attributions are exact.",
);

/// The losses of regressors.
pub(in crate::estimators) const LOSSES: [Hyperparameter; 4] = [
    Hyperparameter::new(
        "objective",
        &["loss_function"],
        Kind::Choice(&["SQUARED_ERROR", "POISSON", "TWEEDIE", "QUANTILE", "HUBER"]),
        "SQUARED_ERROR",
        "What is minimised; POISSON and TWEEDIE predict the mean of labels of at least 0.",
    ),
    Hyperparameter::new(
        "quantile_alpha",
        &["alpha_quantile"],
        Kind::Float {
            min: 0.0,
            min_inclusive: false,
            max: 1.0,
        },
        "0.5",
        "QUANTILE: which quantile is predicted.",
    ),
    Hyperparameter::new(
        "tweedie_variance_power",
        &[],
        Kind::Float {
            min: 1.0,
            min_inclusive: false,
            max: 2.0,
        },
        "1.5",
        "TWEEDIE: power of the mean that the variance grows with, above 1 and below 2.",
    ),
    Hyperparameter::new(
        "huber_slope",
        &["huber_delta"],
        positive(f64::MAX),
        "1",
        "HUBER: the error beyond which the loss grows in a straight line.",
    ),
];

/// Lists of hyperparameters as one.
pub(in crate::estimators) const fn concat<const N: usize>(
    lists: &[&[Hyperparameter]],
) -> [Hyperparameter; N] {
    let mut all = [SHARED[0]; N];
    let (mut list, mut filled) = (0, 0);
    while list < lists.len() {
        let mut idx = 0;
        while idx < lists[list].len() {
            all[filled] = lists[list][idx];
            filled += 1;
            idx += 1;
        }
        list += 1;
    }
    assert!(
        filled == N,
        "the lists have another number of hyperparameters"
    );
    all
}

/// Which options go together.
pub(in crate::estimators) fn check(options: &Options) -> Result<()> {
    let conflict = |message: &str, hint: &str| {
        Err(Error::ConflictingOptions {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    if options.text_if_known("booster_type") != Some("DART") {
        for name in ["dropout", "dart_normalize_type"] {
            if options.is_written(name) {
                let message = format!("option \"{name}\" needs booster_type 'DART'");
                return conflict(&message, "Set booster_type = 'DART'.");
            }
        }
    }
    for (option, objective) in [
        ("quantile_alpha", "QUANTILE"),
        ("tweedie_variance_power", "TWEEDIE"),
        ("huber_slope", "HUBER"),
    ] {
        if options.is_written(option) && options.text_if_known("objective") != Some(objective) {
            let message = format!("option \"{option}\" needs objective '{objective}'");
            return conflict(&message, &format!("Set objective = '{objective}'."));
        }
    }
    let weighs_all = options.class_weights().is_some() || options.is_true("auto_class_weights");
    if options.scale_pos_weight().is_some() && weighs_all {
        return conflict(
            "option \"scale_pos_weight\" does not go with class weights",
            "Write one of them.",
        );
    }
    let boosts = options.opt_f64_if_known("learn_rate").is_some();
    if options.is_true("warm_start") && !boosts {
        return conflict(
            "warm_start adds trees that correct the last version's, which only boosted trees have",
            "Leave out warm_start to train anew.",
        );
    }
    for (name, end) in [("quantile_alpha", 1.0), ("tweedie_variance_power", 2.0)] {
        if options.is_written(name) && options.f64(name) >= end {
            let least = end - 1.0;
            return Err(Error::InvalidOption {
                name: name.to_owned(),
                expected: format!("greater than {least} and less than {end}"),
                found: end.to_string(),
            });
        }
    }
    let is_loss_guide = is_loss_guide(options);
    let is_bounded = options.usize("max_tree_depth") > 0 || options.usize("max_leaves") > 0;
    if is_loss_guide && !is_bounded {
        return conflict(
            "grow_policy 'LOSS_GUIDE' needs a bound",
            "Set max_leaves, max_tree_depth or both.",
        );
    }
    Ok(())
}

fn is_loss_guide(options: &Options) -> bool {
    matches!(
        options.text_if_known("grow_policy"),
        Some("LOSS_GUIDE" | "LOSSGUIDE")
    )
}

/// What a regressor minimises.
pub(in crate::estimators) fn regression_objective(options: &Options) -> Objective {
    match options.text_if_known("objective") {
        Some("POISSON") => Objective::Poisson,
        Some("TWEEDIE") => Objective::Tweedie {
            // The range is closed in the option's description, open in the formula.
            variance_power: options.f64("tweedie_variance_power"),
        },
        Some("QUANTILE") => Objective::Quantile {
            alpha: options.f64("quantile_alpha"),
        },
        Some("HUBER") => Objective::Huber {
            slope: options.f64("huber_slope"),
        },
        _ => Objective::SquaredError,
    }
}

/// What the options mean; estimators without an option get the value that leaves it out.
pub(in crate::estimators) fn parameters(
    options: &Options,
    objective: Objective,
    encoder: &FeatureEncoder,
    seed: u64,
) -> Result<TreeParameters> {
    let share = |name: &str| options.opt_f64_if_known(name).unwrap_or(1.0);
    let dart = (options.text_if_known("booster_type") == Some("DART")).then(|| Dart {
        dropout: options.f64("dropout"),
        normalization: match options.text("dart_normalize_type") {
            Some("FOREST") => DartNormalization::Forest,
            _ => DartNormalization::Tree,
        },
    });
    let max_iterations = options
        .opt_f64_if_known("max_iterations")
        .map_or(1, |n| n as usize);
    let defaults = TreeParameters::boosted(objective);
    Ok(TreeParameters {
        objective,
        max_iterations,
        learn_rate: share("learn_rate"),
        num_parallel_tree: share("num_parallel_tree") as usize,
        grow_policy: if is_loss_guide(options) {
            GrowPolicy::LossGuide
        } else {
            GrowPolicy::DepthWise
        },
        max_tree_depth: options.usize("max_tree_depth"),
        max_leaves: options.usize("max_leaves"),
        regularization: Regularization {
            l1_reg: options.f64("l1_reg"),
            l2_reg: options.f64("l2_reg"),
            min_split_loss: options.f64("min_split_loss"),
            min_tree_child_weight: options.f64("min_tree_child_weight"),
            monotone: directions(options, encoder)?,
            ..defaults.regularization
        },
        subsample: share("subsample"),
        columns: ColumnSampling {
            by_tree: share("colsample_bytree"),
            by_level: share("colsample_bylevel"),
            by_node: share("colsample_bynode"),
        },
        dart,
        min_rel_progress: (max_iterations > 1 && options.is_true("early_stop"))
            .then(|| options.f64("min_rel_progress")),
        seed,
        working_bytes: defaults.working_bytes,
        bundles: defaults.bundles,
        gather_rows: defaults.gather_rows,
    })
}

/// The monotone direction of each feature, dense ones first; empty without constraints.
fn directions(options: &Options, encoder: &FeatureEncoder) -> Result<Vec<i8>> {
    let Some(written) = options.numbers_by_name("monotone_constraints") else {
        return Ok(Vec::new());
    };
    let invalid = |name: &str, expected: &str| Error::InvalidOption {
        name: "monotone_constraints".to_owned(),
        expected: expected.to_owned(),
        found: format!("'{name}'"),
    };
    let features = &encoder.schema.features;
    for name in written.keys() {
        match features.iter().find(|feature| feature.name == *name) {
            None => return Err(invalid(name, "given for features of the training query")),
            Some(feature) if feature.kind == FeatureKind::Categorical => {
                return Err(invalid(name, "given for numeric features"));
            }
            Some(_) => {}
        }
    }
    let direction = |name: &str| written.get(name).map_or(0, |direction| *direction as i8);
    let numeric = encoder.numeric().map(|(name, _)| direction(name));
    Ok(numeric.chain(encoder.categorical().map(|_| 0)).collect())
}
