//! The pass that grows a tree, on another device than the CPU: the device parts rows and sums pairs by bin.
//!
//! In: what the step asks and a piece's state; out: the same state and partial as on the CPU, to the bit, since
//! both are whole numbers. The host keeps all that the device holds, so that any call may go to the CPU instead.

use std::ops::Range;

use auspex_gpu::{Bins, Device, PairValues, Pairs, RowOrder, RowSets, RowSplit, RowsId, Version};

use super::chunk::TreeChunk;
use super::grow_step::{GrowPartial, GrowStep, PendingSplit, begin_tree, gather, segment};
use super::histogram::{PairsOf, SumsOfThreads};
use crate::error::{Error, Result};
use crate::training_set::PieceId;

/// See [`GrowStep`]'s visit of a piece.
pub(super) fn run(
    step: &GrowStep,
    device: &dyn Device,
    piece: PieceId,
    state: &mut TreeChunk,
    into: &mut GrowPartial,
) -> Result<()> {
    let mut visit = DeviceVisit {
        step,
        device,
        rows: RowsId {
            part: 0,
            first_row: piece.first_row as u32,
            chunk: piece.chunk,
        },
        state,
    };
    let mut to_sum = Vec::new();
    if let Some(begin) = &step.begin {
        begin_tree(begin, piece, visit.state, step.output, into)?;
        to_sum.extend(begin.build.then_some(0));
    }
    visit.follow(&mut into.left_rows)?;
    for split in &step.splits {
        let children = [split.left, split.right].into_iter().zip(split.build);
        to_sum.extend(children.filter(|child| child.1).map(|child| child.0));
    }
    visit.sum(&to_sum, &mut into.sums)?;
    gather(step, visit.state, into)
}

struct DeviceVisit<'a> {
    step: &'a GrowStep,
    device: &'a dyn Device,
    rows: RowsId,
    state: &'a mut TreeChunk,
}

impl DeviceVisit<'_> {
    /// Lets the rows follow the splits: as many at a time as do not follow one another.
    fn follow(&mut self, left_rows: &mut [u64]) -> Result<()> {
        let mut first = 0;
        while first < self.step.splits.len() {
            let splits = &self.step.splits[first..];
            let depends = |at: &usize| {
                let node = splits[*at].node;
                let mut earlier = splits[..*at].iter();
                earlier.any(|split| split.left == node || split.right == node)
            };
            let n = (1..splits.len()).find(depends).unwrap_or(splits.len());
            let n_left = self.part(&splits[..n])?;
            let of_splits = left_rows[first..].iter_mut();
            for ((split, n_left), rows) in splits.iter().zip(n_left).zip(of_splits) {
                self.settle(split, n_left)?;
                *rows += n_left as u64;
            }
            first += n;
        }
        Ok(())
    }

    fn part(&mut self, splits: &[PendingSplit]) -> Result<Vec<usize>> {
        let split = |split: &PendingSplit| -> Result<RowSplit> {
            Ok(RowSplit {
                rows: self.range(split.node)?,
                column: split.column,
                left_bins: split.left_bins.words(),
            })
        };
        let splits: Vec<RowSplit> = splits.iter().map(split).collect::<Result<_>>()?;
        let next = Version::new();
        let order = self.order();
        let parted = self.device.partition(&self.bins(), &order, &splits, next)?;
        self.state.order = parted.order;
        self.state.versions.order = next;
        Ok(parted.n_left)
    }

    /// Takes note of where the children's rows are.
    fn settle(&mut self, split: &PendingSplit, n_left: usize) -> Result<()> {
        let rows = self.range(split.node)?;
        let n_segments = (split.left.max(split.right) + 1) as usize;
        let segments = &mut self.state.segments;
        segments.resize(n_segments.max(segments.len()), (0, 0));
        segments[split.left as usize] = (rows.start as u32, n_left as u32);
        let n_right = rows.len() - n_left;
        segments[split.right as usize] = ((rows.start + n_left) as u32, n_right as u32);
        Ok(())
    }

    /// Adds the rows of nodes to their sums.
    fn sum(&self, nodes: &[u32], sums: &mut [SumsOfThreads]) -> Result<()> {
        if nodes.len() != sums.len() {
            return Err(Error::Internal {
                what: "a partial of another step".to_owned(),
            });
        }
        let columns = self.step.runs.columns();
        let mut places = Vec::new();
        let mut sets = Vec::new();
        for (place, &node) in nodes.iter().enumerate() {
            let rows = self.range(node)?;
            if !rows.is_empty() && !columns.is_empty() {
                places.push(place);
                sets.push(rows);
            }
        }
        if sets.is_empty() {
            return Ok(());
        }
        let of_output = self.state.pairs.of(self.step.output, self.state.n_rows)?;
        let pairs = Pairs {
            version: self.state.versions.pairs_of(self.step.output),
            values: match of_output {
                PairsOf::Narrow(pairs) => PairValues::Narrow(pairs),
                PairsOf::Wide(pairs) => PairValues::Wide(pairs),
            },
        };
        let order = self.order();
        let row_sets = RowSets { order, sets: &sets };
        let found = self
            .device
            .histogram(&self.bins(), &pairs, &row_sets, &columns)?;
        let of_set = found.chunks_exact(columns.len() * auspex_gpu::BINS);
        for (&place, cells) in places.iter().zip(of_set) {
            let own = sums[place].own();
            own.add_cells_of(self.state.n_columns, &columns, cells);
        }
        Ok(())
    }

    fn range(&self, node: u32) -> Result<Range<usize>> {
        let (start, n_rows) = segment(self.state, node)?;
        Ok(start..start + n_rows)
    }

    fn bins(&self) -> Bins<'_> {
        Bins {
            rows: Some(self.rows),
            version: self.state.versions.bins,
            n_columns: self.state.n_columns,
            values: &self.state.bins,
        }
    }

    fn order(&self) -> RowOrder<'_> {
        RowOrder {
            version: self.state.versions.order,
            values: &self.state.order,
        }
    }
}
