//! The columns of a linear model's design, and which of them have a coefficient of their own.
//!
//! In: the encoder's statistics and the options; out: the [`Frame`] that turns blocks into designs,
//! and the [`Layout`] that maps between a solver's parameters and the coefficients of kernels.
//! Solvers work in standardised coordinates γ = β / scale, so that conditioning does not depend on
//! units; penalties concern β, the coefficients in the features' own units.

use auspex_gpu::{Design, Elements, MatrixView};
use serde::{Deserialize, Serialize};

use crate::features::{
    CategoricalStatistics, Dense, FeatureBlock, FeatureEncoder, NumericStatistics,
};
use crate::options::Options;

/// How a block becomes a design: `(x - shift) * scale` for numbers, indicators for categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Subtracted from each dense column.
    pub(super) shift: Vec<f64>,
    /// Multiplied to each shifted dense column; 0 for a column that says nothing.
    pub(super) scale: Vec<f64>,
    /// Indicators of each code column: the categories, then NULL where training saw it.
    pub(super) widths: Vec<usize>,
}

impl Frame {
    /// Number of columns of the design.
    pub(super) fn n_cols(&self) -> usize {
        self.shift.len() + self.widths.iter().sum::<usize>()
    }

    /// A block as kernels take it.
    pub(super) fn design<'a>(&'a self, block: &'a FeatureBlock) -> Design<'a> {
        let elements = match &block.dense {
            Dense::F32(values) => Elements::F32(values),
            Dense::F64(values) => Elements::F64(values),
        };
        Design {
            rows: None,
            dense: MatrixView {
                n_rows: block.n_samples,
                n_cols: self.shift.len(),
                elements,
            },
            shift: &self.shift,
            scale: &self.scale,
            codes: &block.codes,
            widths: &self.widths,
        }
    }
}

/// Which parameters a solver has: for each output the free columns, then the intercept.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The columns.
    pub(super) frame: Frame,
    /// The category of each code column that `DUMMY_ENCODING` leaves out.
    pub(super) dropped: Vec<Option<usize>>,
    /// The columns with a parameter.
    pub(super) free: Vec<usize>,
    /// Whether there is an intercept.
    pub(super) fit_intercept: bool,
    /// Sets of coefficients: 1, or the number of classes.
    pub(super) n_outputs: usize,
}

/// What each parameter costs: `l1·|γ| + ½·l2·γ²`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Penalty {
    /// Cost of the absolute value.
    pub(super) l1: Vec<f64>,
    /// Cost of half the square.
    pub(super) l2: Vec<f64>,
}

impl Penalty {
    /// Whether any absolute value costs.
    pub(super) fn has_l1(&self) -> bool {
        self.l1.iter().any(|&l1| l1 > 0.0)
    }

    /// Σ l1·|γ|.
    pub(super) fn absolute(&self, parameters: &[f64]) -> f64 {
        self.l1
            .iter()
            .zip(parameters)
            .map(|(l1, x)| l1 * x.abs())
            .sum()
    }
}

impl Layout {
    /// The layout for the features that training saw.
    pub(super) fn new(encoder: &FeatureEncoder, options: &Options, n_outputs: usize) -> Layout {
        let fit_intercept = options.bool("fit_intercept");
        let is_dummy = options.text("category_encoding_method") == Some("DUMMY_ENCODING");
        let (shift, scale): (Vec<f64>, Vec<f64>) = encoder
            .numeric()
            .map(|(_, column)| standardisation(column, fit_intercept))
            .unzip();
        let widths = encoder
            .categorical()
            .map(|(_, column)| column.n_seen())
            .collect();
        let dropped: Vec<Option<usize>> = encoder
            .categorical()
            .map(|(_, column)| {
                if is_dummy {
                    most_frequent(column)
                } else {
                    None
                }
            })
            .collect();
        let frame = Frame {
            shift,
            scale,
            widths,
        };
        let mut free: Vec<usize> = (0..frame.scale.len())
            .filter(|&column| frame.scale[column] > 0.0)
            .collect();
        let mut offset = frame.scale.len();
        for (&width, &dropped) in frame.widths.iter().zip(&dropped) {
            free.extend(
                (0..width)
                    .filter(|&code| Some(code) != dropped)
                    .map(|code| offset + code),
            );
            offset += width;
        }
        Layout {
            frame,
            dropped,
            free,
            fit_intercept,
            n_outputs,
        }
    }

    /// Number of parameters of one output.
    pub(super) fn stride(&self) -> usize {
        self.free.len() + usize::from(self.fit_intercept)
    }

    /// Number of parameters.
    pub(super) fn n_parameters(&self) -> usize {
        self.n_outputs * self.stride()
    }

    /// β per γ for each parameter of one output: the scale of numbers, 1 for indicators, and 0 for
    /// the intercept, which has no cost and no length.
    pub(super) fn lengths(&self) -> Vec<f64> {
        let length = |&column: &usize| self.frame.scale.get(column).copied().unwrap_or(1.0);
        let intercept = self.fit_intercept.then_some(0.0);
        self.free.iter().map(length).chain(intercept).collect()
    }

