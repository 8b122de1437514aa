//! One iteration of Lloyd: every sample to its nearest centroid, every centroid to the mean of its samples.
//!
//! In: centroids; out of a pass: sums by centroid, which merge; out of the sums: the next centroids
//! with the loss and the radii that they have for the samples as assigned, without another pass.

use serde::{Deserialize, Serialize};

use super::distance::Distance;
use crate::compute::Compute;
use crate::error::Result;
use crate::estimators::feature_space::FeatureSpace;
use crate::features::FeatureBlock;
use crate::training_set::PartitionStep;

/// Assigns the samples of a block to centroids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LloydStep {
    pub(super) space: FeatureSpace,
    pub(super) distance: Distance,
    /// `(num_clusters, n_cols)` row-major.
    pub(super) centroids: Vec<f64>,
}

/// Sums over samples by their nearest centroid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LloydPartial {
    /// Σ w.
    weights: Vec<f64>,
    /// Σ w·x (of samples at length one for the cosine), `(num_clusters, n_cols)` row-major.
    sums: Vec<f64>,
    /// Σ w·d².
    squares: Vec<f64>,
}

/// What an iteration leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Update {
    /// The next centroids; that of an empty cluster stays where it was.
    pub(super) centroids: Vec<f64>,
    /// The root mean squared distance of each cluster's samples; 0 for an empty one.
    pub(super) radii: Vec<f64>,
    /// Σ w of each cluster.
    pub(super) sizes: Vec<f64>,
    /// The mean over samples of what the iteration minimises: the squared distance, for the cosine the
    /// distance.
    pub(super) loss: f64,
    /// The clusters without samples.
    pub(super) empty: Vec<usize>,
}

impl PartitionStep for LloydStep {
    type Partial = LloydPartial;
    const NAME: &'static str = "kmeans.lloyd";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<LloydPartial> {
        let design = self.space.design(block);
        let weights = block.weights.as_deref();
        let sums = self
            .distance
            .sums(&design, &self.centroids, weights, compute)?;
        Ok(LloydPartial {
            weights: sums.weights,
            sums: sums.sums,
            squares: sums.squares,
        })
    }

    fn merge(&self, into: &mut LloydPartial, later: LloydPartial) -> Result<()> {
        add(&mut into.weights, &later.weights);
        add(&mut into.sums, &later.sums);
        add(&mut into.squares, &later.squares);
        Ok(())
    }
}

fn add(into: &mut [f64], later: &[f64]) {
    for (sum, x) in into.iter_mut().zip(later) {
        *sum += x;
    }
}

impl LloydStep {
    /// Moves the centroids to where the sums say.
    pub(super) fn update(&self, partial: &LloydPartial) -> Update {
        let n_cols = self.space.n_cols();
        let mut update = Update {
            centroids: self.centroids.clone(),
            radii: vec![0.0; partial.weights.len()],
            sizes: partial.weights.clone(),
            loss: 0.0,
            empty: Vec::new(),
        };
        let centroids = update.centroids.chunks_exact_mut(n_cols);
        for (id, (centroid, sums)) in centroids.zip(partial.sums.chunks_exact(n_cols)).enumerate() {
            let (weight, squares) = (partial.weights[id], partial.squares[id]);
            let moved = match self.distance {
                Distance::Euclidean => to_mean(centroid, sums, weight, squares),
                Distance::Cosine => to_direction(centroid, sums, weight, squares),
            };
            match moved {
                Some((loss, squares)) => {
                    update.loss += loss;
                    update.radii[id] = (squares / weight).sqrt();
                }
                None => update.empty.push(id),
            }
        }
        update.loss /= partial.weights.iter().sum::<f64>();
        update
    }
}

/// Moves a centroid `c` to the mean `m` and returns its loss and squared distances there:
/// `Σ w·|x − m|² = Σ w·|x − c|² − W·|m − c|²`.
fn to_mean(centroid: &mut [f64], sums: &[f64], weight: f64, squares: f64) -> Option<(f64, f64)> {
    if weight <= 0.0 {
        return None;
    }
    let mut squared_way = 0.0;
    for (x, sum) in centroid.iter_mut().zip(sums) {
        let mean = sum / weight;
        squared_way += (mean - *x) * (mean - *x);
        *x = mean;
    }
    // Rounding may reach below zero; infinity minus infinity must stay visible to the caller.
    let left = squares - weight * squared_way;
    let left = if left < 0.0 { 0.0 } else { left };
    Some((left, left))
}

/// Moves a centroid to the direction of the sum `s`, where `Σ w·(1 − cos) = W − |s|`; the squared
/// distances stay those to the centroid before.
fn to_direction(
    centroid: &mut [f64],
    sums: &[f64],
    weight: f64,
    squares: f64,
) -> Option<(f64, f64)> {
    let length = sums.iter().map(|x| x * x).sum::<f64>().sqrt();
    if weight <= 0.0 || length <= 0.0 {
        return None;
    }
    for (x, sum) in centroid.iter_mut().zip(sums) {
        *x = sum / length;
    }
    Some(((weight - length).max(0.0), squares))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimators::feature_space::Scaling;
    use crate::estimators::in_memory::InMemory;
    use crate::training_set::TrainingSet;

    fn step(samples: &InMemory, distance: Distance, centroids: &[f64]) -> LloydStep {
        let space = FeatureSpace::new(samples.encoder(), Scaling::None);
        LloydStep {
            space,
            distance,
            centroids: centroids.to_vec(),
        }
    }

    #[test]
    fn the_loss_is_that_of_the_centroids_after_the_move() {
        let rows: Vec<Vec<f64>> = (0..40)
            .map(|i| vec![f64::from(i % 7), f64::from(i * i % 11)])
            .collect();
        let samples = InMemory::of_rows(&rows, 40);
        for distance in [Distance::Euclidean, Distance::Cosine] {
            let mut centroids = vec![1.0, 2.0, 5.0, 3.0, 0.5, 9.0];
            centroids
                .chunks_exact_mut(2)
                .for_each(|c| assert!(distance.normalise(c)));
            let before = step(&samples, distance, &centroids);
            let partial = before.run(&samples.blocks[0], &Compute::cpu()).unwrap();
            let update = before.update(&partial);
            let design = before.space.design(&samples.blocks[0]);
            let ids = distance
                .assign(&design, &centroids, None, &Compute::cpu())
                .unwrap()
                .ids;
            let costs = distance
                .costs(&design, &update.centroids, &Compute::cpu())
                .unwrap();
            let loss: f64 = ids
                .iter()
                .enumerate()
                .map(|(r, &id)| costs[r * 3 + id as usize])
                .sum::<f64>();
            assert!((loss / 40.0 - update.loss).abs() < 1e-12, "{distance:?}");
            assert_eq!(update.sizes.iter().sum::<f64>(), 40.0);
        }
    }

    #[test]
    fn a_cluster_without_samples_stays_and_is_named() {
        let samples = InMemory::of_rows(&[vec![1.0], vec![2.0]], 2);
        let step = step(&samples, Distance::Euclidean, &[1.0, 50.0]);
        let update = step.update(&step.run(&samples.blocks[0], &Compute::cpu()).unwrap());
        assert_eq!(update.centroids, [1.5, 50.0]);
        assert_eq!((update.empty, update.radii), (vec![1], vec![0.5, 0.0]));
    }
}
