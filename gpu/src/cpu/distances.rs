//! Squared Euclidean distances of rows to centroids, the nearest of them, and sums of the rows of each.
//!
//! In: a design and centroids; out: numbers in f64. A tile of rows lies in the first-level cache as
//! f64 while four centroids at a time are compared with eight rows at a time, so the inner loop needs
//! no memory beyond that cache. Differences are squared and added, never expanded into
//! `|x|² − 2·x·c + |c|²`, so that near distances keep all their digits. Multiplications and additions are
//! not fused: every machine then gives the same bits. Never allocates per tile.

use pulp::{Simd, WithSimd};

use super::wide;
use crate::device::{Design, Elements, Nearest};
use crate::error::{Error, Result};

/// Rows that are compared at once; two registers of AVX2.
const LANES: usize = 8;
/// Centroids that are compared at once: with `LANES` rows they fill half of AVX2's registers.
pub(super) const GROUP: usize = 4;
/// Elements of a tile: 16 KiB, half of a common first-level cache.
const TILE_VALUES: usize = 2048;
/// Most rows of a tile, where the design has few dense columns.
const MAX_TILE_ROWS: usize = 256;
/// Columns whose sums are carried at once, to hide the latency of adding to the same centroid.
const SUM_COLUMNS: usize = 8;

/// See [`crate::Device::nearest`]. Sums are added in the order of the rows.
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

/// See [`crate::Device::squared_distances`].
pub(super) fn squared_distances(design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
    let n_centroids = check("squared_distances", design, centroids)?;
    let packed = PackedCentroids::new(design, centroids, n_centroids);
    Ok(wide::dispatch(AllDistances { design, packed }))
}

/// The kernel of [`nearest`]; a type of its own, since a closure would not be compiled for the
/// instructions that were chosen.
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
        let n_rows = design.dense.n_rows;
        let mut tile = Tile::new(design);
        tile.counts = vec![0; packed.n_centroids];
        let mut nearest = Nearest {
            ids: vec![0; n_rows],
            squared_distances: vec![0.0; n_rows],
            weights: vec![0.0; packed.n_centroids],
            sums: vec![0.0; packed.n_centroids * design.n_cols()],
        };
        for start in (0..n_rows).step_by(tile.rows) {
            tile.nearest(design, start, &packed);
            let n = tile.n;
            for (id, &found) in nearest.ids[start..start + n].iter_mut().zip(&tile.ids) {
                *id = found as u32;
            }
            nearest.squared_distances[start..start + n].copy_from_slice(&tile.best[..n]);
            tile.add_to(design, start, weights, &mut nearest);
        }
        nearest
    }
}

/// The kernel of [`squared_distances`].
struct AllDistances<'a> {
    design: &'a Design<'a>,
    packed: PackedCentroids,
}

impl WithSimd for AllDistances<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f64> {
        let AllDistances { design, packed } = self;
        let (n_rows, n_centroids) = (design.dense.n_rows, packed.n_centroids);
        let mut tile = Tile::new(design);
        let mut distances = vec![0.0; n_rows * n_centroids];
        for start in (0..n_rows).step_by(tile.rows) {
            tile.fill(design, start);
            for group in 0..packed.n_groups {
                tile.compare(design, start, &packed, group);
                let first = group * GROUP;
                for i in 0..GROUP.min(n_centroids - first) {
                    let column = &tile.distances[i * tile.rows..][..tile.n];
                    let target = &mut distances[start * n_centroids + first + i..];
                    for (value, &distance) in target.iter_mut().step_by(n_centroids).zip(column) {
                        *value = distance;
                    }
                }
            }
        }
        distances
    }
}

/// The centroids in the order in which the inner loop reads them.
pub(super) struct PackedCentroids {
    pub(super) n_centroids: usize,
    pub(super) n_groups: usize,
    /// For each group of centroids and each dense column: the group's coordinates.
    dense: Vec<[f64; GROUP]>,
    /// For each group and each code of each code column (one more than its width, for codes without
    /// indicator): the squared distance over the column's indicators.
    codes: Vec<[f64; GROUP]>,
    /// Where each code column begins within a group of `codes`.
    offsets: Vec<usize>,
    /// Length of a group of `codes`.
    n_codes: usize,
}

