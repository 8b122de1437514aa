//! Times the kernels on one device beside the CPU, after comparing their results.
//!
//! `cargo run --release -p auspex-gpu --example kernels -- [--device cpu|cuda] [--rows N]`. Prints one
//! line a kernel: the median of 5 runs, one thread, with the transfer to the device and back. For the CPU, faer's f32
//! product is the peer of gram; scikit-learn's Lloyd iteration and LightGBM's histograms are timed by `peers.py`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people, whose work is to look at the clock"
)]

use std::sync::Arc;
use std::time::Instant;

use auspex_gpu::{CpuDevice, CudaDevice, Design, Device, Elements, Loss, MatrixView};

const RUNS: usize = 5;

struct Block {
    n_rows: usize,
    n_columns: usize,
    values: Vec<f32>,
    shift: Vec<f64>,
    scale: Vec<f64>,
    response: Vec<f64>,
}

impl Block {
    fn new(n_rows: usize, n_columns: usize) -> Block {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        Block {
            n_rows,
            n_columns,
            values: (0..n_rows * n_columns).map(|_| next()).collect(),
            shift: vec![0.0; n_columns],
            scale: vec![1.0; n_columns],
            response: (0..n_rows)
                .map(|_| f64::from(u8::from(next() > 0.0)))
                .collect(),
        }
    }

    fn design(&self) -> Design<'_> {
        Design {
            dense: MatrixView {
                n_rows: self.n_rows,
                n_cols: self.n_columns,
                elements: Elements::F32(&self.values),
            },
            shift: &self.shift,
            scale: &self.scale,
            codes: &[],
            widths: &[],
        }
    }
}

fn median_ms(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// The greatest difference, relative to the greatest number.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    let greatest = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most: f64, (a, b)| most.max((a - b).abs())) / greatest
}

/// A kernel by name, with the block that it runs over.
type Kernel = (&'static str, usize, fn(&dyn Device, &Block) -> Vec<f64>);

const KERNELS: [Kernel; 4] = [
    ("gram", 32, |device, block| {
        device
            .gram(&block.design(), Some(&block.response), None)
            .unwrap()
            .xx
    }),
    ("linear", 32, |device, block| {
        device.linear(&block.design(), &[0.1; 33], 1).unwrap()
    }),
    ("glm", 32, |device, block| {
        let design = block.design();
        device
            .glm(
                &design,
                &block.response,
                None,
                &[0.1; 33],
                1,
                Loss::Logistic,
                false,
            )
            .unwrap()
            .gradient
    }),
    ("nearest", 16, |device, block| {
        let centroids = block.values.iter().take(8 * 16).map(|&x| f64::from(x));
        let centroids: Vec<f64> = centroids.collect();
        device
            .nearest(&block.design(), &centroids, None)
            .unwrap()
            .sums
    }),
];

/// The product that gram is measured against.
fn faer_product(block: &Block) -> f64 {
    let x = faer::MatRef::from_column_major_slice(&block.values, block.n_rows, block.n_columns);
    let mut product = faer::Mat::<f32>::zeros(block.n_columns, block.n_columns);
    median_ms(|| {
        faer::linalg::matmul::matmul(
            product.as_mut(),
            faer::Accum::Replace,
            x.transpose(),
            x,
            1.0,
            faer::Par::Seq,
        );
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let n_rows = value("--rows").map_or(1_000_000, |text| text.parse().unwrap());
    let device: Arc<dyn Device> = match value("--device").as_deref() {
        Some("cuda") => CudaDevice::open(0).unwrap(),
        _ => Arc::new(CpuDevice),
    };
    let info = device.info();
    println!(
        "{} ({}), {n_rows} rows of f32, median of {RUNS}",
        info.name, info.kind
    );
    println!(
        "| kernel | columns | cpu ms | {} ms | difference |",
        info.kind
    );
    println!("|---|---|---|---|---|");
    for (name, n_columns, run) in KERNELS {
        let block = Block::new(n_rows, n_columns);
        let difference = difference(&run(device.as_ref(), &block), &run(&CpuDevice, &block));
        let cpu = median_ms(|| drop(run(&CpuDevice, &block)));
        let other = median_ms(|| drop(run(device.as_ref(), &block)));
        println!("| {name} | {n_columns} | {cpu:.1} | {other:.1} | {difference:.1e} |");
        if name == "gram" {
            println!(
                "| faer f32 product | {n_columns} | {:.1} | | |",
                faer_product(&block)
            );
        }
    }
}
