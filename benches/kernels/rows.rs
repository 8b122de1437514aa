//! The kernels that go over the rows of a block.

use auspex_gpu::{Activation, Design, Device, Elements, Loss, MatrixView, Network, RowsId};

use crate::report::Found;

/// Dense columns of one type.
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Rows with what is known of them.
pub(crate) struct Block {
    pub(crate) n_rows: usize,
    pub(crate) n_columns: usize,
    values: Values,
    shift: Vec<f64>,
    scale: Vec<f64>,
    response: Vec<f64>,
}

/// Numbers between −1 and 1, the same in every run.
pub(crate) fn numbers() -> impl FnMut() -> f32 {
    let mut state = 1u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

impl Block {
    pub(crate) fn new(n_rows: usize, n_columns: usize, is_f32: bool) -> Block {
        let mut next = numbers();
        let values: Vec<f32> = (0..n_rows * n_columns).map(|_| next()).collect();
        Block {
            n_rows,
            n_columns,
            values: match is_f32 {
                true => Values::F32(values),
                false => Values::F64(values.into_iter().map(f64::from).collect()),
            },
            shift: vec![0.0; n_columns],
            scale: vec![1.0; n_columns],
            response: (0..n_rows)
                .map(|_| f64::from(u8::from(next() > 0.0)))
                .collect(),
        }
    }

    /// The elements, where they are f32.
    pub(crate) fn f32s(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(values) => Some(values),
            Values::F64(_) => None,
        }
    }

    /// Some points of so many columns.
    fn points(&self, n_points: usize) -> Vec<f64> {
        let mut next = numbers();
        let n = n_points * self.n_columns;
        (0..n).map(|_| f64::from(next())).collect()
    }

    pub(crate) fn design(&self, rows: Option<RowsId>) -> Design<'_> {
        Design {
            rows,
            dense: MatrixView {
                n_rows: self.n_rows,
                n_cols: self.n_columns,
                elements: match &self.values {
                    Values::F32(values) => Elements::F32(values),
                    Values::F64(values) => Elements::F64(values),
                },
            },
            shift: &self.shift,
            scale: &self.scale,
            codes: &[],
            widths: &[],
        }
    }
}

/// A kernel by name, with the columns of the block that it runs over.
pub(crate) type Kernel = (
    &'static str,
    usize,
    fn(&dyn Device, &Block, Option<RowsId>) -> Found,
);

/// All of them.
pub(crate) const KERNELS: [Kernel; 10] = [
    ("gram", 32, |device, block, rows| {
        let design = block.design(rows);
        let sums = device.gram(&design, Some(&block.response), None).unwrap();
        Found::sums([sums.moments.to_vec(), sums.x_sums, sums.xy, sums.xx].concat())
    }),
    ("linear", 32, |device, block, rows| {
        let outputs = device.linear(&block.design(rows), &[0.1; 33], 1);
        Found::exact(outputs.unwrap())
    }),
    ("glm", 32, |device, block, rows| {
        let (design, loss) = (block.design(rows), Loss::Logistic);
        let partial = device.glm(&design, &block.response, None, &[0.1; 33], 1, loss, false);
        Found::sums(partial.unwrap().gradient)
    }),
    ("nearest", 16, |device, block, rows| {
        let nearest = device.nearest(&block.design(rows), &block.points(8), None);
        let nearest = nearest.unwrap();
        Found {
            exact: nearest.squared_distances,
            ids: nearest.ids,
            sums: nearest.sums.sums,
        }
    }),
    ("cluster_sums", 16, |device, block, rows| {
        let sums = device.cluster_sums(&block.design(rows), &block.points(8), None);
        let sums = sums.unwrap();
        Found::sums([sums.sums, sums.weights, sums.squares].concat())
    }),
    ("squared_distances", 16, |device, block, rows| {
        let distances = device.squared_distances(&block.design(rows), &block.points(8));
        Found::exact(distances.unwrap())
    }),
    ("neighbours", 16, |device, block, rows| {
        let neighbours = device.neighbours(&block.design(rows), &block.points(100), 5);
        let neighbours = neighbours.unwrap();
        Found {
            exact: neighbours.squared_distances,
            ids: neighbours.ids,
            sums: Vec::new(),
        }
    }),
    ("hessian_product", 32, |device, block, rows| {
        let (design, loss) = (block.design(rows), Loss::Logistic);
        let product = device.hessian_product(&design, None, &[0.1; 33], &[0.2; 33], 1, loss);
        Found::sums(product.unwrap())
    }),
    ("network 32-16-1", 32, |device, block, rows| {
        let (design, loss) = (block.design(rows), Loss::Logistic);
        let network = network(&[0.01; 33 * 16 + 17]);
        let partial = device.network(&design, &block.response, None, &network, loss);
        Found::sums(partial.unwrap().gradient)
    }),
    ("network_outputs", 32, |device, block, rows| {
        let network = network(&[0.01; 33 * 16 + 17]);
        let outputs = device.network_outputs(&block.design(rows), &network);
        Found::exact(outputs.unwrap())
    }),
];

fn network(parameters: &[f64]) -> Network<'_> {
    Network {
        widths: &[16, 1],
        parameters,
        activation: Activation::Relu,
    }
}
