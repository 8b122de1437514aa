//! Times the kernels on one device beside the CPU, after comparing their results.
//!
//! `cargo run --release -p auspex-gpu --example kernels -- [--device cpu|cuda] [--rows N] [--only NAME] [--peers PYTHON]`.
//! Prints one line a kernel: the fastest of 7 runs, one thread, with the transfer of the rows to the device and, where rows
//! may stay there, without. For the CPU a second table has the ratios to its peers: faer's products, and with `--peers`
//! (a Python with scikit-learn and LightGBM) one Lloyd iteration and one histogram by `peers.py`. Trees' own loops on the
//! CPU are of other forms than its kernels here; `benches/peers` times them within whole trainings.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people, whose work is to look at the clock"
)]

use std::sync::Arc;
use std::time::Instant;

use auspex_gpu::{
    Activation, Bins, CpuDevice, CudaDevice, Design, Device, Elements, Factors, Forest, Layout,
    Loss, MatrixView, Network, PairValues, Pairs, Product, ProductElements, RowOrder, RowSets,
    RowSplit, RowsId, Version,
};

const RUNS: usize = 7;

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

    /// The first numbers as points.
    fn points(&self, n_points: usize) -> Vec<f64> {
        let values = self.values.iter().cycle().take(n_points * self.n_columns);
        values.map(|&x| f64::from(x)).collect()
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

fn fastest_ms(mut run: impl FnMut()) -> f64 {
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    });
    times.fold(f64::INFINITY, f64::min)
}

/// The fastest of runs of two that take turns, so that both have the machine as it is.
fn fastest_of_both(mut ours: impl FnMut(), mut peer: impl FnMut()) -> [f64; 2] {
    let once = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut least = [f64::INFINITY; 2];
    for _ in 0..2 * RUNS {
        least[0] = least[0].min(once(&mut ours));
        least[1] = least[1].min(once(&mut peer));
    }
    least
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

const KERNELS: [Kernel; 8] = [
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
        device
            .nearest(&block.design(), &block.points(8), None)
            .unwrap()
            .sums
    }),
    ("neighbours", 16, |device, block| {
        device
            .neighbours(&block.design(), &block.points(100), 5)
            .unwrap()
            .squared_distances
    }),
    ("hessian_product", 32, |device, block| {
        let (design, loss) = (block.design(), Loss::Logistic);
        device
            .hessian_product(&design, None, &[0.1; 33], &[0.2; 33], 1, loss)
            .unwrap()
    }),
    ("network 32-16-1", 32, |device, block| {
        let network = network(&[0.01; 33 * 16 + 17]);
        device
            .network(
                &block.design(),
                &block.response,
                None,
                &network,
                Loss::Logistic,
            )
            .unwrap()
            .gradient
    }),
    ("network_outputs", 32, |device, block| {
        device
            .network_outputs(&block.design(), &network(&[0.01; 33 * 16 + 17]))
            .unwrap()
    }),
];

fn network(parameters: &[f64]) -> Network<'_> {
    Network {
        widths: &[16, 1],
        parameters,
        activation: Activation::Relu,
    }
}

/// Two factors of f32 and the sizes of their product.
struct Matrices {
    sizes: [usize; 3],
    left: Vec<f32>,
    right: Vec<f32>,
}

impl Matrices {
    fn new(sizes: [usize; 3]) -> Matrices {
        let [n_rows, n_inner, n_cols] = sizes;
        Matrices {
            sizes,
            left: Block::new(n_rows, n_inner).values,
            right: Block::new(n_inner, n_cols).values,
        }
    }

