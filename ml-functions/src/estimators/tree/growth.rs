//! What growing a tree knows of its nodes, wherever they are split.
//!
//! In: parameters, columns and the sums of nodes; out: children, whether a node may be split at all, and
//! the columns that it may be split on. Never sees rows or histograms being made.

use std::cmp::Ordering;

use super::bundling::Bundles;
use super::grow_step::{GatheredRows, PendingSplit};
use super::histogram::{ColumnRuns, Histogram, HistogramLayout, Sums};
use super::parameters::TreeParameters;
use super::random;
use super::split::{
    BinSet, ColumnKind, NodeSplit, NodeToSplit, SplitFinder, ValueBounds, leaf_value,
};

/// What growing needs to know of the columns.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Where each is in a histogram.
    pub(crate) layout: HistogramLayout,
    /// What each is.
    pub(crate) kinds: Vec<ColumnKind>,
    /// Which share a byte in the chunks.
    pub(crate) bundles: Option<Bundles>,
}

impl Columns {
    /// The byte of a row that a split of a column looks at, and which of its values go left.
    pub(crate) fn split(&self, split: &NodeSplit) -> (u32, BinSet) {
        let column = split.column as u32;
        match &self.bundles {
            None => (column, split.left_bins),
            Some(bundles) => bundles.split(column, split.left_bins),
        }
    }

    /// The bytes to sum for some columns.
    pub(crate) fn runs(&self, columns: &[u32]) -> ColumnRuns {
        match &self.bundles {
            None => ColumnRuns::new(columns),
            Some(bundles) => bundles.runs(columns),
        }
    }
}

/// Which tree is grown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TreeTask {
    /// The output whose gradients count.
    pub(crate) output: usize,
    /// Hash of seed, iteration, output and number: all draws of this tree come from it.
    pub(crate) key: u64,
    /// What one unit of a quantised gradient and hessian stands for.
    pub(crate) units: [f64; 2],
    /// Rows that the tree's sample is drawn from.
    pub(crate) n_rows: u64,
}

/// A node of the tree that grows.
#[derive(Debug, Clone)]
pub(crate) struct GrowingNode {
    /// Sums of its rows.
    pub(crate) total: Sums,
    /// Its best split, if it has one.
    pub(crate) split: Option<NodeSplit>,
    /// Its children once it was split.
    pub(crate) children: Option<(u32, u32)>,
    /// Bounds of the values below.
    pub(crate) bounds: ValueBounds,
    /// Number of its rows; until they followed the split above, that of its parent.
    pub(crate) n_rows: u64,
    /// Splits above it.
    pub(crate) depth: usize,
    /// Names the node by its path, for draws.
    pub(crate) key: u64,
    /// Kept for its children.
    pub(crate) histogram: Option<Histogram>,
    /// Whether its rows were brought together: the chunks do not follow the splits below.
    pub(crate) is_gathered: bool,
    /// Its rows, if they were and its children are not made yet.
    pub(crate) rows: Option<GatheredRows>,
}

/// A tree before its values are known.
#[derive(Debug)]
pub(crate) struct GrownTree {
    /// All nodes that were ever made; some may not have become part of the tree.
    pub(crate) nodes: Vec<GrowingNode>,
    /// Which nodes are splits of the tree.
    pub(crate) is_split: Vec<bool>,
    /// Splits that chunks have not followed yet.
    pub(crate) pending: Vec<PendingSplit>,
}

/// What stays the same while a tree grows.
#[derive(Debug, Clone)]
pub(crate) struct Growth<'a> {
    /// What splits must satisfy.
    pub(crate) parameters: &'a TreeParameters,
    /// The columns.
    pub(crate) columns: &'a Columns,
    /// The tree.
    pub(crate) task: TreeTask,
    /// The tree's sample of the columns.
    pub(crate) tree_columns: Vec<u32>,
}

impl GrowingNode {
    /// What the search for its split needs to know.
    pub(crate) fn to_split(&self) -> NodeToSplit {
        NodeToSplit {
            total: self.total,
            bounds: self.bounds,
            n_rows: self.n_rows,
        }
    }
}

