//! What `kmeans` learned: centroids in the space of the features, and how far their samples are.
//!
//! In: blocks; out: distances to every centroid; `ML.CENTROIDS` in the features' own units.

use datafusion::arrow::record_batch::RecordBatch;
use serde_json::Value;

use super::distance::Distance;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::{FeatureSpace, Units, points_table};
use crate::features::FeatureBlock;
use crate::model::{Inspection, Model, ModelContext, ModelState, Prediction, Tensor};

/// A fitted `kmeans`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KMeansModel {
    pub(super) space: FeatureSpace,
    pub(super) distance: Distance,
    /// `(num_clusters, n_cols)` row-major; of length one for the cosine.
    pub(super) centroids: Vec<f64>,
    /// The root mean squared distance of each cluster's training samples.
    pub(super) radii: Vec<f64>,
}

impl KMeansModel {
    /// Makes the model of its state.
    pub(super) fn load(state: &ModelState, _: &ModelContext<'_>) -> Result<Box<dyn Model>> {
        let model = KMeansModel {
            space: FeatureSpace::load(state)?,
            distance: state.head("distance_type")?,
            centroids: state.f64("centroids")?.to_vec(),
            radii: state.f64("radii")?.to_vec(),
        };
        let n_values = model.n_clusters() * model.space.n_cols();
        if n_values == 0 || model.centroids.len() != n_values {
            return Err(Error::DamagedModel {
                what: "tensor \"centroids\"".to_owned(),
            });
        }
        Ok(Box::new(model))
    }

    pub(super) fn n_clusters(&self) -> usize {
        self.radii.len()
    }

    /// The centroids as points of another space, for a warm start; `None` where the features differ.
    pub(super) fn centroids_in(
        &self,
        space: &FeatureSpace,
        distance: Distance,
    ) -> Option<Vec<f64>> {
        let mut centroids = Vec::with_capacity(self.centroids.len());
        for centroid in self.centroids.chunks_exact(self.space.n_cols()) {
            let mut centroid = space.translate(&self.space, centroid)?;
            // Dividing a length of one by itself could move the last bit.
            if self.distance != distance || self.space != *space {
                distance.normalise(&mut centroid);
            }
            centroids.extend(centroid);
        }
        Some(centroids)
    }
}

impl Model for KMeansModel {
    fn predict(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        let n_clusters = self.n_clusters();
        let design = self.space.design(block);
        let mut distances = self.distance.costs(&design, &self.centroids, compute)?;
        let nearest = |row: &[f64]| {
            let nearer = |best, id: usize| if row[id] < row[best] { id } else { best };
            Some((0..n_clusters).fold(0, nearer) as u32)
        };
        let ids = distances.chunks_exact(n_clusters).map(nearest).collect();
        distances
            .iter_mut()
            .for_each(|cost| *cost = self.distance.of_cost(*cost));
        Ok(Prediction::Clusters {
            ids,
            distances,
            n_clusters,
        })
    }

    fn predict_for_metrics(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        let design = self.space.design(block);
        let nearest = self.distance.nearest(&design, &self.centroids, compute)?;
        match nearest {
            Some((ids, mut distances)) => {
                distances
                    .iter_mut()
                    .for_each(|cost| *cost = self.distance.of_cost(*cost));
                Ok(Prediction::Nearest { ids, distances })
            }
            None => self.predict(block, compute),
        }
    }

    fn predicted_bytes(&self) -> u64 {
        self.distance.predicted_bytes(self.n_clusters() as u64)
    }

    fn state(&self) -> ModelState {
        let n_clusters = self.n_clusters();
        let mut state = ModelState {
            head: serde_json::json!({}),
            ..ModelState::default()
        };
        state.head["distance_type"] = match self.distance {
            Distance::Euclidean => "EUCLIDEAN".into(),
            Distance::Cosine => "COSINE".into(),
        };
        let shape = [n_clusters, self.space.n_cols()];
        let centroids = Tensor::f64(&shape, self.centroids.clone());
        state.tensors.insert("centroids".to_owned(), centroids);
        let radii = Tensor::f64(&[n_clusters], self.radii.clone());
        state.tensors.insert("radii".to_owned(), radii);
        self.space.save(&mut state);
        state
    }

    fn inspect(&self, request: &Inspection, context: &ModelContext<'_>) -> Result<RecordBatch> {
        if request.function != "centroids" {
            return Err(Error::Unsupported {
                what: format!("ml.{} of a kmeans model", request.function),
            });
        }
        let is_standardised = request
            .arguments
            .get("standardize")
            .and_then(Value::as_bool)
            .unwrap_or_default();
        let units = if is_standardised {
            Units::Coordinates
        } else {
            Units::Own
        };
        points_table(
            ("centroid_id", 1),
            &self.centroids,
            &self.space,
            context.encoder,
            units,
        )
    }

    fn centroid_distances(&self) -> Vec<f64> {
        let centroids = || self.centroids.chunks_exact(self.space.n_cols());
        centroids()
            .flat_map(|a| centroids().map(move |b| self.distance.between(a, b)))
            .collect()
    }

    fn cluster_radii(&self) -> Vec<f64> {
        self.radii.clone()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
