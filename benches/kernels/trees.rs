//! The kernels of decision trees: a growing tree's histograms and parted rows, and the scores of an ensemble.

use auspex_gpu::{
    Bins, Device, Forest, PairValues, Pairs, RowOrder, RowSets, RowSplit, RowsId, Version,
};

use crate::report::Found;
use crate::rows::Block;

/// A chunk of a growing tree: 32 columns of 256 bins.
pub(crate) struct Chunk {
    version: Version,
    bins: Vec<u8>,
    narrow: Vec<u32>,
    wide: Vec<u64>,
    pub(crate) order: Vec<u16>,
}

pub(crate) const TREE_COLUMNS: usize = 32;

impl Chunk {
    /// At most 65,536 rows.
    pub(crate) fn new(n_rows: usize) -> Chunk {
        let n_rows = n_rows.min(1 << 16);
        let word = |at: usize| (at as u32).wrapping_mul(2_654_435_761).rotate_left(13);
        Chunk {
            // Those of the bins and the order, then those of pairs of both widths.
            version: Version::several(3),
            bins: (0..n_rows * TREE_COLUMNS)
                .map(|at| (word(at) >> 24) as u8)
                .collect(),
            narrow: (0..n_rows).map(word).collect(),
            wide: (0..n_rows)
                .map(|row| (u64::from(word(row)) << 20) | u64::from(word(row + 1) >> 12))
                .collect(),
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

    pub(crate) fn histogram(
        &self,
        device: &dyn Device,
        rows: Option<RowsId>,
        is_narrow: bool,
    ) -> Found {
        let columns: Vec<u32> = (0..TREE_COLUMNS as u32).collect();
        let (number, values) = match is_narrow {
            true => (1, PairValues::Narrow(&self.narrow)),
            false => (2, PairValues::Wide(&self.wide)),
        };
        let pairs = Pairs {
            version: self.version.nth(number),
            values,
        };
        let (order, all) = (self.order(), 0..self.order.len());
        let sets = RowSets {
            order,
            sets: std::slice::from_ref(&all),
        };
        let sums = device.histogram(&self.bins(rows), &pairs, &sets, &columns);
        let sums = sums.unwrap();
        Found::exact(sums.iter().flatten().map(|&sum| sum as f64).collect())
    }

    pub(crate) fn partition(&self, device: &dyn Device, rows: Option<RowsId>) -> Found {
        let split = RowSplit {
            rows: 0..self.order.len(),
            column: 5,
            left_bins: [u64::MAX, u64::MAX, 0, 0],
        };
        // Under another version, so that the order is brought anew each time.
        let next = Version::new();
        let parted = device.partition(&self.bins(rows), &self.order(), &[split], next);
        let order = parted.unwrap().order;
        Found::exact(order.iter().map(|&row| f64::from(row)).collect())
    }
}

/// A hundred trees of 63 nodes, each split on one of 32 columns.
pub(crate) struct Trees {
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
    pub(crate) fn new() -> Trees {
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

    pub(crate) fn score(&self, device: &dyn Device, block: &Block, rows: Option<RowsId>) -> Found {
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
        Found::exact(device.forest(&block.design(rows), &forest).unwrap())
    }
}
