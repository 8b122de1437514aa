//! Splits nodes of few rows where all their rows are: a histogram of every bin would cost more than the
//! rows themselves.
//!
//! In: a node with its rows; out: the node with its best split, its children, or everything below it,
//! equal to the bit to what histograms of the same rows would have given. Never asks for a pass.

use std::ops::Range;

use super::chunk::Pairs;
use super::grow_step::GatheredRows;
use super::growth::{GrowingNode, Growth};
use super::histogram::{Pair, Sums};
use super::split::{Best, NodeSplit, NodeToSplit, TouchedBins};

/// How far to grow below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only its own split is sought.
    Node,
    /// Its children are made, with their rows.
    Children,
    /// Everything below is made.
    All,
}

/// Below this number of rows, the bins in use are marked as rows are added, instead of sought among
/// all bins afterwards.
const MARKED_BELOW: usize = 96;

/// Grows below a node: it comes first in the answer, whose nodes name their children by position. A node
/// without a split gets its best one.
pub(crate) fn grow(
    growth: &Growth<'_>,
    node: GrowingNode,
    rows: GatheredRows,
    reach: Reach,
) -> Vec<GrowingNode> {
    let mut nodes = match &rows.pairs {
        Pairs::Narrow(pairs) => Subtree::new(growth, &rows.bins, pairs).grow(node, reach),
        Pairs::Wide(pairs) => Subtree::new(growth, &rows.bins, pairs).grow(node, reach),
    };
    match reach {
        Reach::Node => nodes[0].rows = Some(rows),
        Reach::Children => hand_down(&mut nodes, &rows, growth.columns.kinds.len()),
        Reach::All => {}
    }
    nodes
}

/// Gives the two children of the first node their rows.
fn hand_down(nodes: &mut [GrowingNode], rows: &GatheredRows, n_columns: usize) {
    let [parent, left, right] = nodes else {
        return;
    };
    let Some(split) = &parent.split else {
        return;
    };
    let goes_left: Vec<bool> = rows
        .bins
        .chunks_exact(n_columns)
        .map(|row| split.left_bins.contains(row[split.column] as usize))
        .collect();
    left.rows = Some(rows.filtered(&goes_left, n_columns, true));
    right.rows = Some(rows.filtered(&goes_left, n_columns, false));
}

/// The rows of a node and what is needed to split it and those below.
struct Subtree<'a, P: Pair> {
    growth: &'a Growth<'a>,
    bins: &'a [u8],
    pairs: &'a [P],
    n_columns: usize,
    /// The sums of a column's bins; all zero between columns.
    cells: Box<[P::Cell; 256]>,
    touched: Box<TouchedBins>,
    /// Where the bins of each row of a node begin, and its pair.
    offsets: Vec<u32>,
    of_rows: Vec<P::Cell>,
    sums: Vec<Sums>,
}

