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
    find(design, centroids, weights, true)
}

/// See [`crate::Device::cluster_sums`].
pub(super) fn cluster_sums(
    design: &Design<'_>,
    centroids: &[f64],
    weights: Option<&[f64]>,
) -> Result<ClusterSums> {
    Ok(find(design, centroids, weights, false)?.sums)
}

fn find(
    design: &Design<'_>,
    centroids: &[f64],
    weights: Option<&[f64]>,
    keeps_rows: bool,
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
        keeps_rows,
    }))
}

struct FindNearest<'a> {
    design: &'a Design<'a>,
    packed: PackedCentroids,
    weights: Option<&'a [f64]>,
    /// Whether what was found of each row is kept, beside the sums.
    keeps_rows: bool,
}

impl WithSimd for FindNearest<'_> {
    type Output = Nearest;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Nearest {
        let FindNearest {
            design,
            packed,
            weights,
            keeps_rows,
        } = self;
        let (n_rows, n_centroids) = (design.dense.n_rows, packed.n_centroids);
        let mut tile = Tile::new(design);
        let mut best = vec![[0.0; LANES]; tile.rows / LANES];
        let mut ids: Vec<Ids> = vec![[0; LANES]; tile.rows / LANES];
        let mut sums = Sums::new(&tile, n_centroids);
        let n_kept = if keeps_rows { n_rows } else { 0 };
        let mut nearest = Nearest {
            ids: Vec::with_capacity(n_kept),
            squared_distances: Vec::with_capacity(n_kept),
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
            let rows = start..start + tile.n;
            let weights = weights.map(|weights| &weights[rows.clone()]);
            let (best, ids) = (
                &best.as_flattened()[..tile.n],
                &ids.as_flattened()[..tile.n],
            );
            sums.add(&tile, ids, best, weights);
            if keeps_rows {
                nearest.squared_distances.extend_from_slice(best);
                nearest.ids.extend(ids.iter().map(|&id| id as u32));
            }
            add_codes(design, rows, ids, weights, &mut nearest.sums.sums);
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
    /// Σ w and Σ w·distance².
    totals: Vec<[f64; 2]>,
    /// Scratch: the rows of a panel, block by block.
    rows: Vec<Lanes>,
}

impl Sums {
    fn new(tile: &Tile, n_centroids: usize) -> Sums {
        let n_blocks = tile.width / LANES;
        Sums {
            n_blocks,
            sums: vec![[0.0; LANES]; n_centroids * n_blocks],
            totals: vec![[0.0; 2]; n_centroids],
            rows: vec![[0.0; LANES]; LANES * n_blocks],
        }
    }

    /// Adds the rows of a tile.
    #[inline(always)]
    fn add(&mut self, tile: &Tile, ids: &[u64], squares: &[f64], weights: Option<&[f64]>) {
        for (panel, (ids, squares)) in ids.chunks(LANES).zip(squares.chunks(LANES)).enumerate() {
            tile.turn(panel, &mut self.rows);
            match weights {
                Some(weights) => {
                    let weights = &weights[panel * LANES..];
                    weigh(&mut self.rows, weights);
                    for ((&id, square), &weight) in ids.iter().zip(squares).zip(weights) {
                        add_pair(&mut self.totals[id as usize], [weight, weight * square]);
                    }
                }
                None => {
                    for (&id, &square) in ids.iter().zip(squares) {
                        add_pair(&mut self.totals[id as usize], [1.0, square]);
                    }
                }
            }
            add_rows(&self.rows, ids, self.n_blocks, &mut self.sums);
        }
    }

    /// Hands the sums over.
    fn finish(self, design: &Design<'_>, totals: &mut ClusterSums) {
        let into = totals.weights.iter_mut().zip(&mut totals.squares);
        for ((weight, square), total) in into.zip(&self.totals) {
            [*weight, *square] = *total;
        }
        let rows = self.sums.chunks_exact(self.n_blocks.max(1));
        let n_dense = design.dense.n_cols;
        for (into, row) in totals.sums.chunks_exact_mut(design.n_cols()).zip(rows) {
            into[..n_dense].copy_from_slice(&row.as_flattened()[..n_dense]);
        }
    }
}

/// Multiplies the rows of a panel by their weights.
#[inline(always)]
fn weigh(rows: &mut [Lanes], weights: &[f64]) {
    for rows in rows.chunks_exact_mut(LANES) {
        for (row, weight) in rows.iter_mut().zip(weights) {
            for x in row {
                *x *= weight;
            }
        }
    }
}

/// Adds two numbers to two sums.
#[inline(always)]
fn add_pair(sums: &mut [f64; 2], [a, b]: [f64; 2]) {
    *sums = [sums[0] + a, sums[1] + b];
}

/// Adds the rows of a panel, which lie block by block, to the sums of their centroids.
#[inline(always)]
fn add_rows(rows: &[Lanes], ids: &[u64], n_blocks: usize, sums: &mut [Lanes]) {
    let blocks = rows.as_chunks::<LANES>().0;
    let (fours, rest) = blocks.as_chunks::<4>();
    for (four, blocks) in fours.iter().enumerate() {
        add_blocks(blocks, ids, sums, 4 * four, n_blocks);
    }
    let first = n_blocks - rest.len();
    if let Ok(blocks) = <&[_; 3]>::try_from(rest) {
        add_blocks(blocks, ids, sums, first, n_blocks);
    } else if let Ok(blocks) = <&[_; 2]>::try_from(rest) {
        add_blocks(blocks, ids, sums, first, n_blocks);
    } else if let Ok(blocks) = <&[_; 1]>::try_from(rest) {
        add_blocks(blocks, ids, sums, first, n_blocks);
    }
}

/// Adds some blocks of the rows, the first of that number; their count is known, so that nothing is counted between.
#[inline(always)]
fn add_blocks<const N: usize>(
    blocks: &[[Lanes; LANES]; N],
    ids: &[u64],
    sums: &mut [Lanes],
    first: usize,
    n_blocks: usize,
) {
    for (lane, &id) in ids.iter().enumerate() {
        let into = &mut sums[id as usize * n_blocks + first..][..N];
        for (into, block) in into.iter_mut().zip(blocks) {
            // All are read before any is written, so that they go through one register.
            let mut all = *into;
            for (sum, x) in all.iter_mut().zip(&block[lane]) {
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
    ids: &[u64],
    weights: Option<&[f64]>,
    sums: &mut [f64],
) {
    let n_cols = design.n_cols();
    let mut offset = design.dense.n_cols;
    for (codes, &width) in design.codes.iter().zip(design.widths) {
        for (row, (&id, &code)) in ids.iter().zip(&codes[rows.clone()]).enumerate() {
            if (code as usize) < width {
                let weight = weights.map_or(1.0, |weights| weights[row]);
                sums[id as usize * n_cols + offset + code as usize] += weight;
            }
        }
        offset += width;
    }
}
