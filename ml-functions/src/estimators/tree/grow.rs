//! Growing one tree: which nodes are split next, decided from the sums that passes bring.
//!
//! In: quantised gradients in the chunks; out: a [`GrownTree`]. Expressed as [`GrowStep`]s only: never
//! sees a row of a large node.
//!
//! Nodes are split in batches, as many at a time as the policy surely or probably asks for; where the
//! number of leaves is bounded, the tree is then read off by replaying the policy, so that batches change
//! the number of passes and nothing else. Nodes of few rows are brought together and split where their
//! rows are ([`super::gathered`]).

mod policy;

use std::collections::BTreeSet;

use super::driver::Pass;
use super::gathered::{self, Reach};
use super::grow_step::{BeginTree, GatheredRows, GrowPartial, GrowStep, PendingSplit};
use super::growth::{Columns, GrowingNode, GrownTree, Growth, TreeTask};
use super::histogram::{ColumnRuns, Histogram, SumsOfThreads};
use super::parallel;
use super::parameters::TreeParameters;
use super::random;
use super::split::NodeSplit;
use crate::error::{Error, Result};
use crate::training_set::Part;

/// Grows one tree over the training part.
pub(crate) struct Grower<'a, P> {
    passes: &'a P,
    growth: Growth<'a>,
    runs: ColumnRuns,
    nodes: Vec<GrowingNode>,
    pending: Vec<PendingSplit>,
    /// Nodes with a split that is not made yet, where all will be.
    frontier: Vec<u32>,
    n_histograms: usize,
    /// Bytes of the rows that nodes hold.
    gathered_bytes: usize,
}

/// Work between passes.
enum Job {
    /// The histograms of a split's children, from the parent's and what was summed.
    Split {
        children: [u32; 2],
        sums: [Option<SumsOfThreads>; 2],
        parent: Option<Histogram>,
    },
    /// A node with all its rows.
    Rows {
        node: u32,
        rows: Vec<GatheredRows>,
        reach: Reach,
    },
}

/// What came of a [`Job`].
enum Outcome {
    /// Histograms of children and their best splits.
    Split(Vec<(u32, Histogram, Option<NodeSplit>)>),
    /// See [`gathered::grow`].
    Rows(u32, Vec<GrowingNode>),
}

/// How the nodes of a batch are split.
#[derive(Default)]
struct Batch {
    /// By histograms of their children.
    summed: Vec<u32>,
    /// By their rows, which a pass brings together.
    to_gather: Vec<u32>,
    /// By their rows, which are here.
    here: Vec<u32>,
}