impl<'a, P: Pair> Subtree<'a, P> {
    fn new(growth: &'a Growth<'a>, bins: &'a [u8], pairs: &'a [P]) -> Subtree<'a, P> {
        Subtree {
            growth,
            bins,
            pairs,
            n_columns: growth.columns.kinds.len(),
            cells: Box::new([P::Cell::default(); 256]),
            touched: Box::default(),
            offsets: Vec::new(),
            of_rows: Vec::new(),
            sums: Vec::new(),
        }
    }

    fn grow(&mut self, mut root: GrowingNode, reach: Reach) -> Vec<GrowingNode> {
        let mut order: Vec<u32> = (0..self.pairs.len() as u32).collect();
        let mut right = Vec::new();
        if root.split.is_none() && self.growth.can_split(&root) {
            root.split = self.best_split(&root, &order);
        }
        let mut nodes = vec![root];
        let mut stack = vec![(0, 0..order.len())];
        if reach == Reach::Node {
            stack.clear();
        }
        while let Some((at, rows)) = stack.pop() {
            let node: &GrowingNode = &nodes[at];
            let (Some(split), Some(children)) = (&node.split, self.growth.children(node)) else {
                continue;
            };
            let n_left = self.partition(&mut order[rows.clone()], &mut right, split);
            let middle = rows.start + n_left;
            let first = nodes.len();
            nodes[at].children = Some((first as u32, first as u32 + 1));
            for (mut child, rows) in children
                .into_iter()
                .zip([rows.start..middle, middle..rows.end])
            {
                child.n_rows = rows.len() as u64;
                if self.growth.can_split(&child) {
                    child.split = self.best_split(&child, &order[rows.clone()]);
                }
                if child.split.is_some() && reach == Reach::All {
                    stack.push((nodes.len(), Range { ..rows }));
                }
                nodes.push(child);
            }
        }
        nodes
    }

    /// Puts the rows that go left before those that go right.
    fn partition(&self, rows: &mut [u32], right: &mut Vec<u32>, split: &NodeSplit) -> usize {
        right.resize(rows.len().max(right.len()), 0);
        let (mut n_left, mut n_right) = (0, 0);
        for at in 0..rows.len() {
            let row = rows[at];
            let bin = self.bins[row as usize * self.n_columns + split.column];
            let goes_left = usize::from(split.left_bins.contains(bin as usize));
            rows[n_left] = row;
            right[n_right] = row;
            n_left += goes_left;
            n_right += 1 - goes_left;
        }
        rows[n_left..].copy_from_slice(&right[..n_right]);
        n_left
    }

    /// The best split over the node's sample of the columns.
    fn best_split(&mut self, node: &GrowingNode, rows: &[u32]) -> Option<NodeSplit> {
        let finder = self.growth.finder();
        let to_split = node.to_split();
        let mut best = finder.none_yet(&to_split);
        self.offsets.clear();
        self.of_rows.clear();
        let n_columns = self.n_columns as u32;
        self.offsets.extend(rows.iter().map(|&row| row * n_columns));
        let pairs = self.pairs;
        self.of_rows
            .extend(rows.iter().map(|&row| pairs[row as usize].cell()));
        for column in self.growth.sampled_columns(node) {
            let column = column as usize;
            let n_bins = self.growth.columns.layout.n_bins(column);
            if rows.len() < MARKED_BELOW {
                self.add_marked(column, n_bins);
            } else {
                self.add(column, n_bins);
            }
            self.scan(&to_split, column, &mut best);
            self.cells[..=n_bins].fill(P::Cell::default());
        }
        best.split
    }

    /// Looks for a better split of the column whose sums are in the cells.
    fn scan(&mut self, node: &NodeToSplit, column: usize, best: &mut Best) {
        let finder = self.growth.finder();
        let n_bins = self.growth.columns.layout.n_bins(column);
        let nothing = P::Cell::default();
        if finder.is_plain_column(node, column) && self.cells[n_bins] == nothing {
            finder.scan_touched(node, column, &self.touched, best);
            return;
        }
        self.sums.clear();
        self.sums
            .extend(self.cells[..=n_bins].iter().map(|&cell| P::sums(cell)));
        finder.scan(node, column, &self.sums, best);
    }

    /// Adds the rows to the cells of a column, and collects the bins in use from all.
    fn add(&mut self, column: usize, n_bins: usize) {
        for (&offset, &cell) in self.offsets.iter().zip(&self.of_rows) {
            let bin = self.bins[offset as usize + column];
            P::add(&mut self.cells[bin as usize], cell);
        }
        let touched = self.touched.as_mut();
        let (mut left, mut n_touched) = (P::Cell::default(), 0);
        // The threshold of the last bin sends nothing to the right.
        for (bin, &cell) in self.cells[..n_bins.saturating_sub(1)].iter().enumerate() {
            P::add(&mut left, cell);
            touched.bins[n_touched] = bin as u8;
            touched.left[n_touched] = P::sums(left);
            n_touched += usize::from(cell != P::Cell::default());
        }
        touched.n_bins = n_touched;
    }

    /// Adds few rows to the cells of a column, and collects the bins in use from marks.
    fn add_marked(&mut self, column: usize, n_bins: usize) {
        let mut marks = [0u64; 4];
        for (&offset, &cell) in self.offsets.iter().zip(&self.of_rows) {
            let bin = self.bins[offset as usize + column];
            P::add(&mut self.cells[bin as usize], cell);
            marks[bin as usize >> 6] |= 1 << (bin & 63);
        }
        let touched = self.touched.as_mut();
        let (mut left, mut n_touched) = (P::Cell::default(), 0);
        for (word, mut mark) in marks.into_iter().enumerate() {
            while mark != 0 {
                let bin = word * 64 + mark.trailing_zeros() as usize;
                mark &= mark - 1;
                if bin + 1 < n_bins {
                    P::add(&mut left, self.cells[bin]);
                    touched.bins[n_touched] = bin as u8;
                    touched.left[n_touched] = P::sums(left);
                    n_touched += 1;
                }
            }
        }
        touched.n_bins = n_touched;
    }
}
