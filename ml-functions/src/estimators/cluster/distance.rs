//! The distances of `kmeans`: Euclid's, and one minus the cosine.
//!
//! In: blocks and centroids; out: the centroid of each sample and what a pass sums for it. Cosines are
//! derived from Euclid's distances to centroids of length one, `x·c = (|x|² + 1 − |x − c|²) / 2`, so that
//! one kernel serves both.

use auspex_gpu::{ClusterSums, Design};
use serde::{Deserialize, Serialize};

use crate::compute::Compute;
use crate::error::Result;

/// How far a sample is from a centroid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Distance {
    /// The length of the difference.
    Euclidean,
    /// One minus the cosine of the angle. Centroids have length one; a sample of length zero is at
    /// distance one from every centroid.
    Cosine,
}

/// Samples by their nearest centroid.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assigned {
    /// The nearest centroid of each sample; the lower number at ties.
    pub(super) ids: Vec<u32>,
    /// What `distance` minimises over: the squared distance (Euclid), the distance (cosine).
    pub(super) costs: Vec<f64>,
    /// Of each centroid's samples; for the cosine, Σ w·x is of the samples at length one.
    pub(super) sums: ClusterSums,
}

impl Distance {
    /// Finds the nearest centroid of each sample.
    pub(super) fn assign(
        self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
        compute: &Compute,
    ) -> Result<Assigned> {
        match self {
            Distance::Euclidean => {
                let nearest = compute.device().nearest(design, centroids, weights)?;
                Ok(Assigned {
                    ids: nearest.ids,
                    costs: nearest.squared_distances,
                    sums: nearest.sums,
                })
            }
            Distance::Cosine => assign_by_cosine(design, centroids, weights, compute),
        }
    }

    /// The sums of [`Distance::assign`] alone: of Euclid's, a device moves nothing of each sample.
    pub(super) fn sums(
        self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
        compute: &Compute,
    ) -> Result<ClusterSums> {
        match self {
            Distance::Euclidean => Ok(compute.device().cluster_sums(design, centroids, weights)?),
            Distance::Cosine => Ok(self.assign(design, centroids, weights, compute)?.sums),
        }
    }

    /// Bytes of each sample that a pass of [`Distance::sums`] moves from a device: squared lengths, ids and squared
    /// distances.
    pub(super) fn moved_bytes(self) -> u64 {
        match self {
            Distance::Euclidean => 0,
            Distance::Cosine => 8 + 4 + 8,
        }
    }

    /// The nearest centroid of each sample and the cost there, as [`Distance::costs`] has them to the bit; `None` where
    /// it may not: by the cosine, of which equal costs are no equal squared distances, and where a distance is no
    /// number.
    pub(super) fn nearest(
        self,
        design: &Design<'_>,
        centroids: &[f64],
        compute: &Compute,
    ) -> Result<Option<(Vec<u32>, Vec<f64>)>> {
        if self == Distance::Cosine {
            return Ok(None);
        }
        let nearest = compute.device().nearest(design, centroids, None)?;
        let is_finite = nearest.squared_distances.iter().all(|x| x.is_finite());
        Ok(is_finite.then_some((nearest.ids, nearest.squared_distances)))
    }

    /// Bytes of each sample that the metrics bring back from a device: id and squared distance, or all of
    /// [`Distance::costs`].
    pub(super) fn metrics_bytes(self, n_centroids: u64) -> u64 {
        match self {
            Distance::Euclidean => 4 + 8,
            Distance::Cosine => self.predicted_bytes(n_centroids),
        }
    }

    /// Bytes of each sample that [`Distance::costs`] brings back from a device: squared distances, and squared lengths.
    pub(super) fn predicted_bytes(self, n_centroids: u64) -> u64 {
        match self {
            Distance::Euclidean => 8 * n_centroids,
            Distance::Cosine => 8 * (n_centroids + 1),
        }
    }

