//! The kernels of trees against the CPU, to the bit: their sums are whole numbers.

use std::ops::Range;

use auspex_gpu::{
    Bins, CpuDevice, CudaDevice, Design, Device, Elements, Error, Forest, MatrixView, PairValues,
    Pairs, Parted, RowOrder, RowSets, RowSplit, RowsId, Version,
};

use crate::driver::Driver;
use crate::kernels::{Random, assert_same_bits};

const ROWS: RowsId = RowsId {
    part: 0,
    first_row: 0,
    chunk: 7,
};

/// A chunk of random bins and pairs.
struct Chunk {
    n_columns: usize,
    version: Version,
    bins: Vec<u8>,
    narrow: Vec<u32>,
    wide: Vec<u64>,
    order: Vec<u16>,
    order_version: Version,
}

impl Chunk {
    fn new(n_rows: usize, n_columns: usize, n_bins: usize) -> Chunk {
        let mut random = Random((n_rows * 37 + n_columns) as u64);
        let mut word = || (random.below(1 << 16) << 16 | random.below(1 << 16)) as u32;
        // Extremes first: the least gradient and the greatest hessian.
        let narrow: Vec<u32> = (0..n_rows)
            .map(|row| if row % 3 == 0 { 0x8000_ffff } else { word() })
            .collect();
        let wide = (0..n_rows)
            .map(|row| match row % 3 {
                0 => 0x8000_0000_ffff_ffff,
                _ => u64::from(word()) << 32 | u64::from(word()),
            })
            .collect();
        // Every row once, in no order.
        let mut order: Vec<u16> = (0..n_rows).map(|row| row as u16).collect();
        for at in (1..n_rows).rev() {
            order.swap(at, random.below(at + 1));
        }
        Chunk {
            n_columns,
            version: Version::new(),
            bins: (0..n_rows * n_columns)
                .map(|_| random.below(n_bins) as u8)
                .collect(),
            narrow,
            wide,
            order,
            order_version: Version::new(),
        }
    }

    fn bins(&self, rows: Option<RowsId>) -> Bins<'_> {
        Bins {
            rows,
            version: self.version,
            n_columns: self.n_columns,
            values: &self.bins,
        }
    }

    fn pairs(&self, is_wide: bool) -> Pairs<'_> {
        Pairs {
            version: self.version.nth(usize::from(is_wide) + 1_000_000),
            values: match is_wide {
                true => PairValues::Wide(&self.wide),
                false => PairValues::Narrow(&self.narrow),
            },
        }
    }

    fn order(&self) -> RowOrder<'_> {
        RowOrder {
            version: self.order_version,
            values: &self.order,
        }
    }

    fn histogram(
        &self,
        device: &dyn Device,
        rows: Option<RowsId>,
        is_wide: bool,
        sets: &[Range<usize>],
        columns: &[u32],
    ) -> Vec<[i64; 2]> {
        let order = self.order();
        let sets = RowSets { order, sets };
        let pairs = self.pairs(is_wide);
        device
            .histogram(&self.bins(rows), &pairs, &sets, columns)
            .unwrap()
    }

    fn partition(
        &self,
        device: &dyn Device,
        rows: Option<RowsId>,
        splits: &[RowSplit],
        next: Version,
    ) -> Parted {
        device
            .partition(&self.bins(rows), &self.order(), splits, next)
            .unwrap()
    }
}

/// A split of some rows by the bins below one.
fn below(rows: Range<usize>, column: u32, bin: usize) -> RowSplit {
    let word = |word: usize| match bin.saturating_sub(64 * word) {
        0 => 0,
        bits => u64::MAX >> (64 - bits.min(64)),
    };
    RowSplit {
        rows,
        column,
        left_bins: std::array::from_fn(word),
    }
}

#[test]
fn histograms_are_those_of_the_cpu_in_any_order_of_threads() {
    for order in ["forward", "reverse", "shuffle:3"] {
        let driver = Driver::new(&format!("order={order}"));
        let device = CudaDevice::open(0).unwrap();
        for (n_rows, n_columns) in [
            (1, 1),
            (31, 7),
            (127, 8),
            (128, 9),
            (129, 17),
            (2049, 3),
            (4097, 2),
        ] {
            let chunk = Chunk::new(n_rows, n_columns, 256);
            let all: Vec<u32> = (0..n_columns as u32).collect();
            let some: Vec<u32> = (0..n_columns as u32).step_by(2).collect();
            // All rows, none, and neighbours.
            let sets = [0..n_rows, 0..0, 0..n_rows / 2, n_rows / 2..n_rows];
            for (is_wide, columns) in [(false, &all), (true, &all), (false, &some)] {
                for rows in [None, Some(ROWS)] {
                    let run = |device: &dyn Device| {
                        chunk.histogram(device, rows, is_wide, &sets, columns)
                    };
                    assert_eq!(
                        run(device.as_ref()),
                        run(&CpuDevice),
                        "{n_rows} {n_columns}"
                    );
                }
            }
        }
        drop(device);
        assert_eq!(driver.report(), "", "neither a race nor a leak");
    }
}

