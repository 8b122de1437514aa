//! Sums of products of all columns, in one pass and without knowing the columns' means before it.
//!
//! In: blocks; out: [`ProductSums`] about the mean of their own rows, which merge by moving both to the
//! common mean (Chan, Golub and LeVeque 1979), and which are moved into a [`Frame`] once at the end. So
//! no digits are lost to columns far from zero, and the pass may be the one that learns the statistics.

use auspex_gpu::{Design, Elements, MatrixView};
use serde::{Deserialize, Serialize};

use super::layout::Frame;
use super::steps::{add, numbers};
use crate::compute::Compute;
use crate::error::Result;
use crate::features::{Dense, Element, FeatureBlock, mean};
use crate::training_set::PartitionStep;

/// Sums the products of all columns and of the response.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ProductStep {
    /// Indicators of each code column.
    pub(super) widths: Vec<usize>,
}

/// Weighted sums over some rows, of columns and response less a centre of each. Indicators have the
/// centre 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ProductSums {
    /// What is subtracted from each dense column.
    centre: Vec<f64>,
    /// What is subtracted from the response.
    response_centre: f64,
    /// Σ w, Σ w·y, Σ w·y².
    pub(super) moments: [f64; 3],
    /// Σ w·x.
    pub(super) x_sums: Vec<f64>,
    /// Σ w·x·y.
    pub(super) xy: Vec<f64>,
    /// Σ w·x·xᵀ by rows of the lower triangle, half the memory of the matrix.
    lower: Vec<f64>,
}

impl ProductSums {
    /// Σ w·x·x of two columns.
    pub(super) fn xx(&self, a: usize, b: usize) -> f64 {
        let (low, high) = (a.min(b), a.max(b));
        self.lower[high * (high + 1) / 2 + low]
    }

    /// Whether no sum ran out of range, and no value was missing.
    pub(super) fn is_finite(&self) -> bool {
        let sums = self
            .moments
            .iter()
            .chain(&self.x_sums)
            .chain(&self.xy)
            .chain(&self.lower);
        sums.copied().all(f64::is_finite)
    }

    /// The same rows as `(x - shift) * scale` of a frame, and the response less `response_shift`.
    pub(super) fn in_frame(mut self, frame: &Frame, response_shift: f64) -> ProductSums {
        self.move_to(&frame.shift, response_shift);
        let scale = |column: usize| frame.scale.get(column).copied().unwrap_or(1.0);
        // A column that says nothing has the scale 0, whatever its sums are.
        let scaled = |sum: f64, by: f64| if by == 0.0 { 0.0 } else { sum * by };
        for i in 0..self.x_sums.len() {
            let row = &mut self.lower[i * (i + 1) / 2..][..=i];
            for (j, product) in row.iter_mut().enumerate() {
                *product = scaled(*product, scale(i) * scale(j));
            }
            self.x_sums[i] = scaled(self.x_sums[i], scale(i));
            self.xy[i] = scaled(self.xy[i], scale(i));
        }
        self
    }

    /// Takes `centre` and `response_centre` for the sums' own:
    /// Σ w(x+d)(x+d)ᵀ = Σ wxxᵀ + d(Σ wx)ᵀ + (Σ wx)dᵀ + (Σ w)ddᵀ, and the same with y in the place of an x.
    fn move_to(&mut self, centre: &[f64], response_centre: f64) {
        let p = self.x_sums.len();
        let mut d: Vec<f64> = self
            .centre
            .iter()
            .zip(centre)
            .map(|(from, to)| from - to)
            .collect();
        d.resize(p, 0.0);
        let dy = self.response_centre - response_centre;
        let [weight, y, _] = self.moments;
        for i in 0..p {
            let (di, xi) = (d[i], self.x_sums[i]);
            let row = &mut self.lower[i * (i + 1) / 2..][..=i];
            for ((product, dj), xj) in row.iter_mut().zip(&d).zip(&self.x_sums) {
                *product += di * xj + dj * (xi + weight * di);
            }
            self.xy[i] += di * y + dy * (xi + weight * di);
        }
        for (sum, d) in self.x_sums.iter_mut().zip(&d) {
            *sum += weight * d;
        }
        self.moments[2] += dy * (2.0 * y + weight * dy);
        self.moments[1] += weight * dy;
        self.centre.copy_from_slice(centre);
        self.response_centre = response_centre;
    }

