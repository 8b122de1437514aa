//! What `dbscan` learned: the core samples with their clusters, in a tree that finds the nearest.
//!
//! In: blocks; out: for each sample the cluster of the nearest core sample within `eps`, else noise. The
//! tree is implicit: the middle of each range of points splits it, so it holds nothing but the points.
//! Source: k-d trees, Bentley 1975, doi:10.1145/361002.361007.

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimators::feature_space::FeatureSpace;
use crate::features::FeatureBlock;
use crate::model::{Model, ModelContext, ModelState, Prediction, Tensor, TensorData};

/// Points of a range that is searched one by one.
const LEAF_POINTS: usize = 12;

/// A fitted `dbscan`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CoreSamples {
    space: FeatureSpace,
    eps: f64,
    n_clusters: usize,
    /// In the order of the samples, `(n_core, n_cols)` row-major.
    points: Vec<f64>,
    /// The cluster of each.
    clusters: Vec<u32>,
    tree: Tree,
}

/// The order of the points as a tree: a range longer than a leaf is split at its middle, which lies
/// between those before and after it on its axis.
#[derive(Debug, Clone, PartialEq)]
struct Tree {
    order: Vec<u32>,
    /// The axis of each middle, by its place in `order`.
    axes: Vec<u32>,
}

impl CoreSamples {
    /// Holds core samples `(n_core, n_cols)` row-major with their clusters.
    pub(super) fn new(
        space: FeatureSpace,
        eps: f64,
        n_clusters: usize,
        points: Vec<f64>,
        clusters: Vec<u32>,
    ) -> CoreSamples {
        let tree = Tree::new(&points, space.n_cols());
        CoreSamples {
            space,
            eps,
            n_clusters,
            points,
            clusters,
            tree,
        }
    }

    /// Makes the model of its state.
    pub(super) fn load(state: &ModelState, _: &ModelContext<'_>) -> Result<Box<dyn Model>> {
        let damaged = |what: &str| Error::DamagedModel {
            what: format!("tensor \"{what}\""),
        };
        let space = FeatureSpace::load(state)?;
        let points = state.f64("core_samples")?.to_vec();
        let clusters = match state.tensors.get("clusters") {
            Some(Tensor {
                data: TensorData::U32(clusters),
                ..
            }) => clusters.clone(),
            _ => return Err(damaged("clusters")),
        };
        if points.len() != clusters.len() * space.n_cols() || space.n_cols() == 0 {
            return Err(damaged("core_samples"));
        }
        let (eps, n_clusters) = (state.head("eps")?, state.head("n_clusters")?);
        Ok(Box::new(CoreSamples::new(
            space, eps, n_clusters, points, clusters,
        )))
    }

    /// Number of clusters.
    pub(super) fn n_clusters(&self) -> usize {
        self.n_clusters
    }

    /// The cluster of the nearest core sample within `eps`; the first at ties.
    fn cluster_of(&self, point: &[f64]) -> Option<u32> {
        let mut nearest = Nearest {
            squared_distance: self.eps * self.eps,
            id: None,
        };
        self.search(point, 0, self.clusters.len(), &mut nearest);
        nearest.id.map(|id| self.clusters[id as usize])
    }

    fn search(&self, point: &[f64], start: usize, end: usize, nearest: &mut Nearest) {
        if end - start <= LEAF_POINTS {
            for &id in &self.tree.order[start..end] {
                nearest.try_point(id, squared_distance(self.point(id), point));
            }
            return;
        }
        let middle = start.midpoint(end);
        let id = self.tree.order[middle];
        let axis = self.tree.axes[middle] as usize;
        nearest.try_point(id, squared_distance(self.point(id), point));
        let beyond = point[axis] - self.point(id)[axis];
        let (near, far) = if beyond < 0.0 {
            ((start, middle), (middle + 1, end))
        } else {
            ((middle + 1, end), (start, middle))
        };
        self.search(point, near.0, near.1, nearest);
        // Equal distances matter too: a point there may have a lower number.
        if beyond * beyond <= nearest.squared_distance {
            self.search(point, far.0, far.1, nearest);
        }
    }

    fn point(&self, id: u32) -> &[f64] {
        let n_cols = self.space.n_cols();
        &self.points[id as usize * n_cols..][..n_cols]
    }
}

/// The nearest point so far; before there is one, the greatest distance allowed.
struct Nearest {
    squared_distance: f64,
    id: Option<u32>,
}