impl PackedCentroids {
    pub(super) fn new(
        design: &Design<'_>,
        centroids: &[f64],
        n_centroids: usize,
    ) -> PackedCentroids {
        let (n_dense, n_cols) = (design.dense.n_cols, design.n_cols());
        let n_groups = n_centroids.div_ceil(GROUP);
        let mut offsets = Vec::with_capacity(design.widths.len());
        let mut n_codes = 0;
        for width in design.widths {
            offsets.push(n_codes);
            n_codes += width + 1;
        }
        let mut dense = vec![[0.0; GROUP]; n_groups * n_dense];
        let mut codes = vec![[0.0; GROUP]; n_groups * n_codes];
        for (id, centroid) in centroids.chunks_exact(n_cols).enumerate() {
            let (group, lane) = (id / GROUP, id % GROUP);
            for (packed, &x) in dense[group * n_dense..]
                .iter_mut()
                .zip(&centroid[..n_dense])
            {
                packed[lane] = x;
            }
            let mut indicators = &centroid[n_dense..];
            for (&width, &offset) in design.widths.iter().zip(&offsets) {
                let (column, rest) = indicators.split_at(width);
                let table = &mut codes[group * n_codes + offset..][..=width];
                fill_code_distances(column, lane, table);
                indicators = rest;
            }
        }
        PackedCentroids {
            n_centroids,
            n_groups,
            dense,
            codes,
            offsets,
            n_codes,
        }
    }
}

/// `table[a] = (1 − c[a])² + Σ_{v ≠ a} c[v]²`, and for no indicator `Σ c[v]²`; summed from both ends
/// rather than by subtracting from the whole, which would leave rounding below zero.
fn fill_code_distances(column: &[f64], lane: usize, table: &mut [[f64; GROUP]]) {
    let mut before = 0.0;
    for (entry, &x) in table.iter_mut().zip(column) {
        entry[lane] = (1.0 - x) * (1.0 - x) + before;
        before += x * x;
    }
    if let Some(none) = table.last_mut() {
        none[lane] = before;
    }
    let mut after = 0.0;
    for (entry, &x) in table.iter_mut().zip(column).rev() {
        entry[lane] += after;
        after += x * x;
    }
}

/// The squared distances over the indicators of one column, of each code and of none.
pub(crate) fn code_distances(column: &[f64]) -> Vec<f64> {
    let mut table = vec![[0.0; GROUP]; column.len() + 1];
    fill_code_distances(column, 0, &mut table);
    table.iter().map(|entry| entry[0]).collect()
}

/// Some rows in the cache, and what was found for them.
pub(super) struct Tile {
    /// Rows that fit; a multiple of `LANES`.
    pub(super) rows: usize,
    /// Rows that are there.
    pub(super) n: usize,
    /// Shifted and scaled dense values: column `j`'s lanes are `values[j * rows / LANES..]`.
    values: Vec<[f64; LANES]>,
    /// Distances to the centroids of the current group: `(GROUP, rows)`.
    pub(super) distances: Vec<f64>,
    /// Least distance so far.
    best: Vec<f64>,
    /// Its centroid, as f64 so that comparing and choosing stay in one register width.
    ids: Vec<f64>,
    /// Rows of each centroid.
    counts: Vec<u32>,
}

impl Tile {
    pub(super) fn new(design: &Design<'_>) -> Tile {
        let fitting = TILE_VALUES / design.dense.n_cols.max(1);
        let wanted = design.dense.n_rows.next_multiple_of(LANES);
        let rows = (fitting / LANES * LANES)
            .min(wanted)
            .clamp(LANES, MAX_TILE_ROWS);
        Tile {
            rows,
            n: 0,
            values: vec![[0.0; LANES]; rows / LANES * design.dense.n_cols],
            distances: vec![0.0; GROUP * rows],
            best: vec![0.0; rows],
            ids: vec![0.0; rows],
            counts: Vec::new(),
        }
    }

    /// Loads the rows from `start`.
    #[inline(always)]
    pub(super) fn fill(&mut self, design: &Design<'_>, start: usize) {
        let n_rows = design.dense.n_rows;
        self.n = self.rows.min(n_rows - start);
        let columns = self.values.as_flattened_mut().chunks_exact_mut(self.rows);
        for (j, (column, (&shift, &scale))) in columns
            .zip(design.shift.iter().zip(design.scale))
            .enumerate()
        {
            let of_column = j * n_rows..(j + 1) * n_rows;
            let rows = start..start + self.n;
            match design.dense.elements {
                Elements::F32(values) => {
                    let values = &values[of_column];
                    wide::prefetch(wide::following(values, rows.end, self.rows));
                    for (value, &x) in column.iter_mut().zip(&values[rows]) {
                        *value = (f64::from(x) - shift) * scale;
                    }
                }
                Elements::F64(values) => {
                    let values = &values[of_column];
                    wide::prefetch(wide::following(values, rows.end, self.rows));
                    for (value, &x) in column.iter_mut().zip(&values[rows]) {
                        *value = (x - shift) * scale;
                    }
                }
            }
        }
    }

