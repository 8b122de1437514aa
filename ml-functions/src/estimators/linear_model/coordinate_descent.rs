//! Minimises ½ γᵀCγ − cᵀγ + ½ Σ l2·γ² + Σ l1·|γ| one coordinate at a time.
//!
//! In: sums of products (or a Hessian and what belongs to it); out: the minimum, with exact zeros.
//! Once the zeros stand still, the rest is solved for at once, so that correlated columns do not take
//! thousands of sweeps. Source: Friedman, Hastie and Tibshirani 2010, doi:10.18637/jss.v033.i01.

use super::layout::Penalty;
use super::objective::dot;
use super::symmetric::Factor;

/// Optimality conditions may fail by this share of the greatest |c|.
const TOLERANCE: f64 = 1e-10;
/// Sweeps between attempts to solve for the rest.
const SWEEPS_BETWEEN: usize = 5;

/// A descent in progress.
pub(super) struct CoordinateDescent<'a> {
    matrix: &'a [f64],
    right: &'a [f64],
    penalty: &'a Penalty,
    /// The parameters.
    pub(super) parameters: Vec<f64>,
    /// c − Cγ.
    residual: Vec<f64>,
    tolerance: f64,
    n_sweeps: usize,
}

impl<'a> CoordinateDescent<'a> {
    /// Begins at `start`.
    pub(super) fn new(
        matrix: &'a [f64],
        right: &'a [f64],
        penalty: &'a Penalty,
        start: Vec<f64>,
    ) -> CoordinateDescent<'a> {
        let greatest = right
            .iter()
            .fold(0.0f64, |greatest, c| greatest.max(c.abs()));
        let mut descent = CoordinateDescent {
            matrix,
            right,
            penalty,
            parameters: start,
            residual: Vec::new(),
            tolerance: TOLERANCE * greatest,
            n_sweeps: 0,
        };
        descent.refresh();
        descent
    }

    /// Visits every coordinate once; true at the minimum.
    pub(super) fn sweep(&mut self) -> bool {
        let n = self.right.len();
        for j in 0..n {
            let (row, old) = (&self.matrix[j * n..][..n], self.parameters[j]);
            let curvature = row[j] + self.penalty.l2[j];
            let pull = self.residual[j] + row[j] * old;
            let new = match curvature > 0.0 {
                true => soften(pull, self.penalty.l1[j]) / curvature,
                false => 0.0,
            };
            if new != old {
                self.parameters[j] = new;
                for (residual, c) in self.residual.iter_mut().zip(row) {
                    *residual -= c * (new - old);
                }
            }
        }
        self.n_sweeps += 1;
        if self.n_sweeps.is_multiple_of(SWEEPS_BETWEEN) {
            self.solve_rest();
        }
        self.is_optimal()
    }

    /// Residuals of their definition: what many updates leave is rounding.
    fn refresh(&mut self) {
        let n = self.right.len();
        let product = |j: usize| dot(&self.matrix[j * n..][..n], &self.parameters);
        self.residual = (0..n).map(|j| self.right[j] - product(j)).collect();
    }

    /// Whether no coordinate could be bettered.
    fn is_optimal(&self) -> bool {
        (0..self.right.len()).all(|j| {
            let (x, l1) = (self.parameters[j], self.penalty.l1[j]);
            let pull = self.residual[j] - self.penalty.l2[j] * x;
            let excess = if x == 0.0 {
                pull.abs() - l1
            } else {
                (pull - l1 * x.signum()).abs()
            };
            excess <= self.tolerance
        })
    }

    /// Solves for the coordinates that are not zero, and keeps the solution where no sign changed.
    fn solve_rest(&mut self) {
        let n = self.right.len();
        let active: Vec<usize> = (0..n).filter(|&j| self.parameters[j] != 0.0).collect();
        let k = active.len();
        let element = |(a, &i): (usize, &usize), (b, &j): (usize, &usize)| {
            self.matrix[i * n + j] + if a == b { self.penalty.l2[i] } else { 0.0 }
        };
        let rows = active.iter().enumerate();
        let matrix: Vec<f64> = rows
            .flat_map(|row| {
                active
                    .iter()
                    .enumerate()
                    .map(move |column| element(row, column))
            })
            .collect();
        let pull = |&j: &usize| self.right[j] - self.penalty.l1[j] * self.parameters[j].signum();
        let right: Vec<f64> = active.iter().map(pull).collect();
        let factor = Factor::new(&matrix, k);
        if !factor.is_regular() {
            return;
        }
        let solution = factor.solve(&right);
        let keeps_sign = |(&j, &x): (&usize, &f64)| {
            self.penalty.l1[j] == 0.0 || self.parameters[j].signum() == x.signum()
        };
        if active.iter().zip(&solution).all(keeps_sign) {
            active
                .iter()
                .zip(&solution)
                .for_each(|(&j, &x)| self.parameters[j] = x);
            self.refresh();
        }
    }
}

/// Moves a value towards zero by `by`, no further than zero.
pub(super) fn soften(value: f64, by: f64) -> f64 {
    value.signum() * (value.abs() - by).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::CoordinateDescent;
    use crate::estimators::linear_model::layout::Penalty;

    fn minimise(matrix: &[f64], right: &[f64], l1: f64, l2: f64) -> Vec<f64> {
        let n = right.len();
        let penalty = Penalty {
            l1: vec![l1; n],
            l2: vec![l2; n],
        };
        let mut descent = CoordinateDescent::new(matrix, right, &penalty, vec![0.0; n]);
        assert!((0..1000).any(|_| descent.sweep()), "it does not converge");
        descent.parameters
    }

    #[test]
    fn of_uncorrelated_columns_each_is_softened() {
        let found = minimise(&[2.0, 0.0, 0.0, 4.0], &[6.0, -1.0], 2.0, 1.0);
        assert_eq!(found, [4.0 / 3.0, 0.0]);
    }

    #[test]
    fn strongly_correlated_columns_converge() {
        let found = minimise(
            &[1.0, 0.999_999, 0.999_999, 1.0],
            &[1.0, 1.000_001],
            0.0,
            0.0,
        );
        let expected = [1.0 - 1.000_001 * 0.999_999, 1.000_001 - 0.999_999];
        let determinant = 1.0 - 0.999_999f64.powi(2);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected / determinant).abs() < 1e-4, "{found}");
        }
    }

    #[test]
    fn a_great_cost_leaves_zeros() {
        assert_eq!(
            minimise(&[1.0, 0.5, 0.5, 1.0], &[1.0, 1.0], 2.0, 0.0),
            [0.0, 0.0]
        );
    }
}