impl<'a, P: Pass> Grower<'a, P> {
    /// Before the tree's first pass.
    pub(crate) fn new(
        passes: &'a P,
        parameters: &'a TreeParameters,
        columns: &'a Columns,
        task: TreeTask,
    ) -> Grower<'a, P> {
        let growth = Growth::new(parameters, columns, task);
        Grower {
            passes,
            runs: columns.runs(&growth.tree_columns),
            growth,
            nodes: Vec::new(),
            pending: Vec::new(),
            frontier: Vec::new(),
            n_histograms: 0,
            gathered_bytes: 0,
        }
    }

    /// Grows a tree; `begun` is what its first step has brought, if another pass has made it.
    pub(crate) async fn grow(self, begun: Option<GrowPartial>) -> Result<GrownTree> {
        let mut grower = self;
        let begun = match begun {
            Some(begun) => begun,
            None => {
                let step = grower.first_step();
                grower.passes.state_pass(Part::Training, &step).await?
            }
        };
        grower.begin(begun);
        let mut is_split = if grower.makes_all_splits() {
            while !grower.frontier.is_empty() {
                let wanted = std::mem::take(&mut grower.frontier);
                grower.split_batch(wanted, false).await?;
            }
            grower
                .nodes
                .iter()
                .map(|node| node.children.is_some())
                .collect()
        } else {
            Vec::new()
        };
        while is_split.is_empty() {
            let replay = grower.replay();
            if replay.wanted.is_empty() {
                is_split = vec![false; grower.nodes.len()];
                replay
                    .done
                    .iter()
                    .for_each(|&node| is_split[node as usize] = true);
            } else {
                grower.split_batch(replay.wanted, replay.is_last).await?;
            }
        }
        Ok(GrownTree {
            nodes: grower.nodes,
            is_split,
            pending: grower.pending,
        })
    }

    /// Whether every split that gains is made, in whatever order.
    fn makes_all_splits(&self) -> bool {
        self.growth.parameters.max_leaves == 0
    }

    /// What samples the rows and sums the root, or brings its rows together.
    pub(crate) fn first_step(&self) -> GrowStep {
        let is_gathered = self.is_small(self.growth.task.n_rows);
        GrowStep {
            output: self.growth.task.output,
            begin: Some(BeginTree {
                subsample: self.growth.parameters.subsample,
                key: random::hash(&[self.growth.task.key, 2]),
                build: !is_gathered,
            }),
            splits: Vec::new(),
            gathers: if is_gathered { vec![0] } else { Vec::new() },
            runs: self.runs.clone(),
        }
    }

    /// Takes over what the first step has brought.
    fn begin(&mut self, mut partial: GrowPartial) {
        let is_gathered = self.is_small(self.growth.task.n_rows);
        let root = self.growth.root(partial.total, partial.n_rows);
        self.nodes.push(root);
        if !self.growth.can_split(&self.nodes[0]) {
            return;
        }
        let job = if is_gathered {
            let reach = if self.makes_all_splits() {
                Reach::All
            } else {
                Reach::Node
            };
            self.nodes[0].is_gathered = true;
            let rows = partial.gathered.pop().unwrap_or_default();
            Job::Rows {
                node: 0,
                rows,
                reach,
            }
        } else {
            Job::Split {
                children: [0, 0],
                sums: [partial.sums.pop(), None],
                parent: None,
            }
        };
        self.work(vec![job]);
    }

    /// Whether a node of so many rows is split by its rows.
    fn is_small(&self, n_rows: u64) -> bool {
        let columns = self.growth.columns;
        // The bytes of bundles are no bins of columns.
        let has_bins = !columns.kinds.is_empty() && columns.bundles.is_none();
        n_rows <= self.growth.parameters.gather_rows && has_bins
    }

    /// Splits some nodes and finds the best splits of their children.
    async fn split_batch(&mut self, wanted: Vec<u32>, is_last: bool) -> Result<()> {
        let batch = self.batch(&wanted, is_last);
        // Children are numbered in the order of the policy, however their parents are split.
        let first_pending = self.pending.len();
        let parents = if self.makes_all_splits() {
            &batch.summed
        } else {
            &wanted
        };
        for &node in parents {
            self.add_children(node)?;
        }
        let mut jobs = Vec::new();
        for &node in &batch.here {
            let rows = self.nodes[node as usize].rows.take();
            self.gathered_bytes -= rows.as_ref().map_or(0, GatheredRows::memory_bytes);
            if !is_last {
                jobs.push(Job::Rows {
                    node,
                    rows: rows.into_iter().collect(),
                    reach: Reach::Children,
                });
            }
        }
        let is_open = self.choose_sums(first_pending, is_last)?;
        if !is_open.is_empty() || !batch.to_gather.is_empty() {
            let step = GrowStep {
                output: self.growth.task.output,
                begin: None,
                splits: std::mem::take(&mut self.pending),
                gathers: batch.to_gather,
                runs: self.runs.clone(),
            };
            let partial = self.passes.state_pass(Part::Training, &step).await?;
            self.count_rows(&step, &partial);
            jobs.extend(self.jobs(&step, partial, &is_open));
        }
        batch
            .summed
            .iter()
            .for_each(|&node| self.drop_histogram(node));
        self.work(jobs);
        Ok(())
    }

    /// Says of the newest pending splits which children to sum; returns the children that may be split
    /// in turn.
    fn choose_sums(&mut self, first_pending: usize, is_last: bool) -> Result<BTreeSet<u32>> {
        let mut is_open = BTreeSet::new();
        for at in first_pending..self.pending.len() {
            let PendingSplit {
                node, left, right, ..
            } = self.pending[at];
            let open = [left, right]
                .map(|child| !is_last && self.growth.can_split(&self.nodes[child as usize]));
            is_open.extend(
                [left, right]
                    .into_iter()
                    .zip(open)
                    .filter(|c| c.1)
                    .map(|c| c.0),
            );
            if open.contains(&true) {
                self.pending[at].build = self.children_to_sum(node)?;
            }
        }
        Ok(is_open)
    }

    /// Sorts the nodes to split by how it is done, as far as there is memory; the others go back to the
    /// frontier, where there is one, or do without their rows.
    fn batch(&mut self, wanted: &[u32], is_last: bool) -> Batch {
        let mut batch = Batch::default();
        let bytes_of_row = self.growth.columns.kinds.len() + size_of::<u64>();
        let most_bytes = self.growth.parameters.working_bytes / 2;
        let mut more_bytes = 0;
        for &node in wanted {
            let growing = &self.nodes[node as usize];
            let (n_rows, is_gathered) = (growing.n_rows, growing.is_gathered);
            if is_gathered {
                batch.here.push(node);
                continue;
            }
            // Its children are leaves, which need neither rows nor sums.
            if self.growth.is_above_leaves(growing) {
                batch.summed.push(node);
                continue;
            }
            let bytes = usize::try_from(n_rows).unwrap_or(usize::MAX) * bytes_of_row;
            let has_room = self.gathered_bytes + more_bytes + bytes <= most_bytes;
            if self.is_small(n_rows) && !is_last && (has_room || batch.to_gather.is_empty()) {
                more_bytes += bytes;
                self.drop_histogram(node);
                self.nodes[node as usize].is_gathered = true;
                batch.to_gather.push(node);
            } else if self.makes_all_splits()
                && (self.is_small(n_rows) || batch.summed.len() >= self.most_summed())
            {
                self.frontier.push(node);
            } else {
                batch.summed.push(node);
            }
        }
        batch
    }

    /// The work that a pass brings.
    fn jobs(&mut self, step: &GrowStep, partial: GrowPartial, is_open: &BTreeSet<u32>) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut sums = partial.sums.into_iter();
        for split in &step.splits {
            let sums = split
                .build
                .map(|build| if build { sums.next() } else { None });
            let parent = self.take_histogram(split.node);
            let children = [split.left, split.right];
            if children.iter().any(|child| is_open.contains(child)) {
                jobs.push(Job::Split {
                    children,
                    sums,
                    parent,
                });
            }
        }
        let reach = if self.makes_all_splits() {
            Reach::All
        } else {
            Reach::Children
        };
        for (&node, rows) in step.gathers.iter().zip(partial.gathered) {
            jobs.push(Job::Rows { node, rows, reach });
        }
        jobs
    }

    /// Does the work on all threads and keeps what comes of it.
    fn work(&mut self, jobs: Vec<Job>) {
        let (growth, nodes) = (&self.growth, &self.nodes);
        let outcomes = parallel::map(self.passes.threads(), jobs, |job| match job {
            Job::Split {
                children,
                sums,
                parent,
            } => Outcome::Split(child_splits(growth, nodes, children, sums, parent)),
            Job::Rows { node, rows, reach } => {
                let mut all = GatheredRows::none();
                rows.into_iter().for_each(|rows| all.append(rows));
                let growing = nodes[node as usize].clone();
                Outcome::Rows(node, gathered::grow(growth, growing, all, reach))
            }
        });
        for outcome in outcomes {
            match outcome {
                Outcome::Split(found) => {
                    for (child, histogram, split) in found {
                        self.keep_split(child, histogram, split);
                    }
                }
                Outcome::Rows(node, grown) => self.keep_grown(node, grown),
            }
        }
    }

    /// Keeps a node's best split, and its histogram for its children if there is room.
    fn keep_split(&mut self, node: u32, histogram: Histogram, split: Option<NodeSplit>) {
        let bytes = (self.n_histograms + 1) * self.growth.columns.layout.memory_bytes();
        let growing = &mut self.nodes[node as usize];
        growing.split = split;
        if growing.split.is_none() {
            return;
        }
        let n_rows = growing.n_rows;
        let is_small = self.is_small(n_rows);
        let growing = &mut self.nodes[node as usize];
        if !is_small && bytes <= self.growth.parameters.working_bytes / 4 {
            growing.histogram = Some(histogram);
            self.n_histograms += 1;
        }
        if self.makes_all_splits() {
            self.frontier.push(node);
        }
    }

    /// Keeps what was grown below a node: in the place of its children, if they are numbered already.
    fn keep_grown(&mut self, node: u32, grown: Vec<GrowingNode>) {
        let bytes = |node: &GrowingNode| node.rows.as_ref().map_or(0, GatheredRows::memory_bytes);
        self.gathered_bytes += grown.iter().map(bytes).sum::<usize>();
        let mut grown = grown.into_iter().map(|node| GrowingNode {
            is_gathered: true,
            ..node
        });
        let numbered = self.nodes[node as usize].children;
        let Some(mut top) = grown.next() else {
            return;
        };
        if let Some((left, right)) = numbered {
            top.children = numbered;
            for (place, child) in [left, right].into_iter().zip(grown) {
                self.nodes[place as usize] = child;
            }
            self.nodes[node as usize] = top;
            return;
        }
        // The first takes the place of the node, the others follow all nodes so far.
        let offset = self.nodes.len() as u32 - 1;
        let moved = |children: (u32, u32)| (children.0 + offset, children.1 + offset);
        top.children = top.children.map(moved);
        self.nodes[node as usize] = top;
        self.nodes.extend(grown.map(|node| GrowingNode {
            children: node.children.map(moved),
            ..node
        }));
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

    /// Makes the children of a node by its best split; the chunks will follow it unless the node's rows
    /// are elsewhere.
    fn add_children(&mut self, node: u32) -> Result<()> {
        let (left, right) = (self.nodes.len() as u32, self.nodes.len() as u32 + 1);
        let parent = &self.nodes[node as usize];
        let children = self.growth.children(parent);
        let (Some(split), Some(children)) = (&parent.split, children) else {
            return Err(lost("a split"));
        };
        if !parent.is_gathered {
            let (column, left_bins) = self.growth.columns.split(split);
            self.pending.push(PendingSplit {
                node,
                left,
                right,
                column,
                left_bins,
                build: [false, false],
            });
        }
        self.nodes[node as usize].children = Some((left, right));
        self.nodes.extend(children);
        Ok(())
    }

    fn take_histogram(&mut self, node: u32) -> Option<Histogram> {
        let histogram = self.nodes[node as usize].histogram.take();
        self.n_histograms -= usize::from(histogram.is_some());
        histogram
    }

    fn drop_histogram(&mut self, node: u32) {
        self.take_histogram(node);
    }

    /// How many nodes to sum in one pass at most: each thread has histograms of its own.
    fn most_summed(&self) -> usize {
        let bytes = self.growth.columns.layout.memory_bytes().max(1) * (self.passes.threads() + 1);
        (self.growth.parameters.working_bytes / 4 / bytes).max(1)
    }
}

