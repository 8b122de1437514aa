//! The nearest points of each row.
//!
//! In: a design and points; out: for each row so many of their numbers, in the order of their distances. The
//! distances are those of `distances`, to the bit; of each row a short sorted list is kept, so that no distance is kept
//! that is not among the nearest so far.

use pulp::{Simd, WithSimd};

use super::distances::{self, PackedCentroids, Tile};
use super::panel::{GROUP, LANES};
use super::wide;
use crate::device::Design;
use crate::error::Result;
use crate::product::{Neighbours, check_neighbours};

/// See [`crate::Device::neighbours`].
pub(super) fn neighbours(
    design: &Design<'_>,
    points: &[f64],
    n_neighbours: usize,
) -> Result<Neighbours> {
    let n_points = check(design, points, n_neighbours)?;
    let packed = PackedCentroids::new(design, points, n_points);
    Ok(wide::dispatch(FindNeighbours {
        design,
        packed,
        n_neighbours,
    }))
}

/// The number of points, once the shapes were found to belong together.
pub(crate) fn check(design: &Design<'_>, points: &[f64], n_neighbours: usize) -> Result<usize> {
    // Columns without points are no points; points without columns have no number.
    let n_points = match points {
        [] if design.n_cols() > 0 => {
            super::check_design("neighbours", design)?;
            0
        }
        points => distances::check("neighbours", design, points)?,
    };
    check_neighbours(n_points, n_neighbours)?;
    Ok(n_points)
}

struct FindNeighbours<'a> {
    design: &'a Design<'a>,
    packed: PackedCentroids,
    n_neighbours: usize,
}

impl WithSimd for FindNeighbours<'_> {
    type Output = Neighbours;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Neighbours {
        let FindNeighbours {
            design,
            packed,
            n_neighbours,
        } = self;
        let n_rows = design.dense.n_rows;
        let mut found = Neighbours {
            ids: vec![0; n_rows * n_neighbours],
            squared_distances: vec![f64::INFINITY; n_rows * n_neighbours],
        };
        if n_neighbours == 0 {
            return found;
        }
        let mut tile = Tile::new(design);
        for start in (0..n_rows).step_by(tile.rows) {
            tile.fill(design, start);
            let lists = start * n_neighbours..(start + tile.n) * n_neighbours;
            let ids = &mut found.ids[lists.clone()];
            let distances = &mut found.squared_distances[lists];
            for group in 0..packed.n_groups {
                let first = group * GROUP;
                let n = GROUP.min(packed.n_centroids - first);
                let panels = tile.compare(design, &packed, group).iter().enumerate();
                for (panel, columns) in panels {
                    let of_panel = panel * LANES * n_neighbours;
                    for (i, column) in columns[..n].iter().enumerate() {
                        let lists = ids[of_panel..].chunks_exact_mut(n_neighbours);
                        let lists = lists.zip(distances[of_panel..].chunks_exact_mut(n_neighbours));
                        for ((ids, distances), distance) in lists.zip(column.0) {
                            insert(ids, distances, first + i, distance);
                        }
                    }
                }
            }
        }
        found
    }
}

/// Puts a point into a sorted list that has seen all points of lower numbers, if it belongs there.
#[inline(always)]
fn insert(ids: &mut [u32], distances: &mut [f64], id: usize, distance: f64) {
    let n_seen = id.min(ids.len());
    // What is no number counts as infinity; a place that nothing has taken yet goes to whatever comes.
    let distance = if distance.is_nan() {
        f64::INFINITY
    } else {
        distance
    };
    let is_full = n_seen == ids.len();
    if is_full && distance >= distances[n_seen - 1] {
        return;
    }
    let mut at = if is_full { n_seen - 1 } else { n_seen };
    // Those at the same distance came earlier and stay before.
    while at > 0 && distances[at - 1] > distance {
        ids[at] = ids[at - 1];
        distances[at] = distances[at - 1];
        at -= 1;
    }
    ids[at] = id as u32;
    distances[at] = distance;
}

#[cfg(test)]
mod tests {
    use super::neighbours;
    use crate::cpu::distances::squared_distances;
    use crate::cpu::tile::random::RandomDesign;
    use crate::device::{Design, Elements, MatrixView};

    #[test]
    fn neighbours_are_those_of_sorted_distances() {
        for seed in 0..40 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let p = design.n_cols();
            if p == 0 {
                continue;
            }
            let n_points = 1 + seed as usize % 9;
            let mut points: Vec<f64> = (0..n_points * p).map(|at| (at as f64).sin()).collect();
            if n_points > 2 {
                // A tie.
                points.copy_within(..p, p);
            }
            let distances = squared_distances(&design, &points).unwrap();
            for k in [0, 1, n_points / 2, n_points] {
                let found = neighbours(&design, &points, k).unwrap();
                assert_eq!(found.ids.len(), samples.n_rows() * k);
                for (row, distances) in distances.chunks(n_points).enumerate() {
                    let mut order: Vec<usize> = (0..n_points).collect();
                    order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
                    for (place, &id) in order[..k].iter().enumerate() {
                        assert_eq!(found.ids[row * k + place], id as u32, "seed {seed}");
                        let distance = found.squared_distances[row * k + place];
                        assert_eq!(distance, distances[id]);
                    }
                }
            }
            assert!(neighbours(&design, &points, n_points + 1).is_err());
        }
    }

    #[test]
    fn what_is_no_number_is_far_away() {
        let values = [0.0, f64::NAN, f64::INFINITY];
        let design = Design {
            rows: None,
            dense: MatrixView {
                n_rows: 3,
                n_cols: 1,
                elements: Elements::F64(&values),
            },
            shift: &[0.0],
            scale: &[1.0],
            codes: &[],
            widths: &[],
        };
        let found = neighbours(&design, &[f64::NAN, 2.0, 1.0], 3).unwrap();
        assert_eq!(found.ids, [2, 1, 0, 0, 1, 2, 0, 1, 2]);
        let infinity = f64::INFINITY;
        assert_eq!(found.squared_distances[..3], [1.0, 4.0, infinity]);
        assert_eq!(found.squared_distances[3..], [infinity; 6]);
        let none = neighbours(&design, &[], 0).unwrap();
        assert!(none.ids.is_empty());
        assert!(neighbours(&design, &[], 1).is_err());
    }
}
