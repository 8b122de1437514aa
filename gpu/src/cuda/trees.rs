//! Decision trees: sums by bin, rows parted by splits, scores of ensembles.
//!
//! Whole numbers and walks: everything is the CPU's to the bit. A chunk's bins stay on the device for a run, its
//! pairs for an iteration, and its order of rows as long as only this device changes it.

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::layout::{self, Needs, count, each};
use super::residents::{Buffer, Key, Role, Stamp};
use super::session::{Argument, Failure, Lane, Session, Shape};
use crate::device::{Design, RowsId};
use crate::error::Result;
use crate::trees::{
    BINS, Bins, Forest, PairValues, Pairs, Parted, RowOrder, RowSets, RowSplit, Version,
};

/// Columns of a block's histogram; as in `trees.cu`.
const COLUMNS: usize = 8;
/// Rows of a block's histogram: enough to hide what a block costs, few enough for many blocks.
const ROWS_OF_BLOCK: usize = 4096;
const THREADS: u32 = 128;
/// Threads of a block that parts rows, and its rows; as in `trees.cu`.
const SPLITTERS: u32 = 256;
const TILE_ROWS: usize = 2048;
/// Most blocks along the second and third axis of a grid.
const MAX_BLOCKS: usize = 65_535;

/// `RowSets` of `trees.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct SetsArgument {
    order: u64,
    start: u64,
    length: u64,
}

// SAFETY: plain numbers in the layout of C, as the kernels declare them.
unsafe impl DeviceRepr for SetsArgument {}

/// `Splits` of `trees.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct SplitsArgument {
    column: u64,
    left_bins: u64,
}

// SAFETY: as above.
unsafe impl DeviceRepr for SplitsArgument {}

/// `Forest` of `trees.cu`: the addresses of its arrays, in their order.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct ForestArgument {
    arrays: [u64; 11],
    n_trees: u32,
    n_outputs: u32,
}

// SAFETY: as above.
unsafe impl DeviceRepr for ForestArgument {}

/// Some sets of an order, on the device.
struct Sets {
    starts: Buffer<u32>,
    lengths: Buffer<u32>,
    longest: usize,
}

impl Sets {
    fn new<'a>(
        session: &Session,
        sets: impl Iterator<Item = &'a Range<usize>> + Clone,
    ) -> std::result::Result<Sets, Failure> {
        // An order has at most 65,536 rows.
        let starts: Vec<u32> = sets.clone().map(|set| set.start as u32).collect();
        let lengths: Vec<u32> = sets.clone().map(|set| set.len() as u32).collect();
        Ok(Sets {
            starts: session.upload(Lane::First, &starts)?,
            lengths: session.upload(Lane::First, &lengths)?,
            longest: sets.map(|set| set.len()).max().unwrap_or(0),
        })
    }

    fn argument(&self, session: &Session, order: &Buffer<u16>) -> Argument {
        let lane = Lane::First;
        Argument::Sets(SetsArgument {
            order: session.raw_address(lane, order),
            start: session.raw_address(lane, &self.starts),
            length: session.raw_address(lane, &self.lengths),
        })
    }
}

/// Something of the rows that is kept under its version.
fn held<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync + 'static>(
    session: &Session,
    (rows, role): (Option<RowsId>, Role),
    version: Version,
    values: &[T],
) -> std::result::Result<Arc<Buffer<T>>, Failure> {
    let key = rows.map(|rows| Key::Rows(rows, role));
    session.held(key, || stamp(version), values)
}

fn stamp(version: Version) -> Stamp {
    [version.number(), 0]
}

