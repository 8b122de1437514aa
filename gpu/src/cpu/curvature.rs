//! Products of the Hessian of a generalised linear model with a direction, without the Hessian.
//!
//! In: a design, coefficients and a direction; out: a vector like the gradient. With z = X·β and u = X·v the
//! product is Xᵀ(C·u), where C is the curvature of each row's loss in z: two passes over the columns of a tile,
//! whatever the number of coefficients.

use pulp::{Simd, WithSimd};

use super::elementary::exp;
use super::linear::{CHUNK_COLUMNS, LinearPass};
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, Loss};
use crate::error::Result;

/// See [`crate::Device::hessian_product`].
pub(super) fn hessian_product(
    design: &Design<'_>,
    weights: Option<&[f64]>,
    coefficients: &[f64],
    direction: &[f64],
    n_outputs: usize,
    loss: Loss,
) -> Result<Vec<f64>> {
    check(design, weights, [coefficients, direction], n_outputs, loss)?;
    let along = |coefficients| LinearPass {
        design,
        coefficients,
        n_outputs,
    };
    Ok(wide::dispatch(CurvaturePass {
        at: along(coefficients),
        along: along(direction),
        weights,
        loss,
    }))
}

/// Checks the shapes of a call.
pub(crate) fn check(
    design: &Design<'_>,
    weights: Option<&[f64]>,
    vectors: [&[f64]; 2],
    n_outputs: usize,
    loss: Loss,
) -> Result<()> {
    let kernel = "hessian_product";
    let n_rows = design.dense.n_rows;
    tile::check_design(kernel, design)?;
    tile::check_length(kernel, n_rows, weights.map_or(n_rows, <[f64]>::len))?;
    for vector in vectors {
        tile::check_length(kernel, n_outputs * (design.n_cols() + 1), vector.len())?;
    }
    match loss {
        Loss::Softmax => Ok(()),
        Loss::Squared | Loss::Logistic => tile::check_length(kernel, 1, n_outputs),
    }
}

struct CurvaturePass<'a> {
    at: LinearPass<'a>,
    along: LinearPass<'a>,
    weights: Option<&'a [f64]>,
    loss: Loss,
}

impl WithSimd for CurvaturePass<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f64> {
        let (design, n_outputs) = (self.at.design, self.at.n_outputs);
        let n_rows = design.dense.n_rows;
        let mut columns = Columns::new(design.dense.n_cols.min(CHUNK_COLUMNS), n_rows);
        let (mut z, mut u) = (
            Columns::new(n_outputs, n_rows),
            Columns::new(n_outputs, n_rows),
        );
        let mut product = vec![0.0; self.at.coefficients.len()];
        let ones = [1.0; TILE_ROWS];
        for start in (0..n_rows).step_by(TILE_ROWS) {
            let n_tile = TILE_ROWS.min(n_rows - start);
            let n_padded = n_tile.next_multiple_of(LANES);
            self.at
                .predict_tile(CHUNK_COLUMNS, start, n_tile, &mut columns, &mut z);
            self.along
                .predict_tile(CHUNK_COLUMNS, start, n_tile, &mut columns, &mut u);
            let weights = self
                .weights
                .map_or(&ones[..n_tile], |weights| &weights[start..start + n_tile]);
            bend(self.loss, &mut z, &mut u, weights);
            for output in 0..n_outputs {
                u.column_mut(output, n_padded)[n_tile..].fill(0.0);
            }
            self.along
                .add_gradient(CHUNK_COLUMNS, start, n_tile, &mut columns, &u, &mut product);
        }
        product
    }
}

/// u ← w · ∂²loss/∂z² · u for the rows of a tile; `z` is scratch behind it.
#[inline(always)]
fn bend(loss: Loss, z: &mut Columns, u: &mut Columns, weights: &[f64]) {
    let n_rows = weights.len();
    match loss {
        Loss::Squared => {
            for (u, w) in u.column_mut(0, n_rows).iter_mut().zip(weights) {
                *u *= w;
            }
        }
        Loss::Logistic => {
            let rows = u.column_mut(0, n_rows).iter_mut().zip(z.column(0, n_rows));
            for ((u, z), w) in rows.zip(weights) {
                let t = exp(-z.abs());
                let p = (if *z < 0.0 { t } else { 1.0 }) / (1.0 + t);
                *u *= w * p * (1.0 - p);
            }
        }
        Loss::Softmax => bend_softmax(z, u, weights),
    }
}

