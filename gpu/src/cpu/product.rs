//! Products of two matrices.
//!
//! In: factors as they lie; out: the product column after column. The work is faer's, on one thread.

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, MatMut, MatRef, Par};

use crate::error::Result;
use crate::product::{Factors, Layout, Product, ProductElements, check_product};

/// See [`crate::Device::gemm`].
pub(super) fn gemm(product: &Product<'_>) -> Result<ProductElements> {
    check_product(product)?;
    Ok(match product.factors {
        Factors::F32(left, right) => ProductElements::F32(multiply(product, left, right, 1.0)),
        Factors::F64(left, right) => ProductElements::F64(multiply(product, left, right, 1.0)),
    })
}

fn multiply<T: ComplexField + Copy + Default>(
    product: &Product<'_>,
    left: &[T],
    right: &[T],
    one: T,
) -> Vec<T> {
    let Product {
        n_rows,
        n_inner,
        n_cols,
        layouts,
        ..
    } = *product;
    let mut elements = vec![T::default(); n_rows * n_cols];
    matmul(
        MatMut::from_column_major_slice_mut(&mut elements, n_rows, n_cols),
        Accum::Replace,
        factor(left, n_rows, n_inner, layouts[0]),
        factor(right, n_inner, n_cols, layouts[1]),
        one,
        Par::Seq,
    );
    elements
}

fn factor<T>(elements: &[T], n_rows: usize, n_cols: usize, layout: Layout) -> MatRef<'_, T> {
    match layout {
        Layout::ByColumns => MatRef::from_column_major_slice(elements, n_rows, n_cols),
        Layout::ByRows => MatRef::from_row_major_slice(elements, n_rows, n_cols),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(product: &Product<'_>, left: &[f64], right: &[f64]) -> Vec<f64> {
        let Product {
            n_rows,
            n_inner,
            n_cols,
            layouts,
            ..
        } = *product;
        let at = |elements: &[f64], [i, j]: [usize; 2], [rows, cols]: [usize; 2], layout| {
            elements[match layout {
                Layout::ByColumns => j * rows + i,
                Layout::ByRows => i * cols + j,
            }]
        };
        let mut elements = Vec::new();
        for j in 0..n_cols {
            for i in 0..n_rows {
                let terms = (0..n_inner).map(|k| {
                    at(left, [i, k], [n_rows, n_inner], layouts[0])
                        * at(right, [k, j], [n_inner, n_cols], layouts[1])
                });
                elements.push(terms.sum());
            }
        }
        elements
    }

    #[test]
    fn products_equal_their_definition_however_factors_lie() {
        use Layout::{ByColumns, ByRows};
        let number = |at: usize| (at * 7919 % 101) as f64 / 50.0 - 1.0;
        for [n_rows, n_inner, n_cols] in [
            [0, 3, 2],
            [3, 0, 2],
            [3, 2, 0],
            [1, 1, 1],
            [5, 3, 4],
            [65, 17, 63],
            [2, 300, 3],
        ] {
            let left: Vec<f64> = (0..n_rows * n_inner).map(number).collect();
            let right: Vec<f64> = (0..n_inner * n_cols).map(|at| number(at + 31)).collect();
            let singles = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            let (left_singles, right_singles) = (singles(&left), singles(&right));
            for layouts in [
                [ByColumns, ByColumns],
                [ByRows, ByColumns],
                [ByColumns, ByRows],
            ] {
                let product = Product {
                    n_rows,
                    n_inner,
                    n_cols,
                    layouts,
                    factors: Factors::F64(&left, &right),
                };
                let expected = naive(&product, &left, &right);
                let close = |found: &[f64], limit: f64| {
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        assert!((found - expected).abs() <= limit, "{found} {expected}");
                    }
                };
                let ProductElements::F64(found) = gemm(&product).unwrap() else {
                    unreachable!("factors are of f64")
                };
                close(&found, 1e-12);
                let product = Product {
                    factors: Factors::F32(&left_singles, &right_singles),
                    ..product
                };
                let ProductElements::F32(found) = gemm(&product).unwrap() else {
                    unreachable!("factors are of f32")
                };
                let found: Vec<f64> = found.iter().map(|&x| f64::from(x)).collect();
                close(&found, 1e-4);
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_in_its_row() {
        let (left, right) = ([f64::NAN, 1.0, f64::INFINITY, 2.0], [1.0, 1.0]);
        let product = Product {
            n_rows: 2,
            n_inner: 2,
            n_cols: 1,
            layouts: [Layout::ByRows, Layout::ByColumns],
            factors: Factors::F64(&left, &right),
        };
        let ProductElements::F64(found) = gemm(&product).unwrap() else {
            unreachable!("factors are of f64")
        };
        assert!(found[0].is_nan() && found[1] == f64::INFINITY);
    }
}