/// The histograms of a split's open children, as far as sums are there, and their best splits.
fn child_splits(
    growth: &Growth<'_>,
    nodes: &[GrowingNode],
    children: [u32; 2],
    sums: [Option<SumsOfThreads>; 2],
    parent: Option<Histogram>,
) -> Vec<(u32, Histogram, Option<NodeSplit>)> {
    let columns = growth.columns;
    let histogram = |sums: SumsOfThreads| sums.histogram(&columns.layout, columns.bundles.as_ref());
    let mut histograms = sums.map(|sums| sums.map(histogram));
    if let Some(mut rest) = parent {
        match &mut histograms {
            [Some(left), right @ None] => {
                rest.subtract(left);
                *right = Some(rest);
            }
            [left @ None, Some(right)] => {
                rest.subtract(right);
                *left = Some(rest);
            }
            _ => {}
        }
    }
    let found = children.into_iter().zip(histograms);
    found
        .filter_map(|(child, histogram)| {
            let (node, histogram) = (&nodes[child as usize], histogram?);
            let split = growth.can_split(node).then(|| {
                growth.finder().best_split(
                    &node.to_split(),
                    &histogram,
                    &growth.sampled_columns(node),
                )
            });
            Some((child, histogram, split.flatten()))
        })
        .collect()
}

fn lost(what: &str) -> Error {
    Error::Internal {
        what: format!("{what} of a growing tree is lost"),
    }
}
