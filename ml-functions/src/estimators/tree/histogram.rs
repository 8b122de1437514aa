//! Histograms: the sums of gradients and hessians over the rows of a node, per column and bin.
//!
//! In: rows of bins and quantised pairs; out: whole-number sums, hence the same in any order. A 16-bit
//! pair is one 64-bit word with the gradient in the high half, so that a cell costs one addition.
//! Never sees scores or splits.

use super::bundling::Bundles;
use super::chunk::{MAX_ROWS, Pairs};
use super::sums_form;
use crate::error::Error;

/// Cells of a column while rows are added: a byte indexes them without a check.
pub(super) const CELLS: usize = 256;

/// Rows whose pairs and offsets are gathered at a time.
const GATHER: usize = 256;

/// Sums of quantised gradients and hessians.
pub(crate) type Sums = [i64; 2];

/// A row's quantised pair, and the cell that it is added to.
pub(crate) trait Pair: Copy {
    /// What rows are added to.
    type Cell: Copy + Default + PartialEq;
    /// The pair as a cell.
    fn cell(self) -> Self::Cell;
    /// Adds a cell.
    fn add(into: &mut Self::Cell, cell: Self::Cell);
    /// The sums of a cell.
    fn sums(cell: Self::Cell) -> Sums;
}

impl Pair for u32 {
    /// Gradient sums in the high half, hessian sums in the low half.
    type Cell = u64;

    #[inline(always)]
    fn cell(self) -> u64 {
        let gradient = i64::from(self as i32 >> 16);
        ((gradient << 32) as u64) | u64::from(self & 0xffff)
    }

    #[inline(always)]
    fn add(into: &mut u64, cell: u64) {
        *into = into.wrapping_add(cell);
    }

    #[inline(always)]
    fn sums(cell: u64) -> Sums {
        unpack(cell)
    }
}

impl Pair for u64 {
    type Cell = Sums;

    #[inline(always)]
    fn cell(self) -> Sums {
        [i64::from((self >> 32) as i32), i64::from(self as u32)]
    }

    #[inline(always)]
    fn add(into: &mut Sums, cell: Sums) {
        into[0] += cell[0];
        into[1] += cell[1];
    }

    #[inline(always)]
    fn sums(cell: Sums) -> Sums {
        cell
    }
}

/// The sums of both halves of a narrow cell.
#[inline(always)]
pub(crate) fn unpack(cell: u64) -> Sums {
    [(cell as i64) >> 32, i64::from(cell as u32)]
}

/// Runs of neighbouring columns that rows are added to: first column and width 8, 4, 2 or 1.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct ColumnRuns {
    runs: Vec<(u32, u8)>,
}

impl ColumnRuns {
    /// The runs of ascending columns.
    pub(crate) fn new(columns: &[u32]) -> ColumnRuns {
        let mut runs = Vec::new();
        let mut at = 0;
        while at < columns.len() {
            let n_neighbours = columns[at..]
                .iter()
                .zip(columns[at]..)
                .take_while(|&(&a, b)| a == b)
                .count();
            // The greatest power of two up to 8.
            let width = 1 << n_neighbours.min(8).ilog2();
            runs.push((columns[at], width as u8));
            at += width;
        }
        ColumnRuns { runs }
    }

    /// The columns, ascending.
    pub(crate) fn columns(&self) -> Vec<u32> {
        let of_run = |&(first, width): &(u32, u8)| first..first + u32::from(width);
        self.runs.iter().flat_map(of_run).collect()
    }
}

/// Some rows of a chunk, and what a histogram needs of them.
#[derive(Clone, Copy)]
pub(crate) struct NodeRows<'a> {
    /// The rows of the node.
    pub(crate) rows: &'a [u16],
    /// The bins of the chunk, row-major.
    pub(crate) bins: &'a [u8],
    /// Number of columns.
    pub(crate) n_columns: usize,
}

/// The sums of a node while chunks are added to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct NodeSums {
    /// [`CELLS`] cells a column, of at most 65,536 rows: their halves cannot overflow.
    narrow: Vec<u64>,
    /// Rows in `narrow`.
    n_narrow: usize,
    /// What `narrow` held before, and wide pairs.
    wide: Vec<Sums>,
}

impl NodeSums {
    /// Adds some rows of a chunk with their pairs.
    pub(crate) fn add(&mut self, rows: NodeRows<'_>, runs: &ColumnRuns, pairs: PairsOf<'_>) {
        let n_cells = rows.n_columns * CELLS;
        match pairs {
            PairsOf::Narrow(pairs) => {
                if self.n_narrow + rows.rows.len() > MAX_ROWS {
                    self.widen();
                }
                self.n_narrow += rows.rows.len();
                self.narrow.resize(n_cells, 0);
                add_rows(rows, runs, pairs, &mut self.narrow);
            }
            PairsOf::Wide(pairs) => {
                self.wide.resize(n_cells, [0; 2]);
                add_rows(rows, runs, pairs, &mut self.wide);
            }
        }
    }