#[test]
fn rows_part_as_on_the_cpu_and_stay_in_their_order() {
    for order in ["forward", "shuffle:5"] {
        let driver = Driver::new(&format!("order={order}"));
        let device = CudaDevice::open(0).unwrap();
        for (n_rows, n_bins) in [(1, 2), (8, 2), (255, 1), (2047, 3), (2048, 256), (4100, 5)] {
            let chunk = Chunk::new(n_rows, 3, n_bins);
            let middle = n_rows / 3;
            // Some left, all left, none left, no row.
            let splits = [
                below(0..middle, 0, n_bins.div_ceil(2)),
                below(middle..n_rows, 2, 256),
                below(n_rows..n_rows, 1, 1),
            ];
            for splits in [&splits[..], &[below(0..n_rows, 1, 0)], &[]] {
                let run =
                    |device: &dyn Device| chunk.partition(device, None, splits, Version::new());
                assert_eq!(run(device.as_ref()), run(&CpuDevice), "{n_rows} {n_bins}");
            }
        }
        drop(device);
        assert_eq!(driver.report(), "");
    }
}

#[test]
fn no_columns_no_sets_no_rows_and_many_columns() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let chunk = Chunk::new(20, 2, 9);
    let run = |sets: &[Range<usize>], columns: &[u32]| {
        chunk.histogram(device.as_ref(), None, false, sets, columns)
    };
    assert!(run(&[0..20], &[]).is_empty() && run(&[], &[0, 1]).is_empty());
    let none = Chunk::new(0, 2, 9);
    let sums = none.histogram(device.as_ref(), None, true, &[0..0], &[1]);
    assert_eq!(sums, [[0; 2]; 256]);
    let parted = none.partition(device.as_ref(), None, &[below(0..0, 0, 1)], Version::new());
    assert_eq!((parted.order, parted.n_left), (Vec::new(), vec![0]));
    let wide = Chunk::new(5, 3000, 256);
    let columns: Vec<u32> = (0..3000).collect();
    let run = |device: &dyn Device| wide.histogram(device, None, false, &[0..5], &columns);
    assert_eq!(run(device.as_ref()), run(&CpuDevice));
    // Sets that do not fit at once come one after another.
    let small = device.for_run(200_000);
    let sets: Vec<Range<usize>> = (0..20).map(|row| row..row + 1).collect();
    let run = |device: &dyn Device| chunk.histogram(device, None, false, &sets, &[0, 1]);
    assert_eq!(run(&small), run(&CpuDevice));
    drop((small, device));
    assert_eq!(driver.report(), "");
}

#[test]
fn what_a_chunk_keeps_is_not_moved_again() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let mut chunk = Chunk::new(3000, 4, 200);
    let columns = [0, 1, 2, 3];
    let rows = Some(ROWS);
    chunk.histogram(device.as_ref(), rows, false, &[0..3000], &columns);
    driver.configure("");
    // The order changes on the device, and with it on the host.
    let next = Version::new();
    let split = below(0..3000, 1, 90);
    let parted = chunk.partition(device.as_ref(), rows, std::slice::from_ref(&split), next);
    assert_eq!(parted, chunk.partition(&CpuDevice, rows, &[split], next));
    (chunk.order, chunk.order_version) = (parted.order, next);
    let sets = [0..parted.n_left[0], parted.n_left[0]..3000];
    let run = |device: &dyn Device| chunk.histogram(device, rows, false, &sets, &columns);
    let found = run(device.as_ref());
    assert!(driver.counters().uploaded_bytes < 200, "parameters alone");
    assert_eq!(found, run(&CpuDevice));
    // What the host alone changed is brought anew, whatever it is.
    chunk.order.reverse();
    chunk.order_version = Version::new();
    chunk.bins.reverse();
    chunk.version = Version::new();
    chunk.narrow.reverse();
    let run = |device: &dyn Device| chunk.histogram(device, rows, false, &sets, &columns);
    assert_eq!(run(device.as_ref()), run(&CpuDevice));
    drop(device);
    assert_eq!(driver.report(), "", "nothing is left on the device");
}

