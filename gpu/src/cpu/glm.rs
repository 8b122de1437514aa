//! Generalised linear models: linear predictors, and loss, gradient and Hessian of a block.
//!
//! In: a design, a response, weights and coefficients; out: predictors or a [`GlmPartial`]. Walks
//! tiles of rows: predictors column by column, the loss row by row in lanes, then the gradient
//! column by column. A row's predictor never depends on the rows around it.

use pulp::{Simd, WithSimd};

use super::elementary::{exp, log, log_1p};
use super::gram::{self, GramSums};
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, GlmPartial, Loss};
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

/// See [`crate::Device::glm`].
pub(super) fn glm(
    design: &Design<'_>,
    response: &[f64],
    weights: Option<&[f64]>,
    coefficients: &[f64],
    n_outputs: usize,
    loss: Loss,
    with_hessian: bool,
) -> Result<GlmPartial> {
    let n_rows = design.dense.n_rows;
    tile::check_design("glm", design)?;
    tile::check_length("glm", n_rows, response.len())?;
    tile::check_length("glm", n_rows, weights.map_or(n_rows, <[f64]>::len))?;
    tile::check_length("glm", n_outputs * (design.n_cols() + 1), coefficients.len())?;
    if loss != Loss::Softmax {
        tile::check_length("glm", 1, n_outputs)?;
    }
    let linear = LinearPass {
        design,
        coefficients,
        n_outputs,
    };
    Ok(wide::dispatch(GlmPass {
        linear,
        response,
        weights,
        loss,
        with_hessian,
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

struct GlmPass<'a> {
    linear: LinearPass<'a>,
    response: &'a [f64],
    weights: Option<&'a [f64]>,
    loss: Loss,
    with_hessian: bool,
}

impl WithSimd for GlmPass<'_> {
    type Output = GlmPartial;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> GlmPartial {
        let GlmPass {
            linear,
            response,
            weights,
            loss,
            with_hessian,
        } = self;
        let (design, n_outputs) = (linear.design, linear.n_outputs);
        let (n_rows, n_dense) = (design.dense.n_rows, design.dense.n_cols);
        // The Hessian needs all columns of a tile at once, and ones for the intercept.
        let chunk = if with_hessian {
            n_dense.max(1)
        } else {
            CHUNK_COLUMNS
        };
        let mut columns = Columns::new(n_dense.min(chunk) + 1, n_rows);
        let mut z = Columns::new(n_outputs, n_rows);
        let mut link = Link::new(n_outputs, n_rows, with_hessian);
        let n_pairs = if with_hessian {
            n_outputs * (n_outputs + 1) / 2
        } else {
            0
        };
        let mut pairs: Vec<_> = (0..n_pairs)
            .map(|_| GramSums::new(n_dense + 1, design.widths, n_rows, true))
            .collect();
        let mut partial = GlmPartial {
            weight: 0.0,
            loss: 0.0,
            gradient: vec![0.0; linear.coefficients.len()],
            hessian: Vec::new(),
        };
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            let n_padded = n_tile.next_multiple_of(LANES);
            let rows = start..start + n_tile;
            linear.predict_tile(chunk, start, n_tile, &mut columns, &mut z);
            link.load_weights(weights.map(|weights| &weights[rows.clone()]), n_tile);
            link.apply(loss, &mut z, &response[rows]);
            partial.weight += tile::sum(&link.weights);
            partial.loss += tile::sum(&link.losses);
            for output in 0..n_outputs {
                z.column_mut(output, n_padded)[n_tile..].fill(0.0);
            }
            linear.add_gradient(
                chunk,
                start,
                n_tile,
                &mut columns,
                &z,
                &mut partial.gradient,
            );
            if with_hessian {
                gram::load_ones(columns.column_mut(n_dense, n_padded), n_tile);
                for (pair, sums) in pairs.iter_mut().enumerate() {
                    let curvature = link.curvature(loss, pair);
                    sums.add(&columns, Some(curvature), design, start, n_tile);
                }
            }
        }
        if with_hessian {
            partial.hessian = assemble_hessian(&pairs, n_outputs, n_dense, design.n_cols());
        }
        partial
    }
}

/// Puts the blocks of pairs of outputs (0,0), (1,0), (1,1), (2,0) … into the whole Hessian.
fn assemble_hessian(
    pairs: &[GramSums<'_>],
    n_outputs: usize,
    n_dense: usize,
    n_columns: usize,
) -> Vec<f64> {
    let (stride, size) = (n_columns + 1, n_outputs * (n_columns + 1));
    let of_column = |column: usize| match column {
        intercept if intercept == n_columns => n_dense,
        dense if dense < n_dense => dense,
        indicator => indicator + 1,
    };
    let mut hessian = vec![0.0; size * size];
    let outputs = (0..n_outputs).flat_map(|a| (0..=a).map(move |b| (a, b)));
    for ((a, b), sums) in outputs.zip(pairs) {
        for i in 0..stride {
            for j in 0..stride {
                let value = sums.at(of_column(i), of_column(j));
                hessian[(a * stride + i) * size + b * stride + j] = value;
                hessian[(b * stride + j) * size + a * stride + i] = value;
            }
        }
    }
    hessian
}

/// From linear predictors to losses and residuals, for the rows of a tile.
pub(super) struct Link {
    pub(super) weights: Vec<f64>,
    pub(super) losses: Vec<f64>,
    /// Probabilities of each output, for the curvature only.
    probabilities: Columns,
    greatest: Vec<f64>,
    totals: Vec<f64>,
    curvature: Vec<f64>,
    with_hessian: bool,
}

impl Link {
    pub(super) fn new(n_outputs: usize, n_rows: usize, with_hessian: bool) -> Link {
        let column = || vec![0.0; n_rows.min(TILE_ROWS)];
        Link {
            weights: column(),
            losses: column(),
            probabilities: Columns::new(if with_hessian { n_outputs } else { 0 }, n_rows),
            greatest: column(),
            totals: column(),
            curvature: column(),
            with_hessian,
        }
    }

    #[inline(always)]
    pub(super) fn load_weights(&mut self, weights: Option<&[f64]>, n_rows: usize) {
        self.weights.truncate(n_rows);
        self.losses.truncate(n_rows);
        self.greatest.truncate(n_rows);
        self.totals.truncate(n_rows);
        self.curvature.truncate(n_rows);
        match weights {
            Some(weights) => self.weights.copy_from_slice(weights),
            None => self.weights.fill(1.0),
        }
    }

    /// Writes the losses, and turns the predictors in `z` into residuals ∂loss/∂z.
    #[inline(always)]
    pub(super) fn apply(&mut self, loss: Loss, z: &mut Columns, response: &[f64]) {
        let n_rows = response.len();
        match loss {
            Loss::Squared => {
                let rows = z
                    .column_mut(0, n_rows)
                    .iter_mut()
                    .zip(response)
                    .zip(&self.weights);
                for (((z, y), w), loss) in rows.zip(&mut self.losses) {
                    let error = *z - y;
                    *loss = 0.5 * w * error * error;
                    *z = w * error;
                }
            }
            Loss::Logistic => self.apply_logistic(z, response),
            Loss::Softmax => self.apply_softmax(z, response),
        }
    }

    /// With t = e^−|z|: log(1 + eᶻ) = max(z, 0) + log(1 + t), and p is 1 / (1 + t) or its rest.
    #[inline(always)]
    fn apply_logistic(&mut self, z: &mut Columns, response: &[f64]) {
        let n_rows = response.len();
        let rows = z
            .column_mut(0, n_rows)
            .iter_mut()
            .zip(response)
            .zip(&self.weights);
        for (((z, y), w), loss) in rows.zip(&mut self.losses) {
            let t = exp(-z.abs());
            let positive = if *z < 0.0 { 0.0 } else { *z };
            *loss = w * (y.mul_add(-*z, positive) + log_1p(t));
            let numerator = if *z < 0.0 { t } else { 1.0 };
            *z = numerator / (1.0 + t);
        }
        if self.with_hessian {
            self.probabilities
                .column_mut(0, n_rows)
                .copy_from_slice(z.column(0, n_rows));
        }
        let rows = z
            .column_mut(0, n_rows)
            .iter_mut()
            .zip(response)
            .zip(&self.weights);
        for ((z, y), w) in rows {
            *z = w * (*z - y);
        }
    }

    /// −log softmax by the greatest predictor: log Σ e^(z − greatest) + greatest − z of the class.
    #[inline(always)]
    fn apply_softmax(&mut self, z: &mut Columns, response: &[f64]) {
        let n_rows = response.len();
        let n_outputs = z.n_columns();
        self.greatest.fill(f64::NEG_INFINITY);
        self.totals.fill(0.0);
        self.losses.fill(0.0);
        for output in 0..n_outputs {
            let class = output as f64;
            let rows = z.column(output, n_rows).iter().zip(response);
            for (((z, y), loss), greatest) in rows.zip(&mut self.losses).zip(&mut self.greatest) {
                *loss -= if *y == class { *z } else { 0.0 };
                // Written so that NaN is kept: a diverged run must show.
                *greatest = if *z <= *greatest { *greatest } else { *z };
            }
        }
        for output in 0..n_outputs {
            let rows = z.column_mut(output, n_rows).iter_mut().zip(&self.greatest);
            for ((z, greatest), total) in rows.zip(&mut self.totals) {
                *z = exp(*z - greatest);
                *total += *z;
            }
        }
        let rows = self
            .losses
            .iter_mut()
            .zip(&self.greatest)
            .zip(&mut self.totals);
        for (((loss, greatest), total), w) in rows.zip(&self.weights) {
            *loss = w * (*loss + greatest + log(*total));
            *total = 1.0 / *total;
        }
        for output in 0..n_outputs {
            let class = output as f64;
            for (z, scale) in z.column_mut(output, n_rows).iter_mut().zip(&self.totals) {
                *z *= scale;
            }
            if self.with_hessian {
                let probabilities = self.probabilities.column_mut(output, n_rows);
                probabilities.copy_from_slice(z.column(output, n_rows));
            }
            let rows = z
                .column_mut(output, n_rows)
                .iter_mut()
                .zip(response)
                .zip(&self.weights);
            for ((z, y), w) in rows {
                *z = w * (*z - if *y == class { 1.0 } else { 0.0 });
            }
        }
    }

    /// ∂²loss/∂z² of a pair of outputs, numbered (0,0), (1,0), (1,1), (2,0) …
    #[inline(always)]
    fn curvature(&mut self, loss: Loss, pair: usize) -> &[f64] {
        let n_rows = self.weights.len();
        if loss == Loss::Squared {
            return &self.weights;
        }
        let mut a = 0;
        while (a + 1) * (a + 2) / 2 <= pair {
            a += 1;
        }
        let b = pair - a * (a + 1) / 2;
        let same = if a == b { 1.0 } else { 0.0 };
        let of_a = self.probabilities.column(a, n_rows).iter();
        let rows = of_a
            .zip(self.probabilities.column(b, n_rows))
            .zip(&self.weights);
        for (((p, q), w), into) in rows.zip(&mut self.curvature) {
            *into = w * p * (same - q);
        }
        &self.curvature
    }
}

#[cfg(test)]
mod tests {
    use super::{glm, linear};
    use crate::cpu::tile::random::{RandomDesign, assert_close};
    use crate::device::{GlmPartial, Loss};

    const LOSSES: [(Loss, usize); 4] = [
        (Loss::Squared, 1),
        (Loss::Logistic, 1),
        (Loss::Softmax, 2),
        (Loss::Softmax, 4),
    ];

    fn response(samples: &RandomDesign, loss: Loss, n_outputs: usize) -> Vec<f64> {
        let class = |y: &f64| match loss {
            Loss::Squared => *y,
            Loss::Logistic => f64::from(u8::from(*y > 0.3)),
            Loss::Softmax => ((y + 2.0) / 4.0 * n_outputs as f64).floor(),
        };
        samples.response.iter().map(class).collect()
    }

    fn coefficients(n: usize, seed: u64) -> Vec<f64> {
        (0..n)
            .map(|i| ((i as f64 + 1.3) * (seed as f64 + 0.7)).sin() * 0.4)
            .collect()
    }

    /// Loss, residuals and curvature of one row, by their definitions.
    fn naive_row(z: &[f64], y: f64, loss: Loss) -> (f64, Vec<f64>, Vec<f64>) {
        match loss {
            Loss::Squared => (0.5 * (y - z[0]).powi(2), vec![z[0] - y], vec![1.0]),
            Loss::Logistic => {
                let p = 1.0 / (1.0 + (-z[0]).exp());
                (
                    (1.0 + z[0].exp()).ln() - y * z[0],
                    vec![p - y],
                    vec![p * (1.0 - p)],
                )
            }
            Loss::Softmax => {
                let total: f64 = z.iter().map(|z| z.exp()).sum();
                let p: Vec<f64> = z.iter().map(|z| z.exp() / total).collect();
                let is = |a: usize, b: usize| f64::from(u8::from(a == b));
                let k = z.len();
                let residuals = (0..k).map(|a| p[a] - is(a, y as usize)).collect();
                let curvature = (0..k * k).map(|ab| p[ab / k] * (is(ab / k, ab % k) - p[ab % k]));
                (-p[y as usize].ln(), residuals, curvature.collect())
            }
        }
    }

    fn naive(
        rows: &[Vec<f64>],
        y: &[f64],
        w: Option<&[f64]>,
        beta: &[f64],
        n_outputs: usize,
        loss: Loss,
    ) -> GlmPartial {
        let (stride, size) = (beta.len() / n_outputs, beta.len());
        let mut sums = GlmPartial {
            weight: 0.0,
            loss: 0.0,
            gradient: vec![0.0; size],
            hessian: vec![0.0; size * size],
        };
        for (row, x) in rows.iter().enumerate() {
            let w = w.map_or(1.0, |w| w[row]);
            let x: Vec<f64> = x.iter().copied().chain([1.0]).collect();
            let predictor = |beta: &[f64]| beta.iter().zip(&x).map(|(b, x)| b * x).sum();
            let z: Vec<f64> = beta.chunks(stride).map(predictor).collect();
            let (value, residuals, curvature) = naive_row(&z, y[row], loss);
            sums.weight += w;
            sums.loss += w * value;
            for i in 0..size {
                sums.gradient[i] += w * residuals[i / stride] * x[i % stride];
                for j in 0..size {
                    sums.hessian[i * size + j] += w
                        * curvature[i / stride * n_outputs + j / stride]
                        * (x[i % stride] * x[j % stride]);
                }
            }
        }
        sums
    }

    #[test]
    fn loss_and_derivatives_equal_their_definition_for_any_shape() {
        for seed in 0..48 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let (loss, n_outputs) = LOSSES[seed as usize % 4];
            let y = response(&samples, loss, n_outputs);
            let w = (seed % 3 > 0).then_some(samples.weights.as_slice());
            let beta = coefficients(n_outputs * (design.n_cols() + 1), seed);
            if beta.len() > 200 {
                continue;
            }
            let expected = naive(&samples.rows(), &y, w, &beta, n_outputs, loss);
            let with = glm(&design, &y, w, &beta, n_outputs, loss, true).expect("shapes agree");
            assert_close(&[with.weight, with.loss], &[expected.weight, expected.loss]);
            assert_close(&with.gradient, &expected.gradient);
            assert_close(&with.hessian, &expected.hessian);
            let without = glm(&design, &y, w, &beta, n_outputs, loss, false).expect("shapes agree");
            assert_close(&without.gradient, &expected.gradient);
            assert!(without.hessian.is_empty());
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        for seed in 0..16 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let (loss, n_outputs) = LOSSES[seed as usize % 4];
            let y = response(&samples, loss, n_outputs);
            let w = Some(samples.weights.as_slice());
            let beta = coefficients(n_outputs * (design.n_cols() + 1), seed);
            let at = |beta: &[f64], with_hessian| {
                glm(&design, &y, w, beta, n_outputs, loss, with_hessian).expect("shapes agree")
            };
            let here = at(&beta, true);
            for i in (0..beta.len()).step_by(5) {
                let moved = |by: f64| {
                    let mut beta = beta.clone();
                    beta[i] += by;
                    at(&beta, false)
                };
                let (before, after) = (moved(-1e-5), moved(1e-5));
                let scale = here.weight.max(1.0) * 1e-6;
                let slope = (after.loss - before.loss) / 2e-5;
                assert!((slope - here.gradient[i]).abs() < scale, "gradient {i}");
                let curvature = (after.gradient[0] - before.gradient[0]) / 2e-5;
                assert!((curvature - here.hessian[i]).abs() < scale, "hessian {i}");
            }
        }
    }

    #[test]
    fn predictors_do_not_depend_on_the_rows_around() {
        for seed in 0..24 {
            let samples = RandomDesign::new(seed);
            let (design, n_outputs) = (samples.design(), 1 + seed as usize % 3);
            let stride = design.n_cols() + 1;
            let beta = coefficients(n_outputs * stride, seed);
            let whole = linear(&design, &beta, n_outputs).expect("shapes agree");
            let rows = samples.rows();
            let expected: Vec<f64> = rows
                .iter()
                .flat_map(|x| {
                    beta.chunks(stride).map(move |beta| {
                        let slopes = beta.iter().zip(x).map(|(b, x)| b * x).sum::<f64>();
                        slopes + beta[stride - 1]
                    })
                })
                .collect();
            assert_close(&whole, &expected);
            for row in (0..rows.len()).step_by(7) {
                let one = samples.row(row);
                let alone = linear(&one.design(), &beta, n_outputs).expect("shapes agree");
                assert_eq!(alone, whole[row * n_outputs..][..n_outputs]);
            }
        }
    }

    #[test]
    fn extreme_predictors_stay_finite() {
        let samples = RandomDesign::new(5);
        let design = samples.design();
        let beta = vec![1e4; design.n_cols() + 1];
        let y = response(&samples, Loss::Logistic, 1);
        let found = glm(&design, &y, None, &beta, 1, Loss::Logistic, true).expect("shapes agree");
        assert!(found.loss.is_finite());
        assert!(
            found
                .gradient
                .iter()
                .chain(&found.hessian)
                .all(|value| value.is_finite())
        );
    }
}