    /// The cost of `l1·‖β‖₁ + ½·l2·‖β‖²` for each parameter.
    pub(super) fn penalty(&self, l1: f64, l2: f64) -> Penalty {
        let lengths = self.lengths().repeat(self.n_outputs);
        Penalty {
            l1: lengths.iter().map(|length| l1 * length).collect(),
            l2: lengths.iter().map(|length| l2 * length * length).collect(),
        }
    }

    /// Where each parameter of one output stands in a row of kernel coefficients.
    fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let intercept = self.fit_intercept.then_some(self.frame.n_cols());
        self.free.iter().copied().chain(intercept)
    }

    /// Parameters as coefficients of kernels, `(n_outputs, n_cols + 1)`.
    pub(super) fn expand(&self, parameters: &[f64]) -> Vec<f64> {
        let width = self.frame.n_cols() + 1;
        let mut coefficients = vec![0.0; self.n_outputs * width];
        let rows = coefficients.chunks_exact_mut(width);
        for (row, parameters) in rows.zip(parameters.chunks(self.stride().max(1))) {
            self.positions()
                .zip(parameters)
                .for_each(|(position, &x)| row[position] = x);
        }
        coefficients
    }

    /// The parameters of kernel coefficients, or of their gradient.
    pub(super) fn compress(&self, coefficients: &[f64]) -> Vec<f64> {
        let rows = coefficients.chunks_exact(self.frame.n_cols() + 1);
        rows.flat_map(|row| self.positions().map(|position| row[position]))
            .collect()
    }

    /// The Hessian of the parameters, of that of the kernel coefficients.
    pub(super) fn compress_hessian(&self, hessian: &[f64]) -> Vec<f64> {
        let width = self.frame.n_cols() + 1;
        let positions: Vec<usize> = (0..self.n_outputs)
            .flat_map(|output| {
                self.positions()
                    .map(move |position| output * width + position)
            })
            .collect();
        let size = self.n_outputs * width;
        let row = |&i: &usize| positions.iter().map(move |&j| i * size + j);
        positions
            .iter()
            .flat_map(row)
            .map(|idx| hessian[idx])
            .collect()
    }

    /// Parameters as coefficients in the features' own units, `(n_outputs, n_cols + 1)`; the
    /// intercept is the value at `shift`.
    pub(super) fn in_own_units(&self, parameters: &[f64]) -> Vec<f64> {
        let mut coefficients = self.expand(parameters);
        for row in coefficients.chunks_exact_mut(self.frame.n_cols() + 1) {
            row.iter_mut()
                .zip(&self.frame.scale)
                .for_each(|(x, scale)| *x *= scale);
        }
        coefficients
    }
}

/// Shift and scale of a numeric column. Without an intercept nothing is shifted, since a shift would
/// bring one in.
fn standardisation(column: &NumericStatistics, fit_intercept: bool) -> (f64, f64) {
    let mean = if column.mean.is_finite() {
        column.mean
    } else {
        0.0
    };
    let (shift, spread) = match fit_intercept {
        true => (mean, column.stddev),
        false => (0.0, mean.hypot(column.stddev)),
    };
    // Squares of values beyond 1e154 overflow; the range is as good a unit.
    let range = (column.max - shift).abs().max((column.min - shift).abs());
    let unit = if spread.is_finite() && spread > 0.0 {
        spread
    } else {
        range
    };
    let varies = if fit_intercept {
        column.min < column.max
    } else {
        range > 0.0
    };
    let scale = 1.0 / unit;
    (
        shift,
        if varies && scale.is_finite() {
            scale
        } else {
            0.0
        },
    )
}

/// The most frequent code, NULL among them; the first at ties.
fn most_frequent(column: &CategoricalStatistics) -> Option<usize> {
    let counts = column
        .counts
        .iter()
        .chain(std::iter::once(&column.null_count));
    let seen = counts.take(column.n_seen()).enumerate();
    seen.max_by_key(|&(code, count)| (*count, std::cmp::Reverse(code)))
        .map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::{most_frequent, standardisation};
    use crate::features::{CategoricalStatistics, NumericStatistics};

    fn numeric(min: f64, max: f64, mean: f64, stddev: f64) -> NumericStatistics {
        NumericStatistics {
            count: 10,
            null_count: 0,
            min,
            max,
            mean,
            median: mean,
            stddev,
        }
    }

    #[test]
    fn columns_that_say_nothing_have_no_scale() {
        assert_eq!(
            standardisation(&numeric(3.0, 3.0, 3.0, 1e-17), true),
            (3.0, 0.0)
        );
        assert_eq!(
            standardisation(&numeric(3.0, 3.0, 3.0, 0.0), false),
            (0.0, 1.0 / 3.0)
        );
        assert_eq!(
            standardisation(&numeric(0.0, 0.0, 0.0, 0.0), false),
            (0.0, 0.0)
        );
        let huge = numeric(-1e300, 1e300, 0.0, f64::INFINITY);
        assert_eq!(standardisation(&huge, true), (0.0, 1e-300));
    }

    #[test]
    fn the_most_frequent_category_may_be_null() {
        let mut column = CategoricalStatistics {
            categories: vec!["a".to_owned(), "b".to_owned()],
            counts: vec![3, 3],
            null_count: 2,
            collapsed_count: 0,
        };
        assert_eq!(most_frequent(&column), Some(0));
        column.null_count = 4;
        assert_eq!(most_frequent(&column), Some(2));
    }
}
