//! A fitted model: a pure function of a block of encoded features.
//!
//! In: [`FeatureBlock`]s; out: [`Prediction`]s in the form of the task. Column names, label types and
//! SQL shapes are made of them in `output`, in one place for all models.

use std::collections::BTreeMap;
use std::fmt::Debug;

use datafusion::arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::explain::Attributions;
use crate::features::{FeatureBlock, FeatureEncoder, TargetEncoding};
use crate::options::Options;

/// What a model says of the samples of one block, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Regression: `(n_samples,)`.
    Values(Vec<f64>),
    /// Classification: `(n_samples, n_classes)` row-major, rows sum to one; classes in the order of
    /// the target's encoding. Binary models have two columns too.
    Probabilities {
        /// Number of classes.
        n_classes: usize,
        /// The probabilities.
        values: Vec<f64>,
    },
    /// Clustering.
    Clusters {
        /// The 0-based cluster; `None` is noise.
        ids: Vec<Option<u32>>,
        /// The distance to each cluster, `(n_samples, n_clusters)` row-major; empty where a model
        /// has none.
        distances: Vec<f64>,
        /// Number of columns of `distances`.
        n_clusters: usize,
    },
    /// Clustering, as its metrics read it, where every sample has a cluster.
    Nearest {
        /// The 0-based cluster.
        ids: Vec<u32>,
        /// The distance to it.
        distances: Vec<f64>,
    },
    /// Decomposition: `(n_samples, n_components)` row-major.
    Components {
        /// Number of components.
        n_components: usize,
        /// The coordinates.
        values: Vec<f64>,
        /// The mean squared reconstruction error of each sample over the design's columns.
        reconstruction_errors: Vec<f64>,
        /// The mean squared value of each sample over the design's columns, before projection.
        mean_squares: Vec<f64>,
    },
}

impl Prediction {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Prediction::Values(values) => values.len(),
            Prediction::Probabilities { n_classes, values } => values.len() / n_classes.max(&1),
            Prediction::Clusters { ids, .. } => ids.len(),
            Prediction::Nearest { ids, .. } => ids.len(),
            Prediction::Components {
                reconstruction_errors,
                ..
            } => reconstruction_errors.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense array of a model's parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: TensorData,
}

/// The elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Tensor {
    /// A tensor of f64.
    pub fn f64(shape: &[usize], data: Vec<f64>) -> Tensor {
        Tensor {
            shape: shape.to_vec(),
            data: TensorData::F64(data),
        }
    }
}

/// Everything that a model needs to be made again: tensors by name and a small JSON head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelState {
    /// Small values.
    pub head: serde_json::Value,
    /// Parameters.
    pub tensors: BTreeMap<String, Tensor>,
}

impl ModelState {
    /// The f64 tensor `name`, or an error that says that the model file is damaged.
    pub fn f64(&self, name: &str) -> Result<&[f64]> {
        match self.tensors.get(name) {
            Some(Tensor {
                data: TensorData::F64(values),
                ..
            }) => Ok(values),
            _ => Err(Error::DamagedModel {
                what: format!("tensor \"{name}\" of type f64"),
            }),
        }
    }

    /// A value of the head, or an error that says that the model file is damaged.
    pub fn head<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<T> {
        self.head
            .get(name)
            .and_then(|value| T::deserialize(value).ok())
            .ok_or_else(|| Error::DamagedModel {
                what: format!("head value \"{name}\""),
            })
    }
}

/// What a model was trained with, beside its own state.
#[derive(Debug, Clone, Copy)]
pub struct ModelContext<'a> {
    /// How features become numbers.
    pub encoder: &'a FeatureEncoder,
    /// How the label becomes numbers; `None` for unsupervised tasks.
    pub target: Option<&'a TargetEncoding>,
    /// The options of the training.
    pub options: &'a Options,
}

/// A request for a table about a model: `ML.WEIGHTS(MODEL m, STRUCT(TRUE AS standardize))`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// The function in lower case, without `ml.`: `weights`.
    pub function: String,
    /// The values of its `STRUCT` argument.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

/// A fitted model.
pub trait Model: Debug + Send + Sync {
    /// Predicts each sample of a block, in its order.
    fn predict(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction>;

    /// What the metrics read of [`Model::predict`]: the same, or less where a device has less to bring back then.
    fn predict_for_metrics(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        self.predict(block, compute)
    }

    /// Bytes of each sample that [`Model::predict`] brings back from a device.
    fn predicted_bytes(&self) -> u64 {
        0
    }

    /// Its state, from which `EstimatorSpec::load` makes an equal model.
    fn state(&self) -> ModelState;

    /// Answers a function of the spec's `inspections` as a table with the columns of SQL.md §3.
    fn inspect(&self, request: &Inspection, context: &ModelContext<'_>) -> Result<RecordBatch> {
        let _ = context;
        Err(Error::Unsupported {
            what: format!("ml.{} of this model", request.function),
        })
    }

    /// How much each feature contributes to the scores of each sample of a block.
    fn attributions(
        &self,
        block: &FeatureBlock,
        context: &ModelContext<'_>,
        compute: &Compute,
    ) -> Result<Attributions> {
        let _ = (block, context, compute);
        Err(Error::Unsupported {
            what: "explaining the predictions of this model type".to_owned(),
        })
    }

    /// Clustering: Euclidean distances between centroids, `(n_clusters, n_clusters)`; empty where
    /// there are none. The Davies–Bouldin index needs them.
    fn centroid_distances(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Clustering: the radius of each cluster, the root mean squared distance of its training samples
    /// to the centroid; empty where there are none. `ML.DETECT_ANOMALIES` divides distances by it.
    fn cluster_radii(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Decomposition: the number of components, which decides the number of output columns.
    fn n_components(&self) -> usize {
        0
    }

    /// For a warm start: lets an estimator find its own models.
    fn as_any(&self) -> &dyn std::any::Any;
}