#[test]
fn wrong_shapes_of_trees_are_refused() {
    let _driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let chunk = Chunk::new(10, 2, 5);
    for device in [device.as_ref() as &dyn Device, &CpuDevice] {
        let is_shape = |error: Error| matches!(error, Error::Shape { .. });
        let order = chunk.order();
        let histogram = |sets: &[Range<usize>], columns: &[u32]| {
            let sets = RowSets { order, sets };
            device.histogram(&chunk.bins(None), &chunk.pairs(false), &sets, columns)
        };
        assert!(is_shape(histogram(&[0..11], &[0]).unwrap_err()));
        assert!(is_shape(histogram(&[0..10], &[2]).unwrap_err()));
        let split = below(0..10, 2, 1);
        let next = Version::new();
        let parted = device.partition(&chunk.bins(None), &order, &[split], next);
        assert!(is_shape(parted.unwrap_err()));
    }
}

/// Two trees: one asks a number, then a category; the other is a leaf of the second output.
struct Trees {
    version: Version,
    words: Vec<u64>,
}

impl Trees {
    fn forest(&self) -> Forest<'_> {
        Forest {
            version: self.version,
            feature: &[0, -1, 2, -1, -1, -1],
            threshold: &[0.5, 10.0, 0.0, 20.0, 30.0, -1.25],
            left: &[1, 1, 3, 3, 4, 5],
            right: &[2, 1, 4, 3, 4, 5],
            missing_left: &[1, 0, 0, 0, 0, 0],
            set_start: &[0; 6],
            set_codes: &[0, 0, 70, 0, 0, 0],
            words: &self.words,
            roots: &[0, 5],
            outputs: &[0, 1],
            base_scores: &[0.125, 2.0],
        }
    }
}

#[test]
fn forests_score_as_on_the_cpu() {
    let driver = Driver::new("");
    let device = CudaDevice::open(0).unwrap();
    let trees = Trees {
        version: Version::new(),
        // Codes 1 and 65 go left.
        words: vec![1 << 1, 1 << 1],
    };
    let specials = [
        0.5,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.500_001,
        -0.0,
    ];
    for n_rows in [0, 1, 6, 127, 128, 129, 300] {
        let f64s: Vec<f64> = (0..2 * n_rows).map(|at| specials[at % 6]).collect();
        let f32s: Vec<f32> = f64s.iter().map(|&x| x as f32).collect();
        let codes = vec![(0..n_rows as u32).map(|row| row % 90).collect::<Vec<_>>()];
        for elements in [Elements::F32(&f32s), Elements::F64(&f64s)] {
            let design = Design {
                rows: None,
                dense: MatrixView {
                    n_rows,
                    n_cols: 2,
                    elements,
                },
                shift: &[0.0; 2],
                scale: &[1.0; 2],
                codes: &codes,
                widths: &[0],
            };
            let run = |device: &dyn Device| device.forest(&design, &trees.forest()).unwrap();
            assert_same_bits(&run(device.as_ref()), &run(&CpuDevice), "scores");
            let mut forest = trees.forest();
            (forest.roots, forest.outputs) = (&[], &[]);
            forest.version = Version::new();
            let scores = device.forest(&design, &forest).unwrap();
            assert_eq!(scores, [0.125, 2.0].repeat(n_rows), "no tree");
        }
    }
    // The ensemble stays; only rows and their scores move.
    driver.configure("");
    let values = [0.0f32; 2];
    let design = Design {
        rows: None,
        dense: MatrixView {
            n_rows: 1,
            n_cols: 2,
            elements: Elements::F32(&values),
        },
        shift: &[0.0; 2],
        scale: &[1.0; 2],
        codes: &[vec![65]],
        widths: &[0],
    };
    assert_eq!(
        device.forest(&design, &trees.forest()).unwrap(),
        [10.125, 0.75]
    );
    assert!(driver.counters().uploaded_bytes < 100);
    let mut wrong = trees.forest();
    wrong.left = &[9, 1, 3, 3, 4, 5];
    assert!(device.forest(&design, &wrong).is_err());
    drop(device);
    assert_eq!(driver.report(), "");
}