impl<'a> Growth<'a> {
    /// Draws the tree's columns.
    pub(crate) fn new(
        parameters: &'a TreeParameters,
        columns: &'a Columns,
        task: TreeTask,
    ) -> Growth<'a> {
        let all: Vec<u32> = (0..columns.kinds.len() as u32).collect();
        let key = random::hash(&[task.key, 1]);
        Growth {
            parameters,
            columns,
            task,
            tree_columns: random::sample(&all, parameters.columns.by_tree, key),
        }
    }

    /// The root.
    pub(crate) fn root(&self, total: Sums, n_rows: u64) -> GrowingNode {
        GrowingNode {
            total,
            split: None,
            children: None,
            bounds: ValueBounds::NONE,
            n_rows,
            depth: 0,
            key: random::hash(&[self.task.key, 3]),
            histogram: None,
            is_gathered: false,
            rows: None,
        }
    }

    /// The children that a node's best split makes.
    pub(crate) fn children(&self, parent: &GrowingNode) -> Option<[GrowingNode; 2]> {
        let split = parent.split.as_ref()?;
        let right = [
            parent.total[0] - split.left[0],
            parent.total[1] - split.left[1],
        ];
        let bounds = child_bounds(
            self.columns.kinds[split.column].monotone,
            parent.bounds,
            [split.left, right].map(|total| self.value(total, parent.bounds)),
        );
        let child = |side: usize, total| GrowingNode {
            total,
            split: None,
            children: None,
            bounds: bounds[side],
            n_rows: parent.n_rows,
            depth: parent.depth + 1,
            key: random::hash(&[parent.key, side as u64]),
            histogram: None,
            is_gathered: false,
            rows: None,
        };
        Some([child(0, split.left), child(1, right)])
    }

    fn value(&self, total: Sums, bounds: ValueBounds) -> f64 {
        let [g_unit, h_unit] = self.task.units;
        let (g, h) = (total[0] as f64 * g_unit, total[1] as f64 * h_unit);
        leaf_value(&self.parameters.regularization, g, h, bounds)
    }

    /// Whether a split of the node could satisfy the parameters at all.
    pub(crate) fn can_split(&self, node: &GrowingNode) -> bool {
        let depth = self.parameters.max_tree_depth;
        let hessian = node.total[1] as f64 * self.task.units[1];
        (depth == 0 || node.depth < depth)
            && self.parameters.max_leaves != 1
            && node.n_rows >= 2
            && hessian >= 2.0 * self.parameters.regularization.min_tree_child_weight
    }

    /// Whether a split of the node makes leaves, as the tree may not be deeper.
    pub(crate) fn is_above_leaves(&self, node: &GrowingNode) -> bool {
        node.depth + 1 == self.parameters.max_tree_depth
    }

    /// The search for splits.
    pub(crate) fn finder(&self) -> SplitFinder<'_> {
        SplitFinder {
            regularization: &self.parameters.regularization,
            layout: &self.columns.layout,
            kinds: &self.columns.kinds,
            units: self.task.units,
        }
    }

    /// The columns that a node may be split on, ascending.
    pub(crate) fn sampled_columns(&self, node: &GrowingNode) -> Vec<u32> {
        let sampling = &self.parameters.columns;
        let level_key = random::hash(&[self.task.key, 4, node.depth as u64]);
        let columns = random::sample(&self.tree_columns, sampling.by_level, level_key);
        random::sample(&columns, sampling.by_node, node.key)
    }
}

/// The bounds of the children's values: on a monotone column, they meet halfway between their values.
fn child_bounds(monotone: i8, bounds: ValueBounds, values: [f64; 2]) -> [ValueBounds; 2] {
    let middle = (values[0] + values[1]) / 2.0;
    let below = ValueBounds {
        high: middle,
        ..bounds
    };
    let above = ValueBounds {
        low: middle,
        ..bounds
    };
    match monotone.cmp(&0) {
        Ordering::Equal => [bounds, bounds],
        Ordering::Greater => [below, above],
        Ordering::Less => [above, below],
    }
}
