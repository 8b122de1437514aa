//! Squared Euclidean distances of rows to centroids.
//!
//! In: a design and centroids; out: numbers in f64. A tile of rows lies in the first-level cache as f64, in panels of
//! eight rows whose columns lie side by side; a panel is compared with four centroids at a time, whose distances stay in
//! registers. Differences are squared and added, never expanded into `|x|² − 2·x·c + |c|²`, so that near distances
//! keep all their digits. A square is added by one fused operation, on every machine: all give the same bits. Never
//! allocates per tile.

use pulp::{Simd, WithSimd};

use super::panel::{Distances, GROUP, Ids, LANES, Lanes, Loops};
use super::wide;
use crate::device::{Design, Elements};
use crate::error::{Error, Result};

/// Elements of a tile: 16 KiB, half of a common first-level cache.
const TILE_VALUES: usize = 2048;
/// Most rows of a tile, where the design has few dense columns.
const MAX_TILE_ROWS: usize = 256;
/// Panels that are compared while those are awaited that take their places in the next tile.
const AT_ONCE: usize = 4;

/// See [`crate::Device::squared_distances`].
pub(super) fn squared_distances(design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
    let n_centroids = check("squared_distances", design, centroids)?;
    let packed = PackedCentroids::new(design, centroids, n_centroids);
    Ok(wide::dispatch(AllDistances { design, packed }))
}

/// The kernel of [`squared_distances`]; a type of its own, since a closure would not be compiled for the
/// instructions that were chosen.
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
            let of_tile = &mut distances[start * n_centroids..(start + tile.n) * n_centroids];
            for group in 0..packed.n_groups {
                let first = group * GROUP;
                let n = GROUP.min(n_centroids - first);
                let panels = of_tile.chunks_mut(LANES * n_centroids);
                for (found, into) in tile.compare(design, &packed, group).iter().zip(panels) {
                    for (lane, row) in into.chunks_exact_mut(n_centroids).enumerate() {
                        for (into, found) in row[first..first + n].iter_mut().zip(found) {
                            *into = found.0[lane];
                        }
                    }
                }
            }
        }
        distances
    }
}

/// The centroids in the order in which the inner loop reads them. Places of the last group that have no centroid are
/// infinitely far from everything.
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
        let mut dense = vec![[f64::INFINITY; GROUP]; n_groups * n_dense];
        let mut codes = vec![[f64::INFINITY; GROUP]; n_groups * n_codes];
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

/// Some rows in the cache.
pub(super) struct Tile {
    /// Rows that fit; a multiple of `LANES`.
    pub(super) rows: usize,
    /// Rows that are there.
    pub(super) n: usize,
    /// The first of them.
    start: usize,
    /// Columns of a panel: the dense ones, filled up with zeros to a multiple of `LANES`.
    pub(super) width: usize,
    /// Shifted and scaled values by panels; a panel has a column's lanes behind another's.
    values: Vec<Lanes>,
    /// Of each panel, to the group of centroids that was compared last.
    distances: Vec<Distances>,
    pub(super) loops: Loops,
}

impl Tile {
    pub(super) fn new(design: &Design<'_>) -> Tile {
        let width = design.dense.n_cols.next_multiple_of(LANES);
        let fitting = TILE_VALUES / width.max(1);
        let wanted = design.dense.n_rows.next_multiple_of(LANES);
        let rows = (fitting / LANES * LANES)
            .min(wanted)
            .clamp(LANES, MAX_TILE_ROWS);
        Tile {
            rows,
            n: 0,
            start: 0,
            width,
            values: vec![Lanes::ZERO; rows / LANES * width],
            distances: vec![[Lanes::ZERO; GROUP]; rows / LANES],
            loops: Loops::fastest(),
        }
    }

    /// Loads the rows from `start`.
    #[inline(always)]
    pub(super) fn fill(&mut self, design: &Design<'_>, start: usize) {
        let n_rows = design.dense.n_rows;
        (self.start, self.n) = (start, self.rows.min(n_rows - start));
        for (j, (&shift, &scale)) in design.shift.iter().zip(design.scale).enumerate() {
            let of_column = j * n_rows..(j + 1) * n_rows;
            match design.dense.elements {
                Elements::F32(values) => self.fill_column(j, &values[of_column], shift, scale),
                Elements::F64(values) => self.fill_column(j, &values[of_column], shift, scale),
            }
        }
    }

    #[inline(always)]
    fn fill_column<T: Copy + Into<f64>>(&mut self, j: usize, column: &[T], shift: f64, scale: f64) {
        let rows = self.start..self.start + self.n;
        let (whole, rest) = column[rows].as_chunks::<LANES>();
        let panels = self.values.chunks_exact_mut(self.width);
        for (panel, numbers) in panels.zip(whole) {
            // Of its own, so that all numbers are read before one is written, which makes them vectors.
            let mut lanes = [0.0; LANES];
            for (into, &x) in lanes.iter_mut().zip(numbers) {
                *into = (x.into() - shift) * scale;
            }
            panel[j] = Lanes(lanes);
        }
        if !rest.is_empty() {
            let into = &mut self.values[whole.len() * self.width + j];
            for (into, &x) in into.0.iter_mut().zip(rest) {
                *into = (x.into() - shift) * scale;
            }
        }
    }

