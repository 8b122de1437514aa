//! The nearest centroid of each row, and sums of the rows of each.
//!
//! In: a design and centroids; out: a [`Nearest`]. Distances are those of `distances`, to the bit; sums are added in the
//! order of the rows.

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
        let mut best = vec![Lanes::ZERO; tile.rows / LANES];
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
            let n_panels = tile.n.div_ceil(LANES);
            sums.add(&mut tile, &mut ids[..n_panels], &best, weights);
            let ids = &ids.as_flattened()[..tile.n];
            if keeps_rows {
                let n_kept = nearest.ids.len() + tile.n;
                nearest
                    .squared_distances
                    .extend(best[..n_panels].iter().flat_map(|best| best.0));
                nearest.squared_distances.truncate(n_kept);
                nearest.ids.extend(ids.iter().map(|&id| id as u32));
            }
            add_codes(design, rows, ids, weights, &mut nearest.sums.sums);
        }
        sums.finish(design, &mut nearest.sums);
        nearest
    }
}

/// Sums over rows by centroid. Behind the last centroid there is a place for lanes without a row.
struct Sums {
    /// Blocks of `LANES` columns of a tile.
    n_blocks: usize,
    /// Σ w·x, `(n_centroids + 1, n_blocks)` row-major.
    sums: Vec<Lanes>,
    /// Σ w and Σ w·distance².
    totals: Vec<[f64; 2]>,
}

impl Sums {
    fn new(tile: &Tile, n_centroids: usize) -> Sums {
        let n_blocks = tile.width / LANES;
        Sums {
            n_blocks,
            sums: vec![Lanes::ZERO; (n_centroids + 1) * n_blocks],
            totals: vec![[0.0; 2]; n_centroids + 1],
        }
    }

    /// Adds the rows of a tile.
    #[inline(always)]
    fn add(&mut self, tile: &mut Tile, ids: &mut [Ids], best: &[Lanes], weights: Option<&[f64]>) {
        let nowhere = self.totals.len() as u64 - 1;
        ids.as_flattened_mut()[tile.n..].fill(nowhere);
        for (panel, (ids, best)) in ids.iter().zip(best).enumerate() {
            match weights {
                Some(weights) => {
                    let weights = &weights[panel * LANES..];
                    tile.weigh(panel, weights);
                    for ((&id, square), &weight) in ids.iter().zip(best.0).zip(weights) {
                        add_pair(&mut self.totals[id as usize], [weight, weight * square]);
                    }
                }
                None => {
                    for (&id, square) in ids.iter().zip(best.0) {
                        add_pair(&mut self.totals[id as usize], [1.0, square]);
                    }
                }
            }
            tile.add(panel, ids, &mut self.sums);
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
            for (into, sums) in into[..n_dense].chunks_mut(LANES).zip(row) {
                into.copy_from_slice(&sums.0[..into.len()]);
            }
        }
    }
}

/// Adds two numbers to two sums.
#[inline(always)]
fn add_pair(sums: &mut [f64; 2], [a, b]: [f64; 2]) {
    *sums = [sums[0] + a, sums[1] + b];
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
