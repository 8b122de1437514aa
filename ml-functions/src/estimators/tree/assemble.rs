//! From a grown tree to the trees that training and prediction use.
//!
//! In: nodes over columns and bins, with the sums of the leaves; out: a [`Tree`] over features and
//! values, and the same tree over bins. Decides nothing but the numbering: a parent before its children.

use super::binning::FeatureBins;
use super::ensemble::{LEAF, Tree};
use super::grow::GrownTree;
use super::parameters::Regularization;
use super::split::{NodeSplit, leaf_value};
use super::walk::{BinnedNode, BinnedTree};

/// A tree in all its forms.
#[derive(Debug, Clone)]
pub(crate) struct AssembledTree {
    /// For prediction.
    pub(crate) tree: Tree,
    /// For rows of bins.
    pub(crate) binned: BinnedTree,
    /// The chunks' node and the value of each leaf.
    pub(crate) leaves: Vec<(u32, f64)>,
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
    /// The chunks' numbers of the leaves.
    pub(crate) fn leaves(&self) -> Vec<u32> {
        let mut leaves = Vec::new();
        let mut stack = vec![0u32];
        while let Some(node) = stack.pop() {
            match self.nodes[node as usize]
                .children
                .filter(|_| self.is_split[node as usize])
            {
                Some((left, right)) => stack.extend([right, left]),
                None => leaves.push(node),
            }
        }
        leaves
    }

    /// Builds the tree; the leaves of `values` are in the order of [`GrownTree::leaves`].
    pub(crate) fn assemble(&self, bins: &FeatureBins, values: &Values<'_>) -> AssembledTree {
        let mut real: Vec<[f64; 2]> = self
            .nodes
            .iter()
            .map(|node| [0, 1].map(|of| node.total[of] as f64 * values.units[of]))
            .collect();
        let leaves = self.leaves();
        for (&leaf, &sums) in leaves.iter().zip(values.sums.iter().flatten()) {
            real[leaf as usize] = sums;
        }
        let mut renewed = vec![None; self.nodes.len()];
        for (&leaf, &value) in leaves.iter().zip(values.renewed.iter().flatten()) {
            renewed[leaf as usize] = Some(value);
        }
        // Children have greater numbers than their parents: backwards, they are known first.
        for node in (0..self.nodes.len()).rev() {
            if let Some((left, right)) = self.nodes[node].children.filter(|_| self.is_split[node]) {
                let (left, right) = (real[left as usize], real[right as usize]);
                real[node] = [left[0] + right[0], left[1] + right[1]];
            }
        }
        let mut assembled = AssembledTree {
            tree: Tree::default(),
            binned: BinnedTree::default(),
            leaves: Vec::with_capacity(leaves.len()),
        };
        let mut order = vec![0u32];
        let mut at = 0;
        while let Some(&node) = order.get(at) {
            let growing = &self.nodes[node as usize];
            let [gradient, hessian] = real[node as usize];
            let value = values.learn_rate
                * match renewed[node as usize] {
                    Some(value) => value.max(growing.bounds.low).min(growing.bounds.high),
                    None => leaf_value(values.regularization, gradient, hessian, growing.bounds),
                };
            let split = growing
                .split
                .as_ref()
                .filter(|_| self.is_split[node as usize]);
            match (split, growing.children) {
                (Some(split), Some((left, right))) => {
                    let children = (order.len() as u32, order.len() as u32 + 1);
                    order.extend([left, right]);
                    assembled.push_split(bins, split, children, value);
                }
                _ => {
                    assembled.push_leaf(value);
                    assembled.leaves.push((node, value));
                }
            }
            assembled.tree.cover.push(hessian);
            at += 1;
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
        self.binned.nodes.push(BinnedNode {
            column: 0,
            left_bins: Default::default(),
            children: (0, 0),
            value,
        });
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
        self.binned.nodes.push(BinnedNode {
            column: split.column as u32,
            left_bins: split.left_bins,
            children,
            value,
        });
    }
}
