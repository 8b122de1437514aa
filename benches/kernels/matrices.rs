//! Products of two matrices, also beside faer's.

use auspex_gpu::{CpuDevice, Device, Factors, Layout, Product, ProductElements};

use crate::report::{Found, fastest_of_both};
use crate::rows::{Block, numbers};

/// Two factors of f32 and the sizes of their product.
pub(crate) struct Matrices {
    pub(crate) sizes: [usize; 3],
    left: Vec<f32>,
    right: Vec<f32>,
    /// The same in double.
    doubles: [Vec<f64>; 2],
}

impl Matrices {
    pub(crate) fn new(sizes: [usize; 3]) -> Matrices {
        let [n_rows, n_inner, n_cols] = sizes;
        let mut next = numbers();
        let left: Vec<f32> = (0..n_rows * n_inner).map(|_| next()).collect();
        let right: Vec<f32> = (0..n_inner * n_cols).map(|_| next()).collect();
        let doubles = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect();
        Matrices {
            sizes,
            doubles: [doubles(&left), doubles(&right)],
            left,
            right,
        }
    }

    fn product(&self, is_f32: bool) -> Product<'_> {
        let [n_rows, n_inner, n_cols] = self.sizes;
        let [left, right] = &self.doubles;
        Product {
            n_rows,
            n_inner,
            n_cols,
            layouts: [Layout::ByColumns; 2],
            factors: match is_f32 {
                true => Factors::F32(&self.left, &self.right),
                false => Factors::F64(left, right),
            },
        }
    }

    /// Some of the product's elements.
    pub(crate) fn gemm(&self, device: &dyn Device, is_f32: bool) -> Found {
        let some = match device.gemm(&self.product(is_f32)).unwrap() {
            ProductElements::F32(elements) => {
                let some = elements.iter().step_by(101);
                some.map(|&x| f64::from(x)).collect()
            }
            ProductElements::F64(elements) => elements.into_iter().step_by(101).collect(),
        };
        Found::sums(some)
    }

    /// The CPU's time, and faer's; both make room for the result.
    pub(crate) fn against_faer(&self, n_runs: usize) -> [f64; 2] {
        let [n_rows, n_inner, n_cols] = self.sizes;
        let left = faer::MatRef::from_column_major_slice(&self.left, n_rows, n_inner);
        let right = faer::MatRef::from_column_major_slice(&self.right, n_inner, n_cols);
        let ours = || drop(CpuDevice.gemm(&self.product(true)).unwrap());
        fastest_of_both(n_runs, ours, || {
            let mut product = faer::Mat::<f32>::zeros(n_rows, n_cols);
            faer::linalg::matmul::matmul(
                product.as_mut(),
                faer::Accum::Replace,
                left,
                right,
                1.0,
                faer::Par::Seq,
            );
        })
    }
}

/// The CPU's time for sums of products of f32 columns, and that of the product that they are measured against.
pub(crate) fn gram_against_faer(block: &Block, n_runs: usize) -> Option<[f64; 2]> {
    let values = block.f32s()?;
    let x = faer::MatRef::from_column_major_slice(values, block.n_rows, block.n_columns);
    let mut product = faer::Mat::<f32>::zeros(block.n_columns, block.n_columns);
    let ours = || drop(CpuDevice.gram(&block.design(None), None, None).unwrap());
    Some(fastest_of_both(n_runs, ours, || {
        faer::linalg::matmul::matmul(
            product.as_mut(),
            faer::Accum::Replace,
            x.transpose(),
            x,
            1.0,
            faer::Par::Seq,
        );
    }))
}
