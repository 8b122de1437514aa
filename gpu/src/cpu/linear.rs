//! Linear predictors of a block, and the sums of its columns by residuals.
//!
//! In: a design and coefficients; out: predictors, or what a tile of residuals adds to a gradient. Walks tiles of rows column
//! by column. A row's predictor never depends on the rows around it.

use pulp::{Simd, WithSimd};

use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::Design;
use crate::error::Result;

/// Dense columns that are converted at a time: 64 KiB of scratch, whatever the width.
pub(super) const CHUNK_COLUMNS: usize = 32;

/// See [`crate::Device::linear`].
pub(super) fn linear(
    design: &Design<'_>,
    coefficients: &[f64],
    n_outputs: usize,
) -> Result<Vec<f64>> {
    tile::check_design("linear", design)?;
    tile::check_length(
        "linear",
        n_outputs * (design.n_cols() + 1),
        coefficients.len(),
    )?;
    Ok(wide::dispatch(LinearPass {
        design,
        coefficients,
        n_outputs,
    }))
}

/// Predictors by coefficients, and sums of columns by residuals.
#[derive(Clone, Copy)]
pub(super) struct LinearPass<'a> {
    pub(super) design: &'a Design<'a>,
    pub(super) coefficients: &'a [f64],
    pub(super) n_outputs: usize,
}

impl WithSimd for LinearPass<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f64> {
        let n_rows = self.design.dense.n_rows;
        let mut columns = Columns::new(self.design.dense.n_cols.min(CHUNK_COLUMNS), n_rows);
        let mut z = Columns::new(self.n_outputs, n_rows);
        let mut predictors = vec![0.0; n_rows * self.n_outputs];
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            self.predict_tile(CHUNK_COLUMNS, start, n_tile, &mut columns, &mut z);
            for output in 0..self.n_outputs {
                let into = predictors[start * self.n_outputs + output..].iter_mut();
                let values = z.column(output, n_tile);
                for (into, &z) in into.step_by(self.n_outputs).zip(values) {
                    *into = z;
                }
            }
        }
        predictors
    }
}

impl LinearPass<'_> {
    /// Writes the linear predictors of a tile to the columns of `z`, and leaves the last `chunk`
    /// of dense columns in `columns`.
    #[inline(always)]
    pub(super) fn predict_tile(
        &self,
        chunk: usize,
        start: usize,
        n_rows: usize,
        columns: &mut Columns,
        z: &mut Columns,
    ) {
        let (design, n_dense) = (self.design, self.design.dense.n_cols);
        let stride = design.n_cols() + 1;
        let n_padded = n_rows.next_multiple_of(LANES);
        for output in 0..self.n_outputs {
            z.column_mut(output, n_padded)
                .fill(self.coefficients[output * stride + stride - 1]);
        }
        for first in (0..n_dense).step_by(chunk) {
            let n_chunk = chunk.min(n_dense - first);
            load_chunk(design, first, n_chunk, start, n_rows, columns);
            for output in 0..self.n_outputs {
                let slopes = &self.coefficients[output * stride + first..][..n_chunk];
                add_multiples(z.column_mut(output, n_padded), columns, slopes);
            }
        }
        let mut offset = n_dense;
        for (codes, &width) in design.codes.iter().zip(design.widths) {
            let codes = &codes[start..start + n_rows];
            for output in 0..self.n_outputs {
                let effects = &self.coefficients[output * stride + offset..][..width];
                for (z, &code) in z.column_mut(output, n_rows).iter_mut().zip(codes) {
                    *z += effects.get(code as usize).copied().unwrap_or(0.0);
                }
            }
            offset += width;
        }
    }

    /// Adds to the gradient the products of a tile's columns with its residuals.
    #[inline(always)]
    pub(super) fn add_gradient(
        &self,
        chunk: usize,
        start: usize,
        n_rows: usize,
        columns: &mut Columns,
        residuals: &Columns,
        gradient: &mut [f64],
    ) {
        let (design, n_dense) = (self.design, self.design.dense.n_cols);
        let stride = design.n_cols() + 1;
        let n_padded = n_rows.next_multiple_of(LANES);
        for first in (0..n_dense).step_by(chunk) {
            let n_chunk = chunk.min(n_dense - first);
            if n_dense > chunk {
                load_chunk(design, first, n_chunk, start, n_rows, columns);
            }
            for output in 0..self.n_outputs {
                let into = &mut gradient[output * stride + first..][..n_chunk];
                add_products(into, columns, residuals.column(output, n_padded));
            }
        }
        let mut offset = n_dense;
        for (codes, &width) in design.codes.iter().zip(design.widths) {
            let codes = &codes[start..start + n_rows];
            for output in 0..self.n_outputs {
                let into = &mut gradient[output * stride + offset..][..width];
                for (&residual, &code) in residuals.column(output, n_rows).iter().zip(codes) {
                    if let Some(into) = into.get_mut(code as usize) {
                        *into += residual;
                    }
                }
            }
            offset += width;
        }
        for output in 0..self.n_outputs {
            gradient[output * stride + stride - 1] += tile::sum(residuals.column(output, n_padded));
        }
    }
}

#[inline(always)]
fn load_chunk(
    design: &Design<'_>,
    first: usize,
    n_chunk: usize,
    start: usize,
    n_rows: usize,
    columns: &mut Columns,
) {
    let n_padded = n_rows.next_multiple_of(LANES);
    for column in 0..n_chunk {
        let into = columns.column_mut(column, n_padded);
        tile::load_dense(design, first + column, start, n_rows, into);
        tile::prefetch(design, first + column, start + n_rows, n_rows);
    }
}

/// z += Σ slope·column, four columns a sweep, always in the order of the columns.
#[inline(always)]
fn add_multiples(z: &mut [f64], columns: &Columns, slopes: &[f64]) {
    let (fours, rest) = slopes.as_chunks::<4>();
    for (group, b) in fours.iter().enumerate() {
        let [x0, x1, x2, x3] = [0, 1, 2, 3].map(|j| columns.column(group * 4 + j, z.len()));
        for ((((z, x0), x1), x2), x3) in z.iter_mut().zip(x0).zip(x1).zip(x2).zip(x3) {
            let sum = b[1].mul_add(*x1, b[0].mul_add(*x0, *z));
            *z = b[3].mul_add(*x3, b[2].mul_add(*x2, sum));
        }
    }
    for (j, &b) in rest.iter().enumerate() {
        let x = columns.column(fours.len() * 4 + j, z.len());
        for (z, &x) in z.iter_mut().zip(x) {
            *z = b.mul_add(x, *z);
        }
    }
}

/// sums\[j\] += column j · residuals, four columns a sweep.
#[inline(always)]
fn add_products(sums: &mut [f64], columns: &Columns, residuals: &[f64]) {
    let last = sums.len() - 1;
    for first in (0..sums.len()).step_by(4) {
        let group = [0, 1, 2, 3].map(|j| columns.column(last.min(first + j), residuals.len()));
        let products = tile::dot4(residuals, group);
        for (sum, product) in sums[first..].iter_mut().zip(products) {
            *sum += product;
        }
    }
}
