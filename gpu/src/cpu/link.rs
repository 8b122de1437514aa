//! The links of generalised linear models: from linear predictors to losses, residuals and curvatures.
//!
//! In: the predictors and responses of a tile of rows; out: their losses, and residuals in the predictors' place. Goes row
//! by row in lanes.

use super::elementary::{exp, log, log_1p};
use super::tile::{Columns, TILE_ROWS};
use crate::device::Loss;

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
    pub(super) fn curvature(&mut self, loss: Loss, pair: usize) -> &[f64] {
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
