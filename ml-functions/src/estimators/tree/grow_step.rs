//! The pass that grows a tree: rows follow their splits, and the nodes that come next are summed.
//!
//! In: splits, the nodes to build histograms of, and those small enough to be brought together as rows;
//! out: their sums or rows, and how many rows went left. Decides nothing: that is [`super::grow`]'s.

use auspex_gpu::{Device, Version};

use super::chunk::{Pairs, TreeChunk, section};
use super::device_step;
use super::histogram::{
    ColumnRuns, NodeRows, NodeSums, Pair, PairsOf, Sums, SumsOfThreads, unpack,
};
use super::prefetch::prefetch;
use super::random;
use super::split::BinSet;
use crate::error::{Error, Result};
use crate::training_set::{Access, PieceId, SectionSet, StateStep};

/// A split that chunks have not followed yet.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PendingSplit {
    /// The node.
    pub(crate) node: u32,
    /// Its left child.
    pub(crate) left: u32,
    /// Its right child.
    pub(crate) right: u32,
    /// The column.
    pub(crate) column: u32,
    /// The bins that go left.
    pub(crate) left_bins: BinSet,
    /// Whether to sum the left and the right child.
    pub(crate) build: [bool; 2],
}

/// How a tree begins: with which rows.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BeginTree {
    /// Fraction of the rows.
    pub(crate) subsample: f64,
    /// What the draws are for: hash of seed and tree.
    pub(crate) key: u64,
    /// Whether to make the root's histogram.
    pub(crate) build: bool,
}

/// The rows of a node, from one thread.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GatheredRows {
    /// Row-major.
    #[serde(with = "serde_bytes")]
    pub(crate) bins: Vec<u8>,
    /// Of the tree's output.
    pub(crate) pairs: Pairs,
}

impl GatheredRows {
    /// No row.
    pub(crate) fn none() -> GatheredRows {
        GatheredRows {
            bins: Vec::new(),
            pairs: Pairs::Narrow(Vec::new()),
        }
    }

    /// Size in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pairs = match &self.pairs {
            Pairs::Narrow(pairs) => size_of_val(pairs.as_slice()),
            Pairs::Wide(pairs) => size_of_val(pairs.as_slice()),
        };
        self.bins.len() + pairs
    }

    /// Adds rows of a chunk.
    fn extend(&mut self, rows: &[u16], state: &TreeChunk, pairs: PairsOf<'_>) {
        for &row in rows {
            self.bins.extend_from_slice(state.row(row as usize));
        }
        match pairs {
            PairsOf::Narrow(pairs) => match &mut self.pairs {
                Pairs::Narrow(into) => into.extend(rows.iter().map(|&row| pairs[row as usize])),
                Pairs::Wide(_) => {}
            },
            PairsOf::Wide(pairs) => {
                if let Pairs::Narrow(_) = self.pairs {
                    self.pairs = Pairs::Wide(Vec::new());
                }
                if let Pairs::Wide(into) = &mut self.pairs {
                    into.extend(rows.iter().map(|&row| pairs[row as usize]));
                }
            }
        }
    }

    /// The rows that go to one side.
    pub(crate) fn filtered(
        &self,
        goes_left: &[bool],
        n_columns: usize,
        left: bool,
    ) -> GatheredRows {
        let wanted = || goes_left.iter().map(|&goes_left| goes_left == left);
        let rows = self.bins.chunks_exact(n_columns).zip(wanted());
        fn pick<T: Copy>(pairs: &[T], wanted: impl Iterator<Item = bool>) -> Vec<T> {
            let pairs = pairs.iter().zip(wanted);
            pairs
                .filter(|(_, wanted)| *wanted)
                .map(|(&pair, _)| pair)
                .collect()
        }
        GatheredRows {
            bins: rows
                .filter(|(_, wanted)| *wanted)
                .flat_map(|(row, _)| row)
                .copied()
                .collect(),
            pairs: match &self.pairs {
                Pairs::Narrow(pairs) => Pairs::Narrow(pick(pairs, wanted())),
                Pairs::Wide(pairs) => Pairs::Wide(pick(pairs, wanted())),
            },
        }
    }

    /// Adds the rows of another thread; all rows of a tree have pairs of one width.
    pub(crate) fn append(&mut self, other: GatheredRows) {
        if self.bins.is_empty() {
            *self = other;
            return;
        }
        self.bins.extend(other.bins);
        match (&mut self.pairs, other.pairs) {
            (Pairs::Narrow(into), Pairs::Narrow(more)) => into.extend(more),
            (Pairs::Wide(into), Pairs::Wide(more)) => into.extend(more),
            _ => {}
        }
    }
}

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GrowStep {
    /// The output whose gradients count.
    pub(crate) output: usize,
    /// Whether the rows are to be sampled first, all into node 0, and summed.
    pub(crate) begin: Option<BeginTree>,
    /// Splits to follow, in order.
    pub(crate) splits: Vec<PendingSplit>,
    /// Nodes whose rows to bring together.
    pub(crate) gathers: Vec<u32>,
    /// The columns to sum.
    pub(crate) runs: ColumnRuns,
}

