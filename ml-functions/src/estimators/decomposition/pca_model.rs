//! What `pca` learned: principal components in the space of the features.
//!
//! In: blocks; out: coordinates along the components, and what of each sample they leave out.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::{FeatureSpace, Units, points_table};
use crate::features::FeatureBlock;
use crate::model::{Inspection, Model, ModelContext, ModelState, Prediction, Tensor};

/// A fitted `pca`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PcaModel {
    pub(super) space: FeatureSpace,
    /// Orthonormal, `(n_components, n_cols)` row-major.
    pub(super) components: Vec<f64>,
    /// The variance along each component, in descending order.
    pub(super) eigenvalues: Vec<f64>,
    /// The variance of all columns together.
    pub(super) total_variance: f64,
}

impl PcaModel {
    /// Bytes of each sample that a prediction brings back from a device: coordinates and the squared length.
    pub(super) fn moved_bytes(n_components: u64) -> u64 {
        n_components.saturating_add(1).saturating_mul(8)
    }

    /// Makes the model of its state.
    pub(super) fn load(state: &ModelState, _: &ModelContext<'_>) -> Result<Box<dyn Model>> {
        let model = PcaModel {
            space: FeatureSpace::load(state)?,
            components: state.f64("components")?.to_vec(),
            eigenvalues: state.f64("eigenvalues")?.to_vec(),
            total_variance: state.head("total_variance")?,
        };
        let n_values = model.eigenvalues.len() * model.space.n_cols();
        if n_values == 0 || model.components.len() != n_values {
            return Err(Error::DamagedModel {
                what: "tensor \"components\"".to_owned(),
            });
        }
        Ok(Box::new(model))
    }

    /// `principal_component_id`, `eigenvalue`, `explained_variance_ratio`,
    /// `cumulative_explained_variance_ratio`.
    fn info(&self) -> Result<RecordBatch> {
        let ratio = |eigenvalue: &f64| {
            if self.total_variance > 0.0 {
                eigenvalue / self.total_variance
            } else {
                0.0
            }
        };
        let ratios: Vec<f64> = self.eigenvalues.iter().map(ratio).collect();
        let mut sum = 0.0;
        let cumulative: Vec<f64> = self
            .eigenvalues
            .iter()
            .map(|eigenvalue| {
                sum += eigenvalue;
                ratio(&sum)
            })
            .collect();
        let float = |name| Field::new(name, DataType::Float64, false);
        let schema = Schema::new(vec![
            Field::new("principal_component_id", DataType::Int64, false),
            float("eigenvalue"),
            float("explained_variance_ratio"),
            float("cumulative_explained_variance_ratio"),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(
                0..self.eigenvalues.len() as i64,
            )),
            Arc::new(Float64Array::from(self.eigenvalues.clone())),
            Arc::new(Float64Array::from(ratios)),
            Arc::new(Float64Array::from(cumulative)),
        ];
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}

impl Model for PcaModel {
    fn predict(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        let (n_components, n_cols) = (self.n_components(), self.space.n_cols());
        let design = self.space.design(block);
        // The kernel takes an intercept behind the coefficients of each output.
        let mut coefficients = Vec::with_capacity(n_components * (n_cols + 1));
        for component in self.components.chunks_exact(n_cols) {
            coefficients.extend_from_slice(component);
            coefficients.push(0.0);
        }
        let values = compute
            .device()
            .linear(&design, &coefficients, n_components)?;
        let origin = vec![0.0; n_cols];
        let mut mean_squares = compute.device().squared_distances(&design, &origin)?;
        // The components are orthonormal, hence |z − V·Vᵀz|² = |z|² − |Vᵀz|².
        let reconstruction_errors = values
            .chunks_exact(n_components)
            .zip(&mean_squares)
            .map(|(row, square)| {
                let kept: f64 = row.iter().map(|x| x * x).sum();
                (square - kept).max(0.0) / n_cols as f64
            })
            .collect();
        mean_squares
            .iter_mut()
            .for_each(|square| *square /= n_cols as f64);
        Ok(Prediction::Components {
            n_components,
            values,
            reconstruction_errors,
            mean_squares,
        })
    }

    fn predicted_bytes(&self) -> u64 {
        PcaModel::moved_bytes(self.n_components() as u64)
    }

    fn state(&self) -> ModelState {
        let head = serde_json::json!({ "total_variance": self.total_variance });
        let mut state = ModelState {
            head,
            ..ModelState::default()
        };
        let n_components = self.eigenvalues.len();
        let shape = [n_components, self.space.n_cols()];
        let components = Tensor::f64(&shape, self.components.clone());
        state.tensors.insert("components".to_owned(), components);
        let eigenvalues = Tensor::f64(&[n_components], self.eigenvalues.clone());
        state.tensors.insert("eigenvalues".to_owned(), eigenvalues);
        self.space.save(&mut state);
        state
    }

    fn inspect(&self, request: &Inspection, context: &ModelContext<'_>) -> Result<RecordBatch> {
        match request.function.as_str() {
            "principal_components" => points_table(
                ("principal_component_id", 0),
                &self.components,
                &self.space,
                context.encoder,
                Units::Coordinates,
            ),
            "principal_component_info" => self.info(),
            other => Err(Error::Unsupported {
                what: format!("ml.{other} of a pca model"),
            }),
        }
    }

    fn n_components(&self) -> usize {
        self.eigenvalues.len()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
