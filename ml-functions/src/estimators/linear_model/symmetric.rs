//! Small dense symmetric systems: a Cholesky factorisation that leaves out dependent columns.
//!
//! In: a positive semidefinite matrix, row-major; out: solutions. The matrix is scaled to a unit
//! diagonal first; a column whose pivot is then rounding depends on those before it, as the indicators
//! of a category depend on the intercept. It gets a zero, and [`Factor::shorten`] can move the solution
//! to the one of least norm. The order of additions is fixed, whatever the machine.

use pulp::{Arch, Simd, WithSimd};

/// Below this share of a unit diagonal a pivot is rounding: sums over millions of rows agree to about
/// 1e-14, and scaling adds a little.
const RANK_TOLERANCE: f64 = 1e-11;
/// Below this a part of a column in the combination of others is rounding.
const ROUNDING: f64 = 1e-9;
/// Running sums of a product.
const LANES: usize = 8;

/// A factored matrix.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    /// 1 / √ of each diagonal element; 0 where there is nothing to scale.
    unit: Vec<f64>,
    /// The independent columns.
    kept: Vec<usize>,
    /// Rows of the lower triangle over the kept columns: row `i` has `i + 1` elements.
    lower: Vec<f64>,
    /// The dependent columns, each with its row over the columns kept before it.
    dropped: Vec<(usize, Vec<f64>)>,
}

impl Factor {
    /// Factors a matrix.
    pub(super) fn new(matrix: &[f64], n: usize) -> Factor {
        Arch::new().dispatch(Factorise { matrix, n })
    }

    /// Whether no column depends on others.
    pub(super) fn is_regular(&self) -> bool {
        self.dropped.is_empty()
    }

    /// The first column that depends on those before it.
    pub(super) fn first_dropped(&self) -> Option<usize> {
        self.dropped.first().map(|(column, _)| *column)
    }

    /// A solution for a right side that the columns span: the only one, or the one that is zero for
    /// dependent columns.
    pub(super) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut x: Vec<f64> = self.kept.iter().map(|&i| right[i] * self.unit[i]).collect();
        for i in 0..x.len() {
            let row = self.row(i);
            x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
        }
        self.solve_transposed(&mut x);
        let mut solution = vec![0.0; right.len()];
        for (&i, x) in self.kept.iter().zip(x) {
            solution[i] = x * self.unit[i];
        }
        solution
    }

    /// The inverse of a regular matrix, row-major.
    pub(super) fn inverse(&self) -> Vec<f64> {
        let n = self.unit.len();
        let column = |i: usize| {
            let mut right = vec![0.0; n];
            right[i] = 1.0;
            self.solve(&right)
        };
        (0..n).flat_map(column).collect()
    }

    /// Moves a solution along the null space to where Σ (length·x)² is least.
    pub(super) fn shorten(&self, solution: &mut [f64], lengths: &[f64]) {
        let k = self.dropped.len();
        if k == 0 {
            return;
        }
        let null: Vec<Vec<f64>> = self
            .dropped
            .iter()
            .map(|(column, row)| self.null_vector(*column, row))
            .collect();
        let long = |vector: &[f64]| -> Vec<f64> {
            vector
                .iter()
                .zip(lengths)
                .map(|(x, length)| x * length)
                .collect()
        };
        let (long_null, long_solution): (Vec<Vec<f64>>, Vec<f64>) = (
            null.iter().map(|vector| long(vector)).collect(),
            long(solution),
        );
        let normal: Vec<f64> = (0..k * k)
            .map(|idx| dot(&long_null[idx / k], &long_null[idx % k]))
            .collect();
        let right: Vec<f64> = long_null
            .iter()
            .map(|vector| -dot(vector, &long_solution))
            .collect();
        let steps = Factor::new(&normal, k).solve(&right);
        for (step, vector) in steps.iter().zip(&null) {
            solution
                .iter_mut()
                .zip(vector)
                .for_each(|(x, null)| *x += step * null);
        }
    }

    /// The combination of a dropped column and those before it that is zero.
    fn null_vector(&self, column: usize, row: &[f64]) -> Vec<f64> {
        let mut x = row.to_vec();
        self.solve_transposed(&mut x);
        let mut vector = vec![0.0; self.unit.len()];
        // What is rounding must not look like a length: some columns have none.
        for (&i, &x) in self.kept.iter().zip(&x).filter(|(_, x)| x.abs() > ROUNDING) {
            vector[i] = -x * self.unit[i];
        }
        // A column of zeros has no unit; any multiple of it is zero.
        vector[column] = if self.unit[column] > 0.0 {
            self.unit[column]
        } else {
            1.0
        };
        vector
    }

    /// Solves Lᵀx = y in place, for the first columns.
    fn solve_transposed(&self, x: &mut [f64]) {
        for i in (0..x.len()).rev() {
            let row = self.row(i);
            x[i] /= row[i];
            let factor = x[i];
            x[..i]
                .iter_mut()
                .zip(row)
                .for_each(|(x, l)| *x -= factor * l);
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.lower[i * (i + 1) / 2..][..=i]
    }
}