impl Nearest {
    fn try_point(&mut self, id: u32, squared_distance: f64) {
        let is_first = self.id.is_none_or(|found| id < found);
        if squared_distance < self.squared_distance
            || (squared_distance == self.squared_distance && is_first)
        {
            *self = Nearest {
                squared_distance,
                id: Some(id),
            };
        }
    }
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

impl Tree {
    fn new(points: &[f64], n_cols: usize) -> Tree {
        let n_points = points.len() / n_cols.max(1);
        let mut tree = Tree {
            order: (0..n_points as u32).collect(),
            axes: vec![0; n_points],
        };
        tree.split(points, n_cols, 0, n_points);
        tree
    }

    /// Splits a range at the median of the axis along which it is longest.
    fn split(&mut self, points: &[f64], n_cols: usize, start: usize, end: usize) {
        if end - start <= LEAF_POINTS {
            return;
        }
        let range = &mut self.order[start..end];
        let coordinate = |id: u32, axis: usize| points[id as usize * n_cols + axis];
        let length = |axis: usize| {
            let (least, greatest) = range.iter().fold(
                (f64::INFINITY, f64::NEG_INFINITY),
                |(least, greatest), &id| {
                    let x = coordinate(id, axis);
                    (least.min(x), greatest.max(x))
                },
            );
            greatest - least
        };
        let lengths: Vec<f64> = (0..n_cols).map(length).collect();
        let axis = (0..n_cols).fold(0, |best, axis| {
            if lengths[axis] > lengths[best] {
                axis
            } else {
                best
            }
        });
        let middle = start.midpoint(end);
        range.select_nth_unstable_by(middle - start, |&a, &b| {
            coordinate(a, axis)
                .total_cmp(&coordinate(b, axis))
                .then(a.cmp(&b))
        });
        self.axes[middle] = axis as u32;
        self.split(points, n_cols, start, middle);
        self.split(points, n_cols, middle + 1, end);
    }
}

impl Model for CoreSamples {
    fn predict(&self, block: &FeatureBlock, _compute: &Compute) -> Result<Prediction> {
        let mut point = vec![0.0; self.space.n_cols()];
        let cluster = |row| {
            self.space.locate(block, row, &mut point);
            self.cluster_of(&point)
        };
        let ids = (0..block.n_samples).map(cluster).collect();
        Ok(Prediction::Clusters {
            ids,
            distances: Vec::new(),
            n_clusters: self.n_clusters,
        })
    }

    fn state(&self) -> ModelState {
        let head = serde_json::json!({ "eps": self.eps, "n_clusters": self.n_clusters });
        let mut state = ModelState {
            head,
            ..ModelState::default()
        };
        let n_core = self.clusters.len();
        let points = Tensor::f64(&[n_core, self.space.n_cols()], self.points.clone());
        state.tensors.insert("core_samples".to_owned(), points);
        let clusters = Tensor {
            shape: vec![n_core],
            data: TensorData::U32(self.clusters.clone()),
        };
        state.tensors.insert("clusters".to_owned(), clusters);
        self.space.save(&mut state);
        state
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimators::feature_space::Scaling;
    use crate::estimators::in_memory::InMemory;
    use crate::random::Random;
    use crate::training_set::TrainingSet;

    #[test]
    fn the_tree_finds_what_a_scan_finds() {
        let mut random = Random::new(3, 3);
        for n in [0_usize, 1, 12, 13, 100, 700] {
            // Coarse numbers give many equal coordinates and equal distances.
            let mut number = || (random.unit() * 8.0).floor();
            let points: Vec<f64> = (0..3 * n).map(|_| number()).collect();
            let queries: Vec<Vec<f64>> = (0..80)
                .map(|_| vec![number(), number(), number() + 0.5])
                .collect();
            let samples = InMemory::of_rows(&queries, 80);
            let space = FeatureSpace::new(samples.encoder(), Scaling::None);
            let clusters: Vec<u32> = (0..n as u32).collect();
            let core = CoreSamples::new(space, 1.5, n, points.clone(), clusters);
            let expected: Vec<Option<u32>> = queries
                .iter()
                .map(|query| {
                    let distances = points
                        .chunks_exact(3)
                        .map(|point| squared_distance(point, query));
                    let within = distances.zip(0..).filter(|(distance, _)| *distance <= 2.25);
                    within.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, id)| id)
                })
                .collect();
            match core.predict(&samples.blocks[0], &Compute::cpu()).unwrap() {
                Prediction::Clusters { ids, .. } => assert_eq!(ids, expected, "{n}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