/// See [`crate::Device::histogram`].
pub(super) fn histogram(
    session: &Session,
    bins: &Bins<'_>,
    pairs: &Pairs<'_>,
    sets: &RowSets<'_>,
    columns: &[u32],
) -> std::result::Result<Vec<[i64; 2]>, Failure> {
    let cells_of_set = columns.len() * BINS;
    let mut sums = Vec::with_capacity(sets.sets.len() * cells_of_set);
    if sets.sets.is_empty() || columns.is_empty() {
        return Ok(sums);
    }
    let lane = Lane::First;
    let rows = bins.rows;
    let on_device = held(session, (rows, Role::Bins), bins.version, bins.values)?;
    let order = sets.order;
    let order = held(session, (rows, Role::Order), order.version, order.values)?;
    let of_pairs = (rows, Role::Pairs);
    let (narrow, wide);
    let (kernel, pairs_address) = match pairs.values {
        PairValues::Narrow(values) => {
            narrow = held(session, of_pairs, pairs.version, values)?;
            ("histogram_narrow", session.address(lane, &narrow))
        }
        PairValues::Wide(values) => {
            wide = held(session, of_pairs, pairs.version, values)?;
            ("histogram_wide", session.address(lane, &wide))
        }
    };
    let columns_on_device = session.upload(lane, columns)?;
    // As many sets at a time as half of the room takes.
    let most_sets = session.room_bytes()? / 2 / (cells_of_set * size_of::<[i64; 2]>());
    if most_sets == 0 {
        return Err(Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY));
    }
    for some in sets.sets.chunks(most_sets.min(MAX_BLOCKS)) {
        let on_sets = Sets::new(session, some.iter())?;
        let mut found = vec![0i64; some.len() * cells_of_set * 2];
        let cells = session.zeros::<i64>(lane, found.len())?;
        let arguments = [
            session.address(lane, &on_device),
            pairs_address,
            on_sets.argument(session, &order),
            session.address(lane, &columns_on_device),
            Argument::Count(count(bins.n_columns)?),
            Argument::Count(count(columns.len())?),
            Argument::Count(ROWS_OF_BLOCK as u32),
            session.address(lane, &cells),
        ];
        let n_blocks = on_sets.longest.div_ceil(ROWS_OF_BLOCK).max(1);
        let n_groups = columns.len().div_ceil(COLUMNS);
        if n_groups > MAX_BLOCKS {
            return Err(Failure::Declined("there are more than 524280 columns"));
        }
        let shape = Shape {
            grid: (n_blocks, n_groups, some.len()),
            block: (THREADS, 1),
            shared_bytes: 0,
        };
        session.launch(lane, kernel, shape, &arguments)?;
        session.download(lane, &cells, &mut found)?;
        sums.extend_from_slice(found.as_chunks::<2>().0);
    }
    Ok(sums)
}

/// See [`crate::Device::partition`].
pub(super) fn partition(
    session: &Session,
    bins: &Bins<'_>,
    order: &RowOrder<'_>,
    splits: &[RowSplit],
    next: Version,
) -> std::result::Result<Parted, Failure> {
    let mut parted = Parted {
        order: order.values.to_vec(),
        n_left: Vec::with_capacity(splits.len()),
    };
    let lane = Lane::First;
    let on_device = held(session, (bins.rows, Role::Bins), bins.version, bins.values)?;
    let rows = held(
        session,
        (bins.rows, Role::Order),
        order.version,
        order.values,
    )?;
    for some in splits.chunks(MAX_BLOCKS) {
        let sets = Sets::new(session, some.iter().map(|split| &split.rows))?;
        let columns: Vec<u32> = some.iter().map(|split| split.column).collect();
        let left_bins: Vec<u64> = some.iter().flat_map(|split| split.left_bins).collect();
        let columns = session.upload(lane, &columns)?;
        let left_bins = session.upload(lane, &left_bins)?;
        let splits = Argument::Splits(SplitsArgument {
            column: session.raw_address(lane, &columns),
            left_bins: session.raw_address(lane, &left_bins),
        });
        let n_tiles = sets.longest.div_ceil(TILE_ROWS).max(1);
        let counts = session.room::<u32>(lane, n_tiles * some.len())?;
        let beside = session.room::<u16>(lane, order.values.len())?;
        let bins_and_sets = [
            session.address(lane, &on_device),
            Argument::Count(count(bins.n_columns)?),
            sets.argument(session, &rows),
            splits,
            session.address(lane, &counts),
        ];
        let shape = Shape {
            grid: (n_tiles, some.len(), 1),
            block: (SPLITTERS, 1),
            shared_bytes: 0,
        };
        session.launch(lane, "count_left", shape, &bins_and_sets)?;
        let [a, b, c, d, e] = bins_and_sets;
        let arguments = [a, b, c, d, e, session.address(lane, &beside)];
        session.launch(lane, "part_rows", shape, &arguments)?;
        let arguments = [
            sets.argument(session, &beside),
            session.address(lane, &rows),
        ];
        let shape = each(sets.longest.max(1), some.len());
        session.launch(lane, "store_rows", shape, &arguments)?;
        let mut of_tiles = vec![0u32; n_tiles * some.len()];
        session.download(lane, &counts, &mut of_tiles)?;
        let of_split = of_tiles.chunks_exact(n_tiles);
        parted
            .n_left
            .extend(of_split.map(|counts| counts.iter().sum::<u32>() as usize));
    }
    session.download(lane, &rows, &mut parted.order)?;
    // The rows on the device are those of the next version now, under whatever name they are kept.
    if let Some(id) = bins.rows {
        let key = Key::Rows(id, Role::Order);
        if session.has(key) {
            session.keep(key, stamp(next), &rows);
        }
    }
    Ok(parted)
}

