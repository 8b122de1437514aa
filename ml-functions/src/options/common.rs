//! The options that estimators share, by task.
//!
//! In: a task; out: the descriptions of what `CREATE MODEL` accepts beside the estimator's own
//! hyperparameters. Holds no values.

use super::{Hyperparameter, Kind};
use crate::estimator::Task;

/// A closed range of whole numbers from `min` on.
const fn at_least(min: i64) -> Kind {
    Kind::Integer { min, max: i64::MAX }
}

static ALL_TASKS: &[Hyperparameter] = &[
    Hyperparameter::new(
        "model_type",
        &[],
        Kind::Text,
        "NULL",
        "The estimator, as SELECT * FROM ml.estimators lists them.",
    ),
    Hyperparameter::new(
        "seed",
        &["random_state"],
        at_least(0),
        "0",
        "All randomness starts here.",
    ),
    Hyperparameter::new(
        "device",
        &[],
        Kind::Text,
        "auto",
        "auto, cpu, gpu, cuda or cuda:N.",
    ),
    Hyperparameter::new(
        "precision",
        &[],
        Kind::Choice(&["AUTO", "F32", "F64"]),
        "AUTO",
        "Type of numeric features in memory; AUTO is F32 where every column is exact in it.",
    ),
    Hyperparameter::new(
        "materialize",
        &[],
        Kind::Bool,
        "FALSE",
        "Whether the training rows are first written in sorted order, so that joins and aggregates repeat to the bit.",
    ),
    Hyperparameter::new(
        "model_registry",
        &[],
        Kind::CloudOnly,
        "NULL",
        "Concerns a cloud account.",
    ),
    Hyperparameter::new(
        "vertex_ai_model_id",
        &[],
        Kind::CloudOnly,
        "NULL",
        "Concerns a cloud account.",
    ),
    Hyperparameter::new(
        "vertex_ai_model_version_aliases",
        &[],
        Kind::CloudOnly,
        "NULL",
        "Concerns a cloud account.",
    ),
    Hyperparameter::new(
        "kms_key_name",
        &[],
        Kind::CloudOnly,
        "NULL",
        "Concerns a cloud account.",
    ),
    Hyperparameter::new(
        "xgboost_version",
        &[],
        Kind::CloudOnly,
        "NULL",
        "Concerns a cloud account.",
    ),
];

/// The methods of `data_split_method`.
const SPLIT_METHODS: &[&str] = &["AUTO_SPLIT", "RANDOM", "CUSTOM", "SEQ", "NO_SPLIT"];

static SUPERVISED: &[Hyperparameter] = &[
    Hyperparameter::new(
        "input_label_cols",
        &["label", "label_col"],
        Kind::TextArray,
        "NULL",
        "The column to predict; label if there is one.",
    ),
    Hyperparameter::new(
        "data_split_method",
        &[],
        Kind::Choice(SPLIT_METHODS),
        "AUTO_SPLIT",
        "How rows are held out for evaluation; AUTO_SPLIT holds out none below 500 rows, a fifth up to 50,000, else 10,000 rows.",
    ),
    Hyperparameter::new(
        "data_split_eval_fraction",
        &[],
        Kind::Float {
            min: 0.0,
            min_inclusive: true,
            max: 1.0,
        },
        "0.2",
        "Share of the rows held out by RANDOM and SEQ.",
    ),
    Hyperparameter::new(
        "data_split_col",
        &[],
        Kind::Text,
        "NULL",
        "CUSTOM: a boolean column, TRUE for evaluation; SEQ: the column whose last rows are held out. Not a feature.",
    ),
    Hyperparameter::new(
        "instance_weight_col",
        &["weight_col"],
        Kind::Text,
        "NULL",
        "A column with the weight of each row. Not a feature.",
    ),
    Hyperparameter::new(
        "warm_start",
        &[],
        Kind::Bool,
        "FALSE",
        "Whether training starts from the model's last version.",
    ),
    Hyperparameter::new(
        "enable_global_explain",
        &[],
        Kind::Bool,
        "FALSE",
        "Whether global explanations are computed.",
    ),
];

static CLASSIFICATION: &[Hyperparameter] = &[
    Hyperparameter::new(
        "class_weights",
        &["class_weight"],
        Kind::ClassWeights,
        "NULL",
        "The weight of each class.",
    ),
    Hyperparameter::new(
        "auto_class_weights",
        &[],
        Kind::Bool,
        "FALSE",
        "Whether each class weighs the same in sum: rows / (classes * rows of the class).",
    ),
];

/// Options that turn hyperparameter tuning on.
static TUNING: &[Hyperparameter] = &[
    Hyperparameter::new(
        "num_trials",
        &[],
        Kind::Integer { min: 1, max: 100 },
        "NULL",
        "Number of models to try.",
    ),
    Hyperparameter::new(
        "max_parallel_trials",
        &[],
        Kind::Integer { min: 1, max: 5 },
        "1",
        "Models trained at the same time.",
    ),
    Hyperparameter::new(
        "hparam_tuning_algorithm",
        &[],
        Kind::Choice(&["VIZIER_DEFAULT", "RANDOM_SEARCH", "GRID_SEARCH"]),
        "VIZIER_DEFAULT",
        "How the next hyperparameters are chosen.",
    ),
    Hyperparameter::new(
        "hparam_tuning_objectives",
        &[],
        Kind::TextArray,
        "NULL",
        "The metric to improve.",
    ),
    Hyperparameter::new(
        "data_split_test_fraction",
        &[],
        Kind::Float {
            min: 0.0,
            min_inclusive: true,
            max: 1.0,
        },
        "NULL",
        "Share of the rows held out to judge the best trial.",
    ),
];

/// The common options of a task.
pub(super) fn common(task: Task) -> impl Iterator<Item = &'static Hyperparameter> {
    let supervised = if task.is_supervised() {
        SUPERVISED
    } else {
        &[]
    };
    let classification = if task == Task::Classification {
        CLASSIFICATION
    } else {
        &[]
    };
    supervised
        .iter()
        .chain(classification)
        .chain(ALL_TASKS)
        .chain(TUNING)
}

/// Whether an option belongs to hyperparameter tuning.
pub(super) fn is_tuning(name: &str) -> bool {
    TUNING.iter().any(|option| option.name == name)
}