    /// The squared distances of each panel's rows to a group of centroids. Lanes without a row have numbers too, which
    /// mean nothing.
    #[inline(always)]
    pub(super) fn compare(
        &mut self,
        design: &Design<'_>,
        packed: &PackedCentroids,
        group: usize,
    ) -> &[Distances] {
        let (n_panels, n_dense) = (self.n.div_ceil(LANES), design.dense.n_cols);
        let centroids = &packed.dense[group * n_dense..][..n_dense];
        for first in (0..n_panels).step_by(AT_ONCE) {
            let panels = first..(first + AT_ONCE).min(n_panels);
            if group == 0 {
                for panel in panels.clone() {
                    self.prefetch(design, panel);
                }
            }
            let values = &self.values[panels.start * self.width..panels.end * self.width];
            (self.loops.compare)(values, centroids, &mut self.distances[panels]);
        }
        if !design.codes.is_empty() {
            for panel in 0..n_panels {
                let of_codes = self.code_distances(design, packed, panel, group);
                for (sums, of_codes) in self.distances[panel].iter_mut().zip(of_codes) {
                    for (sum, of_codes) in sums.0.iter_mut().zip(of_codes.0) {
                        *sum += of_codes;
                    }
                }
            }
        }
        &self.distances[..n_panels]
    }

    /// Multiplies the rows of a panel by their weights; nothing can be compared afterwards.
    #[inline(always)]
    pub(super) fn weigh(&mut self, panel: usize, weights: &[f64]) {
        for column in &mut self.values[panel * self.width..][..self.width] {
            for (x, weight) in column.0.iter_mut().zip(weights) {
                *x *= weight;
            }
        }
    }

    /// Adds the rows of a panel to the sums of their numbers.
    #[inline(always)]
    pub(super) fn add(&self, panel: usize, ids: &Ids, sums: &mut [Lanes]) {
        (self.loops.add)(&self.values[panel * self.width..][..self.width], ids, sums);
    }

    /// Asks for the rows that the next tile has in the place of a panel; those of one panel at a time, so that they
    /// come while others are compared.
    #[inline(always)]
    fn prefetch(&self, design: &Design<'_>, panel: usize) {
        match design.dense.elements {
            Elements::F32(values) => self.prefetch_from(design, values, panel),
            Elements::F64(values) => self.prefetch_from(design, values, panel),
        }
    }

    #[inline(always)]
    fn prefetch_from<T>(&self, design: &Design<'_>, values: &[T], panel: usize) {
        let (n_rows, first) = (design.dense.n_rows, self.start + self.rows + panel * LANES);
        // A line of the cache may have the rows of several panels.
        let is_first_of_line = (panel * LANES * size_of::<T>()).is_multiple_of(64);
        if is_first_of_line && first < n_rows {
            for x in values.iter().skip(first).step_by(n_rows) {
                wide::prefetch_line(x);
            }
        }
    }

    /// What the codes of a panel's rows add to their distances.
    #[inline(always)]
    fn code_distances(
        &self,
        design: &Design<'_>,
        packed: &PackedCentroids,
        panel: usize,
        group: usize,
    ) -> Distances {
        let first = self.start + panel * LANES;
        let rows = first..(first + LANES).min(self.start + self.n);
        let tables = &packed.codes[group * packed.n_codes..][..packed.n_codes];
        let mut sums = [Lanes::ZERO; GROUP];
        for ((codes, &width), &offset) in
            design.codes.iter().zip(design.widths).zip(&packed.offsets)
        {
            let table = &tables[offset..=offset + width];
            for (lane, &code) in codes[rows.clone()].iter().enumerate() {
                let entry = table[width.min(code as usize)];
                for (sums, distance) in sums.iter_mut().zip(entry) {
                    sums.0[lane] += distance;
                }
            }
        }
        sums
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

pub(super) fn expect(kernel: &'static str, expected: usize, found: usize) -> Result<()> {
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
    use crate::cpu::nearest::{cluster_sums, nearest};
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
                let (mut totals, mut squares) = (vec![0.0; k], vec![0.0; k]);
                for r in 0..n_rows {
                    let row = &distances[r * k..][..k];
                    let id = (0..k).fold(0, |id, c| if row[c] < row[id] { c } else { id });
                    assert_eq!(found.ids[r], id as u32);
                    assert_eq!(found.squared_distances[r], row[id]);
                    let weight = weights.map_or(1.0, |weights| weights[r]);
                    totals[id] += weight;
                    squares[id] += weight * row[id];
                    for (sum, x) in sums[id * p..][..p].iter_mut().zip(samples.row(r)) {
                        *sum += weight * x;
                    }
                }
                assert_eq!(found.sums.weights, totals);
                assert_eq!(found.sums.sums, sums);
                assert_eq!(found.sums.squares, squares);
                let alone = cluster_sums(&samples.design(false), &centroids, weights).unwrap();
                assert_eq!(alone.sums, sums);
                assert_eq!((alone.weights, alone.squares), (totals, squares));
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
        assert_eq!((found.ids.len(), found.sums.weights), (0, vec![0.0, 0.0]));
    }

    #[test]
    fn shapes_that_do_not_belong_together_are_refused() {
        let samples = Samples::new(5, 2, &[]);
        let error = nearest(&samples.design(true), &[1.0, 2.0, 3.0], None).unwrap_err();
        assert!(error.to_string().contains("nearest"), "{error}");
        assert!(nearest(&samples.design(true), &[1.0, 2.0], Some(&[1.0])).is_err());
    }
}