    /// Adds the sums of some columns, a column's cells side by side.
    pub(crate) fn add_cells_of(&mut self, n_columns: usize, columns: &[u32], cells: &[Sums]) {
        self.wide.resize(n_columns * CELLS, [0; 2]);
        for (&column, cells) in columns.iter().zip(cells.chunks_exact(CELLS)) {
            let into = &mut self.wide[column as usize * CELLS..][..CELLS];
            for (into, &cell) in into.iter_mut().zip(cells) {
                u64::add(into, cell);
            }
        }
    }

    /// Moves the narrow sums to the wide ones.
    fn widen(&mut self) {
        if self.narrow.is_empty() {
            return;
        }
        self.wide.resize(self.narrow.len(), [0; 2]);
        for (wide, narrow) in self.wide.iter_mut().zip(&mut self.narrow) {
            u64::add(wide, unpack(*narrow));
            *narrow = 0;
        }
        self.n_narrow = 0;
    }

    /// Adds these sums to a histogram.
    fn add_to(&self, cells: &mut [Sums], layout: &HistogramLayout, bundles: Option<&Bundles>) {
        let totals: Vec<Sums> = match bundles {
            None => Vec::new(),
            Some(_) => (0..self.n_bytes()).map(|byte| self.total(byte)).collect(),
        };
        for (column, range) in layout.starts.windows(2).enumerate() {
            let cells = &mut cells[range[0]..range[1]];
            match bundles.map(|bundles| bundles.place(column)) {
                None => self.add_cells(column * CELLS, cells),
                Some((byte, None)) => self.add_cells(byte * CELLS, cells),
                Some((byte, Some((first, usual)))) => {
                    // The usual bin has all rows that no other bin has.
                    let (before, after) = cells.split_at_mut(usual);
                    let [usual_cell, after @ ..] = after else {
                        continue;
                    };
                    let others =
                        |cells: &[Sums]| cells.iter().fold([0; 2], |sum, &cell| plus(sum, cell));
                    let earlier = plus(others(before), others(after));
                    self.add_cells(byte * CELLS + first, before);
                    self.add_cells(byte * CELLS + first + usual, after);
                    let all = plus(others(before), others(after));
                    let total = totals.get(byte).copied().unwrap_or_default();
                    for of in 0..2 {
                        usual_cell[of] += total[of] - (all[of] - earlier[of]);
                    }
                }
            }
        }
    }

    /// Bytes of a row that have cells.
    fn n_bytes(&self) -> usize {
        self.narrow.len().max(self.wide.len()) / CELLS
    }

    /// Adds as many of the sums from a cell on.
    fn add_cells(&self, first: usize, cells: &mut [Sums]) {
        let at = first..first + cells.len();
        if let Some(narrow) = self.narrow.get(at.clone()) {
            for (into, &cell) in cells.iter_mut().zip(narrow) {
                u64::add(into, unpack(cell));
            }
        }
        if let Some(wide) = self.wide.get(at) {
            for (into, &cell) in cells.iter_mut().zip(wide) {
                u64::add(into, cell);
            }
        }
    }

    /// The sums of all values of a byte.
    fn total(&self, byte: usize) -> Sums {
        let mut cells = [[0; 2]; CELLS];
        self.add_cells(byte * CELLS, &mut cells);
        cells.iter().fold([0; 2], |sum, &cell| plus(sum, cell))
    }
}

/// The sums of a node as threads bring them: they are added when the histogram is made, where all
/// threads can share that work. On the way to another machine they are one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SumsOfThreads {
    /// At least one.
    of_thread: Vec<NodeSums>,
}

impl SumsOfThreads {
    /// The sums of one thread, to add rows to.
    pub(crate) fn own(&mut self) -> &mut NodeSums {
        if self.of_thread.is_empty() {
            self.of_thread.push(NodeSums::default());
        }
        &mut self.of_thread[0]
    }

    /// Takes over the sums of others.
    pub(crate) fn merge(&mut self, other: SumsOfThreads) {
        self.of_thread.extend(other.of_thread);
    }

    /// The sums column after column, without the cells beyond each column's missing bin.
    pub(crate) fn histogram(
        &self,
        layout: &HistogramLayout,
        bundles: Option<&Bundles>,
    ) -> Histogram {
        let mut cells = vec![[0; 2]; layout.n_cells()];
        for sums in &self.of_thread {
            sums.add_to(&mut cells, layout, bundles);
        }
        Histogram { cells }
    }
}

impl serde::Serialize for SumsOfThreads {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let n_bytes = self.of_thread.iter().map(NodeSums::n_bytes).max();
        let form = sums_form::encoded(n_bytes.unwrap_or(0), |byte, cells| {
            for sums in &self.of_thread {
                sums.add_cells(byte * CELLS, cells);
            }
        });
        serializer.serialize_bytes(&form)
    }
}

impl<'de> serde::Deserialize<'de> for SumsOfThreads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let damaged = || <D::Error as serde::de::Error>::custom("the sums of a node are damaged");
        let form = <&'de [u8]>::deserialize(deserializer)?;
        let sums = NodeSums {
            wide: sums_form::decoded(form).ok_or_else(damaged)?,
            ..NodeSums::default()
        };
        Ok(SumsOfThreads {
            of_thread: vec![sums],
        })
    }
}