/// The curvature of outputs a and b is p_a·([a = b] − p_b), so its product with u is p_a·(u_a − Σ p_b·u_b).
#[inline(always)]
fn bend_softmax(z: &mut Columns, u: &mut Columns, weights: &[f64]) {
    let n_rows = weights.len();
    let mut greatest = [f64::NEG_INFINITY; TILE_ROWS];
    let mut totals = [0.0; TILE_ROWS];
    let mut means = [0.0; TILE_ROWS];
    for output in 0..z.n_columns() {
        for (z, greatest) in z.column(output, n_rows).iter().zip(&mut greatest) {
            // Written so that NaN is kept: a diverged run must show.
            *greatest = if *z <= *greatest { *greatest } else { *z };
        }
    }
    for output in 0..z.n_columns() {
        let rows = z.column_mut(output, n_rows).iter_mut().zip(&greatest);
        for ((z, greatest), total) in rows.zip(&mut totals) {
            *z = exp(*z - greatest);
            *total += *z;
        }
    }
    for total in &mut totals[..n_rows] {
        *total = 1.0 / *total;
    }
    for output in 0..z.n_columns() {
        let rows = z.column_mut(output, n_rows).iter_mut().zip(&totals);
        for (((z, scale), u), mean) in rows.zip(u.column(output, n_rows)).zip(&mut means) {
            *z *= scale;
            *mean = z.mul_add(*u, *mean);
        }
    }
    for output in 0..z.n_columns() {
        let rows = u.column_mut(output, n_rows).iter_mut();
        let rows = rows.zip(z.column(output, n_rows)).zip(&means);
        for (((u, p), mean), w) in rows.zip(weights) {
            *u = w * p * (*u - mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hessian_product;
    use crate::cpu::glm::glm;
    use crate::cpu::tile::random::{RandomDesign, assert_close};
    use crate::device::Loss;

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        (0..n)
            .map(|i| ((i as f64 + 0.3) * (seed as f64 + 1.9)).sin() * 0.4)
            .collect()
    }

    #[test]
    fn products_are_those_of_the_hessian() {
        let losses = [
            (Loss::Squared, 1),
            (Loss::Logistic, 1),
            (Loss::Softmax, 2),
            (Loss::Softmax, 4),
        ];
        for seed in 0..48 {
            let samples = RandomDesign::new(seed);
            let design = samples.design();
            let (loss, n_outputs) = losses[seed as usize % 4];
            let size = n_outputs * (design.n_cols() + 1);
            if size > 200 {
                continue;
            }
            let (beta, direction) = (numbers(size, seed), numbers(size, seed + 100));
            let y = vec![0.0; samples.n_rows()];
            let w = (seed % 3 > 0).then_some(samples.weights.as_slice());
            let whole = glm(&design, &y, w, &beta, n_outputs, loss, true).unwrap();
            let expected: Vec<f64> = whole
                .hessian
                .chunks(size)
                .map(|row| row.iter().zip(&direction).map(|(h, v)| h * v).sum())
                .collect();
            let found = hessian_product(&design, w, &beta, &direction, n_outputs, loss).unwrap();
            let scale = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            let scaled = |values: &[f64]| values.iter().map(|x| x / scale).collect::<Vec<_>>();
            assert_close(&scaled(&found), &scaled(&expected));
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let samples = RandomDesign::new(7);
        let design = samples.design();
        let n = design.n_cols() + 1;
        let (right, wrong) = (vec![0.0; n], vec![0.0; n + 1]);
        let product = |beta: &[f64], direction: &[f64], n_outputs| {
            hessian_product(&design, None, beta, direction, n_outputs, Loss::Logistic)
        };
        assert!(product(&right, &right, 1).is_ok());
        assert!(product(&wrong, &right, 1).is_err());
        assert!(product(&right, &wrong, 1).is_err());
        assert!(product(&right.repeat(2), &right.repeat(2), 2).is_err());
    }
}
