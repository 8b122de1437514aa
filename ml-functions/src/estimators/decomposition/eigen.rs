//! Eigenvectors of small symmetric matrices, and orthonormal bases, with signs that repeat.
//!
//! In: matrices of columns in memory; out: eigenvalues in descending order, vectors as rows.

use faer::{Mat, MatRef, Side};

use crate::error::{Error, Result};

/// Loadings this close to the greatest count as equal to it, so that rounding cannot turn a sign.
const EQUAL_LOADINGS: f64 = 1.0 - 1e-6;

/// Eigenvalues with their vectors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Eigen {
    /// In descending order.
    pub(super) values: Vec<f64>,
    /// `(n, n)` row-major: row `i` belongs to `values[i]`.
    pub(super) vectors: Vec<f64>,
}

/// The eigenvalues and vectors of a symmetric matrix `(n, n)`.
pub(super) fn eigen(matrix: &[f64], n: usize) -> Result<Eigen> {
    let matrix = MatRef::from_column_major_slice(matrix, n, n);
    let found = matrix
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| Error::Diverged {
            estimator: "pca".to_owned(),
            what: "the covariances have no eigenvalues".to_owned(),
            hint: "Set scale_features = true, or scale the features in the query.".to_owned(),
        })?;
    let (values, vectors) = (found.S().column_vector(), found.U());
    let descending = || (0..n).rev();
    Ok(Eigen {
        values: descending().map(|i| values[i]).collect(),
        vectors: descending()
            .flat_map(|i| (0..n).map(move |row| vectors[(row, i)]))
            .collect(),
    })
}

/// Vectors `(n_vectors, n)` row-major that span the same space and are orthonormal.
pub(super) fn orthonormal(vectors: &[f64], n: usize) -> Vec<f64> {
    let n_vectors = vectors.len() / n.max(1);
    let basis: Mat<f64> = MatRef::from_column_major_slice(vectors, n, n_vectors)
        .qr()
        .compute_thin_Q();
    (0..n_vectors)
        .flat_map(|i| (0..n).map(|row| basis[(row, i)]).collect::<Vec<_>>())
        .collect()
}

/// Turns a vector so that its greatest loading is positive, the first of equal ones.
pub(super) fn fix_sign(vector: &mut [f64]) {
    let greatest = vector
        .iter()
        .fold(0.0, |greatest: f64, x| greatest.max(x.abs()));
    let first = vector.iter().find(|x| x.abs() >= EQUAL_LOADINGS * greatest);
    if first.is_some_and(|x| *x < 0.0) {
        vector.iter_mut().for_each(|x| *x = -*x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_come_in_descending_order() {
        let found = eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        assert!((found.values[0] - 3.0).abs() < 1e-12 && (found.values[1] - 1.0).abs() < 1e-12);
        let mut first = found.vectors[..2].to_vec();
        fix_sign(&mut first);
        assert!(
            first.iter().all(|x| (x - 0.5_f64.sqrt()).abs() < 1e-12),
            "{first:?}"
        );
    }

    #[test]
    fn nearly_equal_loadings_do_not_turn_the_sign() {
        for error in [-1e-12, 1e-12] {
            let mut vector = [0.5, -0.5 + error];
            fix_sign(&mut vector);
            assert!(vector[0] > 0.0);
        }
    }

    #[test]
    fn a_basis_is_orthonormal() {
        let basis = orthonormal(&[1.0, 2.0, 2.0, 0.0, 1.0, 1.0], 3);
        let dot = |a: usize, b: usize| {
            (0..3)
                .map(|i| basis[3 * a + i] * basis[3 * b + i])
                .sum::<f64>()
        };
        assert!((dot(0, 0) - 1.0).abs() < 1e-12 && (dot(1, 1) - 1.0).abs() < 1e-12);
        assert!(dot(0, 1).abs() < 1e-12);
    }
}
