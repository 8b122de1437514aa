//! Which leaf is split next: the policy of growth, replayed over the nodes that were made so far.
//!
//! In: nodes with their best splits; out: the splits that the tree has, and those to make next. A replay
//! reads off the same tree whatever was made beyond it, so batches change nothing but the number of passes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::Grower;
use crate::estimators::tree::driver::Pass;
use crate::estimators::tree::parameters::GrowPolicy;

/// What replaying the policy finds.
pub(super) struct Replay {
    /// Splits of the tree so far, in order.
    pub(super) done: Vec<u32>,
    /// Nodes to split next.
    pub(super) wanted: Vec<u32>,
    /// Whether no leaf may follow those of the wanted splits.
    pub(super) is_last: bool,
}

/// A leaf in the order of the policy: the greatest is split first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    /// Negative depth or gain.
    rank: f64,
    /// Between equals: level by level, or by a hash of the path, so that batches do not matter.
    tie: u64,
    node: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.rank
            .total_cmp(&other.rank)
            .then(other.tie.cmp(&self.tie))
            .then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Pass> Grower<'_, P> {
    /// Plays the policy over the nodes so far, until it wants a split that is not made yet, and on for
    /// as many more as are worth making in the same pass.
    pub(super) fn replay(&self) -> Replay {
        let max_leaves = self.growth.parameters.max_leaves;
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
                    most_wanted = self.most_wanted(max_leaves - n_leaves);
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
    /// are left hardly ever turn out to be in vain; the histograms of a batch must fit the memory.
    fn most_wanted(&self, leaves_left: usize) -> usize {
        let by_policy = match self.growth.parameters.grow_policy {
            GrowPolicy::LossGuide => (leaves_left / 2).max(1),
            GrowPolicy::DepthWise => usize::MAX,
        };
        by_policy.min(self.most_summed())
    }

    /// Whether depth-wise growth splits one node only after all children of the other are known.
    fn is_later(&self, first: u32, next: u32) -> bool {
        self.growth.parameters.grow_policy == GrowPolicy::DepthWise
            && self.nodes[next as usize].depth > self.nodes[first as usize].depth
    }

    fn candidate(&self, node: u32) -> Option<Candidate> {
        let growing = &self.nodes[node as usize];
        let split = growing.split.as_ref()?;
        let (rank, tie) = match self.growth.parameters.grow_policy {
            GrowPolicy::DepthWise => (-(growing.depth as f64), u64::from(node)),
            GrowPolicy::LossGuide => (split.gain, growing.key),
        };
        Some(Candidate { rank, tie, node })
    }
}