    /// Computes the distances of the loaded rows to a group of centroids.
    #[inline(always)]
    pub(super) fn compare(
        &mut self,
        design: &Design<'_>,
        start: usize,
        packed: &PackedCentroids,
        group: usize,
    ) {
        let (rows, n) = (self.rows, self.n);
        let has_codes = !design.codes.is_empty();
        if has_codes {
            self.distances.fill(0.0);
        }
        let codes = &packed.codes[group * packed.n_codes..][..packed.n_codes];
        for ((codes_of_rows, &width), &offset) in
            design.codes.iter().zip(design.widths).zip(&packed.offsets)
        {
            let table = &codes[offset..=offset + width];
            for (r, &code) in codes_of_rows[start..start + n].iter().enumerate() {
                let entry = table[width.min(code as usize)];
                for (i, distance) in entry.into_iter().enumerate() {
                    self.distances[i * rows + r] += distance;
                }
            }
        }
        let n_dense = design.dense.n_cols;
        let centroids = &packed.dense[group * n_dense..][..n_dense];
        let n_lanes = rows / LANES;
        for lane in 0..n.div_ceil(LANES) {
            let mut sums = [[0.0_f64; LANES]; GROUP];
            for (x, c) in self
                .values
                .iter()
                .skip(lane)
                .step_by(n_lanes)
                .zip(centroids)
            {
                for (sums, c) in sums.iter_mut().zip(c) {
                    for (sum, x) in sums.iter_mut().zip(x) {
                        let difference = x - c;
                        *sum += difference * difference;
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                let distances = &mut self.distances[i * rows + lane * LANES..][..LANES];
                if has_codes {
                    for (distance, sum) in distances.iter_mut().zip(sums) {
                        *distance += sum;
                    }
                } else {
                    distances.copy_from_slice(sums);
                }
            }
        }
    }

    /// Loads the rows from `start` and finds the nearest centroid of each.
    #[inline(always)]
    fn nearest(&mut self, design: &Design<'_>, start: usize, packed: &PackedCentroids) {
        self.fill(design, start);
        self.best.fill(f64::INFINITY);
        self.ids.fill(0.0);
        for group in 0..packed.n_groups {
            self.compare(design, start, packed, group);
            let first = group * GROUP;
            for i in 0..GROUP.min(packed.n_centroids - first) {
                let id = (first + i) as f64;
                let distances = &self.distances[i * self.rows..][..self.rows];
                for ((best, best_id), &distance) in
                    self.best.iter_mut().zip(&mut self.ids).zip(distances)
                {
                    // Strictly less, so that the lower number wins a tie.
                    let is_nearer = distance < *best;
                    *best = if is_nearer { distance } else { *best };
                    *best_id = if is_nearer { id } else { *best_id };
                }
            }
        }
    }

    /// Adds the loaded rows to the sums of their nearest centroids.
    #[inline(always)]
    fn add_to(
        &mut self,
        design: &Design<'_>,
        start: usize,
        weights: Option<&[f64]>,
        nearest: &mut Nearest,
    ) {
        let ids = &nearest.ids[start..start + self.n];
        let ones = [1.0; MAX_TILE_ROWS];
        match weights {
            Some(weights) => {
                for (&id, &weight) in ids.iter().zip(&weights[start..start + self.n]) {
                    nearest.weights[id as usize] += weight;
                }
            }
            // Counted as whole numbers, which sums of ones are.
            None => {
                self.counts.fill(0);
                for &id in ids {
                    self.counts[id as usize] += 1;
                }
                for (sum, &count) in nearest.weights.iter_mut().zip(&self.counts) {
                    *sum += f64::from(count);
                }
            }
        }
        let weights = weights.map_or(&ones[..self.n], |weights| &weights[start..start + self.n]);
        let (n_cols, n_dense) = (design.n_cols(), design.dense.n_cols);
        let n_lanes = self.rows / LANES;
        let mut j = 0;
        while j < n_dense {
            let columns = &self.values[j * n_lanes..];
            let sums = &mut nearest.sums[j..];
            if j + SUM_COLUMNS <= n_dense {
                add_columns::<SUM_COLUMNS>(columns, n_lanes, ids, weights, n_cols, sums);
                j += SUM_COLUMNS;
            } else {
                add_columns::<1>(columns, n_lanes, ids, weights, n_cols, sums);
                j += 1;
            }
        }
        let mut offset = n_dense;
        for (codes, &width) in design.codes.iter().zip(design.widths) {
            let codes = &codes[start..start + self.n];
            for ((&id, &weight), &code) in ids.iter().zip(weights).zip(codes) {
                if (code as usize) < width {
                    nearest.sums[id as usize * n_cols + offset + code as usize] += weight;
                }
            }
            offset += width;
        }
    }
}

/// `sums[id · n_cols + j] += w · x[j]` for `N` neighbouring columns, row by row; `columns` have their lanes
/// `n_lanes` apart. Some rows are turned at a time, so that what is added of a row lies side by side.
#[inline(always)]
fn add_columns<const N: usize>(
    columns: &[[f64; LANES]],
    n_lanes: usize,
    ids: &[u32],
    weights: &[f64],
    n_cols: usize,
    sums: &mut [f64],
) {
    for (lane, (ids, weights)) in ids.chunks(LANES).zip(weights.chunks(LANES)).enumerate() {
        let mut rows = [[0.0; N]; LANES];
        for (j, column) in columns
            .iter()
            .skip(lane)
            .step_by(n_lanes)
            .take(N)
            .enumerate()
        {
            for (row, &x) in rows.iter_mut().zip(column) {
                row[j] = x;
            }
        }
        for ((row, &id), &weight) in rows.iter().zip(ids).zip(weights) {
            if let Some(into) = sums[id as usize * n_cols..].first_chunk_mut::<N>() {
                // All are read before any is written, so that they go through one register.
                let mut all = *into;
                for (sum, x) in all.iter_mut().zip(row) {
                    *sum += weight * x;
                }
                *into = all;
            }
        }
    }
}

/// The number of centroids, once the shapes were found to belong together.
pub(crate) fn check(kernel: &'static str, design: &Design<'_>, centroids: &[f64]) -> Result<usize> {
    let dense = &design.dense;
    let n_elements = match dense.elements {
        Elements::F32(values) => values.len(),
        Elements::F64(values) => values.len(),
    };
    expect(kernel, dense.n_rows * dense.n_cols, n_elements)?;
    expect(kernel, dense.n_cols, design.shift.len())?;
    expect(kernel, dense.n_cols, design.scale.len())?;
    expect(kernel, design.codes.len(), design.widths.len())?;
    for codes in design.codes {
        expect(kernel, dense.n_rows, codes.len())?;
    }
    let n_cols = design.n_cols();
    let n_centroids = (centroids.len() / n_cols.max(1)).max(1);
    expect(kernel, n_centroids * n_cols.max(1), centroids.len())?;
    expect(kernel, n_cols.max(1), n_cols)?;
    Ok(n_centroids)
}

fn expect(kernel: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::Shape {
            kernel,
            expected,
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MatrixView;

    /// A small generator, so that the samples are the same everywhere.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    struct Samples {
        n_rows: usize,
        dense: Vec<f32>,
        wide: Vec<f64>,
        shift: Vec<f64>,
        scale: Vec<f64>,
        codes: Vec<Vec<u32>>,
        widths: Vec<usize>,
        weights: Vec<f64>,
    }

    impl Samples {
        fn new(n_rows: usize, n_dense: usize, widths: &[usize]) -> Samples {
            let mut numbers = Numbers(n_rows as u64 + 7);
            let dense: Vec<f32> = (0..n_rows * n_dense)
                .map(|_| numbers.next() as f32)
                .collect();
            Samples {
                n_rows,
                wide: dense.iter().map(|&x| f64::from(x)).collect(),
                dense,
                shift: (0..n_dense).map(|_| numbers.next()).collect(),
                scale: (0..n_dense).map(|_| 3.0 * numbers.next()).collect(),
                codes: widths
                    .iter()
                    .map(|&width| {
                        let top = (width + 2) as f64;
                        (0..n_rows).map(|_| (numbers.next() * top) as u32).collect()
                    })
                    .collect(),
                widths: widths.to_vec(),
                weights: (0..n_rows).map(|_| 0.5 + numbers.next()).collect(),
            }
        }

        fn design(&self, in_f64: bool) -> Design<'_> {
            let elements = if in_f64 {
                Elements::F64(&self.wide)
            } else {
                Elements::F32(&self.dense)
            };
            let dense = MatrixView {
                n_rows: self.n_rows,
                n_cols: self.shift.len(),
                elements,
            };
            Design {
                rows: None,
                dense,
                shift: &self.shift,
                scale: &self.scale,
                codes: &self.codes,
                widths: &self.widths,
            }
        }

        fn row(&self, r: usize) -> Vec<f64> {
            let mut row: Vec<f64> = (0..self.shift.len())
                .map(|j| (self.wide[j * self.n_rows + r] - self.shift[j]) * self.scale[j])
                .collect();
            for (codes, &width) in self.codes.iter().zip(&self.widths) {
                row.extend((0..width).map(|v| f64::from(codes[r] as usize == v)));
            }
            row
        }

        fn centroids(&self, n_centroids: usize) -> Vec<f64> {
            let mut numbers = Numbers(99);
            let n = self.design(true).n_cols() * n_centroids;
            (0..n).map(|_| numbers.next() - 0.5).collect()
        }
    }

    fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    const SHAPES: [(usize, usize, &[usize], usize); 8] = [
        (1, 1, &[], 1),
        (7, 3, &[2], 3),
        (300, 16, &[], 8),
        (301, 9, &[3, 5], 5),
        (65, 0, &[4, 1], 6),
        (40, 2, &[0], 2),
        (33, 3000, &[], 3),
        (1000, 1, &[], 13),
    ];

    #[test]
    fn distances_equal_those_of_materialised_rows() {
        for (n_rows, n_dense, widths, k) in SHAPES {
            let samples = Samples::new(n_rows, n_dense, widths);
            let centroids = samples.centroids(k);
            let p = samples.design(true).n_cols();
            let distances = squared_distances(&samples.design(false), &centroids).unwrap();
            assert_eq!(
                distances,
                squared_distances(&samples.design(true), &centroids).unwrap()
            );
            assert_eq!(distances.len(), n_rows * k);
            for r in 0..n_rows {
                let row = samples.row(r);
                for c in 0..k {
                    let expected = squared_distance(&row, &centroids[c * p..][..p]);
                    let found = distances[r * k + c];
                    assert!(
                        (expected - found).abs() <= 1e-12 * expected.max(1.0),
                        "{r} {c}"
                    );
                }
            }
        }
    }

    #[test]
    fn nearest_and_sums_equal_those_of_materialised_rows() {
        for (n_rows, n_dense, widths, k) in SHAPES {
            let samples = Samples::new(n_rows, n_dense, widths);
            let centroids = samples.centroids(k);
            let p = samples.design(true).n_cols();
            let distances = squared_distances(&samples.design(false), &centroids).unwrap();
            for weights in [None, Some(samples.weights.as_slice())] {
                let found = nearest(&samples.design(false), &centroids, weights).unwrap();
                let mut sums = vec![0.0; k * p];
                let mut totals = vec![0.0; k];
                for r in 0..n_rows {
                    let row = &distances[r * k..][..k];
                    let id = (0..k).fold(0, |id, c| if row[c] < row[id] { c } else { id });
                    assert_eq!(found.ids[r], id as u32);
                    assert_eq!(found.squared_distances[r], row[id]);
                    let weight = weights.map_or(1.0, |weights| weights[r]);
                    totals[id] += weight;
                    for (sum, x) in sums[id * p..][..p].iter_mut().zip(samples.row(r)) {
                        *sum += weight * x;
                    }
                }
                assert_eq!(found.weights, totals);
                assert_eq!(found.sums, sums);
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_number() {
        let samples = Samples::new(20, 2, &[]);
        let centroids = [0.25, 0.5].repeat(6);
        let found = nearest(&samples.design(true), &centroids, None).unwrap();
        assert!(found.ids.iter().all(|&id| id == 0));
    }

    #[test]
    fn a_row_on_its_centroid_is_at_distance_zero() {
        let mut samples = Samples::new(9, 4, &[3]);
        samples.codes[0].fill(1);
        let centroid = samples.row(4);
        let distances = squared_distances(&samples.design(true), &centroid).unwrap();
        assert_eq!(distances[4], 0.0);
    }

    #[test]
    fn no_rows_give_empty_results() {
        let samples = Samples::new(0, 3, &[2]);
        let found = nearest(&samples.design(true), &samples.centroids(2), None).unwrap();
        assert_eq!((found.ids.len(), found.weights), (0, vec![0.0, 0.0]));
    }

    #[test]
    fn shapes_that_do_not_belong_together_are_refused() {
        let samples = Samples::new(5, 2, &[]);
        let error = nearest(&samples.design(true), &[1.0, 2.0, 3.0], None).unwrap_err();
        assert!(error.to_string().contains("nearest"), "{error}");
        assert!(nearest(&samples.design(true), &[1.0, 2.0], Some(&[1.0])).is_err());
    }
}
