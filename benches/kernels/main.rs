//! Times the kernels on one device beside the CPU, after comparing their results.
//!
//! `cargo run --release -p auspex-gpu --example kernels -- [--device cpu|cuda] [--rows N] [--runs N] [--only NAME] [--peers PYTHON]`.
//! Prints one line a kernel: the fastest of 7 runs, one thread, with the transfer of the rows to the device and, where rows
//! may stay there, without; on a device also of rows of f64. A result that differs from the CPU's by more than
//! docs/gpu.md allows is told behind the tables, and the exit status is 1. For the CPU a second table has the ratios to its
//! peers: faer's products, and with `--peers` (a Python with scikit-learn and LightGBM) one Lloyd iteration and one
//! histogram by `peers.py`. Trees' own loops on the CPU are of other forms than its kernels here; `benches/peers` times
//! them within whole trainings.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people, whose work is to look at the clock"
)]

mod matrices;
mod report;
mod rows;
mod trees;

use std::process::ExitCode;
use std::sync::Arc;

use auspex_gpu::{CpuDevice, CudaDevice, Device};

use matrices::{Matrices, gram_against_faer};
use report::{Ratio, Report, SINGLE, SUMS, peer_ms};
use rows::{Block, KERNELS};
use trees::{Chunk, TREE_COLUMNS, Trees};

/// That of the server, which keeps the memory of results for the next ones.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the command line asks for.
struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    fn value(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == name)?;
        self.words.get(at + 1).map(String::as_str)
    }

    fn number(&self, name: &str, default: usize) -> usize {
        let value = self.value(name);
        value.map_or(default, |text| text.parse().unwrap())
    }

    fn asks_for(&self, kernel: &str) -> bool {
        let only = self.value("--only");
        only.is_none_or(|only| kernel.starts_with(only))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments {
        words: std::env::args().collect(),
    };
    let device: Arc<dyn Device> = match arguments.value("--device") {
        Some("cuda") => CudaDevice::open(0).unwrap(),
        _ => Arc::new(CpuDevice),
    };
    let n_rows = arguments.number("--rows", 1_000_000);
    let mut report = Report {
        device: device.as_ref(),
        n_runs: arguments.number("--runs", 7),
        wrong: Vec::new(),
    };
    // What a peer is measured against is f32; a device has kernels of its own for f64.
    let types: &[bool] = match device.info().kind {
        "cpu" => &[true],
        _ => &[true, false],
    };
    report.begin(n_rows);
    let mut ratios = Vec::new();
    for &is_f32 in types {
        ratios.extend(over_rows(&arguments, &mut report, n_rows, is_f32));
        ratios.extend(products(&arguments, &mut report, n_rows, is_f32));
        if arguments.asks_for("trees") {
            ratios.extend(of_trees(&arguments, &mut report, n_rows, is_f32));
        }
    }
    println!("\n| kernel of the CPU | ms | peer | ms | ratio | to reach |");
    println!("|---|---|---|---|---|---|");
    ratios.iter().for_each(Ratio::print);
    for line in &report.wrong {
        println!("\n*** WRONG: {line}");
    }
    match report.wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A kernel's name with the type of its rows.
fn named(name: &str, is_f32: bool) -> String {
    format!("{name}, {}", if is_f32 { "f32" } else { "f64" })
}

fn over_rows(
    arguments: &Arguments,
    report: &mut Report<'_>,
    n_rows: usize,
    is_f32: bool,
) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    let kernels = KERNELS.into_iter();
    for (name, n_columns, run) in kernels.filter(|kernel| arguments.asks_for(kernel.0)) {
        let block = Block::new(n_rows, n_columns, is_f32);
        let of_type = named(name, is_f32);
        let cpu_ms = report.measure(&of_type, n_columns, SUMS, |device, rows| {
            run(device, &block, rows)
        });
        if name == "gram" {
            let times = gram_against_faer(&block, report.n_runs);
            let ratio = |times| Ratio::new(name, times, "faer's f32 product", 1.6);
            ratios.extend(times.map(ratio));
        }
        if let Some(python) = arguments.value("--peers")
            && is_f32
            && ["nearest", "cluster_sums"].contains(&name)
        {
            let times = [cpu_ms, peer_ms(python, n_rows, "Lloyd")];
            let peer = "scikit-learn's Lloyd iteration";
            ratios.push(Ratio::new(name, times, peer, 0.8));
        }
    }
    ratios
}

fn products(
    arguments: &Arguments,
    report: &mut Report<'_>,
    n_rows: usize,
    is_f32: bool,
) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    let long = n_rows.min(65_536);
    // The last is added up in parts on a device.
    let sizes = [[n_rows.min(1024); 3], [long, 64, 64], [64, long, 64]];
    for sizes in sizes.into_iter().filter(|_| arguments.asks_for("gemm")) {
        let matrices = Matrices::new(sizes);
        let name = format!("gemm {sizes:?}");
        let tolerance = if is_f32 { SINGLE } else { SUMS };
        report.measure(&named(&name, is_f32), sizes[1], tolerance, |device, _| {
            matrices.gemm(device, is_f32)
        });
        if is_f32 && sizes[1] < long {
            let times = matrices.against_faer(report.n_runs);
            ratios.push(Ratio::new(&name, times, "faer's f32 product", 1.2));
        }
    }
    ratios
}

/// The kernels of trees; those of bins and pairs have no type of rows, and narrow pairs go with f32.
fn of_trees(
    arguments: &Arguments,
    report: &mut Report<'_>,
    n_rows: usize,
    is_f32: bool,
) -> Option<Ratio> {
    let chunk = Chunk::new(n_rows);
    let chunk_rows = chunk.order.len();
    let width = if is_f32 { "narrow" } else { "wide" };
    let name = format!("histogram of {chunk_rows} rows, {width} pairs");
    let histogram_ms = report.measure(&name, TREE_COLUMNS, SUMS, |device, rows| {
        chunk.histogram(device, rows, is_f32)
    });
    if is_f32 {
        let name = format!("partition of {chunk_rows} rows");
        report.measure(&name, 1, SUMS, |device, rows| chunk.partition(device, rows));
    }
    let (trees, block) = (Trees::new(), Block::new(n_rows, 32, is_f32));
    let name = named("forest of 100 trees", is_f32);
    report.measure(&name, 32, SUMS, |device, rows| {
        trees.score(device, &block, rows)
    });
    let python = arguments.value("--peers").filter(|_| is_f32)?;
    let ours_ms = histogram_ms * n_rows as f64 / chunk_rows as f64;
    let times = [ours_ms, peer_ms(python, n_rows, "LightGBM")];
    Some(Ratio::new(
        "histogram of all rows",
        times,
        "LightGBM's histogram",
        1.0,
    ))
}
