//! Walking a tree by bins: how rows outside a tree's sample, and held-out rows, get its values.
//!
//! In: a row's bins; out: the value of the leaf that it reaches. Never sees raw values.

use super::split::BinSet;

/// A tree over columns and bins, as training knows it.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct BinnedTree {
    /// Node 0 is the root.
    pub(crate) nodes: Vec<BinnedNode>,
}

/// A node of a [`BinnedTree`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BinnedNode {
    /// The column that it asks for.
    pub(crate) column: u32,
    /// The bins that go left.
    pub(crate) left_bins: BinSet,
    /// Left and right child; (0, 0) for a leaf.
    pub(crate) children: (u32, u32),
    /// The output if it is a leaf.
    pub(crate) value: f64,
}

impl BinnedTree {
    /// The value of the leaf that a row of bins reaches.
    pub(crate) fn value(&self, bins: &[u8]) -> f64 {
        let mut node = &self.nodes[0];
        while node.children != (0, 0) {
            let bin = bins[node.column as usize] as usize;
            let (left, right) = node.children;
            let child = if node.left_bins.contains(bin) {
                left
            } else {
                right
            };
            node = &self.nodes[child as usize];
        }
        node.value
    }
}
