//! The metrics against scikit-learn's numbers (`tests/reference/metrics.py`), and their edges.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use serde_json::Value;

use super::*;
use crate::compute::Compute;
use crate::features::{ClassLabel, Dense};
use crate::model::ModelState;

/// A model that predicts nothing; only its centroids matter.
#[derive(Debug)]
struct Centroids(Vec<f64>);

impl Model for Centroids {
    fn predict(&self, _: &FeatureBlock, _: &Compute) -> Result<Prediction> {
        Err(mismatch())
    }

    fn state(&self) -> ModelState {
        ModelState::default()
    }

    fn centroid_distances(&self) -> Vec<f64> {
        self.0.clone()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn reference(part: &str) -> Value {
    let all: Value =
        serde_json::from_str(include_str!("../../tests/reference/metrics.json")).unwrap();
    all[part].clone()
}

fn floats(values: &Value) -> Vec<f64> {
    values
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

fn codes(values: &Value) -> Vec<u32> {
    floats(values)
        .into_iter()
        .map(|value| value as u32)
        .collect()
}

fn block(target: TargetValues, n_samples: usize) -> FeatureBlock {
    let dense = Dense::F64(Vec::new());
    FeatureBlock {
        n_samples,
        dense,
        codes: Vec::new(),
        target,
        weights: None,
    }
}

fn target(classes: Vec<ClassLabel>, mean: f64) -> TargetEncoding {
    let class_counts = vec![1; classes.len()];
    let column = "label".to_owned();
    TargetEncoding {
        column,
        sql_type: "text".to_owned(),
        classes,
        class_counts,
        mean,
    }
}

fn texts(labels: &[&str]) -> Vec<ClassLabel> {
    labels
        .iter()
        .map(|label| ClassLabel::Text((*label).to_owned()))
        .collect()
}

fn regression(labels: &[f64], predictions: &[f64], mean: f64) -> Evaluation {
    let target = target(Vec::new(), mean);
    let mut rows = Evaluation::new(Task::Regression, Some(&target), &Centroids(Vec::new()));
    let block = block(TargetValues::Numbers(labels.to_vec()), labels.len());
    rows.update(&Prediction::Values(predictions.to_vec()), &block)
        .unwrap();
    rows
}

fn classification(names: &[&str], classes: &[u32], probabilities: &[f64]) -> Evaluation {
    let target = target(texts(names), 0.0);
    let mut rows = Evaluation::new(Task::Classification, Some(&target), &Centroids(Vec::new()));
    let values = probabilities.to_vec();
    let prediction = Prediction::Probabilities {
        n_classes: names.len(),
        values,
    };
    rows.update(
        &prediction,
        &block(TargetValues::Classes(classes.to_vec()), classes.len()),
    )
    .unwrap();
    rows
}

/// The binary reference, its positive class being "yes".
fn binary() -> (Value, Evaluation) {
    let expected = reference("binary");
    let positive = floats(&expected["probabilities"]);
    let pairs: Vec<f64> = positive.iter().flat_map(|p| [1.0 - p, *p]).collect();
    let rows = classification(&["no", "yes"], &codes(&expected["labels"]), &pairs);
    (expected, rows)
}

fn value(rows: &Evaluation, name: &str) -> Option<f64> {
    let metrics = rows.metrics(None);
    metrics.iter().find(|metric| metric.0 == name).unwrap().1
}

#[track_caller]
fn assert_near(found: Option<f64>, expected: f64, what: &str) {
    let found = found.unwrap_or_else(|| panic!("{what} is NULL, expected {expected}"));
    let error = (found - expected).abs() / expected.abs().max(1e-300);
    assert!(
        found == expected || error < 1e-12,
        "{what} is {found}, expected {expected}"
    );
}

#[track_caller]
fn assert_metrics(metrics: &[(&'static str, Option<f64>)], expected: &Value) {
    for (name, expected) in expected.as_object().unwrap() {
        let found = metrics.iter().find(|metric| metric.0 == name).unwrap().1;
        assert_near(found, expected.as_f64().unwrap(), name);
    }
}

fn column(table: &RecordBatch, idx: usize) -> Vec<i64> {
    table
        .column(idx)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

#[test]
fn regression_agrees_with_scikit_learn() {
    let expected = reference("regression");
    let (labels, predictions) = (
        floats(&expected["labels"]),
        floats(&expected["predictions"]),
    );
    let rows = regression(&labels, &predictions, 90.0);
    assert_metrics(&rows.metrics(None), &expected["metrics"]);
    assert_eq!(rows.n_samples(), 41);
    // Of an even number of rows it is the lower one of the two in the middle.
    let even = regression(&labels[..40], &predictions[..40], 90.0);
    let median = expected["lower_median_of_all_but_last"].as_f64().unwrap();
    assert_near(value(&even, "median_absolute_error"), median, "median");
}

#[test]
fn parts_merge_to_the_whole_in_any_order() {
    let expected = reference("regression");
    let (labels, predictions) = (
        floats(&expected["labels"]),
        floats(&expected["predictions"]),
    );
    let whole = regression(&labels, &predictions, 90.0).metrics(None);
    let part = |from: usize, to: usize| regression(&labels[from..to], &predictions[from..to], 90.0);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let parts = order.map(|idx| [part(0, 5), part(5, 30), part(30, 41)][idx].clone());
        let mut merged = regression(&[], &[], 90.0);
        parts
            .into_iter()
            .for_each(|part| merged.merge(part).unwrap());
        assert_eq!(merged.metrics(None), whole);
    }
}

#[test]
fn labels_far_from_zero_keep_the_digits_of_r2() {
    let labels: Vec<f64> = (0..1000).map(|i| 1e9 + f64::from(i % 7)).collect();
    let predictions: Vec<f64> = labels.iter().map(|label| label + 0.5).collect();
    let rows = regression(&labels, &predictions, 1e9 + 3.0);
    let mean = labels.iter().map(|label| label - 1e9).sum::<f64>() / 1000.0;
    let scatter: f64 = labels
        .iter()
        .map(|label| (label - 1e9 - mean).powi(2))
        .sum();
    assert_near(value(&rows, "r2_score"), 1.0 - 250.0 / scatter, "r2_score");
    assert_near(
        value(&rows, "explained_variance"),
        1.0,
        "explained_variance",
    );
}

#[test]
fn metrics_without_a_value_are_null() {
    let empty = regression(&[], &[], 0.0).metrics(None);
    assert_eq!(empty.len(), 6);
    assert!(empty.iter().all(|metric| metric.1.is_none()));
    let equal = regression(&[0.1; 3], &[0.2; 3], 0.0);
    assert_eq!(value(&equal, "r2_score"), None);
    assert_eq!(value(&equal, "explained_variance"), None);
    assert!(value(&equal, "mean_squared_log_error").is_some());
    for (labels, predictions) in [([-1.0, 3.0], [1.0, 2.0]), ([1.0, 3.0], [-2.0, 3.0])] {
        let rows = regression(&labels, &predictions, 0.0);
        assert_eq!(value(&rows, "mean_squared_log_error"), None);
        assert!(value(&rows, "mean_squared_error").is_some());
    }
    let infinite = regression(&[1e300, -1e300], &[-1e300, 1e300], 0.0);
    assert_eq!(value(&infinite, "mean_squared_error"), None);
}

#[test]
fn two_classes_agree_with_scikit_learn() {
    let (expected, rows) = binary();
    assert_metrics(&rows.metrics(None), &expected["metrics"]);
    for pair in expected["thresholds"].as_array().unwrap() {
        assert_metrics(&rows.metrics(pair[0].as_f64()), &pair[1]);
    }
    let table = rows.confusion_matrix(Some(0.7)).unwrap();
    let matrix = &expected["confusion_at_0.7"];
    assert_eq!(
        table
            .column(0)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["no", "yes"]
    );
    for predicted in 0..2 {
        let counts = [&matrix[0][predicted], &matrix[1][predicted]].map(|n| n.as_i64().unwrap());
        assert_eq!(column(&table, predicted + 1), counts);
    }
    assert_eq!(table.schema().field(2).name(), "yes");
}

#[test]
fn the_roc_curve_agrees_with_scikit_learn() {
    let (expected, rows) = binary();
    let points = expected["roc_curve"].as_array().unwrap();
    let thresholds: Vec<f64> = points
        .iter()
        .map(|point| point[0].as_f64().unwrap())
        .collect();
    let table = rows.roc_curve(Some(&thresholds)).unwrap();
    for (row, point) in points.iter().enumerate() {
        for idx in 0..3 {
            let found = table.column(idx).as_primitive::<Float64Type>().value(row);
            assert_near(Some(found), point[idx].as_f64().unwrap(), "a rate");
        }
        for idx in 3..7 {
            assert_eq!(column(&table, idx)[row], point[idx].as_i64().unwrap());
        }
    }
    let quantiles = rows.roc_curve(None).unwrap();
    let thresholds = quantiles.column(0).as_primitive::<Float64Type>().values();
    assert!(thresholds.is_sorted_by(|a, b| a > b));
    assert_eq!(column(&quantiles, 4).last(), Some(&32));
}

#[test]
fn a_roc_curve_has_about_a_hundred_thresholds() {
    let scores: Vec<f64> = (0..10_000)
        .map(|i| f64::from(i) / 1e4)
        .flat_map(|p| [1.0 - p, p])
        .collect();
    let classes: Vec<u32> = (0..10_000).map(|i| u32::from(i % 3 == 0)).collect();
    let table = classification(&["a", "b"], &classes, &scores)
        .roc_curve(None)
        .unwrap();
    assert_eq!(table.num_rows(), 100);
}

#[test]
fn many_classes_agree_with_scikit_learn() {
    let expected = reference("multiclass");
    let (mut classes, values) = (
        codes(&expected["labels"]),
        floats(&expected["probabilities"]),
    );
    let names = ["a", "b", "c", "d"];
    let rows = classification(&names, &classes, &values);
    assert_metrics(&rows.metrics(None), &expected["metrics"]);
    let table = rows.confusion_matrix(None).unwrap();
    assert_eq!(table.num_rows(), 3, "no row is of class d");
    for predicted in 0..4 {
        let counts =
            [0, 1, 2].map(|class| expected["confusion"][class][predicted].as_i64().unwrap());
        assert_eq!(column(&table, predicted + 1), counts);
    }
    assert!(matches!(
        rows.roc_curve(None),
        Err(Error::Unsupported { .. })
    ));

    // A class never seen in training counts as wrong and has no logarithmic loss.
    classes[..7].fill(4);
    let rows = classification(&names, &classes, &values);
    assert_metrics(&rows.metrics(None), &expected["metrics_unknown"]);
    assert_eq!((rows.n_samples(), rows.n_unknown_classes()), (80, 7));
    let table = rows.confusion_matrix(None).unwrap();
    assert!(table.column(0).is_null(3));
    let unknown: i64 = (1..5).map(|idx| column(&table, idx)[3]).sum();
    assert_eq!(unknown, 7);
}

#[test]
fn an_unknown_class_beside_two_counts_as_wrong() {
    let values = [0.2, 0.8, 0.9, 0.1, 0.3, 0.7, 0.6, 0.4];
    let rows = classification(&["n", "y"], &[1, 0, 2, 2], &values);
    assert_eq!(value(&rows, "accuracy"), Some(0.5));
    assert_eq!(value(&rows, "precision"), Some(0.5));
    assert_eq!(value(&rows, "recall"), Some(1.0));
    assert_near(
        value(&rows, "log_loss"),
        -(0.8_f64.ln() + 0.9_f64.ln()) / 2.0,
        "log_loss",
    );
    let table = rows.confusion_matrix(None).unwrap();
    assert_eq!(
        [column(&table, 1), column(&table, 2)],
        [[1, 0, 1], [0, 1, 1]]
    );
    assert!(table.column(0).is_null(2));
}

#[test]
fn one_class_alone_has_no_area() {
    let rows = classification(&["n", "y"], &[1, 1], &[0.2, 0.8, 0.9, 0.1]);
    assert_eq!(value(&rows, "roc_auc"), None);
    assert_eq!(value(&rows, "recall"), Some(0.5));
    let rows = classification(&["a", "b", "c"], &[1, 1], &[0.2, 0.8, 0.0, 0.5, 0.3, 0.2]);
    assert_eq!(value(&rows, "roc_auc"), None);
    let empty = classification(&["n", "y"], &[], &[]);
    assert!(empty.metrics(None).iter().all(|metric| metric.1.is_none()));
    assert_eq!(empty.confusion_matrix(None).unwrap().num_rows(), 0);
    assert_eq!(empty.roc_curve(None).unwrap().num_rows(), 0);
}

#[test]
fn a_certain_mistake_has_a_finite_loss() {
    let rows = classification(&["n", "y"], &[1], &[1.0, 0.0]);
    assert_near(value(&rows, "log_loss"), -(1e-15_f64).ln(), "log_loss");
}

#[test]
fn a_stored_evaluation_answers_as_before() {
    let (_, rows) = binary();
    let stored = rows.clone().compact();
    let json = serde_json::to_string(&stored).unwrap();
    let read: Evaluation = serde_json::from_str(&json).unwrap();
    assert_eq!(read, stored);
    let bytes = postcard::to_allocvec(&stored).unwrap();
    assert_eq!(postcard::from_bytes::<Evaluation>(&bytes).unwrap(), stored);
    for threshold in [None, Some(0.25), Some(0.7)] {
        assert_eq!(read.metrics(threshold), rows.metrics(threshold));
        let tables = (
            read.confusion_matrix(threshold),
            rows.confusion_matrix(threshold),
        );
        assert_eq!(tables.0.unwrap(), tables.1.unwrap());
    }
    assert_eq!(read.roc_curve(None).unwrap(), rows.roc_curve(None).unwrap());
    assert_eq!(read.clone().compact(), read);
    assert!(read.clone().merge(rows).is_err());
}

#[test]
fn a_stored_evaluation_is_small_and_exact_at_the_default_threshold() {
    let scores: Vec<f64> = (0..50_000)
        .map(|i| (f64::from(i) * 0.37).sin().abs())
        .collect();
    let pairs: Vec<f64> = scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
    let classes: Vec<u32> = (0..50_000).map(|i| u32::from(i % 5 < 2)).collect();
    let rows = classification(&["n", "y"], &classes, &pairs);
    let stored = rows.clone().compact();
    assert!(postcard::to_allocvec(&stored).unwrap().len() < 20_000);
    assert_eq!(stored.metrics(None), rows.metrics(None));
    let table = |rows: &Evaluation| rows.confusion_matrix(None).unwrap();
    assert_eq!(table(&stored), table(&rows));
    let recall = |rows: &Evaluation| rows.metrics(Some(0.123))[1].1.unwrap();
    assert!((recall(&stored) - recall(&rows)).abs() < 0.002);
}

#[test]
fn other_evaluations_survive_bytes_too() {
    let expected = reference("regression");
    let (labels, predictions) = (
        floats(&expected["labels"]),
        floats(&expected["predictions"]),
    );
    let multiclass = classification(&["a", "b", "c"], &[0, 3], &[0.5, 0.3, 0.2, 0.1, 0.1, 0.8]);
    for rows in [regression(&labels, &predictions, 90.0), multiclass] {
        let bytes = postcard::to_allocvec(&rows).unwrap();
        assert_eq!(postcard::from_bytes::<Evaluation>(&bytes).unwrap(), rows);
        let stored = rows.clone().compact();
        assert_eq!(stored.metrics(None), rows.metrics(None));
        assert_eq!(stored.n_unknown_classes(), rows.n_unknown_classes());
        if rows.task() == Task::Classification {
            let tables = (stored.confusion_matrix(None), rows.confusion_matrix(None));
            assert_eq!(tables.0.unwrap(), tables.1.unwrap());
        }
    }
}

#[test]
fn clusters_are_judged_by_scatter_and_separation() {
    let expected = reference("clustering");
    let model = Centroids(floats(&expected["centroid_distances"]));
    let (ids, distances) = (codes(&expected["ids"]), floats(&expected["distances"]));
    let rows = |from: usize, to: usize| {
        let mut rows = Evaluation::new(Task::Clustering, None, &model);
        let prediction = Prediction::Clusters {
            ids: ids[from..to].iter().map(|id| Some(*id)).collect(),
            distances: distances[from * 3..to * 3].to_vec(),
            n_clusters: 3,
        };
        rows.update(&prediction, &block(TargetValues::None, to - from))
            .unwrap();
        rows
    };
    let mut merged = rows(0, 17);
    merged.merge(rows(17, 30)).unwrap();
    assert_metrics(&merged.metrics(None), &expected["metrics"]);
    assert_eq!(merged.metrics(None), rows(0, 30).metrics(None));
    let own = ids.iter().enumerate();
    let own = own.map(|(row, id)| distances[row * 3 + *id as usize]);
    let nearest = Prediction::Nearest {
        ids: ids.clone(),
        distances: own.collect(),
    };
    let mut alone = Evaluation::new(Task::Clustering, None, &model);
    (alone.update(&nearest, &block(TargetValues::None, 30))).unwrap();
    assert_eq!(alone.metrics(None), rows(0, 30).metrics(None));
    assert_eq!(
        value(&rows(0, 1), "davies_bouldin_index"),
        None,
        "one cluster has no neighbour"
    );
}

#[test]
fn clusters_without_centroids_have_no_metrics() {
    let mut rows = Evaluation::new(Task::Clustering, None, &Centroids(Vec::new()));
    let ids = vec![Some(0), None, Some(1)];
    let prediction = Prediction::Clusters {
        ids,
        distances: Vec::new(),
        n_clusters: 0,
    };
    rows.update(&prediction, &block(TargetValues::None, 3))
        .unwrap();
    assert_eq!(rows.n_samples(), 3);
    let names = ["davies_bouldin_index", "mean_squared_distance"];
    assert_eq!(rows.metrics(None), names.map(|name| (name, None)));
}

#[test]
fn components_explain_what_reconstruction_leaves() {
    let mut rows = Evaluation::new(Task::Decomposition, None, &Centroids(Vec::new()));
    assert_eq!(value(&rows, "total_explained_variance_ratio"), None);
    let prediction = Prediction::Components {
        n_components: 1,
        values: vec![1.0, 2.0],
        reconstruction_errors: vec![0.5, 1.5],
        mean_squares: vec![3.0, 5.0],
    };
    rows.update(&prediction, &block(TargetValues::None, 2))
        .unwrap();
    assert_eq!(value(&rows, "total_explained_variance_ratio"), Some(0.75));
}

#[test]
fn thresholds_are_checked() {
    let message = |task, n_classes, threshold| {
        check_threshold(task, n_classes, Some(threshold))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(Task::Classification, 2, 1.5),
        "option \"threshold\" must be between 0 and 1, got 1.5"
    );
    let needs_two = "option \"threshold\" needs a model with two classes";
    assert_eq!(message(Task::Classification, 3, 0.5), needs_two);
    assert_eq!(message(Task::Regression, 0, 0.5), needs_two);
    assert!(check_threshold(Task::Regression, 0, None).is_ok());
    let rows = regression(&[1.0], &[1.0], 0.0);
    let error = rows.confusion_matrix(None).unwrap_err().to_string();
    assert_eq!(
        error,
        "a confusion matrix of a regression model is not supported"
    );
}

#[test]
fn labels_become_column_names() {
    let labels = ClassLabels::of(&target(
        texts(&["<=50K", ">50K", "_50k", "3", "Adélie (x)", ""]),
        0.0,
    ));
    let fields = confusion_matrix_fields(&labels);
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        names,
        [
            "expected_label",
            "__50K",
            "_50K",
            "_50k_1",
            "_3",
            "Adélie__x_",
            "_"
        ]
    );
    let integers = vec![ClassLabel::Integer(0), ClassLabel::Integer(1)];
    let fields = confusion_matrix_fields(&ClassLabels::of(&target(integers, 0.0)));
    assert_eq!(fields[0].data_type(), &DataType::Int64);
    assert_eq!(fields[2].name(), "_1");
}
