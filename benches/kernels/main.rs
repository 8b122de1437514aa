//! Times the kernels on one device beside the CPU, after comparing their results.
//!
//! `cargo run --release -p auspex-gpu --example kernels -- [--device cpu|cuda] [--rows N]`. Prints one
//! line a kernel: the median of 5 runs, one thread, with the transfer of the rows to the device and, where rows may stay
//! there, without. For the CPU, faer's f32 product is the peer of gram; scikit-learn's Lloyd iteration and LightGBM's
//! histograms are timed by `peers.py`. Histograms, partitions and forests of the CPU are the reference that is written to
//! be read; the loops that tree estimators have for the CPU are timed by `benches/estimators`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people, whose work is to look at the clock"
)]

use std::sync::Arc;
use std::time::Instant;

use auspex_gpu::{
    Bins, CpuDevice, CudaDevice, Design, Device, Elements, Forest, Loss, MatrixView, PairValues,
    Pairs, RowOrder, RowSets, RowSplit, RowsId, Version,
};

const RUNS: usize = 5;

const ROWS: RowsId = RowsId {
    part: 0,
    first_row: 0,
    chunk: 0,
};

struct Block {
    n_rows: usize,
    n_columns: usize,
    values: Vec<f32>,
    shift: Vec<f64>,
    scale: Vec<f64>,
    response: Vec<f64>,
    /// The name under which the rows stay on the device.
    rows: Option<RowsId>,
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
            rows: None,
        }
    }

    /// The same rows, which may stay on the device.
    fn named(self) -> Block {
        Block {
            rows: Some(ROWS),
            ..self
        }
    }

    fn design(&self) -> Design<'_> {
        Design {
            rows: self.rows,
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

/// A chunk of a growing tree: 32 columns of 256 bins.
struct Chunk {
    version: Version,
    bins: Vec<u8>,
    pairs: Vec<u32>,
    order: Vec<u16>,
}

const TREE_COLUMNS: usize = 32;

impl Chunk {
    fn new() -> Chunk {
        let n_rows = 1 << 16;
        let word = |at: usize| (at as u32).wrapping_mul(2_654_435_761).rotate_left(13);
        Chunk {
            version: Version::several(2),
            bins: (0..n_rows * TREE_COLUMNS)
                .map(|at| (word(at) >> 24) as u8)
                .collect(),
            pairs: (0..n_rows).map(word).collect(),
            order: (0..n_rows).map(|row| row as u16).collect(),
        }
    }

    fn bins(&self, rows: Option<RowsId>) -> Bins<'_> {
        Bins {
            rows,
            version: self.version,
            n_columns: TREE_COLUMNS,
            values: &self.bins,
        }
    }

    fn order(&self) -> RowOrder<'_> {
        RowOrder {
            version: self.version,
            values: &self.order,
        }
    }

    fn histogram(&self, device: &dyn Device, rows: Option<RowsId>) -> Vec<f64> {
        let columns: Vec<u32> = (0..TREE_COLUMNS as u32).collect();
        let pairs = Pairs {
            version: self.version,
            values: PairValues::Narrow(&self.pairs),
        };
        let (order, all) = (self.order(), 0..self.order.len());
        let sets = RowSets {
            order,
            sets: std::slice::from_ref(&all),
        };
        let sums = device.histogram(&self.bins(rows), &pairs, &sets, &columns);
        sums.unwrap().iter().map(|sum| sum[0] as f64).collect()
    }

    fn partition(&self, device: &dyn Device, rows: Option<RowsId>) -> Vec<f64> {
        let split = RowSplit {
            rows: 0..self.order.len(),
            column: 5,
            left_bins: [u64::MAX, u64::MAX, 0, 0],
        };
        // Under another version, so that the order is brought anew each time.
        let next = Version::new();
        let parted = device.partition(&self.bins(rows), &self.order(), &[split], next);
        parted
            .unwrap()
            .order
            .iter()
            .map(|&row| f64::from(row))
            .collect()
    }
}

/// A hundred trees of 63 nodes, each split on one of 32 columns.
struct Trees {
    version: Version,
    feature: Vec<i32>,
    threshold: Vec<f64>,
    left: Vec<u32>,
    right: Vec<u32>,
    none: Vec<u32>,
    roots: Vec<u32>,
}

