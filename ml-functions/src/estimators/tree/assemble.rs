//! From a grown tree to the trees that training and prediction use.
//!
//! In: nodes over columns and bins, with the sums of the leaves; out: a [`Tree`] over features and
//! values, and the same tree over bins. Decides nothing but the numbering: a parent before its children.

use super::binning::FeatureBins;
use super::ensemble::{LEAF, Tree};
use super::growth::{Columns, GrownTree};
use super::parameters::Regularization;
use super::split::{NodeSplit, leaf_value};
use super::walk::{BinnedNode, BinnedTree, Segments};

/// A tree in all its forms.
#[derive(Debug, Clone)]
pub(crate) struct AssembledTree {
    /// For prediction.
    pub(crate) tree: Tree,
    /// For rows of bins.
    pub(crate) binned: BinnedTree,
    /// Where the rows of its sample are.
    pub(crate) segments: Segments,
}

/// A tree before its values are known.
#[derive(Debug, Clone)]
pub(crate) struct TreeShape {
    /// Over bins, with leaves of the value 0.
    pub(crate) tree: BinnedTree,
    /// Where the rows of its sample are once they followed the last splits.
    pub(crate) segments: Segments,
    /// Number of leaves.
    pub(crate) n_leaves: usize,
    /// The grown node of each node.
    grown: Vec<u32>,
}

/// What values are made of.
pub(crate) struct Values<'a> {
    /// The formula's parameters.
    pub(crate) regularization: &'a Regularization,
    /// Factor of every value.
    pub(crate) learn_rate: f64,
    /// What one unit of a quantised gradient and hessian stands for.
    pub(crate) units: [f64; 2],
    /// Gradient and hessian of each leaf; without, the quantised sums stand in.
    pub(crate) sums: Option<Vec<[f64; 2]>>,
    /// The value of each leaf before the learn rate, where sums do not decide it.
    pub(crate) renewed: Option<Vec<f64>>,
}

impl GrownTree {
    /// Numbers the nodes of the tree, level by level.
    pub(crate) fn shape(&self, columns: &Columns) -> TreeShape {
        let mut shape = TreeShape {
            tree: BinnedTree::default(),
            segments: Vec::new(),
            n_leaves: 0,
            grown: vec![0],
        };
        // Whether the rows of a node's parents are kept apart as far as to the node.
        let mut is_apart = vec![true];
        let mut at = 0;
        while let Some(&node) = shape.grown.get(at) {
            let growing = &self.nodes[node as usize];
            let mut binned = BinnedNode {
                column: shape.n_leaves as u32,
                left_bins: Default::default(),
                children: (0, 0),
                value: 0.0,
            };
            let split = self.split_of(node);
            if let Some((split, children)) = split {
                let first = shape.grown.len() as u32;
                shape.grown.extend([children.0, children.1]);
                is_apart.extend([is_apart[at] && !growing.is_gathered; 2]);
                (binned.column, binned.left_bins) = columns.split(split);
                binned.children = (first, first + 1);
            } else {
                shape.n_leaves += 1;
            }
            if is_apart[at] && (split.is_none() || growing.is_gathered) {
                shape.segments.push((node, at as u32));
            }
            shape.tree.nodes.push(binned);
            at += 1;
        }
        shape
    }

    /// The split and the children of a node that is no leaf of the tree.
    fn split_of(&self, node: u32) -> Option<(&NodeSplit, (u32, u32))> {
        let growing = &self.nodes[node as usize];
        let split = growing.split.as_ref().zip(growing.children);
        split.filter(|_| self.is_split[node as usize])
    }

    /// Builds the tree; the leaves of `values` are numbered as those of `shape`.
    pub(crate) fn assemble(
        &self,
        shape: TreeShape,
        bins: &FeatureBins,
        values: &Values<'_>,
    ) -> AssembledTree {
        let quantised = |node: u32| {
            let total = self.nodes[node as usize].total;
            [0, 1].map(|of| total[of] as f64 * values.units[of])
        };
        let mut real: Vec<[f64; 2]> = shape.grown.iter().map(|&node| quantised(node)).collect();
        // Children have greater numbers than their parents: backwards, they are known first.
        for (at, node) in shape.tree.nodes.iter().enumerate().rev() {
            match (node.children, &values.sums) {
                ((0, 0), Some(sums)) => real[at] = sums[node.column as usize],
                ((0, 0), None) => {}
                ((left, right), _) => {
                    let (left, right) = (real[left as usize], real[right as usize]);
                    real[at] = [left[0] + right[0], left[1] + right[1]];
                }
            }
        }
        let mut assembled = AssembledTree {
            tree: Tree::default(),
            binned: shape.tree,
            segments: shape.segments,
        };
        for (at, &node) in shape.grown.iter().enumerate() {
            let bounds = self.nodes[node as usize].bounds;
            let [gradient, hessian] = real[at];
            let binned = &mut assembled.binned.nodes[at];
            let is_leaf = binned.children == (0, 0);
            let renewed = values.renewed.as_ref().filter(|_| is_leaf);
            binned.value = values.learn_rate
                * match renewed.map(|renewed| renewed[binned.column as usize]) {
                    Some(value) => value.max(bounds.low).min(bounds.high),
                    None => leaf_value(values.regularization, gradient, hessian, bounds),
                };
            let (value, children) = (binned.value, binned.children);
            match self.split_of(node) {
                Some((split, _)) => assembled.push_split(bins, split, children, value),
                None => assembled.push_leaf(value),
            }
            assembled.tree.cover.push(hessian);
        }
        assembled
    }
}

impl AssembledTree {
    fn push_leaf(&mut self, value: f64) {
        self.tree.feature.push(LEAF);
        self.tree.threshold.push(0.0);
        self.tree.categories.push((0, 0));
        self.tree.children.push((0, 0));
        self.tree.missing_left.push(false);
        self.tree.value.push(value);
        self.tree.gain.push(0.0);
    }

    fn push_split(
        &mut self,
        bins: &FeatureBins,
        split: &NodeSplit,
        children: (u32, u32),
        value: f64,
    ) {
        let feature = bins.columns[split.column] as usize;
        self.tree.feature.push(feature as i32);
        match bins.dense.get(feature) {
            Some(dense) => {
                self.tree.threshold.push(dense.threshold(split.bin));
                self.tree.categories.push((0, 0));
            }
            None => {
                self.tree.threshold.push(0.0);
                let codes = &bins.categorical[feature - bins.dense.len()].bins;
                let start = self.tree.category_words.len();
                let mut words = vec![0u64; codes.len().div_ceil(64)];
                for (code, &bin) in codes.iter().enumerate() {
                    words[code / 64] |=
                        u64::from(split.left_bins.contains(bin as usize)) << (code % 64);
                }
                self.tree
                    .categories
                    .push((start as u32, words.len() as u32));
                self.tree.category_words.extend(words);
            }
        }
        self.tree.children.push(children);
        self.tree.missing_left.push(split.missing_left);
        self.tree.value.push(value);
        self.tree.gain.push(split.gain);
    }
}
