//! The SQL shapes of predictions: column names, types and arrays, in one place for all models.
//!
//! In: a model and a [`Prediction`]; out: Arrow fields and arrays, for BigQuery's `ML.PREDICT`, for
//! the scalar functions, for the flat form of BI tools and for anomaly detection. Chosen by the
//! task and by what the model has (classes, centroids, components), never by the estimator's name.
//! `labels` has the classes as a column, `lists` builds nested arrays in bulk.

mod explanations;
mod labels;
mod lists;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field};

pub(crate) use self::labels::{ClassLabels, argmax};

use self::labels::predicted_classes;
use self::lists::{
    cluster_ids, distance_fields, float, float_array, float_lists, integer, json_objects,
    list_type, mismatch, nearest_lists, probability_fields, probability_lists,
};
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::explain::Attributions;
use crate::features::TargetEncoding;
use crate::metrics::{check_threshold, in_radii};
use crate::model::{Model, Prediction};
use crate::trained_model::TrainedModel;

/// What a scalar function returns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ScalarOutput {
    /// `PREDICT(m USING …)`: the label's type, FLOAT8, the INT8 cluster, or FLOAT8[].
    Predict,
    /// `PREDICT_PROBA(m [, 'class'] USING …)`.
    PredictProba {
        /// The class whose probability is asked for; without, the positive class of two, or the
        /// array of all in their order.
        class: Option<String>,
    },
}

/// The columns of `ML.PREDICT`, which stand before the input columns.
pub fn predict_fields(model: &TrainedModel) -> Vec<Field> {
    Shape::of(model).predict_fields()
}

/// The arrays of [`predict_fields`]. The threshold of the positive class (0.5) needs two classes.
pub fn predict_arrays(
    model: &TrainedModel,
    prediction: &Prediction,
    threshold: Option<f64>,
) -> Result<Vec<ArrayRef>> {
    Shape::of(model).predict_arrays(prediction, threshold)
}

/// The type that a scalar function returns, or why it cannot.
pub fn scalar_type(model: &TrainedModel, output: &ScalarOutput) -> Result<DataType> {
    Shape::of(model).scalar_type(output)
}

/// The values that a scalar function returns.
pub fn scalar_array(
    model: &TrainedModel,
    prediction: &Prediction,
    output: &ScalarOutput,
) -> Result<ArrayRef> {
    Shape::of(model).scalar_array(prediction, output)
}

/// The columns that the flat form `ml.predict('m', 'SELECT …')` adds after the input columns:
/// `prediction`, and for classifiers `probability` of it and `probabilities` (a JSON object).
pub fn flat_fields(model: &TrainedModel) -> Vec<Field> {
    Shape::of(model).flat_fields()
}

/// The arrays of [`flat_fields`].
pub fn flat_arrays(model: &TrainedModel, prediction: &Prediction) -> Result<Vec<ArrayRef>> {
    Shape::of(model).flat_arrays(prediction)
}

/// The columns of `ML.DETECT_ANOMALIES`, or that the model cannot.
pub fn anomaly_fields(model: &TrainedModel) -> Result<Vec<Field>> {
    Shape::of(model).anomaly_fields()
}

/// How unusual each sample is: the distance to its centroid in radii of that cluster, or the mean
/// squared reconstruction error.
pub fn anomaly_scores(model: &TrainedModel, prediction: &Prediction) -> Result<Vec<f64>> {
    Shape::of(model).anomaly_scores(prediction)
}

/// The arrays of [`anomaly_fields`]: samples whose score is at least `threshold` are anomalies.
pub fn anomaly_arrays(
    model: &TrainedModel,
    prediction: &Prediction,
    threshold: f64,
) -> Result<Vec<ArrayRef>> {
    Shape::of(model).anomaly_arrays(prediction, threshold)
}

/// The columns of `ML.EXPLAIN_PREDICT`, which stand before the input columns.
pub fn explain_fields(model: &TrainedModel) -> Vec<Field> {
    let shape = Shape::of(model);
    let predicted = shape.predict_fields().into_iter().take(1);
    let probability = (shape.task == Task::Classification).then(|| float("probability"));
    predicted
        .chain(probability)
        .chain(explanations::fields())
        .collect()
}

/// The arrays of [`explain_fields`].
pub fn explain_arrays(
    model: &TrainedModel,
    prediction: &Prediction,
    found: &Attributions,
    top_k: usize,
    threshold: Option<f64>,
) -> Result<Vec<ArrayRef>> {
    let shape = Shape::of(model);
    let mut arrays = shape.predict_arrays(prediction, threshold)?;
    arrays.truncate(1);
    if let Prediction::Probabilities { n_classes, values } = prediction {
        let rows = values.chunks_exact((*n_classes).max(1));
        let greatest = rows.map(|row| row.iter().copied().fold(0.0, f64::max));
        arrays.push(Arc::new(Float64Array::from_iter_values(greatest)));
    }
    arrays.extend(explanations::arrays(found, prediction, top_k)?);
    Ok(arrays)
}

