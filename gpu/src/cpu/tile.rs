//! Some hundred rows of a design in f64 scratch: what the kernels of linear models compute on.
//!
//! In: a [`Design`] and the first row of a tile; out: its dense columns, shifted and scaled, each
//! padded with zeros to whole vectors. Allocates once a call, never once a tile. The inner loops
//! keep one running sum a lane, so that an order of addition is fixed whatever the vector width.

use super::wide;
use crate::device::{Design, Elements};
use crate::error::{Error, Result};

/// Rows of a tile: a column of it is 2 KiB, some thirty columns stay in the second-level cache.
pub(super) const TILE_ROWS: usize = 256;
/// Columns of a tile are padded to a multiple of this; also the lanes of [`dot4`].
pub(super) const LANES: usize = 8;

/// Columns of f64, each `stride` apart.
pub(super) struct Columns {
    n_columns: usize,
    stride: usize,
    /// Where the first column begins: at a line of the cache, since a vector that lies across two is read twice.
    first: usize,
    values: Vec<f64>,
}

impl Columns {
    /// Scratch for `n_columns` columns of the tiles of a block of `n_rows` rows.
    pub(super) fn new(n_columns: usize, n_rows: usize) -> Columns {
        let stride = n_rows.min(TILE_ROWS).next_multiple_of(LANES);
        let values = vec![0.0; n_columns * stride + LANES - 1];
        Columns {
            n_columns,
            stride,
            first: values.as_ptr().align_offset(64).min(LANES - 1),
            values,
        }
    }

    /// Number of columns.
    #[inline(always)]
    pub(super) fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// The first `n_rows` of a column.
    #[inline(always)]
    pub(super) fn column(&self, column: usize, n_rows: usize) -> &[f64] {
        &self.values[self.first + column * self.stride..][..n_rows]
    }

    /// One value.
    #[inline(always)]
    pub(super) fn value(&self, column: usize, row: usize) -> f64 {
        self.values[self.first + column * self.stride + row]
    }

    /// The first `n_rows` of a column, to be written.
    #[inline(always)]
    pub(super) fn column_mut(&mut self, column: usize, n_rows: usize) -> &mut [f64] {
        &mut self.values[self.first + column * self.stride..][..n_rows]
    }
}

/// Writes rows `start..start + n_rows` of a dense column, shifted and scaled, padded with zeros.
#[inline(always)]
pub(super) fn load_dense(
    design: &Design<'_>,
    column: usize,
    start: usize,
    n_rows: usize,
    into: &mut [f64],
) {
    let (shift, scale) = (design.shift[column], design.scale[column]);
    let first = column * design.dense.n_rows;
    let of_column = first..first + design.dense.n_rows;
    let rows = start..start + n_rows;
    let (filled, padding) = into.split_at_mut(n_rows);
    match design.dense.elements {
        Elements::F32(elements) => {
            let elements = &elements[of_column];
            for (into, &x) in filled.iter_mut().zip(&elements[rows]) {
                *into = (f64::from(x) - shift) * scale;
            }
        }
        Elements::F64(elements) => {
            let elements = &elements[of_column];
            for (into, &x) in filled.iter_mut().zip(&elements[rows]) {
                *into = (x - shift) * scale;
            }
        }
    }
    padding.fill(0.0);
}

/// Asks for the rows of a dense column that follow those before `end`.
#[inline(always)]
pub(super) fn prefetch(design: &Design<'_>, column: usize, end: usize, n_rows: usize) {
    let all = design.dense.n_rows;
    let rows = column * all + end..column * all + (end + n_rows).min(all);
    match design.dense.elements {
        Elements::F32(elements) => wide::prefetch(&elements[rows]),
        Elements::F64(elements) => wide::prefetch(&elements[rows]),
    }
}

/// A column in chunks of [`LANES`].
#[inline(always)]
fn chunks(column: &[f64]) -> &[[f64; LANES]] {
    column.as_chunks::<LANES>().0
}

/// Σ x·y of one column with four others of the same length, a multiple of [`LANES`].
#[inline(always)]
pub(super) fn dot4(x: &[f64], columns: [&[f64]; 4]) -> [f64; 4] {
    let (x, _) = x.as_chunks::<LANES>();
    // Written out, since closures over arrays are called rather than inlined into code that was
    // compiled for other instructions.
    let [c0, c1, c2, c3] = columns;
    let columns = [chunks(c0), chunks(c1), chunks(c2), chunks(c3)];
    let mut sums = [[0.0f64; LANES]; 4];
    for (row, x) in x.iter().enumerate() {
        for output in 0..4 {
            let y = &columns[output][row];
            for lane in 0..LANES {
                sums[output][lane] = x[lane].mul_add(y[lane], sums[output][lane]);
            }
        }
    }
    [
        sum_lanes(&sums[0]),
        sum_lanes(&sums[1]),
        sum_lanes(&sums[2]),
        sum_lanes(&sums[3]),
    ]
}