/// What the pass yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct GrowPartial {
    /// Rows in the sample, if the tree begins.
    pub(crate) n_rows: u64,
    /// Their sums.
    pub(crate) total: Sums,
    /// Rows that went left, per split.
    pub(crate) left_rows: Vec<u64>,
    /// Sums of the root, if asked for, and of the children to sum, in the order of the splits.
    pub(crate) sums: Vec<SumsOfThreads>,
    /// The rows of each gathered node, as the threads bring them.
    pub(crate) gathered: Vec<Vec<GatheredRows>>,
    /// Room for the rows that go right.
    #[serde(skip)]
    pub(crate) scratch: Vec<u16>,
}

impl StateStep for GrowStep {
    type State = TreeChunk;
    type Partial = GrowPartial;
    const NAME: &'static str = "tree.grow";

    fn partial(&self) -> GrowPartial {
        let children = self.splits.iter().flat_map(|split| split.build);
        let of_root = usize::from(self.begin.as_ref().is_some_and(|begin| begin.build));
        let n_sums = of_root + children.filter(|&build| build).count();
        GrowPartial {
            left_rows: vec![0; self.splits.len()],
            sums: vec![SumsOfThreads::default(); n_sums],
            gathered: vec![vec![GatheredRows::none()]; self.gathers.len()],
            ..GrowPartial::default()
        }
    }

    fn access(&self) -> Access {
        Access {
            reads: SectionSet::of(&[section::BINS, section::PAIRS]),
            writes: SectionSet::of(&[section::ORDER]),
        }
    }

    fn run(&self, piece: PieceId, state: &mut TreeChunk, into: &mut GrowPartial) -> Result<()> {
        if let Some(begin) = &self.begin {
            begin_tree(begin, piece, state, self.output, into)?;
        }
        let mut sums = into.sums.iter_mut().map(SumsOfThreads::own);
        if self.begin.as_ref().is_some_and(|begin| begin.build) {
            self.sum(state, 0, sums.next())?;
        }
        for (split, left_rows) in self.splits.iter().zip(&mut into.left_rows) {
            *left_rows += follow_split(split, state, &mut into.scratch)? as u64;
            // At once, while the bins that the split has read are in the cache.
            for (child, _) in [split.left, split.right]
                .into_iter()
                .zip(split.build)
                .filter(|c| c.1)
            {
                self.sum(state, child, sums.next())?;
            }
        }
        gather(self, state, into)
    }

    fn run_on(
        &self,
        device: &dyn Device,
        piece: PieceId,
        state: &mut TreeChunk,
        into: &mut GrowPartial,
    ) -> Result<()> {
        device_step::run(self, device, piece, state, into)
    }

    fn merge(&self, into: &mut GrowPartial, other: GrowPartial) -> Result<()> {
        into.n_rows += other.n_rows;
        into.total = [
            into.total[0] + other.total[0],
            into.total[1] + other.total[1],
        ];
        for (rows, more) in into.left_rows.iter_mut().zip(other.left_rows) {
            *rows += more;
        }
        for (sums, more) in into.sums.iter_mut().zip(other.sums) {
            sums.merge(more);
        }
        for (rows, more) in into.gathered.iter_mut().zip(other.gathered) {
            rows.extend(more);
        }
        Ok(())
    }
}

impl GrowStep {
    /// Adds a node's rows of a chunk to its sums.
    fn sum(&self, state: &TreeChunk, node: u32, sums: Option<&mut NodeSums>) -> Result<()> {
        let (start, n_rows) = segment(state, node)?;
        let sums = sums.ok_or_else(|| Error::Internal {
            what: "a partial of another step".to_string(),
        })?;
        let rows = NodeRows {
            rows: &state.order[start..start + n_rows],
            bins: &state.bins,
            n_columns: state.n_columns,
        };
        if n_rows > 0 && state.n_columns > 0 {
            sums.add(rows, &self.runs, state.pairs.of(self.output, state.n_rows)?);
        }
        Ok(())
    }
}