/// What decides the shape of a model's predictions.
struct Shape<'a> {
    task: Task,
    target: Option<&'a TargetEncoding>,
    model: &'a dyn Model,
}

impl<'a> Shape<'a> {
    fn of(model: &'a TrainedModel) -> Shape<'a> {
        Shape {
            task: model.spec.task,
            target: model.target.as_ref(),
            model: model.model.as_ref(),
        }
    }

    fn labels(&self) -> ClassLabels {
        self.target.map(ClassLabels::of).unwrap_or_default()
    }

    /// `dbscan` has none: its clusters have no distances.
    fn has_centroids(&self) -> bool {
        !self.model.centroid_distances().is_empty()
    }

    fn predict_fields(&self) -> Vec<Field> {
        let predicted = format!(
            "predicted_{}",
            self.target.map_or("", |target| &target.column)
        );
        match self.task {
            Task::Regression => vec![float(&predicted)],
            Task::Classification => {
                let label_type = self.labels().data_type();
                let probabilities = list_type(DataType::Struct(probability_fields(&label_type)));
                vec![
                    Field::new(&predicted, label_type, true),
                    Field::new(format!("{predicted}_probs"), probabilities, true),
                ]
            }
            Task::Clustering if self.has_centroids() => vec![
                integer("CENTROID_ID"),
                Field::new(
                    "NEAREST_CENTROIDS_DISTANCE",
                    list_type(DataType::Struct(distance_fields())),
                    true,
                ),
            ],
            Task::Clustering => vec![integer("cluster_id")],
            Task::Decomposition => {
                let components = 1..=self.model.n_components();
                components
                    .map(|id| float(&format!("principal_component_{id}")))
                    .collect()
            }
        }
    }

    fn predict_arrays(
        &self,
        prediction: &Prediction,
        threshold: Option<f64>,
    ) -> Result<Vec<ArrayRef>> {
        let labels = self.labels();
        check_threshold(self.task, labels.len(), threshold)?;
        match (self.task, prediction) {
            (Task::Regression, Prediction::Values(values)) => Ok(vec![float_array(values)]),
            (Task::Classification, Prediction::Probabilities { n_classes, values })
                if *n_classes == labels.len() =>
            {
                let labels = labels.array();
                let classes = predicted_classes(*n_classes, values, threshold);
                let predicted = take(&labels, &UInt32Array::from(classes), None)?;
                Ok(vec![
                    predicted,
                    probability_lists(&labels, *n_classes, values)?,
                ])
            }
            (
                Task::Clustering,
                Prediction::Clusters {
                    ids,
                    distances,
                    n_clusters,
                },
            ) => {
                let ids = cluster_ids(ids);
                if self.has_centroids() {
                    Ok(vec![ids, nearest_lists(*n_clusters, distances)?])
                } else {
                    Ok(vec![ids])
                }
            }
            (
                Task::Decomposition,
                Prediction::Components {
                    n_components,
                    values,
                    ..
                },
            ) if *n_components == self.model.n_components() => {
                let column = |component: usize| {
                    let coordinates = values.iter().skip(component).step_by(*n_components);
                    Arc::new(Float64Array::from_iter_values(coordinates.copied())) as ArrayRef
                };
                Ok((0..*n_components).map(column).collect())
            }
            _ => Err(mismatch()),
        }
    }

    fn scalar_type(&self, output: &ScalarOutput) -> Result<DataType> {
        let labels = self.labels();
        match (output, self.task) {
            (ScalarOutput::Predict, Task::Regression) => Ok(DataType::Float64),
            (ScalarOutput::Predict, Task::Classification) => Ok(labels.data_type()),
            (ScalarOutput::Predict, Task::Clustering) => Ok(DataType::Int64),
            (ScalarOutput::Predict, Task::Decomposition) => Ok(list_type(DataType::Float64)),
            (ScalarOutput::PredictProba { class }, Task::Classification) => {
                match labels.asked_for(class.as_deref())? {
                    Some(_) => Ok(DataType::Float64),
                    None => Ok(list_type(DataType::Float64)),
                }
            }
            (ScalarOutput::PredictProba { .. }, _) => Err(Error::Unsupported {
                what: "predict_proba of a model that is not a classifier".to_owned(),
            }),
        }
    }

    fn scalar_array(&self, prediction: &Prediction, output: &ScalarOutput) -> Result<ArrayRef> {
        let labels = self.labels();
        match (output, prediction) {
            (ScalarOutput::Predict, Prediction::Values(values)) => Ok(float_array(values)),
            (ScalarOutput::Predict, Prediction::Clusters { ids, .. }) => Ok(cluster_ids(ids)),
            (
                ScalarOutput::Predict,
                Prediction::Components {
                    n_components,
                    values,
                    ..
                },
            ) => float_lists(*n_components, values, prediction.len()),
            (_, Prediction::Probabilities { n_classes, .. }) if *n_classes != labels.len() => {
                Err(mismatch())
            }
            (ScalarOutput::Predict, Prediction::Probabilities { n_classes, values }) => {
                let classes = UInt32Array::from(predicted_classes(*n_classes, values, None));
                Ok(take(&labels.array(), &classes, None)?)
            }
            (
                ScalarOutput::PredictProba { class },
                Prediction::Probabilities { n_classes, values },
            ) => match labels.asked_for(class.as_deref())? {
                Some(class) => {
                    let column = values.iter().skip(class).step_by(*n_classes);
                    Ok(Arc::new(Float64Array::from_iter_values(column.copied())))
                }
                None => float_lists(*n_classes, values, prediction.len()),
            },
            (ScalarOutput::Predict, Prediction::Nearest { .. })
            | (ScalarOutput::PredictProba { .. }, _) => Err(mismatch()),
        }
    }

    fn flat_fields(&self) -> Vec<Field> {
        match self.task {
            Task::Regression => vec![float("prediction")],
            Task::Classification => vec![
                Field::new("prediction", self.labels().data_type(), true),
                float("probability"),
                Field::new("probabilities", DataType::Utf8, true),
            ],
            Task::Clustering => vec![integer("prediction")],
            Task::Decomposition => {
                vec![Field::new("prediction", list_type(DataType::Float64), true)]
            }
        }
    }

    fn flat_arrays(&self, prediction: &Prediction) -> Result<Vec<ArrayRef>> {
        let mut arrays = vec![self.scalar_array(prediction, &ScalarOutput::Predict)?];
        if let Prediction::Probabilities { n_classes, values } = prediction {
            let classes = predicted_classes(*n_classes, values, None);
            let rows = values.chunks_exact(*n_classes);
            let of_predicted = rows.zip(&classes).map(|(row, class)| row[*class as usize]);
            arrays.push(Arc::new(Float64Array::from_iter_values(of_predicted)));
            arrays.push(json_objects(&self.labels().texts(), values)?);
        }
        Ok(arrays)
    }

    fn anomaly_fields(&self) -> Result<Vec<Field>> {
        let is_anomaly = Field::new("is_anomaly", DataType::Boolean, true);
        match self.task {
            Task::Clustering if self.has_centroids() => Ok(vec![
                is_anomaly,
                float("normalized_distance"),
                integer("CENTROID_ID"),
            ]),
            Task::Decomposition => Ok(vec![is_anomaly, float("mean_squared_error")]),
            _ => Err(Error::Unsupported {
                what: "ml.detect_anomalies of a model without centroids or components".to_owned(),
            }),
        }
    }

    fn anomaly_scores(&self, prediction: &Prediction) -> Result<Vec<f64>> {
        match prediction {
            Prediction::Components {
                reconstruction_errors,
                ..
            } => Ok(reconstruction_errors.clone()),
            Prediction::Clusters {
                ids,
                distances,
                n_clusters,
            } => {
                let radii = self.model.cluster_radii();
                let rows = distances.chunks_exact((*n_clusters).max(1));
                if radii.len() != *n_clusters || rows.len() != ids.len() {
                    return Err(mismatch());
                }
                // Without any cluster there is nothing to be near to.
                let score = |(row, id): (&[f64], &Option<u32>)| match id.map(|id| id as usize) {
                    Some(id) if id < row.len() => in_radii(row[id], radii[id]),
                    _ => f64::INFINITY,
                };
                Ok(rows.zip(ids).map(score).collect())
            }
            _ => Err(mismatch()),
        }
    }

    fn anomaly_arrays(&self, prediction: &Prediction, threshold: f64) -> Result<Vec<ArrayRef>> {
        let scores = self.anomaly_scores(prediction)?;
        let is_anomaly: BooleanArray = scores.iter().map(|s| Some(*s >= threshold)).collect();
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(is_anomaly), Arc::new(Float64Array::from(scores))];
        if let Prediction::Clusters { ids, .. } = prediction {
            arrays.push(cluster_ids(ids));
        }
        Ok(arrays)
    }
}

#[cfg(test)]
mod tests;
