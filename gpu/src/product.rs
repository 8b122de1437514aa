//! What products of matrices, searches for neighbours and dense networks take and give.
//!
//! In: slices of the host; out: the same checked, as kernels take them.

use crate::device::{Design, MatrixView};
use crate::error::{Error, Result};

/// How the elements of a factor lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Column after column.
    ByColumns,
    /// Row after row.
    ByRows,
}

/// The elements of both factors of a product: they have one type, which is that of the sums and of the result.
#[derive(Debug, Clone, Copy)]
pub enum Factors<'a> {
    /// 32-bit floats: left, right.
    F32(&'a [f32], &'a [f32]),
    /// 64-bit floats: left, right.
    F64(&'a [f64], &'a [f64]),
}

/// A product `left · right` of two matrices.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// Rows of left and of the result.
    pub n_rows: usize,
    /// Columns of left, rows of right.
    pub n_inner: usize,
    /// Columns of right and of the result.
    pub n_cols: usize,
    /// How left and right lie.
    pub layouts: [Layout; 2],
    /// The elements.
    pub factors: Factors<'a>,
}

/// The elements of a result, column after column.
#[derive(Debug, Clone, PartialEq)]
pub enum ProductElements {
    /// Of 32-bit factors.
    F32(Vec<f32>),
    /// Of 64-bit factors.
    F64(Vec<f64>),
}

/// The nearest points of each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// The numbers of the points, `(n_rows, n_neighbours)` row-major; the nearest first, the lower number at ties.
    pub ids: Vec<u32>,
    /// Their squared distances; what is no number counts as infinity.
    pub squared_distances: Vec<f64>,
}

/// What a hidden layer makes of its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// 0 where it is negative.
    Relu,
    /// 1 / (1 + e^−z).
    Logistic,
    /// The hyperbolic tangent.
    Tanh,
}

/// A dense network: layers of sums, each but the last followed by the activation.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// Outputs of each layer; those of the last are the predictors that a loss takes.
    pub widths: &'a [usize],
    /// For each layer `(n_outputs, n_inputs + 1)` row-major with the intercept last, one layer after another.
    pub parameters: &'a [f64],
    /// Of all layers but the last.
    pub activation: Activation,
}

impl Factors<'_> {
    fn lengths(&self) -> [usize; 2] {
        match self {
            Factors::F32(left, right) => [left.len(), right.len()],
            Factors::F64(left, right) => [left.len(), right.len()],
        }
    }
}

impl<'a> Product<'a> {
    /// `left · right` of factors whose elements lie column after column.
    ///
    /// Errors: `Shape`, where the inner sizes differ or the elements have different types.
    pub fn of(left: MatrixView<'a>, right: MatrixView<'a>) -> Result<Product<'a>> {
        use crate::device::Elements::{F32, F64};
        let factors = match (left.elements, right.elements) {
            (F32(left), F32(right)) => Factors::F32(left, right),
            (F64(left), F64(right)) => Factors::F64(left, right),
            // Four bytes against eight.
            (F32(_), F64(_)) => return Err(shape("gemm", 4, 8)),
            (F64(_), F32(_)) => return Err(shape("gemm", 8, 4)),
        };
        if left.n_cols != right.n_rows {
            return Err(shape("gemm", left.n_cols, right.n_rows));
        }
        Ok(Product {
            n_rows: left.n_rows,
            n_inner: left.n_cols,
            n_cols: right.n_cols,
            layouts: [Layout::ByColumns; 2],
            factors,
        })
    }
}

/// Checks that the elements are as many as the sizes say.
pub(crate) fn check_product(product: &Product<'_>) -> Result<()> {
    let [left, right] = product.factors.lengths();
    let sizes = [
        (product.n_rows * product.n_inner, left),
        (product.n_inner * product.n_cols, right),
    ];
    match sizes.iter().find(|(expected, found)| expected != found) {
        Some(&(expected, found)) => Err(shape("gemm", expected, found)),
        None => Ok(()),
    }
}

/// Checks the number of neighbours against that of the points.
pub(crate) fn check_neighbours(n_points: usize, n_neighbours: usize) -> Result<()> {
    match n_neighbours <= n_points {
        true => Ok(()),
        false => Err(shape("neighbours", n_points, n_neighbours)),
    }
}

/// A layer of a network: where its parameters begin, and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) start: usize,
    pub(crate) n_inputs: usize,
    pub(crate) n_outputs: usize,
}

impl Layer {
    /// Parameters of one output.
    pub(crate) fn stride(&self) -> usize {
        self.n_inputs + 1
    }

    /// The layer's part of all parameters.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.n_outputs * self.stride()
    }
}

/// The layers of a network over a design, once the sizes were found to belong together.
pub(crate) fn check_network(design: &Design<'_>, network: &Network<'_>) -> Result<Vec<Layer>> {
    let mut layers = Vec::with_capacity(network.widths.len());
    let (mut n_inputs, mut start) = (design.n_cols(), 0);
    for &n_outputs in network.widths {
        let layer = Layer {
            start,
            n_inputs,
            n_outputs,
        };
        start = layer.range().end;
        n_inputs = n_outputs;
        layers.push(layer);
    }
    if start != network.parameters.len() || layers.is_empty() {
        return Err(shape("network", start.max(1), network.parameters.len()));
    }
    Ok(layers)
}

fn shape(kernel: &'static str, expected: usize, found: usize) -> Error {
    Error::Shape {
        kernel,
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Elements;

    #[test]
    fn a_product_has_one_type_and_one_inner_size() {
        let matrix = |n_rows, n_cols, elements| MatrixView {
            n_rows,
            n_cols,
            elements,
        };
        let (six, doubles) = ([0.0f32; 6], [0.0f64; 6]);
        let left = matrix(2, 3, Elements::F32(&six));
        let right = matrix(3, 2, Elements::F32(&six));
        let product = Product::of(left, right).unwrap();
        assert!(check_product(&product).is_ok());
        assert_eq!((product.n_rows, product.n_inner, product.n_cols), (2, 3, 2));
        assert!(Product::of(left, left).is_err());
        assert!(Product::of(left, matrix(3, 2, Elements::F64(&doubles))).is_err());
        let longer = Product {
            n_cols: 3,
            ..product
        };
        assert!(check_product(&longer).is_err());
    }

    #[test]
    fn layers_follow_one_another() {
        let design = Design {
            rows: None,
            dense: MatrixView {
                n_rows: 0,
                n_cols: 2,
                elements: Elements::F32(&[]),
            },
            shift: &[0.0; 2],
            scale: &[1.0; 2],
            codes: &[vec![]],
            widths: &[3],
        };
        let parameters = vec![0.0; 4 * 6 + 2 * 5];
        let network = |widths, n: usize| Network {
            widths,
            parameters: &parameters[..n],
            activation: Activation::Relu,
        };
        let layers = check_network(&design, &network(&[4, 2], 34)).unwrap();
        assert_eq!(layers[1].range(), 24..34);
        assert!(check_network(&design, &network(&[4, 2], 33)).is_err());
        assert!(check_network(&design, &network(&[], 0)).is_err());
    }
}
