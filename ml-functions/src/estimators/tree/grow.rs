//! Growing one tree: which nodes are split next, decided from the sums that passes bring.
//!
//! In: quantised gradients in the chunks; out: a [`GrownTree`]. Expressed as [`GrowStep`]s only: never
//! sees a row.
//!
//! Nodes are split in batches, as many at a time as the policy surely or probably asks for; the tree is
//! then read off by replaying the policy, so that batches change the number of passes and nothing else.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::driver::Pass;
use super::grow_step::{BeginTree, GrowPartial, GrowStep, PendingSplit};
use super::histogram::{ColumnRuns, Histogram, HistogramLayout, NodeSums, Sums};
use super::parameters::{GrowPolicy, TreeParameters};
use super::random;
use super::split::{ColumnKind, NodeSplit, NodeToSplit, SplitFinder, ValueBounds, leaf_value};
use crate::error::{Error, Result};
use crate::training_set::Part;

/// What growing needs to know of the columns.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Where each is in a histogram.
    pub(crate) layout: HistogramLayout,
    /// What each is.
    pub(crate) kinds: Vec<ColumnKind>,
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
}

/// A node of the tree that grows.
#[derive(Debug)]
pub(crate) struct GrowingNode {
    /// Sums of its rows.
    pub(crate) total: Sums,
    /// Its best split, if it has one.
    pub(crate) split: Option<NodeSplit>,
    /// Its children once it was split.
    pub(crate) children: Option<(u32, u32)>,
    /// Bounds of the values below.
    pub(crate) bounds: ValueBounds,
    n_rows: u64,
    depth: usize,
    /// Names the node by its path, for draws.
    key: u64,
    histogram: Option<Histogram>,
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

/// Grows one tree over the training part.
pub(crate) struct Grower<'a, P> {
    passes: &'a P,
    parameters: &'a TreeParameters,
    columns: &'a Columns,
    task: TreeTask,
    /// The tree's sample of the columns.
    tree_columns: Vec<u32>,
    runs: ColumnRuns,
    nodes: Vec<GrowingNode>,
    pending: Vec<PendingSplit>,
    n_histograms: usize,
}

/// What replaying the policy finds.
struct Replay {
    /// Splits of the tree so far, in order.
    done: Vec<u32>,
    /// Nodes to split next.
    wanted: Vec<u32>,
    /// Whether no leaf may follow those of the wanted splits.
    is_last: bool,
}

