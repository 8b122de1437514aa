//! Tests of the option checks, over a spec of their own.

use serde_json::json;

use super::*;
use crate::estimator::{Tags, Task};

static SPEC: EstimatorSpec = EstimatorSpec {
    name: "toy",
    aliases: &[],
    task: Task::Classification,
    summary: "",
    doc: "",
    hyperparameters: &[
        Hyperparameter {
            name: "min_rel_progress",
            aliases: &["tol"],
            kind: Kind::Float {
                min: 0.0,
                min_inclusive: false,
                max: f64::INFINITY,
            },
            default: "0.01",
            doc: "",
        },
        Hyperparameter {
            name: "kmeans_init_method",
            aliases: &[],
            kind: Kind::Choice(&["RANDOM", "KMEANS++"]),
            default: "RANDOM",
            doc: "",
        },
        Hyperparameter {
            name: "max_iterations",
            aliases: &[],
            kind: Kind::Integer { min: 1, max: 1000 },
            default: "20",
            doc: "",
        },
        Hyperparameter {
            name: "num_clusters",
            aliases: &[],
            kind: Kind::Integer {
                min: 1,
                max: i64::MAX,
            },
            default: "NULL",
            doc: "",
        },
    ],
    check: |_| Ok(()),
    tags: Tags::NONE,
    inspections: &[],
    steps: &[],
    state_steps: &[],
    load: |_, _| {
        Err(Error::Internal {
            what: "never loaded".to_owned(),
        })
    },
};

fn check(written: Value) -> Result<(Options, Vec<String>)> {
    Options::check(&SPEC, written.as_object().unwrap())
}

fn message(written: Value) -> String {
    check(written).unwrap_err().to_string()
}

#[test]
fn defaults_and_written_values() {
    let (options, notices) =
        check(json!({"TOL": 1, "kmeans_init_method": "kmeans++", "max_iterations": 5.0})).unwrap();
    assert!(notices.is_empty());
    assert_eq!(options.f64("min_rel_progress"), 1.0);
    assert!(options.is_written("min_rel_progress"));
    assert_eq!(options.text("kmeans_init_method"), Some("KMEANS++"));
    assert_eq!(options.usize("max_iterations"), 5);
    assert_eq!(options.opt_usize("num_clusters"), None);
    assert_eq!(options.u64("seed"), 0);
    assert_eq!(options.text("data_split_method"), Some("AUTO_SPLIT"));
    assert!(!options.is_written("seed"));
    assert_eq!(options.texts("input_label_cols"), Vec::<String>::new());
    let json = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<Options>(&json).unwrap(), options);
}

#[test]
fn null_is_the_default() {
    let (options, _) = check(json!({"max_iterations": null})).unwrap();
    assert_eq!(options.usize("max_iterations"), 20);
    assert!(!options.is_written("max_iterations"));
}

#[test]
fn ranges_are_named() {
    assert_eq!(
        message(json!({"min_rel_progress": -1})),
        "option \"min_rel_progress\" must be greater than 0, got -1"
    );
    assert_eq!(
        message(json!({"kmeans_init_method": "X"})),
        "option \"kmeans_init_method\" must be one of RANDOM, KMEANS++, got 'X'"
    );
    assert_eq!(
        message(json!({"max_iterations": 1.5})),
        "option \"max_iterations\" must be an integer between 1 and 1000, got 1.5"
    );
    assert_eq!(
        message(json!({"num_clusters": "abc"})),
        "option \"num_clusters\" must be an integer, got 'abc'"
    );
    assert_eq!(
        message(json!({"num_clusters": 0})),
        "option \"num_clusters\" must be an integer of at least 1, got 0"
    );
    assert_eq!(
        message(json!({"data_split_method": "RANDOM", "data_split_eval_fraction": 1})),
        "option \"data_split_eval_fraction\" must be at least 0 and less than 1, got 1"
    );
    assert_eq!(
        message(json!({"device": "tpu"})),
        "option \"device\" must be one of auto, cpu, gpu, cuda, cuda:N, got 'tpu'"
    );
    assert!(check(json!({"device": "CUDA:1"})).is_ok());
}

#[test]
fn unknown_options_name_the_nearest() {
    let error = check(json!({"max_iteration": 3})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unrecognized option \"max_iteration\" for model type \"toy\""
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("Did you mean \"max_iterations\"?")
    );
    assert_eq!(error.sqlstate(), "22023");
}

#[test]
fn one_option_by_two_names() {
    assert_eq!(
        message(json!({"tol": 1, "min_rel_progress": 1})),
        "option \"min_rel_progress\" is given more than once"
    );
}

#[test]
fn tuning_is_recognised() {
    for written in [
        json!({"num_trials": 3}),
        json!({"hparam_tuning_algorithm": "GRID_SEARCH"}),
        json!({"max_iterations": {"HPARAM_RANGE": [1, 5]}}),
        json!({"max_iterations": {"hparam_candidates": [1, 5]}}),
    ] {
        let name = written.as_object().unwrap().keys().next().unwrap().clone();
        let error = check(written).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("hyperparameter tuning (option \"{name}\") is not supported")
        );
        assert_eq!(error.sqlstate(), "0A000");
    }
    assert!(check(json!({"max_parallel_trials": 1})).is_ok());
}

#[test]
fn cloud_options_are_noticed() {
    let (_, notices) = check(json!({"kms_key_name": "k"})).unwrap();
    assert_eq!(
        notices,
        ["option \"kms_key_name\" concerns a cloud account and is ignored"]
    );
}

#[test]
fn split_options_go_together() {
    assert_eq!(
        message(json!({"data_split_method": "CUSTOM"})),
        "data_split_method 'CUSTOM' needs option \"data_split_col\""
    );
    assert_eq!(
        message(json!({"data_split_col": "d"})),
        "option \"data_split_col\" does not go with data_split_method 'AUTO_SPLIT'"
    );
    let (_, notices) = check(json!({"data_split_eval_fraction": 0.3})).unwrap();
    assert_eq!(notices.len(), 1);
}

#[test]
fn class_weights_in_every_form() {
    for weights in [
        json!([["a", 1], ["b", 0.5]]),
        json!([{"_1": "a", "_2": 1}, {"weight": 0.5, "label": "b"}, ]),
        json!({"a": 1.0, "b": 0.5}),
    ] {
        let (options, _) = check(json!({"class_weights": weights})).unwrap();
        let expected = BTreeMap::from([("a".to_owned(), 1.0), ("b".to_owned(), 0.5)]);
        assert_eq!(options.class_weights(), Some(expected));
    }
    assert!(message(json!({"class_weights": [["a", -1]]})).contains("weights of at least 0"));
    assert_eq!(
        message(json!({"class_weights": [["a", 1]], "auto_class_weights": true})),
        "options \"class_weights\" and \"auto_class_weights\" exclude each other"
    );
    assert_eq!(check(json!({})).unwrap().0.class_weights(), None);
}
