//! Weighted sums of products of a design's columns: all that least squares needs of the rows.
//!
//! In: a design, a response and weights; out: [`Gram`]. Dense columns are multiplied tile by tile in
//! register blocks; an indicator column never exists, its products are scattered by code. Also sums
//! the weighted products of a tile for the Hessians of `glm`.

use pulp::{Simd, WithSimd};

use super::block::{Block, Multiply, SIDE, fastest};
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, Gram};
use crate::error::Result;

/// Left operands that stay in the second-level cache while right operands stream past.
const CACHED_COLUMNS: usize = 16 * SIDE;

/// See [`crate::Device::gram`].
pub(super) fn gram(
    design: &Design<'_>,
    response: Option<&[f64]>,
    weights: Option<&[f64]>,
) -> Result<Gram> {
    let n_rows = design.dense.n_rows;
    tile::check_design("gram", design)?;
    tile::check_length("gram", n_rows, response.map_or(n_rows, <[f64]>::len))?;
    tile::check_length("gram", n_rows, weights.map_or(n_rows, <[f64]>::len))?;
    Ok(wide::dispatch(GramPass {
        design,
        response,
        weights,
    }))
}

struct GramPass<'a> {
    design: &'a Design<'a>,
    response: Option<&'a [f64]>,
    weights: Option<&'a [f64]>,
}

impl WithSimd for GramPass<'_> {
    type Output = Gram;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Gram {
        let GramPass {
            design,
            response,
            weights,
        } = self;
        let (n_rows, n_dense) = (design.dense.n_rows, design.dense.n_cols);
        // The response and a column of ones ride along as columns, so that one product gives all.
        let mut columns = Columns::new(n_dense + 2, n_rows);
        let mut sums = GramSums::new(n_dense + 2, design.widths, n_rows, weights.is_some());
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            let n_padded = n_tile.next_multiple_of(LANES);
            for column in 0..n_dense {
                let into = columns.column_mut(column, n_padded);
                tile::load_dense(design, column, start, n_tile, into);
            }
            if let Some(response) = response {
                let (filled, padding) = columns.column_mut(n_dense, n_padded).split_at_mut(n_tile);
                filled.copy_from_slice(&response[start..start + n_tile]);
                padding.fill(0.0);
            }
            load_ones(columns.column_mut(n_dense + 1, n_padded), n_tile);
            let weights = weights.map(|weights| &weights[start..start + n_tile]);
            sums.add(&columns, weights, design, start, n_tile);
        }
        let y = n_dense;
        let ones = n_dense + 1;
        let of_column = |column: usize| if column < n_dense { column } else { column + 2 };
        let p = design.n_cols();
        let against = |other: usize| (0..p).map(|c| sums.at(of_column(c), other)).collect();
        let mut xx = vec![0.0; p * p];
        for i in 0..p {
            for j in 0..=i {
                let value = sums.at(of_column(i), of_column(j));
                xx[i * p + j] = value;
                xx[j * p + i] = value;
            }
        }
        Gram {
            moments: [sums.at(ones, ones), sums.at(ones, y), sums.at(y, y)],
            x_sums: against(ones),
            xy: against(y),
            xx,
        }
    }
}

/// Ones for the rows of a tile, zeros for its padding.
#[inline(always)]
pub(super) fn load_ones(into: &mut [f64], n_rows: usize) {
    let (filled, padding) = into.split_at_mut(n_rows);
    filled.fill(1.0);
    padding.fill(0.0);
}

/// Sums of weighted products over tiles. Columns are numbered: the stored ones, of which the last
/// must be the ones, then the indicators.
pub(super) struct GramSums<'a> {
    n_stored: usize,
    widths: &'a [usize],
    /// Stored × stored, by blocks of rows and columns; those above the diagonal stay zero.
    stored: Vec<Block>,
    /// Indicator × stored.
    mixed: Vec<f64>,
    /// Indicator × indicator of an earlier code column.
    indicators: Vec<f64>,
    /// Scratch: the weighted columns of a tile, and the same row by row for the scatter.
    weighted: Columns,
    rows: Vec<f64>,
    multiply: Multiply,
}