/// The pairs of one output of a chunk.
#[derive(Clone, Copy)]
pub(crate) enum PairsOf<'a> {
    /// See [`Pairs::Narrow`].
    Narrow(&'a [u32]),
    /// See [`Pairs::Wide`].
    Wide(&'a [u64]),
}

impl Pairs {
    /// The pairs of one output.
    pub(crate) fn of(&self, output: usize, n_rows: usize) -> Result<PairsOf<'_>, Error> {
        let at = output * n_rows..(output + 1) * n_rows;
        let pairs = match self {
            Pairs::Narrow(pairs) => pairs.get(at).map(PairsOf::Narrow),
            Pairs::Wide(pairs) => pairs.get(at).map(PairsOf::Wide),
        };
        pairs.ok_or_else(|| Error::Internal {
            what: "a tree begins before its gradients".to_string(),
        })
    }
}

/// Adds rows to cells, block by block, so that a block's bins are in the first cache for every run of
/// columns, and a run's cells are for every row.
fn add_rows<P: Pair>(rows: NodeRows<'_>, runs: &ColumnRuns, pairs: &[P], cells: &mut [P::Cell]) {
    let (columns, _) = cells.as_chunks_mut::<CELLS>();
    let mut offsets = [0usize; GATHER];
    let mut gathered = [P::Cell::default(); GATHER];
    for block in rows.rows.chunks(GATHER) {
        let mut touched = 0;
        for ((&row, offset), cell) in block.iter().zip(&mut offsets).zip(&mut gathered) {
            *offset = row as usize * rows.n_columns;
            *cell = pairs[row as usize].cell();
            // A row's first and last byte: this loop is so short that the processor waits for the
            // cache lines of many rows at once, where the long one below would wait for each.
            touched ^= rows.bins[*offset] ^ rows.bins[*offset + rows.n_columns - 1];
        }
        std::hint::black_box(touched);
        let (offsets, gathered) = (&offsets[..block.len()], &gathered[..block.len()]);
        for &(first, width) in &runs.runs {
            let first = first as usize;
            let columns = &mut columns[first..];
            match width {
                8 => add_run::<P, 8>(rows.bins, first, offsets, gathered, columns),
                4 => add_run::<P, 4>(rows.bins, first, offsets, gathered, columns),
                2 => add_run::<P, 2>(rows.bins, first, offsets, gathered, columns),
                _ => add_run::<P, 1>(rows.bins, first, offsets, gathered, columns),
            }
        }
    }
}

/// The inner loop: adds each row's cell to the cell of its bin in `WIDTH` neighbouring columns.
#[inline(always)]
fn add_run<P: Pair, const WIDTH: usize>(
    bins: &[u8],
    first: usize,
    offsets: &[usize],
    gathered: &[P::Cell],
    columns: &mut [[P::Cell; CELLS]],
) {
    let Some(columns) = columns.first_chunk_mut::<WIDTH>() else {
        return;
    };
    for (&offset, &cell) in offsets.iter().zip(gathered) {
        let Some(bins) = bins
            .get(offset + first..)
            .and_then(|bins| bins.first_chunk::<WIDTH>())
        else {
            return;
        };
        for (column, &bin) in columns.iter_mut().zip(bins) {
            P::add(&mut column[bin as usize], cell);
        }
    }
}

fn plus(a: Sums, b: Sums) -> Sums {
    [a[0] + b[0], a[1] + b[1]]
}

/// Where each column's cells are in a [`Histogram`].
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct HistogramLayout {
    /// The first cell of each column and, last, the number of cells.
    starts: Vec<usize>,
}

impl HistogramLayout {
    /// A cell for each bin of each column, and one for its missing values.
    pub(crate) fn new(n_bins: impl Iterator<Item = usize>) -> HistogramLayout {
        let mut starts = vec![0];
        let mut end = 0;
        for n_bins in n_bins {
            end += n_bins + 1;
            starts.push(end);
        }
        HistogramLayout { starts }
    }

    /// Number of bins of a column without that of missing values.
    pub(crate) fn n_bins(&self, column: usize) -> usize {
        self.starts[column + 1] - self.starts[column] - 1
    }

    fn n_cells(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Size of a histogram in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.n_cells() * size_of::<Sums>()
    }
}

/// The sums of a node, complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Histogram {
    cells: Vec<Sums>,
}

impl Histogram {
    /// The sums of a column's bins and, last, of its missing values.
    pub(crate) fn column(&self, layout: &HistogramLayout, column: usize) -> &[Sums] {
        &self.cells[layout.starts[column]..layout.starts[column + 1]]
    }

    /// Turns a parent's histogram into that of one child, given the other's.
    pub(crate) fn subtract(&mut self, child: &Histogram) {
        for (into, cell) in self.cells.iter_mut().zip(&child.cells) {
            into[0] -= cell[0];
            into[1] -= cell[1];
        }
    }
}
