//! The shapes of every task's predictions.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};

use super::*;
use crate::compute::Compute;
use crate::features::{ClassLabel, FeatureBlock};
use crate::model::ModelState;

#[derive(Debug, Default)]
struct Stub {
    n_clusters: usize,
    n_components: usize,
    radii: Vec<f64>,
}

impl Model for Stub {
    fn predict(&self, _: &FeatureBlock, _: &Compute) -> Result<Prediction> {
        Err(mismatch())
    }

    fn state(&self) -> ModelState {
        ModelState::default()
    }

    fn centroid_distances(&self) -> Vec<f64> {
        vec![1.0; self.n_clusters * self.n_clusters]
    }

    fn cluster_radii(&self) -> Vec<f64> {
        self.radii.clone()
    }

    fn n_components(&self) -> usize {
        self.n_components
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn target(classes: Vec<ClassLabel>) -> TargetEncoding {
    let class_counts = vec![1; classes.len()];
    let column = "species".to_owned();
    TargetEncoding {
        column,
        sql_type: "text".to_owned(),
        classes,
        class_counts,
        mean: 0.0,
    }
}

fn texts(labels: &[&str]) -> TargetEncoding {
    target(
        labels
            .iter()
            .map(|label| ClassLabel::Text((*label).to_owned()))
            .collect(),
    )
}

fn probabilities(n_classes: usize, values: &[f64]) -> Prediction {
    Prediction::Probabilities {
        n_classes,
        values: values.to_vec(),
    }
}

#[track_caller]
fn assert_types(fields: &[Field], arrays: &[ArrayRef]) {
    let declared: Vec<_> = fields.iter().map(Field::data_type).collect();
    assert_eq!(
        declared,
        arrays
            .iter()
            .map(|array| array.data_type())
            .collect::<Vec<_>>()
    );
}

fn names(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|field| field.name().as_str()).collect()
}

fn float_values(array: &dyn Array) -> Vec<f64> {
    array.as_primitive::<Float64Type>().values().to_vec()
}

fn integer_values(array: &dyn Array) -> Vec<Option<i64>> {
    array.as_primitive::<Int64Type>().iter().collect()
}

#[test]
fn regression_predicts_a_number() {
    let target = texts(&[]);
    let shape = Shape {
        task: Task::Regression,
        target: Some(&target),
        model: &Stub::default(),
    };
    let prediction = Prediction::Values(vec![1.5, 2.5]);
    assert_eq!(names(&shape.predict_fields()), ["predicted_species"]);
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&shape.predict_fields(), &arrays);
    assert_eq!(float_values(&arrays[0]), [1.5, 2.5]);
    assert_types(
        &shape.flat_fields(),
        &shape.flat_arrays(&prediction).unwrap(),
    );
    let error = shape
        .scalar_type(&ScalarOutput::PredictProba { class: None })
        .unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
    assert!(shape.predict_arrays(&prediction, Some(0.5)).is_err());
}

#[test]
fn classes_come_with_their_probabilities_the_greatest_first() {
    let target = texts(&["a", "b", "c"]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&target),
        model: &Stub::default(),
    };
    let prediction = probabilities(3, &[0.2, 0.5, 0.3, 0.4, 0.2, 0.4]);
    let fields = shape.predict_fields();
    assert_eq!(
        names(&fields),
        ["predicted_species", "predicted_species_probs"]
    );
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(
        arrays[0]
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["b", "a"]
    );
    let lists = arrays[1].as_list::<i32>();
    let items = lists.values().as_struct();
    assert_eq!(lists.value_offsets(), [0, 3, 6]);
    let labels: Vec<&str> = items
        .column(0)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(labels, ["b", "c", "a", "a", "c", "b"]);
    assert_eq!(
        float_values(items.column(1)),
        [0.5, 0.3, 0.2, 0.4, 0.4, 0.2]
    );
}

#[test]
fn the_threshold_decides_between_two_classes() {
    let target = target(vec![ClassLabel::Bool(false), ClassLabel::Bool(true)]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&target),
        model: &Stub::default(),
    };
    let prediction = probabilities(2, &[0.5, 0.5, 0.3, 0.7, 0.8, 0.2]);
    let predicted = |threshold| {
        let arrays = shape.predict_arrays(&prediction, threshold).unwrap();
        arrays[0]
            .as_boolean()
            .iter()
            .flatten()
            .collect::<Vec<bool>>()
    };
    assert_eq!(predicted(None), [true, true, false]);
    assert_eq!(predicted(Some(0.7)), [false, true, false]);
    assert_eq!(predicted(Some(0.2)), [true, true, true]);
    assert!(shape.predict_arrays(&prediction, Some(1.5)).is_err());
}

#[test]
fn predict_proba_is_of_the_positive_class_or_the_one_named() {
    let two = target(vec![ClassLabel::Bool(false), ClassLabel::Bool(true)]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&two),
        model: &Stub::default(),
    };
    let prediction = probabilities(2, &[0.3, 0.7, 0.8, 0.2]);
    let of = |shape: &Shape<'_>, prediction: &Prediction, class: Option<&str>| {
        let output = ScalarOutput::PredictProba {
            class: class.map(ToOwned::to_owned),
        };
        let array = shape.scalar_array(prediction, &output)?;
        assert_eq!(&shape.scalar_type(&output)?, array.data_type());
        Result::Ok(array)
    };
    assert_eq!(
        float_values(&of(&shape, &prediction, None).unwrap()),
        [0.7, 0.2]
    );
    assert_eq!(
        float_values(&of(&shape, &prediction, Some("FALSE")).unwrap()),
        [0.3, 0.8]
    );

    let three = texts(&["a", "b", "c"]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&three),
        model: &Stub::default(),
    };
    let prediction = probabilities(3, &[0.2, 0.5, 0.3]);
    let all = of(&shape, &prediction, None).unwrap();
    assert_eq!(
        float_values(&all.as_list::<i32>().value(0)),
        [0.2, 0.5, 0.3]
    );
    assert_eq!(
        float_values(&of(&shape, &prediction, Some("c")).unwrap()),
        [0.3]
    );
    let error = of(&shape, &prediction, Some("A")).unwrap_err();
    assert_eq!(error.to_string(), "the model has no class \"A\"");
    assert_eq!(error.hint().unwrap(), "Its classes are: a, b, c.");
    let scalar = shape
        .scalar_array(&prediction, &ScalarOutput::Predict)
        .unwrap();
    assert_eq!(scalar.as_string::<i32>().value(0), "b");
}