/// Adds lanes by halves: (0+4)+(2+6) and so on.
#[inline(always)]
pub(super) fn sum_lanes<const N: usize>(lanes: &[f64; N]) -> f64 {
    let mut lanes = *lanes;
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ x over any number of rows, in [`LANES`] running sums.
#[inline(always)]
pub(super) fn sum(x: &[f64]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    sum_lanes(&sums)
}

/// Fails unless `found` is `expected`: the kernels index without asking again.
pub(crate) fn check_length(kernel: &'static str, expected: usize, found: usize) -> Result<()> {
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

/// Checks that the parts of a design belong together.
pub(crate) fn check_design(kernel: &'static str, design: &Design<'_>) -> Result<()> {
    let n_elements = match design.dense.elements {
        Elements::F32(elements) => elements.len(),
        Elements::F64(elements) => elements.len(),
    };
    check_length(
        kernel,
        design.dense.n_rows * design.dense.n_cols,
        n_elements,
    )?;
    check_length(kernel, design.dense.n_cols, design.shift.len())?;
    check_length(kernel, design.dense.n_cols, design.scale.len())?;
    check_length(kernel, design.codes.len(), design.widths.len())?;
    design
        .codes
        .iter()
        .try_for_each(|codes| check_length(kernel, design.dense.n_rows, codes.len()))
}

/// Random designs for the tests of the kernels.
#[cfg(test)]
pub(super) mod random {
    use crate::device::{Design, Elements, MatrixView};

    pub(in crate::cpu) struct RandomDesign {
        n_rows: usize,
        n_dense: usize,
        f32s: Vec<f32>,
        f64s: Vec<f64>,
        is_f32: bool,
        shift: Vec<f64>,
        scale: Vec<f64>,
        codes: Vec<Vec<u32>>,
        widths: Vec<usize>,
        pub(in crate::cpu) response: Vec<f64>,
        pub(in crate::cpu) weights: Vec<f64>,
    }

    impl RandomDesign {
        pub(in crate::cpu) fn new(seed: u64) -> RandomDesign {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
            let mut uniform = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as f64 / f64::from(1u32 << 31)
            };
            let mut below = |limit: usize| (uniform() * limit as f64) as usize;
            let n_rows = [below(20), below(300), below(1500)][below(3)];
            let n_dense = [below(4), below(12), below(120)][below(3)];
            let widths: Vec<usize> = (0..below(4)).map(|_| below(7)).collect();
            // Codes beyond the width have no indicator.
            let codes = widths
                .iter()
                .map(|&width| (0..n_rows).map(|_| below(width + 2) as u32).collect());
            let codes = codes.collect();
            let mut numbers = |n: usize| (0..n).map(|_| uniform() * 4.0 - 2.0).collect();
            let f64s: Vec<f64> = numbers(n_rows * n_dense);
            RandomDesign {
                n_rows,
                n_dense,
                f32s: f64s.iter().map(|&x| x as f32).collect(),
                f64s,
                is_f32: seed.is_multiple_of(2),
                shift: numbers(n_dense),
                scale: numbers(n_dense),
                codes,
                widths,
                response: numbers(n_rows),
                weights: numbers(n_rows).iter().map(|w: &f64| w.abs()).collect(),
            }
        }

        pub(in crate::cpu) fn n_rows(&self) -> usize {
            self.n_rows
        }

        pub(in crate::cpu) fn design(&self) -> Design<'_> {
            let elements = match self.is_f32 {
                true => Elements::F32(&self.f32s),
                false => Elements::F64(&self.f64s),
            };
            Design {
                rows: None,
                dense: MatrixView {
                    n_rows: self.n_rows,
                    n_cols: self.n_dense,
                    elements,
                },
                shift: &self.shift,
                scale: &self.scale,
                codes: &self.codes,
                widths: &self.widths,
            }
        }

        /// One row alone.
        pub(in crate::cpu) fn row(&self, row: usize) -> RandomDesign {
            let at = |j: usize| j * self.n_rows + row;
            RandomDesign {
                n_rows: 1,
                n_dense: self.n_dense,
                f32s: (0..self.n_dense).map(|j| self.f32s[at(j)]).collect(),
                f64s: (0..self.n_dense).map(|j| self.f64s[at(j)]).collect(),
                is_f32: self.is_f32,
                shift: self.shift.clone(),
                scale: self.scale.clone(),
                codes: self.codes.iter().map(|codes| vec![codes[row]]).collect(),
                widths: self.widths.clone(),
                response: vec![self.response[row]],
                weights: vec![self.weights[row]],
            }
        }

        /// The rows of the design, materialised.
        pub(in crate::cpu) fn rows(&self) -> Vec<Vec<f64>> {
            let row = |row: usize| {
                let dense = (0..self.n_dense).map(|j| {
                    let idx = j * self.n_rows + row;
                    let x = if self.is_f32 {
                        f64::from(self.f32s[idx])
                    } else {
                        self.f64s[idx]
                    };
                    (x - self.shift[j]) * self.scale[j]
                });
                let indicators = self
                    .codes
                    .iter()
                    .zip(&self.widths)
                    .flat_map(|(codes, &width)| {
                        (0..width).map(move |i| if codes[row] as usize == i { 1.0 } else { 0.0 })
                    });
                dense.chain(indicators).collect()
            };
            (0..self.n_rows).map(row).collect()
        }
    }

    pub(in crate::cpu) fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-11, "element {idx} is {found}, not {expected}");
        }
    }
}
