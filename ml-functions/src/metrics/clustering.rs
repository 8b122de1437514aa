//! The two metrics of clustering.
//!
//! In: the cluster of each row and its distance; out: sums by cluster. A model without centroids
//! (`dbscan`) has no distances: both metrics are NULL then. Rows that are noise count as rows only.

use serde::{Deserialize, Serialize};

use super::anomaly::AnomalyScores;
use super::sum::Sum;
use crate::error::Result;

/// Names and order of the metrics.
pub(super) const NAMES: &[&str] = &["davies_bouldin_index", "mean_squared_distance"];

/// What is known of some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusteringEvaluation {
    n_samples: u64,
    /// Distances between centroids, `(n_clusters, n_clusters)`; empty where there are none.
    centroid_distances: Vec<f64>,
    /// Rows and summed squared distances of each cluster.
    clusters: Vec<(u64, Sum)>,
    /// The radius of each cluster; empty where there are none.
    radii: Vec<f64>,
    /// Distances in radii.
    pub(super) scores: AnomalyScores,
}

impl ClusteringEvaluation {
    pub(super) fn new(centroid_distances: Vec<f64>, radii: Vec<f64>) -> ClusteringEvaluation {
        let n_clusters = centroid_distances.len().isqrt();
        ClusteringEvaluation {
            n_samples: 0,
            centroid_distances,
            clusters: vec![Default::default(); n_clusters],
            radii,
            scores: AnomalyScores::default(),
        }
    }

    pub(super) fn n_samples(&self) -> u64 {
        self.n_samples
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.centroid_distances.as_slice())
            + size_of_val(self.clusters.as_slice())
            + self.scores.memory_bytes()
    }

    /// Adds rows: `distances` is `(n_samples, n_clusters)` row-major, or empty.
    pub(super) fn update(&mut self, ids: &[Option<u32>], distances: &[f64]) {
        self.n_samples += ids.len() as u64;
        let rows = distances.chunks_exact(self.clusters.len().max(1));
        self.add(rows.zip(ids).filter_map(|(row, id)| {
            let id = (*id)? as usize;
            Some((id, *row.get(id)?))
        }));
    }

    /// Adds rows by their clusters and the distances to those.
    pub(super) fn update_nearest(&mut self, ids: &[u32], distances: &[f64]) {
        self.n_samples += ids.len() as u64;
        let ids = ids.iter().map(|id| *id as usize);
        self.add(ids.zip(distances.iter().copied()));
    }

    fn add(&mut self, rows: impl Iterator<Item = (usize, f64)> + Clone) {
        if self.radii.len() == self.clusters.len() {
            let score =
                |(id, distance): (usize, f64)| Some(in_radii(distance, *self.radii.get(id)?));
            self.scores.add(rows.clone().filter_map(score));
        }
        for (id, distance) in rows {
            if let Some((n_samples, squares)) = self.clusters.get_mut(id) {
                *n_samples += 1;
                squares.add(distance * distance);
            }
        }
    }

    pub(super) fn merge(&mut self, later: ClusteringEvaluation) -> Result<()> {
        if self.centroid_distances != later.centroid_distances {
            return Err(super::mismatch());
        }
        self.n_samples += later.n_samples;
        for (cluster, later) in self.clusters.iter_mut().zip(later.clusters) {
            cluster.0 += later.0;
            cluster.1.merge(later.1);
        }
        self.scores.merge(later.scores);
        Ok(())
    }

    /// The metrics in the order of [`NAMES`].
    pub(super) fn metrics(&self) -> [Option<f64>; 2] {
        let n_clustered = self.clusters.iter().map(|cluster| cluster.0).sum::<u64>();
        let mut squares = Sum::default();
        self.clusters
            .iter()
            .for_each(|cluster| squares.merge(cluster.1));
        let mean = (n_clustered > 0).then(|| squares.value() / n_clustered as f64);
        [self.davies_bouldin_index(), mean]
    }

    /// The mean over clusters of the greatest `(sᵢ + sⱼ) / dᵢⱼ` to another one, where `s` is the
    /// root mean squared distance of a cluster's rows and `d` that of the centroids. Clusters
    /// without rows are left out; fewer than two with rows have no index.
    ///
    /// Source: Davies & Bouldin 1979, doi:10.1109/TPAMI.1979.4766909, with q = 2.
    fn davies_bouldin_index(&self) -> Option<f64> {
        let n_clusters = self.clusters.len();
        let scatters: Vec<(usize, f64)> = (self.clusters.iter().enumerate())
            .filter(|(_, cluster)| cluster.0 > 0)
            .map(|(id, cluster)| (id, (cluster.1.value() / cluster.0 as f64).sqrt()))
            .collect();
        if scatters.len() < 2 {
            return None;
        }
        let worst = |&(id, scatter): &(usize, f64)| {
            let others = scatters.iter().filter(|other| other.0 != id);
            let overlap = |other: &(usize, f64)| {
                (scatter + other.1) / self.centroid_distances[id * n_clusters + other.0]
            };
            others.map(overlap).fold(0.0, f64::max)
        };
        Some(scatters.iter().map(worst).sum::<f64>() / scatters.len() as f64)
    }
}

/// A distance in radii; in a cluster of equal samples any other one is infinitely far.
pub(crate) fn in_radii(distance: f64, radius: f64) -> f64 {
    if distance == 0.0 {
        0.0
    } else {
        distance / radius
    }
}