impl<'a> GramSums<'a> {
    /// Zeros for `n_stored` columns and indicators of `widths`, for a block of `n_rows`.
    pub(super) fn new(
        n_stored: usize,
        widths: &'a [usize],
        n_rows: usize,
        is_weighted: bool,
    ) -> GramSums<'a> {
        let n_indicators: usize = widths.iter().sum();
        let n_pairs = if widths.len() > 1 {
            n_indicators * n_indicators
        } else {
            0
        };
        let n_scattered = if n_indicators > 0 {
            n_stored * n_rows.min(TILE_ROWS)
        } else {
            0
        };
        GramSums {
            n_stored,
            widths,
            stored: vec![Block::default(); n_stored.div_ceil(SIDE).pow(2)],
            mixed: vec![0.0; n_indicators * n_stored],
            indicators: vec![0.0; n_pairs],
            weighted: Columns::new(if is_weighted { n_stored } else { 0 }, n_rows),
            rows: vec![0.0; n_scattered],
            multiply: fastest(),
        }
    }

    /// Adds a tile: `columns` hold the stored columns of rows `start..start + n_rows`.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        columns: &Columns,
        weights: Option<&[f64]>,
        design: &Design<'_>,
        start: usize,
        n_rows: usize,
    ) {
        let n_padded = n_rows.next_multiple_of(LANES);
        if let Some(weights) = weights {
            for column in 0..self.n_stored {
                let values = columns.column(column, n_rows);
                let into = self.weighted.column_mut(column, n_padded);
                let (filled, padding) = into.split_at_mut(n_rows);
                for ((into, x), w) in filled.iter_mut().zip(values).zip(weights) {
                    *into = x * w;
                }
                padding.fill(0.0);
            }
        }
        let weighted = if weights.is_some() {
            &self.weighted
        } else {
            columns
        };
        let sides = (weighted, columns);
        let n_dense = design.dense.n_cols;
        let ahead = Ahead {
            design,
            end: start + n_rows,
            n_rows,
            column: 0,
            at_once: (2 * n_dense).div_ceil(self.stored.len()),
        };
        add_products(
            &mut self.stored,
            self.n_stored,
            sides,
            (n_padded, self.multiply),
            ahead,
        );
        if !self.mixed.is_empty() {
            for (row, into) in self
                .rows
                .chunks_exact_mut(self.n_stored)
                .take(n_rows)
                .enumerate()
            {
                for (column, into) in into.iter_mut().enumerate() {
                    *into = weighted.value(column, row);
                }
            }
            self.scatter(weights, design, start, n_rows);
        }
    }

    /// Adds each row of a tile to the sums of its codes, and its weight to those of its pairs.
    #[inline(always)]
    fn scatter(
        &mut self,
        weights: Option<&[f64]>,
        design: &Design<'_>,
        start: usize,
        n_rows: usize,
    ) {
        let n_indicators: usize = self.widths.iter().sum();
        let mut offset = 0;
        for (later, &width) in self.widths.iter().enumerate() {
            let codes = &design.codes[later][start..start + n_rows];
            for (row, &code) in self.rows.chunks_exact(self.n_stored).zip(codes) {
                if (code as usize) < width {
                    let first = (offset + code as usize) * self.n_stored;
                    let into = &mut self.mixed[first..first + self.n_stored];
                    for (into, x) in into.iter_mut().zip(row) {
                        *into += x;
                    }
                }
            }
            let mut earlier_offset = 0;
            for (earlier, &earlier_width) in self.widths[..later].iter().enumerate() {
                let earlier_codes = &design.codes[earlier][start..start + n_rows];
                for (row, (&code, &other)) in codes.iter().zip(earlier_codes).enumerate() {
                    let (code, other) = (code as usize, other as usize);
                    if code < width && other < earlier_width {
                        let weight = weights.map_or(1.0, |weights| weights[row]);
                        let first = (offset + code) * n_indicators + earlier_offset;
                        self.indicators[first + other] += weight;
                    }
                }
                earlier_offset += earlier_width;
            }
            offset += width;
        }
    }

    /// The sum of products of two columns.
    pub(super) fn at(&self, a: usize, b: usize) -> f64 {
        let (n, low, high) = (self.n_stored, a.min(b), a.max(b));
        if high < n {
            let block = &self.stored[high / SIDE * n.div_ceil(SIDE) + low / SIDE];
            block[high % SIDE][low % SIDE]
        } else if low < n {
            self.mixed[(high - n) * n + low]
        } else if low == high {
            self.mixed[(high - n) * n + n - 1]
        } else if self.indicators.is_empty() {
            0.0
        } else {
            self.indicators[(high - n) * (self.mixed.len() / n) + low - n]
        }
    }
}

