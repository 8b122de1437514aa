//! Generalised linear models: loss, gradient and Hessian of a block.
//!
//! In: a design, a response, weights and coefficients; out: a [`GlmPartial`]. Walks tiles of rows: predictors column by
//! column (`linear`), the loss row by row in lanes (`link`), then the gradient column by column.

use pulp::{Simd, WithSimd};

use super::gram::{self, GramSums};
use super::linear::{CHUNK_COLUMNS, LinearPass};
use super::link::Link;
use super::tile::{self, Columns, LANES, TILE_ROWS};
use super::wide;
use crate::device::{Design, GlmPartial, Loss};
use crate::error::Result;

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

#[cfg(test)]
mod tests {
    use super::glm;
    use crate::cpu::linear::linear;
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
