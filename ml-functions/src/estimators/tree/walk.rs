//! Walking a tree by bins: how rows outside a tree's sample, held-out rows, and rows that are not kept
//! apart any more find their leaf.
//!
//! In: a row's bins; out: the leaf that it reaches. Never sees raw values.

use super::chunk::TreeChunk;
use super::grow_step::segment;
use super::split::BinSet;
use crate::error::Result;

/// A tree over columns and bins, as training knows it.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct BinnedTree {
    /// Node 0 is the root.
    pub(crate) nodes: Vec<BinnedNode>,
}

/// A node of a [`BinnedTree`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BinnedNode {
    /// The column that it asks for; of a leaf, its number among the leaves.
    pub(crate) column: u32,
    /// The bins that go left.
    pub(crate) left_bins: BinSet,
    /// Left and right child; (0, 0) for a leaf.
    pub(crate) children: (u32, u32),
    /// The output if it is a leaf.
    pub(crate) value: f64,
}

/// Where the rows of the tree that grew last are: nodes whose rows lie side by side in the chunks, each
/// with the tree's node from which those rows walk on.
pub(crate) type Segments = Vec<(u32, u32)>;

impl BinnedNode {
    fn is_leaf(&self) -> bool {
        self.children == (0, 0)
    }
}

impl BinnedTree {
    /// The value of the leaf that a row of bins reaches.
    pub(crate) fn value(&self, bins: &[u8]) -> f64 {
        self.leaf_below(0, bins).value
    }

    /// The leaf that a row of bins reaches from a node.
    pub(crate) fn leaf_below(&self, node: u32, bins: &[u8]) -> &BinnedNode {
        let mut node = &self.nodes[node as usize];
        while !node.is_leaf() {
            let bin = bins[node.column as usize] as usize;
            let (left, right) = node.children;
            let child = if node.left_bins.contains(bin) {
                left
            } else {
                right
            };
            node = &self.nodes[child as usize];
        }
        node
    }

    /// The greatest difference between the values of a leaf here and there.
    pub(crate) fn distance(&self, other: &BinnedTree) -> f64 {
        let nodes = self.nodes.iter().zip(&other.nodes);
        nodes
            .filter(|(node, _)| node.is_leaf())
            .map(|(node, other)| (node.value - other.value).abs())
            .fold(0.0, f64::max)
    }

    /// Tells `visit` the leaf of each row of the tree's sample.
    pub(crate) fn for_each_row(
        &self,
        segments: &Segments,
        state: &TreeChunk,
        mut visit: impl FnMut(usize, &BinnedNode),
    ) -> Result<()> {
        for &(chunk_node, tree_node) in segments {
            let (start, n_rows) = segment(state, chunk_node)?;
            let rows = state.order[start..start + n_rows]
                .iter()
                .map(|&row| row as usize);
            let node = &self.nodes[tree_node as usize];
            if node.is_leaf() {
                rows.for_each(|row| visit(row, node));
                continue;
            }
            for row in rows {
                visit(row, self.leaf_below(tree_node, state.row(row)));
            }
        }
        Ok(())
    }
}