const NODES: u32 = 63;

impl Trees {
    fn new() -> Trees {
        let nodes =
            || (0..100u32).flat_map(|tree| (0..NODES).map(move |node| (tree * NODES, node)));
        let is_leaf = |node: u32| node >= NODES / 2;
        let child = |(root, node): (u32, u32), side: u32| match is_leaf(node) {
            true => root + node,
            false => root + 2 * node + side,
        };
        Trees {
            version: Version::new(),
            feature: nodes()
                .map(|(root, node)| match is_leaf(node) {
                    true => -1,
                    false => ((root + node) % 32) as i32,
                })
                .collect(),
            threshold: nodes()
                .map(|(_, node)| f64::from(node) / 63.0 - 0.5)
                .collect(),
            left: nodes().map(|node| child(node, 1)).collect(),
            right: nodes().map(|node| child(node, 2)).collect(),
            none: vec![0; 100 * NODES as usize],
            roots: (0..100).map(|tree| tree * NODES).collect(),
        }
    }

    fn score(&self, device: &dyn Device, block: &Block) -> Vec<f64> {
        let forest = Forest {
            version: self.version,
            feature: &self.feature,
            threshold: &self.threshold,
            left: &self.left,
            right: &self.right,
            missing_left: &self.none,
            set_start: &self.none,
            set_codes: &self.none,
            words: &[],
            roots: &self.roots,
            outputs: &vec![0; self.roots.len()],
            base_scores: &[0.0],
        };
        device.forest(&block.design(), &forest).unwrap()
    }
}

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
        "| kernel | columns | cpu ms | {} ms | without moving rows | difference |",
        info.kind
    );
    println!("|---|---|---|---|---|---|");
    for (name, n_columns, run) in KERNELS {
        let block = Block::new(n_rows, n_columns);
        let times = Times::of(device.as_ref(), |device| run(device, &block));
        if name == "gram" {
            println!(
                "| faer f32 product | {n_columns} | {:.1} | | | |",
                faer_product(&block)
            );
        }
        let named = block.named();
        times.print(name, n_columns, device.as_ref(), |device| {
            run(device, &named)
        });
    }
    let chunk = Chunk::new();
    let times = Times::of(device.as_ref(), |device| chunk.histogram(device, None));
    times.print(
        "histogram of 65,536 rows",
        TREE_COLUMNS,
        device.as_ref(),
        |device| chunk.histogram(device, Some(ROWS)),
    );
    let times = Times::of(device.as_ref(), |device| chunk.partition(device, None));
    times.print("partition of 65,536 rows", 1, device.as_ref(), |device| {
        chunk.partition(device, Some(ROWS))
    });
    let (trees, block) = (Trees::new(), Block::new(n_rows, 32));
    let times = Times::of(device.as_ref(), |device| trees.score(device, &block));
    let named = block.named();
    times.print("forest of 100 trees", 32, device.as_ref(), |device| {
        trees.score(device, &named)
    });
}

/// What a kernel takes, after its results were compared.
struct Times {
    cpu_ms: f64,
    device_ms: f64,
    difference: f64,
}

impl Times {
    fn of(device: &dyn Device, run: impl Fn(&dyn Device) -> Vec<f64>) -> Times {
        Times {
            difference: difference(&run(device), &run(&CpuDevice)),
            cpu_ms: median_ms(|| drop(run(&CpuDevice))),
            device_ms: median_ms(|| drop(run(device))),
        }
    }

    /// Prints the line, with the time where rows stay on the device.
    fn print(
        &self,
        name: &str,
        n_columns: usize,
        device: &dyn Device,
        kept: impl Fn(&dyn Device) -> Vec<f64>,
    ) {
        // In a run of its own, whose names mean these rows.
        let run = device.another_run();
        drop(kept(run.as_ref()));
        let kept_ms = median_ms(|| drop(kept(run.as_ref())));
        let Times {
            cpu_ms,
            device_ms,
            difference,
        } = self;
        println!(
            "| {name} | {n_columns} | {cpu_ms:.1} | {device_ms:.1} | {kept_ms:.1} | {difference:.1e} |"
        );
    }
}