/// A leaf in the order of the policy: the greatest is split first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    /// Negative depth or gain.
    rank: f64,
    node: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.rank
            .total_cmp(&other.rank)
            .then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a, P: Pass> Grower<'a, P> {
    /// Grows a tree.
    pub(crate) async fn grow(
        passes: &'a P,
        parameters: &'a TreeParameters,
        columns: &'a Columns,
        task: TreeTask,
    ) -> Result<GrownTree> {
        let all: Vec<u32> = (0..columns.kinds.len() as u32).collect();
        let key = random::hash(&[task.key, 1]);
        let tree_columns = random::sample(&all, parameters.columns.by_tree, key);
        let mut grower = Grower {
            passes,
            parameters,
            columns,
            task,
            runs: ColumnRuns::new(&tree_columns),
            tree_columns,
            nodes: Vec::new(),
            pending: Vec::new(),
            n_histograms: 0,
        };
        grower.begin().await?;
        let done = loop {
            let replay = grower.replay();
            if replay.wanted.is_empty() {
                break replay.done;
            }
            grower.split_batch(&replay.wanted, replay.is_last).await?;
        };
        let mut is_split = vec![false; grower.nodes.len()];
        done.iter().for_each(|&node| is_split[node as usize] = true);
        Ok(GrownTree {
            nodes: grower.nodes,
            is_split,
            pending: grower.pending,
        })
    }

    /// Samples the rows and sums the root.
    async fn begin(&mut self) -> Result<()> {
        let step = GrowStep {
            output: self.task.output,
            begin: Some(BeginTree {
                subsample: self.parameters.subsample,
                key: random::hash(&[self.task.key, 2]),
            }),
            splits: Vec::new(),
            runs: self.runs.clone(),
        };
        let partial = self.passes.state_pass(Part::Training, &step).await?;
        self.nodes.push(GrowingNode {
            total: partial.total,
            split: None,
            children: None,
            bounds: ValueBounds::NONE,
            n_rows: partial.n_rows,
            depth: 0,
            key: random::hash(&[self.task.key, 3]),
            histogram: None,
        });
        let histogram = self.histogram(&partial, 0)?;
        if self.can_split(0) {
            self.find_split(0, histogram);
        }
        Ok(())
    }

    /// Splits some nodes and finds the best splits of their children.
    async fn split_batch(&mut self, wanted: &[u32], is_last: bool) -> Result<()> {
        let first = self.nodes.len();
        for &node in wanted {
            self.add_children(node)?;
        }
        let open: Vec<bool> = (first..self.nodes.len())
            .map(|child| !is_last && self.can_split(child))
            .collect();
        // The newest splits are those of this batch.
        let first_pending = self.pending.len() - wanted.len();
        for (number, &parent) in wanted.iter().enumerate() {
            if open[2 * number..2 * number + 2].contains(&true) {
                self.pending[first_pending + number].build = self.children_to_sum(parent)?;
            }
        }
        if !open.contains(&true) {
            wanted.iter().for_each(|&node| self.drop_histogram(node));
            return Ok(());
        }
        let step = GrowStep {
            output: self.task.output,
            begin: None,
            splits: std::mem::take(&mut self.pending),
            runs: self.runs.clone(),
        };
        let partial = self.passes.state_pass(Part::Training, &step).await?;
        self.count_rows(&step, &partial);
        let mut n_used = 0;
        for split in &step.splits {
            for (child, histogram) in self.child_histograms(split, &partial, &mut n_used)? {
                // Splits of earlier batches have no open children.
                if (child as usize)
                    .checked_sub(first)
                    .is_some_and(|child| open[child])
                {
                    self.find_split(child as usize, histogram);
                }
            }
        }
        Ok(())
    }

    /// Which children to sum: the one with fewer rows, as the other is the parent's rest; both if the
    /// parent's histogram was not kept.
    ///
    /// The rows are only counted in the same pass, so that hessians stand in: they are the number of
    /// rows for most objectives, and near enough for the others.
    fn children_to_sum(&self, parent: u32) -> Result<[bool; 2]> {
        let (left, right) = self.nodes[parent as usize]
            .children
            .ok_or_else(|| lost("a split"))?;
        let [left, right] = [left, right].map(|child| self.nodes[child as usize].total[1]);
        Ok(match self.nodes[parent as usize].histogram {
            Some(_) => [left <= right, left > right],
            None => [true, true],
        })
    }

    fn count_rows(&mut self, step: &GrowStep, partial: &GrowPartial) {
        for (split, &left_rows) in step.splits.iter().zip(&partial.left_rows) {
            let n_rows = self.nodes[split.node as usize].n_rows;
            self.nodes[split.left as usize].n_rows = left_rows;
            self.nodes[split.right as usize].n_rows = n_rows - left_rows;
        }
    }

    /// The histograms of a split's children, if any was summed.
    fn child_histograms(
        &mut self,
        split: &PendingSplit,
        partial: &GrowPartial,
        n_used: &mut usize,
    ) -> Result<Vec<(u32, Histogram)>> {
        let kept = self.take_histogram(split.node);
        let mut found = Vec::with_capacity(2);
        for (child, _) in [split.left, split.right]
            .into_iter()
            .zip(split.build)
            .filter(|c| c.1)
        {
            found.push((child, self.histogram(partial, *n_used)?));
            *n_used += 1;
        }
        if let (Some(mut rest), [(child, histogram)]) = (kept, found.as_slice()) {
            rest.subtract(histogram);
            found.push((split.left + split.right - child, rest));
        }
        Ok(found)
    }

    fn histogram(&self, partial: &GrowPartial, position: usize) -> Result<Histogram> {
        let sums: &NodeSums = partial
            .sums
            .get(position)
            .ok_or_else(|| lost("a histogram"))?;
        Ok(sums.histogram(&self.columns.layout))
    }

    /// Makes the children of a node by its best split.
    fn add_children(&mut self, node: u32) -> Result<()> {
        let (left, right) = (self.nodes.len() as u32, self.nodes.len() as u32 + 1);
        self.nodes[node as usize].children = Some((left, right));
        let parent = &self.nodes[node as usize];
        let split = parent.split.as_ref().ok_or_else(|| lost("a split"))?;
        self.pending.push(PendingSplit {
            node,
            left,
            right,
            column: split.column as u32,
            left_bins: split.left_bins,
            build: [false, false],
        });
        let right_total = [
            parent.total[0] - split.left[0],
            parent.total[1] - split.left[1],
        ];
        let bounds = child_bounds(
            self.columns.kinds[split.column].monotone,
            parent.bounds,
            [split.left, right_total].map(|total| self.value(total, parent.bounds)),
        );
        for (side, total) in [split.left, right_total].into_iter().enumerate() {
            let parent = &self.nodes[node as usize];
            let child = GrowingNode {
                total,
                split: None,
                children: None,
                bounds: bounds[side],
                // Known once the rows followed the split.
                n_rows: parent.n_rows,
                depth: parent.depth + 1,
                key: random::hash(&[parent.key, side as u64]),
                histogram: None,
            };
            self.nodes.push(child);
        }
        Ok(())
    }

    fn value(&self, total: Sums, bounds: ValueBounds) -> f64 {
        let [g_unit, h_unit] = self.task.units;
        let (g, h) = (total[0] as f64 * g_unit, total[1] as f64 * h_unit);
        leaf_value(&self.parameters.regularization, g, h, bounds)
    }

    /// Whether a split of the node could satisfy the parameters at all.
    fn can_split(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        let depth = self.parameters.max_tree_depth;
        let hessian = node.total[1] as f64 * self.task.units[1];
        (depth == 0 || node.depth < depth)
            && self.parameters.max_leaves != 1
            && node.n_rows >= 2
            && hessian >= 2.0 * self.parameters.regularization.min_tree_child_weight
    }

    /// Finds the best split of a node, and keeps its histogram for its children if there is room.
    fn find_split(&mut self, node: usize, histogram: Histogram) {
        let finder = SplitFinder {
            regularization: &self.parameters.regularization,
            layout: &self.columns.layout,
            kinds: &self.columns.kinds,
            units: self.task.units,
        };
        let sampling = &self.parameters.columns;
        let growing = &self.nodes[node];
        let level_key = random::hash(&[self.task.key, 4, growing.depth as u64]);
        let columns = random::sample(&self.tree_columns, sampling.by_level, level_key);
        let columns = random::sample(&columns, sampling.by_node, growing.key);
        let split = finder.best_split(
            &NodeToSplit {
                histogram: &histogram,
                total: growing.total,
                bounds: growing.bounds,
                n_rows: growing.n_rows,
            },
            &columns,
        );
        let bytes = (self.n_histograms + 1) * self.columns.layout.memory_bytes();
        let growing = &mut self.nodes[node];
        growing.split = split;
        if growing.split.is_some() && bytes <= self.parameters.histogram_budget_bytes {
            growing.histogram = Some(histogram);
            self.n_histograms += 1;
        }
    }

    fn take_histogram(&mut self, node: u32) -> Option<Histogram> {
        let histogram = self.nodes[node as usize].histogram.take();
        self.n_histograms -= usize::from(histogram.is_some());
        histogram
    }

    fn drop_histogram(&mut self, node: u32) {
        self.take_histogram(node);
    }

    /// Plays the policy over the nodes so far, until it wants a split that is not made yet, and on for
    /// as many more as are worth making in the same pass.
    fn replay(&self) -> Replay {
        let max_leaves = match self.parameters.max_leaves {
            0 => usize::MAX,
            max_leaves => max_leaves,
        };
        let mut heap = BinaryHeap::new();
        let mut replay = Replay {
            done: Vec::new(),
            wanted: Vec::new(),
            is_last: false,
        };
        heap.extend(self.candidate(0));
        let mut n_leaves = 1;
        let mut most_wanted = usize::MAX;
        while n_leaves < max_leaves {
            let Some(next) = heap.pop() else {
                break;
            };
            if let Some((left, right)) = self.nodes[next.node as usize].children {
                replay.done.push(next.node);
                heap.extend(self.candidate(left));
                heap.extend(self.candidate(right));
            } else {
                if replay.wanted.is_empty() {
                    most_wanted = self.batch(max_leaves - n_leaves);
                    replay.is_last = max_leaves - n_leaves == 1;
                } else if replay.wanted.len() >= most_wanted
                    || self.is_later(replay.wanted[0], next.node)
                {
                    break;
                }
                replay.wanted.push(next.node);
            }
            n_leaves += 1;
        }
        replay
    }

    /// How many nodes to split at once when so many more leaves may be made. Half of the leaves that
    /// are left hardly ever turn out to be in vain; the histograms of a batch must fit the budget.
    fn batch(&self, leaves_left: usize) -> usize {
        let by_policy = match self.parameters.grow_policy {
            GrowPolicy::LossGuide if leaves_left < usize::MAX / 2 => (leaves_left / 2).max(1),
            _ => usize::MAX,
        };
        let histogram_bytes = self.columns.layout.memory_bytes().max(1);
        by_policy.min((self.parameters.histogram_budget_bytes / histogram_bytes / 4).max(1))
    }

    /// Whether depth-wise growth splits one node only after all children of the other are known.
    fn is_later(&self, first: u32, next: u32) -> bool {
        self.parameters.grow_policy == GrowPolicy::DepthWise
            && self.nodes[next as usize].depth > self.nodes[first as usize].depth
    }

    fn candidate(&self, node: u32) -> Option<Candidate> {
        let growing = &self.nodes[node as usize];
        let split = growing.split.as_ref()?;
        let rank = match self.parameters.grow_policy {
            GrowPolicy::DepthWise => -(growing.depth as f64),
            GrowPolicy::LossGuide => split.gain,
        };
        Some(Candidate { rank, node })
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

fn lost(what: &str) -> Error {
    Error::Internal {
        what: format!("{what} of a growing tree is lost"),
    }
}