    /// The cost of each sample at every centroid, `(n_samples, n_centroids)` row-major.
    pub(super) fn costs(
        self,
        design: &Design<'_>,
        centroids: &[f64],
        compute: &Compute,
    ) -> Result<Vec<f64>> {
        let mut costs = compute.device().squared_distances(design, centroids)?;
        if self == Distance::Cosine {
            let squared_lengths = squared_lengths(design, compute)?;
            let n_centroids = centroids.len() / design.n_cols().max(1);
            for (row, &squared_length) in costs.chunks_exact_mut(n_centroids).zip(&squared_lengths)
            {
                for cost in row {
                    *cost = one_minus_cosine(squared_length, *cost);
                }
            }
        }
        Ok(costs)
    }

    /// The distance that belongs to a cost.
    pub(super) fn of_cost(self, cost: f64) -> f64 {
        match self {
            Distance::Euclidean => cost.sqrt(),
            Distance::Cosine => cost,
        }
    }

    /// Makes a point one that may be a centroid; false where it has no direction.
    pub(super) fn normalise(self, point: &mut [f64]) -> bool {
        if self == Distance::Euclidean {
            return true;
        }
        let length = point.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length > 0.0 {
            point.iter_mut().for_each(|x| *x /= length);
        }
        length > 0.0
    }

    /// The distance between two centroids.
    pub(super) fn between(self, a: &[f64], b: &[f64]) -> f64 {
        match self {
            Distance::Euclidean => a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
                .sqrt(),
            // For two points of length one, |a − b|² = 2·(1 − cos).
            Distance::Cosine => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / 2.0,
        }
    }
}

/// The nearest centroid of length one by Euclid is the one of the greatest cosine, whatever the length
/// of the sample; weights divided by that length make the kernel sum samples at length one.
fn assign_by_cosine(
    design: &Design<'_>,
    centroids: &[f64],
    weights: Option<&[f64]>,
    compute: &Compute,
) -> Result<Assigned> {
    let squared_lengths = squared_lengths(design, compute)?;
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let by_length: Vec<f64> = squared_lengths
        .iter()
        .enumerate()
        .map(|(row, &squared)| {
            if squared > 0.0 {
                weight(row) / squared.sqrt()
            } else {
                0.0
            }
        })
        .collect();
    let nearest = compute
        .device()
        .nearest(design, centroids, Some(&by_length))?;
    let n_centroids = nearest.sums.weights.len();
    let mut assigned = Assigned {
        ids: nearest.ids,
        costs: nearest.squared_distances,
        sums: ClusterSums {
            weights: vec![0.0; n_centroids],
            sums: nearest.sums.sums,
            squares: vec![0.0; n_centroids],
        },
    };
    let sums = &mut assigned.sums;
    let rows = assigned
        .ids
        .iter_mut()
        .zip(&mut assigned.costs)
        .zip(&squared_lengths);
    for (row, ((id, cost), &squared_length)) in rows.enumerate() {
        if squared_length == 0.0 {
            *id = 0;
        }
        *cost = one_minus_cosine(squared_length, *cost);
        sums.weights[*id as usize] += weight(row);
        sums.squares[*id as usize] += weight(row) * (*cost * *cost);
    }
    Ok(assigned)
}

fn squared_lengths(design: &Design<'_>, compute: &Compute) -> Result<Vec<f64>> {
    let origin = vec![0.0; design.n_cols()];
    Ok(compute.device().squared_distances(design, &origin)?)
}

/// `1 − cos` of a sample of this squared length at this squared distance from a point of length one.
fn one_minus_cosine(squared_length: f64, squared_distance: f64) -> f64 {
    if squared_length == 0.0 {
        return 1.0;
    }
    let dot = (squared_length + 1.0 - squared_distance) / 2.0;
    (1.0 - dot / squared_length.sqrt()).clamp(0.0, 2.0)
}

#[cfg(test)]
mod tests {
    use auspex_gpu::{Elements, MatrixView};