/// The arrays of an ensemble on the device.
struct OnDevice {
    numbers: [Arc<Buffer<u32>>; 7],
    feature: Arc<Buffer<i32>>,
    threshold: Arc<Buffer<f64>>,
    base_scores: Arc<Buffer<f64>>,
    words: Arc<Buffer<u64>>,
}

impl OnDevice {
    fn new(session: &Session, forest: &Forest<'_>) -> std::result::Result<OnDevice, Failure> {
        let key = |place| Some(Key::Forest(forest.version.number(), place));
        let numbers = |place: usize, values: &[u32]| {
            session.held(key(place), || stamp(forest.version), values)
        };
        let doubles = |place: usize, values: &[f64]| {
            session.held(key(place), || stamp(forest.version), values)
        };
        Ok(OnDevice {
            numbers: [
                numbers(0, forest.left)?,
                numbers(1, forest.right)?,
                numbers(2, forest.missing_left)?,
                numbers(3, forest.set_start)?,
                numbers(4, forest.set_codes)?,
                numbers(5, forest.roots)?,
                numbers(6, forest.outputs)?,
            ],
            feature: session.held(key(7), || stamp(forest.version), forest.feature)?,
            threshold: doubles(8, forest.threshold)?,
            base_scores: doubles(9, forest.base_scores)?,
            words: session.held(key(10), || stamp(forest.version), forest.words)?,
        })
    }

    fn argument(
        &self,
        session: &Session,
        lane: Lane,
        forest: &Forest<'_>,
    ) -> std::result::Result<Argument, Failure> {
        let numbers = |at: usize| session.raw_address(lane, &self.numbers[at]);
        Ok(Argument::Forest(ForestArgument {
            arrays: [
                session.raw_address(lane, &self.feature),
                session.raw_address(lane, &self.threshold),
                numbers(0),
                numbers(1),
                numbers(2),
                numbers(3),
                numbers(4),
                session.raw_address(lane, &self.words),
                numbers(5),
                numbers(6),
                session.raw_address(lane, &self.base_scores),
            ],
            n_trees: count(forest.roots.len())?,
            n_outputs: count(forest.base_scores.len())?,
        }))
    }
}

/// See [`crate::Device::forest`].
pub(super) fn forest(
    session: &Session,
    design: &Design<'_>,
    forest: &Forest<'_>,
) -> std::result::Result<Vec<f64>, Failure> {
    let n_outputs = forest.base_scores.len();
    let mut scores = vec![0.0; design.dense.n_rows * n_outputs];
    if scores.is_empty() {
        return Ok(scores);
    }
    let on_device = OnDevice::new(session, forest)?;
    let needs = Needs {
        row_bytes: 8 * n_outputs,
        chunk_bytes: 0,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let lane = segment.lane;
        let found = session.room(lane, segment.n_rows() * n_outputs)?;
        let arguments = [
            segment.design(),
            on_device.argument(session, lane, forest)?,
            session.address(lane, &found),
        ];
        let kernel = segment.kernel("forest_f32", "forest_f64");
        session.launch(lane, kernel, each(segment.n_rows(), 1), &arguments)?;
        let into = segment.rows.start * n_outputs..segment.rows.end * n_outputs;
        session.download(lane, &found, &mut scores[into])
    })?;
    Ok(scores)
}

/// Checks an ensemble and the rows that it is for.
pub(super) fn check_forest(design: &Design<'_>, forest: &Forest<'_>) -> Result<()> {
    crate::trees::check_forest(forest, design.dense.n_cols + design.codes.len())
}