#[test]
fn the_flat_form_has_a_json_object() {
    let target = texts(&["a \"b\"", "c"]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&target),
        model: &Stub::default(),
    };
    let prediction = probabilities(2, &[0.25, 0.75, 1.0, 0.0]);
    let fields = shape.flat_fields();
    assert_eq!(
        names(&fields),
        ["prediction", "probability", "probabilities"]
    );
    let arrays = shape.flat_arrays(&prediction).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(float_values(&arrays[1]), [0.75, 1.0]);
    let objects: Vec<&str> = arrays[2].as_string::<i32>().iter().flatten().collect();
    assert_eq!(
        objects,
        [
            r#"{"a \"b\"": 0.25, "c": 0.75}"#,
            r#"{"a \"b\"": 1.0, "c": 0.0}"#
        ]
    );
}

#[test]
fn clusters_list_the_nearest_five_centroids() {
    let stub = Stub {
        n_clusters: 6,
        radii: vec![1.0, 2.0, 0.0, 1.0, 1.0, 1.0],
        n_components: 0,
    };
    let shape = Shape {
        task: Task::Clustering,
        target: None,
        model: &stub,
    };
    let prediction = Prediction::Clusters {
        ids: vec![Some(1), Some(2)],
        distances: vec![9.0, 1.0, 5.0, 3.0, 5.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0],
        n_clusters: 6,
    };
    let fields = shape.predict_fields();
    assert_eq!(
        names(&fields),
        ["CENTROID_ID", "NEAREST_CENTROIDS_DISTANCE"]
    );
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(integer_values(&arrays[0]), [Some(2), Some(3)]);
    let items = arrays[1].as_list::<i32>().values().as_struct();
    let ids: Vec<i64> = integer_values(items.column(0))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(ids, [2, 6, 4, 3, 5, 3, 1, 2, 4, 5]);
    assert_eq!(
        float_values(items.column(1))[..5],
        [1.0, 2.0, 3.0, 5.0, 5.0]
    );

    let fields = shape.anomaly_fields().unwrap();
    assert_eq!(
        names(&fields),
        ["is_anomaly", "normalized_distance", "CENTROID_ID"]
    );
    let arrays = shape.anomaly_arrays(&prediction, 0.6).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(float_values(&arrays[1]), [0.5, f64::INFINITY]);
    assert_eq!(
        arrays[0].as_boolean().iter().collect::<Vec<_>>(),
        [Some(false), Some(true)]
    );
}

#[test]
fn noise_has_no_cluster() {
    let shape = Shape {
        task: Task::Clustering,
        target: None,
        model: &Stub::default(),
    };
    let ids = vec![Some(0), None];
    let prediction = Prediction::Clusters {
        ids,
        distances: Vec::new(),
        n_clusters: 0,
    };
    let fields = shape.predict_fields();
    assert_eq!(names(&fields), ["cluster_id"]);
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(integer_values(&arrays[0]), [Some(1), None]);
    assert_types(
        &shape.flat_fields(),
        &shape.flat_arrays(&prediction).unwrap(),
    );
    assert!(shape.anomaly_fields().is_err());
}

#[test]
fn components_become_columns_or_an_array() {
    let stub = Stub {
        n_components: 2,
        ..Stub::default()
    };
    let shape = Shape {
        task: Task::Decomposition,
        target: None,
        model: &stub,
    };
    let prediction = Prediction::Components {
        n_components: 2,
        values: vec![1.0, 2.0, 3.0, 4.0],
        reconstruction_errors: vec![0.1, 0.2],
        mean_squares: vec![1.0, 1.0],
    };
    let fields = shape.predict_fields();
    assert_eq!(
        names(&fields),
        ["principal_component_1", "principal_component_2"]
    );
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&fields, &arrays);
    assert_eq!(float_values(&arrays[1]), [2.0, 4.0]);
    let scalar = shape
        .scalar_array(&prediction, &ScalarOutput::Predict)
        .unwrap();
    assert_eq!(float_values(&scalar.as_list::<i32>().value(1)), [3.0, 4.0]);
    assert_eq!(
        shape.scalar_type(&ScalarOutput::Predict).unwrap(),
        *scalar.data_type()
    );
    let fields = shape.anomaly_fields().unwrap();
    assert_eq!(names(&fields), ["is_anomaly", "mean_squared_error"]);
    assert_types(&fields, &shape.anomaly_arrays(&prediction, 0.2).unwrap());
}

#[test]
fn no_rows_have_no_predictions() {
    let target = texts(&["a", "b", "c"]);
    let shape = Shape {
        task: Task::Classification,
        target: Some(&target),
        model: &Stub::default(),
    };
    let prediction = probabilities(3, &[]);
    let arrays = shape.predict_arrays(&prediction, None).unwrap();
    assert_types(&shape.predict_fields(), &arrays);
    assert!(arrays.iter().all(|array| array.is_empty()));
    assert_types(
        &shape.flat_fields(),
        &shape.flat_arrays(&prediction).unwrap(),
    );
}