    use super::*;

    #[test]
    fn the_nearest_alone_has_the_costs_of_all_or_is_not_given() {
        let compute = Compute::cpu();
        let nearest = |dense: &[f64], distance: Distance| {
            let design = Design {
                rows: None,
                dense: MatrixView {
                    n_rows: 3,
                    n_cols: 2,
                    elements: Elements::F64(dense),
                },
                shift: &[0.1; 2],
                scale: &[0.7, 0.0],
                codes: &[],
                widths: &[],
            };
            let centroids = [0.3, 0.0, 5.1, 0.2, 0.3, 0.0];
            let costs = distance.costs(&design, &centroids, &compute).unwrap();
            let nearest = distance.nearest(&design, &centroids, &compute).unwrap();
            (costs, nearest)
        };
        let rows = [1.0, 8.0, -3.0, 4.0, 5.0, 6.0];
        let (costs, found) = nearest(&rows, Distance::Euclidean);
        // Of the first and the last centroid, which are equal, it is the first.
        let (ids, own) = found.unwrap();
        assert_eq!(ids, [0, 1, 0]);
        assert_eq!(own, [costs[0], costs[4], costs[6]]);
        assert_eq!(nearest(&rows, Distance::Cosine).1, None);
        // An infinity times 0 is no number, at every centroid.
        let rows = [1.0, 8.0, -3.0, 4.0, f64::INFINITY, 6.0];
        let (costs, found) = nearest(&rows, Distance::Euclidean);
        assert!(costs[3..6].iter().all(|cost| cost.is_nan()) && found.is_none());
    }

    #[test]
    fn cosines_equal_those_of_the_definition() {
        let rows = [
            [3.0, 4.0],
            [-1.0, 0.5],
            [0.0, 0.0],
            [1e-3, 2e-3],
            [2e5, -1e5],
        ];
        let dense: Vec<f64> = (0..2)
            .flat_map(|j| rows.iter().map(move |row| row[j]))
            .collect();
        let view = MatrixView {
            n_rows: 5,
            n_cols: 2,
            elements: Elements::F64(&dense),
        };
        let design = Design {
            rows: None,
            dense: view,
            shift: &[0.0; 2],
            scale: &[1.0; 2],
            codes: &[],
            widths: &[],
        };
        let centroids = [0.6, 0.8, 0.0, -1.0];
        let compute = Compute::cpu();
        let costs = Distance::Cosine
            .costs(&design, &centroids, &compute)
            .unwrap();
        let assigned = Distance::Cosine
            .assign(&design, &centroids, None, &compute)
            .unwrap();
        let mut sums = vec![0.0; 4];
        for (r, row) in rows.iter().enumerate() {
            let length = (row[0] * row[0] + row[1] * row[1]).sqrt();
            let expected: Vec<f64> = centroids
                .chunks_exact(2)
                .map(|c| (row[0] * c[0] + row[1] * c[1]) / length)
                .map(|cosine| if cosine.is_nan() { 1.0 } else { 1.0 - cosine })
                .collect();
            for (found, expected) in costs[2 * r..].iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
            let id = usize::from(expected[1] < expected[0]);
            assert_eq!(assigned.ids[r] as usize, id);
            assert!((assigned.costs[r] - expected[id]).abs() < 1e-9);
            if length > 0.0 {
                sums[2 * id] += row[0] / length;
                sums[2 * id + 1] += row[1] / length;
            }
        }
        assert_eq!(assigned.sums.weights, [4.0, 1.0]);
        for (found, expected) in assigned.sums.sums.iter().zip(&sums) {
            assert!((found - expected).abs() < 1e-12);
        }
        let mut squares = [0.0; 2];
        for (&id, cost) in assigned.ids.iter().zip(&assigned.costs) {
            squares[id as usize] += cost * cost;
        }
        assert_eq!(assigned.sums.squares, squares);
    }
}