    fn product(&self) -> Product<'_> {
        let [n_rows, n_inner, n_cols] = self.sizes;
        Product {
            n_rows,
            n_inner,
            n_cols,
            layouts: [Layout::ByColumns; 2],
            factors: Factors::F32(&self.left, &self.right),
        }
    }

    /// Some of the product's elements.
    fn gemm(&self, device: &dyn Device) -> Vec<f64> {
        match device.gemm(&self.product()).unwrap() {
            ProductElements::F32(elements) => {
                let some = elements.iter().step_by(101);
                some.map(|&x| f64::from(x)).collect()
            }
            ProductElements::F64(elements) => elements,
        }
    }

    /// The CPU's time, and faer's; both make room for the result.
    fn against_faer(&self) -> [f64; 2] {
        let [n_rows, n_inner, n_cols] = self.sizes;
        let left = faer::MatRef::from_column_major_slice(&self.left, n_rows, n_inner);
        let right = faer::MatRef::from_column_major_slice(&self.right, n_inner, n_cols);
        let ours = || drop(CpuDevice.gemm(&self.product()).unwrap());
        fastest_of_both(ours, || {
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

/// The CPU's time for sums of products, and that of the product that they are measured against.
fn gram_against_faer(block: &Block) -> [f64; 2] {
    let x = faer::MatRef::from_column_major_slice(&block.values, block.n_rows, block.n_columns);
    let mut product = faer::Mat::<f32>::zeros(block.n_columns, block.n_columns);
    let ours = || drop(CpuDevice.gram(&block.design(), None, None).unwrap());
    fastest_of_both(ours, || {
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
    let only = value("--only");
    let is_asked = |name: &str| only.as_ref().is_none_or(|only| name.starts_with(only));
    let info = device.info();
    println!(
        "{} ({}), {n_rows} rows of f32, fastest of {RUNS}",
        info.name, info.kind
    );
    println!(
        "| kernel | columns | cpu ms | {} ms | without moving rows | difference |",
        info.kind
    );
    println!("|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    let kernels = KERNELS.into_iter().filter(|kernel| is_asked(kernel.0));
    for (name, n_columns, run) in kernels {
        let block = Block::new(n_rows, n_columns);
        let times = Times::of(device.as_ref(), |device| run(device, &block));
        if name == "gram" {
            let times = gram_against_faer(&block);
            ratios.push(Ratio::new("gram", times, "faer's f32 product", 1.6));
        }
        let named = block.named();
        times.print(name, n_columns, device.as_ref(), |device| {
            run(device, &named)
        });
        if name == "nearest" {
            ratios.extend(value("--peers").map(|python| {
                let times_of_both = [times.cpu_ms, peer_ms(&python, n_rows, "Lloyd")];
                Ratio::new(name, times_of_both, "scikit-learn's Lloyd iteration", 0.8)
            }));
        }
    }
    for sizes in [[n_rows.min(1024); 3], [n_rows.min(65_536), 64, 64]] {
        if is_asked("gemm") {
            let matrices = Matrices::new(sizes);
            let times = Times::of(device.as_ref(), |device| matrices.gemm(device));
            let name = format!("gemm {sizes:?}");
            times.print(&name, sizes[1], device.as_ref(), |device| {
                matrices.gemm(device)
            });
            let times = matrices.against_faer();
            ratios.push(Ratio::new(&name, times, "faer's f32 product", 1.2));
        }
    }
    if is_asked("trees") {
        let histogram_ms = trees(device.as_ref(), n_rows);
        ratios.extend(value("--peers").map(|python| {
            let ours_ms = histogram_ms * n_rows as f64 / 65_536.0;
            let times = [ours_ms, peer_ms(&python, n_rows, "LightGBM")];
            Ratio::new("histogram of all rows", times, "LightGBM's histogram", 1.0)
        }));
    }
    println!("\n| kernel of the CPU | ms | peer | ms | ratio | to reach |");
    println!("|---|---|---|---|---|---|");
    ratios.iter().for_each(Ratio::print);
}

/// Prints the kernels of trees; the CPU's time for a histogram of 65,536 rows.
fn trees(device: &dyn Device, n_rows: usize) -> f64 {
    let chunk = Chunk::new();
    let times = Times::of(device, |device| chunk.histogram(device, None));
    let histogram_ms = times.cpu_ms;
    times.print("histogram of 65,536 rows", TREE_COLUMNS, device, |device| {
        chunk.histogram(device, Some(ROWS))
    });
    let times = Times::of(device, |device| chunk.partition(device, None));
    times.print("partition of 65,536 rows", 1, device, |device| {
        chunk.partition(device, Some(ROWS))
    });
    let (trees, block) = (Trees::new(), Block::new(n_rows, 32));
    let times = Times::of(device, |device| trees.score(device, &block));
    let named = block.named();
    times.print("forest of 100 trees", 32, device, |device| {
        trees.score(device, &named)
    });
    histogram_ms
}

/// The CPU's time against that of another library in the same run.
struct Ratio {
    name: String,
    peer: &'static str,
    /// Ours, then the peer's.
    times_ms: [f64; 2],
    bar: f64,
}

impl Ratio {
    fn new(name: &str, times_ms: [f64; 2], peer: &'static str, bar: f64) -> Ratio {
        Ratio {
            name: name.to_owned(),
            peer,
            times_ms,
            bar,
        }
    }

    fn print(&self) {
        let (name, peer, bar) = (&self.name, self.peer, self.bar);
        let [ms, peer_ms] = self.times_ms;
        let ratio = ms / peer_ms;
        println!("| {name} | {ms:.1} | {peer} | {peer_ms:.1} | {ratio:.2} | {bar} |");
    }
}

/// The milliseconds in the line of `peers.py` that has a word.
fn peer_ms(python: &str, n_rows: usize, word: &str) -> f64 {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/kernels/peers.py");
    let rows = n_rows.to_string();
    let done = std::process::Command::new(python)
        .args([script, &rows, word])
        .output();
    let text = String::from_utf8(done.unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains(word)).unwrap();
    let number = line.rsplit(": ").next().unwrap().trim_end_matches(" ms");
    number.parse().unwrap()
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
            cpu_ms: fastest_ms(|| drop(run(&CpuDevice))),
            device_ms: fastest_ms(|| drop(run(device))),
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
        let kept_ms = fastest_ms(|| drop(kept(run.as_ref())));
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