    /// Adds the sums of later rows; both move to the mean of all.
    fn merge(&mut self, mut later: ProductSums) {
        let weight = self.moments[0] + later.moments[0];
        if weight > 0.0 {
            let n_dense = self.centre.len();
            let mean = |a: f64, sum_a: f64, b: f64, sum_b: f64| {
                a + (sum_a + sum_b + later.moments[0] * (b - a)) / weight
            };
            let centre: Vec<f64> = (0..n_dense)
                .map(|i| {
                    mean(
                        self.centre[i],
                        self.x_sums[i],
                        later.centre[i],
                        later.x_sums[i],
                    )
                })
                .collect();
            let response_centre = mean(
                self.response_centre,
                self.moments[1],
                later.response_centre,
                later.moments[1],
            );
            self.move_to(&centre, response_centre);
            later.move_to(&centre, response_centre);
        }
        add(&mut self.moments, &later.moments);
        add(&mut self.x_sums, &later.x_sums);
        add(&mut self.xy, &later.xy);
        add(&mut self.lower, &later.lower);
    }
}

impl PartitionStep for ProductStep {
    type Partial = ProductSums;
    const NAME: &'static str = "linear_model.products";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<ProductSums> {
        let (elements, centre) = match &block.dense {
            Dense::F32(values) => (Elements::F32(values), means(values, block.n_samples)),
            Dense::F64(values) => (Elements::F64(values), means(values, block.n_samples)),
        };
        let response = numbers(block)?;
        let response_centre = mean(response);
        let response: Vec<f64> = response.iter().map(|y| y - response_centre).collect();
        let design = Design {
            rows: None,
            dense: MatrixView {
                n_rows: block.n_samples,
                n_cols: centre.len(),
                elements,
            },
            shift: &centre,
            scale: &vec![1.0; centre.len()],
            codes: &block.codes,
            widths: &self.widths,
        };
        let gram = compute
            .device()
            .gram(&design, Some(&response), block.weights.as_deref())?;
        let p = gram.x_sums.len();
        let lower = (0..p)
            .flat_map(|i| gram.xx[i * p..=i * p + i].iter().copied())
            .collect();
        Ok(ProductSums {
            centre,
            response_centre,
            moments: gram.moments,
            x_sums: gram.x_sums,
            xy: gram.xy,
            lower,
        })
    }

    fn merge(&self, into: &mut ProductSums, later: ProductSums) -> Result<()> {
        into.merge(later);
        Ok(())
    }
}

/// The mean of each column.
fn means<T: Element>(values: &[T], n_samples: usize) -> Vec<f64> {
    values.chunks_exact(n_samples.max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::TargetValues;

    /// Two columns, one of them far from zero and further in later rows, and their response.
    fn block(rows: std::ops::Range<usize>) -> FeatureBlock {
        let far = |row: usize| 1e9 + 1e4 * (row / 100) as f64 + (row as f64 * 0.7).sin();
        let near = |row: usize| (row as f64 * 0.3).cos();
        let dense = rows.clone().map(far).chain(rows.clone().map(near));
        FeatureBlock {
            n_samples: rows.len(),
            dense: Dense::F64(dense.collect()),
            codes: Vec::new(),
            target: TargetValues::Numbers(rows.clone().map(|row| 5e6 + near(row)).collect()),
            weights: Some(rows.map(|row| (row % 3) as f64).collect()),
        }
    }

    #[test]
    fn sums_merge_without_losing_digits() {
        let step = ProductStep::default();
        let frame = Frame {
            shift: vec![1e9, 0.25],
            scale: vec![0.5, 2.0],
            widths: Vec::new(),
        };
        let of = |rows| step.run(&block(rows), &Compute::cpu()).unwrap();
        let whole = of(0..300).in_frame(&frame, 5e6);
        let mut merged = of(0..100);
        merged.merge(of(100..101));
        let mut later = of(101..250);
        later.merge(of(250..300));
        merged.merge(later);
        let merged = merged.in_frame(&frame, 5e6);
        let pairs = whole.lower.iter().zip(&merged.lower);
        let pairs = pairs.chain(whole.xy.iter().zip(&merged.xy));
        let pairs = pairs.chain(whole.x_sums.iter().zip(&merged.x_sums));
        for (a, b) in pairs.chain(whole.moments.iter().zip(&merged.moments)) {
            assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} is not {b}");
        }
        // The variance about the mean, which sums about zero would have lost (1e18 against 1).
        let x: Vec<f64> = (0..100).map(|row| (row as f64 * 0.7).sin()).collect();
        let weights: Vec<f64> = (0..100).map(|row| (row % 3) as f64).collect();
        let weight: f64 = weights.iter().sum();
        let mean = weights.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() / weight;
        let squares = weights.iter().zip(&x).map(|(w, x)| w * (x - mean).powi(2));
        let sums = of(0..100);
        let found = sums.xx(0, 0) - sums.x_sums[0].powi(2) / weight;
        let expected: f64 = squares.sum();
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}