/// Draws the rows of a new tree and adds up their pairs.
pub(super) fn begin_tree(
    begin: &BeginTree,
    piece: PieceId,
    state: &mut TreeChunk,
    output: usize,
    into: &mut GrowPartial,
) -> Result<()> {
    let key = random::hash(&[begin.key, piece.chunk]);
    let chosen = random::threshold(begin.subsample);
    let hash = |row: u16| crate::random::hash_word(key ^ (piece.first_row as u64 + u64::from(row)));
    state.order.clear();
    // A piece has at most 65,536 rows, so that the last one's number is 65,535.
    let rows = (0..state.n_rows).map(|row| row as u16);
    match chosen {
        None => state.order.extend(rows),
        Some(below) => {
            state.order.extend(rows.filter(|&row| hash(row) < below));
        }
    }
    state.versions.order = Version::new();
    state.segments.clear();
    state.segments.push((0, state.order.len() as u32));
    let total = total(&state.order, state.pairs.of(output, state.n_rows)?);
    into.total = [into.total[0] + total[0], into.total[1] + total[1]];
    into.n_rows += state.order.len() as u64;
    Ok(())
}

/// Brings together the rows of the nodes that the step names.
pub(super) fn gather(step: &GrowStep, state: &TreeChunk, into: &mut GrowPartial) -> Result<()> {
    for (&node, gathered) in step.gathers.iter().zip(&mut into.gathered) {
        let (start, n_rows) = segment(state, node)?;
        if let Some(rows) = gathered.first_mut() {
            let pairs = state.pairs.of(step.output, state.n_rows)?;
            rows.extend(&state.order[start..start + n_rows], state, pairs);
        }
    }
    Ok(())
}

/// The sums of some rows.
fn total(rows: &[u16], pairs: PairsOf<'_>) -> Sums {
    match pairs {
        // At most 65,536 rows: one cell cannot overflow.
        PairsOf::Narrow(pairs) => unpack(sum_of(rows, pairs)),
        PairsOf::Wide(pairs) => sum_of(rows, pairs),
    }
}

fn sum_of<P: Pair>(rows: &[u16], pairs: &[P]) -> P::Cell {
    rows.iter().fold(P::Cell::default(), |mut sum, &row| {
        P::add(&mut sum, pairs[row as usize].cell());
        sum
    })
}

/// Start and length of a node's rows in the order.
pub(crate) fn segment(state: &TreeChunk, node: u32) -> Result<(usize, usize)> {
    match state.segments.get(node as usize) {
        Some(&(start, n_rows)) => Ok((start as usize, n_rows as usize)),
        None => Err(Error::Internal {
            what: format!("node {node} has no rows yet"),
        }),
    }
}

/// Puts the rows that go left before those that go right, each in their order; returns how many go
/// left.
pub(crate) fn follow_split(
    split: &PendingSplit,
    state: &mut TreeChunk,
    scratch: &mut Vec<u16>,
) -> Result<usize> {
    let (start, n_rows) = segment(state, split.node)?;
    scratch.resize(state.n_rows.max(scratch.len()), 0);
    let rows = &mut state.order[start..start + n_rows];
    let right = &mut scratch[..n_rows];
    let bins = (
        state.bins.as_slice(),
        state.n_columns,
        split.column as usize,
    );
    let n_left = if n_rows < FEW_ROWS {
        partition(rows, right, bins, |bin| {
            split.left_bins.contains(bin as usize)
        })
    } else {
        let goes_left = split.left_bins.table();
        partition(rows, right, bins, |bin| goes_left[bin as usize] != 0)
    };
    state.versions.order = Version::new();
    let n_segments = (split.left.max(split.right) + 1) as usize;
    state
        .segments
        .resize(n_segments.max(state.segments.len()), (0, 0));
    state.segments[split.left as usize] = (start as u32, n_left as u32);
    state.segments[split.right as usize] = ((start + n_left) as u32, (n_rows - n_left) as u32);
    Ok(n_left)
}

/// Below this number of rows a table of the bins that go left costs more than it saves.
const FEW_ROWS: usize = 64;

/// How many rows ahead a bin is fetched: about as many as arrive in the time that one takes.
const PREFETCH_ROWS: usize = 32;

/// A stable partition without branches: each row is written to both sides, and only one side's end
/// moves on.
fn partition(
    rows: &mut [u16],
    right: &mut [u16],
    (bins, n_columns, column): (&[u8], usize, usize),
    goes_left: impl Fn(u8) -> bool,
) -> usize {
    let (mut n_left, mut n_right) = (0, 0);
    for at in 0..rows.len() {
        if let Some(&row) = rows.get(at + PREFETCH_ROWS) {
            prefetch(bins, row as usize * n_columns + column);
        }
        let row = rows[at];
        let left = usize::from(goes_left(bins[row as usize * n_columns + column]));
        rows[n_left] = row;
        right[n_right] = row;
        n_left += left;
        n_right += 1 - left;
    }
    rows[n_left..].copy_from_slice(&right[..n_right]);
    n_left
}
