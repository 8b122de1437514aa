//! The nearest centroid of each row, and sums of the rows of each.
//!
//! In: a design and centroids; out: a [`Nearest`]. Distances are those of `distances`, to the bit; sums are added in the
//! order of the rows. A panel's columns are turned into rows before, so that what is added of a row lies side by side.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::distances::{PackedCentroids, Tile, check, expect};
use super::panel::{GROUP, Ids, LANES, Lanes};
use super::wide;
use crate::device::{ClusterSums, Design, Nearest};
use crate::error::Result;

/// See [`crate::Device::nearest`].
pub(super) fn nearest(
    design: &Design<'_>,
    centroids: &[f64],
    weights: Option<&[f64]>,
) -> Result<Nearest> {
    let n_centroids = check("nearest", design, centroids)?;
    if let Some(weights) = weights {
        expect("nearest", design.dense.n_rows, weights.len())?;
    }
    let packed = PackedCentroids::new(design, centroids, n_centroids);
    Ok(wide::dispatch(FindNearest {
        design,
        packed,
        weights,
    }))
}

struct FindNearest<'a> {
    design: &'a Design<'a>,
    packed: PackedCentroids,
    weights: Option<&'a [f64]>,
}

impl WithSimd for FindNearest<'_> {
    type Output = Nearest;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Nearest {
        let FindNearest {
            design,
            packed,
            weights,
        } = self;
        let (n_rows, n_centroids) = (design.dense.n_rows, packed.n_centroids);
        let mut tile = Tile::new(design);
        let mut best = vec![[0.0; LANES]; tile.rows / LANES];
        let mut ids: Vec<Ids> = vec![[0; LANES]; tile.rows / LANES];
        let mut sums = Sums::new(&tile, n_centroids);
        let mut nearest = Nearest {
            ids: Vec::with_capacity(n_rows),
            squared_distances: Vec::with_capacity(n_rows),
            sums: ClusterSums {
                weights: vec![0.0; n_centroids],
                sums: vec![0.0; n_centroids * design.n_cols()],
                squares: vec![0.0; n_centroids],
            },
        };
        for start in (0..n_rows).step_by(tile.rows) {
            tile.fill(design, start);
            let choose = tile.loops.choose;
            for group in 0..packed.n_groups {
                let found = tile.compare(design, &packed, group);
                choose(found, (group * GROUP) as u64, &mut best, &mut ids);
            }
            let (best, ids) = (
                &best.as_flattened()[..tile.n],
                &ids.as_flattened()[..tile.n],
            );
            nearest.squared_distances.extend_from_slice(best);
            nearest.ids.extend(ids.iter().map(|&id| id as u32));
            let rows = start..start + tile.n;
            let weights = weights.map(|weights| &weights[rows.clone()]);
            sums.add(&tile, ids, weights);
            add_codes(design, rows.clone(), weights, &mut nearest);
            add_squares(rows, weights, &mut nearest);
        }
        sums.finish(design, &mut nearest.sums);
        nearest
    }
}

/// Sums over rows by centroid.
struct Sums {
    /// Blocks of `LANES` columns of a tile.
    n_blocks: usize,
    /// Σ w·x, `(n_centroids, n_blocks)` row-major.
    sums: Vec<Lanes>,
    /// Σ w.
    weights: Vec<f64>,
    /// The number of rows, where they have no weights: counted as whole numbers, which sums of ones are.
    counts: Vec<u64>,
    /// Scratch: the rows of a panel, block by block.
    rows: Vec<Lanes>,
}

impl Sums {
    fn new(tile: &Tile, n_centroids: usize) -> Sums {
        let n_blocks = tile.width / LANES;
        Sums {
            n_blocks,
            sums: vec![[0.0; LANES]; n_centroids * n_blocks],
            weights: vec![0.0; n_centroids],
            counts: vec![0; n_centroids],
            rows: vec![[0.0; LANES]; LANES * n_blocks],
        }
    }

    /// Adds the rows of a tile.
    #[inline(always)]
    fn add(&mut self, tile: &Tile, ids: &[u64], weights: Option<&[f64]>) {
        for (panel, ids) in ids.chunks(LANES).enumerate() {
            tile.turn(panel, &mut self.rows);
            match weights {
                Some(weights) => self.weigh(ids, &weights[panel * LANES..]),
                None => {
                    for &id in ids {
                        self.counts[id as usize] += 1;
                    }
                }
            }
            add_rows(&self.rows, ids, self.n_blocks, &mut self.sums);
        }
    }

    /// Adds the weights of a panel's rows, and multiplies the rows by them.
    #[inline(always)]
    fn weigh(&mut self, ids: &[u64], weights: &[f64]) {
        for rows in self.rows.chunks_exact_mut(LANES) {
            for (row, weight) in rows.iter_mut().zip(weights) {
                for x in row {
                    *x *= weight;
                }
            }
        }
        for (&id, weight) in ids.iter().zip(weights) {
            self.weights[id as usize] += weight;
        }
    }

    /// Hands the sums over.
    fn finish(self, design: &Design<'_>, totals: &mut ClusterSums) {
        let of_rows = self.weights.iter().zip(&self.counts);
        for (into, (weight, &count)) in totals.weights.iter_mut().zip(of_rows) {
            *into = weight + count as f64;
        }
        let rows = self.sums.chunks_exact(self.n_blocks.max(1));
        let n_dense = design.dense.n_cols;
        for (into, row) in totals.sums.chunks_exact_mut(design.n_cols()).zip(rows) {
            into[..n_dense].copy_from_slice(&row.as_flattened()[..n_dense]);
        }
    }
}

/// Adds the rows of a panel, block by block, to the sums of their centroids.
#[inline(always)]
fn add_rows(rows: &[Lanes], ids: &[u64], n_blocks: usize, sums: &mut [Lanes]) {
    for (block, rows) in rows.chunks_exact(LANES).enumerate() {
        for (row, &id) in rows.iter().zip(ids) {
            let into = &mut sums[id as usize * n_blocks + block];
            // All are read before any is written, so that they go through one register.
            let mut all = *into;
            for (sum, x) in all.iter_mut().zip(row) {
                *sum += x;
            }
            *into = all;
        }
    }
}

/// Adds the weights of some rows to the sums of their indicators.
fn add_codes(
    design: &Design<'_>,
    rows: Range<usize>,
    weights: Option<&[f64]>,
    nearest: &mut Nearest,
) {
    let (n_cols, ids) = (design.n_cols(), &nearest.ids[rows.clone()]);
    let mut offset = design.dense.n_cols;
    for (codes, &width) in design.codes.iter().zip(design.widths) {
        for (row, (&id, &code)) in ids.iter().zip(&codes[rows.clone()]).enumerate() {
            if (code as usize) < width {
                let weight = weights.map_or(1.0, |weights| weights[row]);
                nearest.sums.sums[id as usize * n_cols + offset + code as usize] += weight;
            }
        }
        offset += width;
    }
}

/// Adds the squared distances of some rows to the sums of their centroids.
fn add_squares(rows: Range<usize>, weights: Option<&[f64]>, nearest: &mut Nearest) {
    let found = nearest.ids[rows.clone()].iter();
    for (row, (&id, square)) in found.zip(&nearest.squared_distances[rows]).enumerate() {
        let weight = weights.map_or(1.0, |weights| weights[row]);
        nearest.sums.squares[id as usize] += weight * square;
    }
}