struct Factorise<'a> {
    matrix: &'a [f64],
    n: usize,
}

impl WithSimd for Factorise<'_> {
    type Output = Factor;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> Factor {
        let Factorise { matrix, n } = self;
        let unit: Vec<f64> = (0..n)
            .map(|i| 1.0 / matrix[i * n + i].sqrt())
            .map(|unit| if unit.is_finite() { unit } else { 0.0 })
            .collect();
        let mut factor = Factor {
            unit,
            kept: Vec::new(),
            lower: Vec::new(),
            dropped: Vec::new(),
        };
        let mut row = Vec::with_capacity(n);
        for i in 0..n {
            row.clear();
            let mut first = 0;
            for (j, &column) in factor.kept.iter().enumerate() {
                let pivot_row = &factor.lower[first..=first + j];
                let element = matrix[i * n + column] * factor.unit[i] * factor.unit[column];
                row.push((element - dot(&pivot_row[..j], &row[..j])) / pivot_row[j]);
                first += j + 1;
            }
            let pivot = matrix[i * n + i] * factor.unit[i] * factor.unit[i] - dot(&row, &row);
            if pivot > RANK_TOLERANCE {
                factor.kept.push(i);
                factor.lower.extend_from_slice(&row);
                factor.lower.push(pivot.sqrt());
            } else {
                factor.dropped.push((i, row.clone()));
            }
        }
        factor
    }
}

/// Σ a·b in [`LANES`] running sums.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use super::Factor;

    fn close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_regular_system_has_one_solution() {
        let matrix = [4e12, 1e6, 1e6, 3.0];
        let factor = Factor::new(&matrix, 2);
        assert!(factor.is_regular());
        close(&factor.solve(&[4e12 + 2e6, 1e6 + 6.0]), &[1.0, 2.0]);
        let inverse = factor.inverse();
        close(&[inverse[0] * 4e12 + inverse[1] * 1e6], &[1.0]);
    }

    #[test]
    fn a_larger_system_is_solved() {
        let n = 57;
        let x = |i: usize, j: usize| ((i * 31 + j * 17) as f64 * 0.37).sin();
        let element = |i, j| {
            (0..n + 20)
                .map(|row| x(row, i) * x(row, j) * 1.5)
                .sum::<f64>()
        };
        let ridge = |i, j| element(i, j) + if i == j { 0.1 } else { 0.0 };
        let matrix: Vec<f64> = (0..n * n).map(|idx| ridge(idx / n, idx % n)).collect();
        let expected: Vec<f64> = (0..n).map(|i| i as f64 - 20.0).collect();
        let product = |i: usize| (0..n).map(|j| matrix[i * n + j] * expected[j]).sum();
        let right: Vec<f64> = (0..n).map(product).collect();
        close(&Factor::new(&matrix, n).solve(&right), &expected);
    }

    #[test]
    fn of_many_solutions_the_shortest_is_found() {
        // Columns a, b and a + b: x and x + t·(1, 1, −1) solve alike.
        let matrix = [1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        let factor = Factor::new(&matrix, 3);
        assert!(!factor.is_regular());
        let mut solution = factor.solve(&[1.0, 2.0, 3.0]);
        close(&solution, &[1.0, 2.0, 0.0]);
        factor.shorten(&mut solution, &[1.0, 1.0, 1.0]);
        close(&solution, &[0.0, 1.0, 1.0]);
        factor.shorten(&mut solution, &[1.0, 1.0, 0.0]);
        close(&solution, &[-0.5, 0.5, 1.5]);
    }

    #[test]
    fn a_column_of_zeros_has_no_part() {
        let factor = Factor::new(&[0.0, 0.0, 0.0, 2.0], 2);
        let mut solution = factor.solve(&[0.0, 4.0]);
        close(&solution, &[0.0, 2.0]);
        factor.shorten(&mut solution, &[1.0, 1.0]);
        close(&solution, &[0.0, 2.0]);
    }
}