/// The tile behind the one that is multiplied, whose columns are asked for a few at a time, so that they come while the
/// machine multiplies.
struct Ahead<'a> {
    design: &'a Design<'a>,
    end: usize,
    n_rows: usize,
    column: usize,
    at_once: usize,
}

impl Ahead<'_> {
    #[inline(always)]
    fn go_on(&mut self) {
        let last = (self.column + self.at_once).min(self.design.dense.n_cols);
        for column in self.column..last {
            tile::prefetch(self.design, column, self.end, self.n_rows);
        }
        self.column = last;
    }
}

/// Adds the products of weighted columns (rows of the result) and columns, for the blocks that reach the lower triangle.
#[inline(always)]
fn add_products(
    sums: &mut [Block],
    n_columns: usize,
    (weighted, columns): (&Columns, &Columns),
    (n_padded, multiply): (usize, Multiply),
    mut ahead: Ahead<'_>,
) {
    // A block that sticks out at the edge repeats the last column; nobody reads what that gives.
    let last = n_columns - 1;
    let n_blocks = n_columns.div_ceil(SIDE);
    let places = |first: usize| [0, 1, 2, 3, 4, 5].map(|offset| last.min(first + offset));
    for cached in (0..n_columns).step_by(CACHED_COLUMNS) {
        let cached_end = (cached + CACHED_COLUMNS).min(n_columns);
        for j in (0..cached_end).step_by(SIDE) {
            let right = places(j).map(|column| columns.column(column, n_padded));
            for i in (cached.max(j)..cached_end).step_by(SIDE) {
                let left = places(i).map(|column| weighted.column(column, n_padded));
                ahead.go_on();
                let into = &mut sums[i / SIDE * n_blocks + j / SIDE];
                match i == j {
                    true => (multiply.lower)(&left, &right, into),
                    false => (multiply.whole)(&left, &right, into),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gram;
    use crate::cpu::tile::random::{RandomDesign, assert_close};
    use crate::device::Gram;

    /// Every sum by its definition.
    fn naive(x: &[Vec<f64>], y: Option<&[f64]>, w: Option<&[f64]>) -> Gram {
        let p = x.first().map_or(0, Vec::len);
        let mut sums = Gram {
            moments: [0.0; 3],
            x_sums: vec![0.0; p],
            xy: vec![0.0; p],
            xx: vec![0.0; p * p],
        };
        for (row, x) in x.iter().enumerate() {
            let (y, w) = (y.map_or(0.0, |y| y[row]), w.map_or(1.0, |w| w[row]));
            sums.moments[0] += w;
            sums.moments[1] += w * y;
            sums.moments[2] += w * y * y;
            for i in 0..p {
                sums.x_sums[i] += w * x[i];
                sums.xy[i] += w * x[i] * y;
                for j in 0..p {
                    sums.xx[i * p + j] += w * x[i] * x[j];
                }
            }
        }
        sums
    }

    #[test]
    fn sums_equal_their_definition_for_any_shape() {
        for seed in 0..60 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let y = (seed % 3 > 0).then_some(samples.response.as_slice());
            let w = (seed % 2 > 0).then_some(samples.weights.as_slice());
            let found = gram(&design, y, w).expect("shapes agree");
            let expected = naive(&samples.rows(), y, w);
            assert_close(&found.moments, &expected.moments);
            if samples.n_rows() > 0 {
                assert_close(&found.x_sums, &expected.x_sums);
                assert_close(&found.xy, &expected.xy);
                assert_close(&found.xx, &expected.xx);
            }
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let samples = RandomDesign::new(7);
        let y = vec![0.0; samples.n_rows() + 1];
        assert!(gram(&samples.design(), Some(&y), None).is_err());
        assert!(gram(&samples.design(), None, Some(&y)).is_err());
    }
}
