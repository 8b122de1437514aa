//! How a tree lies in memory for scoring.
//!
//! In: a tree of a checked ensemble; out: one of two layouts, whichever is expected to be faster. Both
//! are free of branches on missing numbers: a split that sends NaN left is turned round, so that it asks
//! `−x ≤ −t⁺` (`t⁺` is the number after `t`) and NaN fails every question.

use std::ops::Range;

use super::number::Number;
use crate::estimators::tree::ensemble::{CategorySet, Split, Tree, TreeEnsemble};

/// Trees with more leaves are walked. Testing all splits takes a tenth of the time of walking with 31
/// leaves of f32 and a fifth with f64; with 127 leaves two fifths and four fifths (Zen 3, AVX2).
pub(super) const MAX_MASKED_LEAVES: usize = 128;
/// Codes that a set in one word can tell apart, beside one for all greater codes.
const MAX_WORD_CODES: usize = 31;
/// Trees with more sets of more codes are walked: looking into memory for each sample costs about as
/// much as a step of a walk, which has fewer.
const MAX_MASKED_LOOKUPS: usize = 24;

/// A column that the trees read: a dense feature, or its negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) feature: usize,
    pub(super) is_negated: bool,
}

/// A tree ready for scoring.
#[derive(Debug, Clone)]
pub(super) enum Layout<T: Number> {
    /// All splits are tested, without any walk.
    Masked(MaskedTree<T>),
    /// Samples walk from the root to their leaves.
    Walked(WalkedTree<T>),
}

/// Every split that a sample fails rules out the leaves on its left; the first leaf that no split rules
/// out is the sample's. Splits have no order, so that many samples are tested at once without a branch.
///
/// Source: Lucchese et al. 2015 (QuickScorer) and 2016 (with registers of samples).
#[derive(Debug, Clone)]
pub(super) struct MaskedTree<T: Number> {
    /// Groups of as many leaves as a mask has bits, from the left.
    pub(super) groups: Vec<MaskGroup<T>>,
    /// Sets of categories that do not fit in one word of a split.
    pub(super) words: Vec<u64>,
    /// Weight × value of each leaf from the left; the rest is not reached.
    pub(super) values: Box<[f64; MAX_MASKED_LEAVES]>,
}

/// The splits that concern a group of leaves.
#[derive(Debug, Clone)]
pub(super) struct MaskGroup<T: Number> {
    pub(super) dense: Vec<MaskSplit<T>>,
    pub(super) categorical: Vec<MaskCategories<T>>,
    pub(super) lookups: Vec<MaskLookup<T>>,
}

/// A dense split.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskSplit<T: Number> {
    pub(super) threshold: T,
    pub(super) column: u32,
    /// The leaves that remain for a sample that fails.
    pub(super) kept: T::Mask,
}

/// A categorical split of few codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskCategories<T: Number> {
    /// Bit set = goes left.
    pub(super) set: u32,
    /// Greater codes count as this one.
    pub(super) last_code: u32,
    pub(super) feature: u32,
    pub(super) kept: T::Mask,
}

/// A categorical split of many codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaskLookup<T: Number> {
    /// Where the set lies.
    pub(super) set: PackedSet,
    pub(super) feature: u32,
    pub(super) kept: T::Mask,
}

/// A set of categories in words of 64 bits; bit set = goes left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PackedSet {
    /// Of the tree's words.
    pub(super) first_word: u32,
    /// Greater codes count as this one.
    pub(super) last_code: u32,
}

/// A tree whose siblings are neighbours, so that a node needs to know one of its children only.
#[derive(Debug, Clone)]
pub(super) struct WalkedTree<T: Number> {
    /// Breadth first, so that the nodes that most samples meet lie together.
    pub(super) nodes: Vec<WalkedNode<T>>,
    /// The categorical splits, one for each node; empty if the tree has none.
    pub(super) categories: Vec<WalkedCategories>,
    /// Sets of categories; the first word is empty.
    pub(super) words: Vec<u64>,
    /// Weight × value of each node.
    pub(super) values: Vec<f64>,
}

/// The next node is `left` if the column's number is at most the threshold, else the one after it. A
/// leaf's threshold is NaN and the node after its `left` is itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalkedNode<T> {
    pub(super) threshold: T,
    pub(super) column: u32,
    pub(super) left: u32,
}

/// The categories of a node that go left; for a node without, those of a set without any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WalkedCategories {
    pub(super) feature: u32,
    pub(super) set: PackedSet,
}

/// Lays out the trees of an ensemble one after another.
pub(super) struct Compiler<'a> {
    ensemble: &'a TreeEnsemble,
    /// The columns asked for so far.
    pub(super) columns: Vec<Column>,
    /// Number of each feature's column, as it is and negated.
    numbers: Vec<[Option<u32>; 2]>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(ensemble: &'a TreeEnsemble) -> Compiler<'a> {
        Compiler {
            ensemble,
            columns: Vec::new(),
            numbers: vec![[None; 2]; ensemble.n_dense],
        }
    }

    /// Lays out a tree.
    pub(super) fn layout<T: Number>(&mut self, number: usize) -> Layout<T> {
        let tree = &self.ensemble.trees[number];
        let weight = self.ensemble.weights[number];
        if self.is_masked(tree) {
            Layout::Masked(self.masked(tree, weight))
        } else {
            Layout::Walked(self.walked(tree, weight))
        }
    }

    fn is_masked(&self, tree: &Tree) -> bool {
        let is_lookup = |&node: &usize| match self.ensemble.split(tree, node) {
            Split::Categorical { set, .. } => set.n_codes() > MAX_WORD_CODES,
            Split::Leaf | Split::Dense { .. } => false,
        };
        let n_leaves = tree.n_nodes() / 2 + 1;
        n_leaves <= MAX_MASKED_LEAVES
            && (0..tree.n_nodes()).filter(is_lookup).count() <= MAX_MASKED_LOOKUPS
    }

    /// The question of a dense split in the form of a column at most a threshold, and its children.
    fn question<T: Number>(
        &mut self,
        tree: &Tree,
        node: usize,
        (feature, threshold, missing_left): (usize, f64, bool),
    ) -> (u32, T, [usize; 2]) {
        let threshold = T::at_most(threshold);
        let column = self.column(feature, missing_left);
        let [left, right] = tree.children(node);
        if !missing_left {
            return (column, threshold, [left, right]);
        }
        // No number is after the greatest: all go left, and so does NaN.
        let above = threshold.next_up();
        let threshold = if above > threshold {
            above.negated()
        } else {
            T::NAN
        };
        (column, threshold, [right, left])
    }

    fn column(&mut self, feature: usize, is_negated: bool) -> u32 {
        let next = self.columns.len() as u32;
        let number = &mut self.numbers[feature][usize::from(is_negated)];
        if number.is_none() {
            self.columns.push(Column {
                feature,
                is_negated,
            });
        }
        *number.get_or_insert(next)
    }

    fn masked<T: Number>(&mut self, tree: &Tree, weight: f64) -> MaskedTree<T> {
        let n_leaves = tree.n_nodes() / 2 + 1;
        let empty = MaskGroup {
            dense: Vec::new(),
            categorical: Vec::new(),
            lookups: Vec::new(),
        };
        let mut masked = MaskedTree {
            groups: vec![empty; n_leaves.div_ceil(T::MASK_BITS)],
            words: Vec::new(),
            values: Box::new([0.0; MAX_MASKED_LEAVES]),
        };
        self.mask_below(tree, 0, (weight, &mut 0), &mut masked);
        masked
    }

    /// Adds the leaves and splits from a node on; masked trees are shallow enough to recurse.
    fn mask_below<T: Number>(
        &mut self,
        tree: &Tree,
        node: usize,
        (weight, n_leaves): (f64, &mut usize),
        into: &mut MaskedTree<T>,
    ) {
        let first_leaf = *n_leaves;
        let ensemble = self.ensemble;
        match ensemble.split(tree, node) {
            Split::Leaf => {
                into.values[first_leaf] = weight * tree.value[node];
                *n_leaves += 1;
            }
            Split::Dense {
                feature,
                threshold,
                missing_left,
            } => {
                let split = (feature, threshold, missing_left);
                let (column, threshold, [left, right]) = self.question(tree, node, split);
                self.mask_below(tree, left, (weight, &mut *n_leaves), into);
                for (group, kept) in groups_of::<T>(first_leaf..*n_leaves) {
                    into.groups[group].dense.push(MaskSplit {
                        threshold,
                        column,
                        kept,
                    });
                }
                self.mask_below(tree, right, (weight, n_leaves), into);
            }
            Split::Categorical { feature, set } => {
                let [left, right] = tree.children(node);
                self.mask_below(tree, left, (weight, &mut *n_leaves), into);
                into.add_categorical(feature as u32, set, first_leaf..*n_leaves);
                self.mask_below(tree, right, (weight, n_leaves), into);
            }
        }
    }

    fn walked<T: Number>(&mut self, tree: &Tree, weight: f64) -> WalkedTree<T> {
        let has_categories = tree
            .feature
            .iter()
            .any(|&f| f >= self.ensemble.n_dense as i32);
        let mut walked = WalkedTree {
            nodes: Vec::with_capacity(tree.n_nodes()),
            categories: Vec::new(),
            words: vec![0],
            values: Vec::with_capacity(tree.n_nodes()),
        };
        let mut order = Vec::with_capacity(tree.n_nodes());
        order.push(0);
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            let left = order.len() as u32;
            let mut categories = WalkedCategories::default();
            let (column, threshold, left) = match self.ensemble.split(tree, node) {
                // The node after it is the leaf itself.
                Split::Leaf => (0, T::NAN, (next as u32).wrapping_sub(1)),
                Split::Dense {
                    feature,
                    threshold,
                    missing_left,
                } => {
                    let split = (feature, threshold, missing_left);
                    let (column, threshold, children) = self.question(tree, node, split);
                    order.extend(children);
                    (column, threshold, left)
                }
                Split::Categorical { feature, set } => {
                    categories = WalkedCategories {
                        feature: feature as u32,
                        set: packed(set, &mut walked.words),
                    };
                    order.extend(tree.children(node));
                    (0, T::NAN, left)
                }
            };
            walked.nodes.push(WalkedNode {
                threshold,
                column,
                left,
            });
            walked.values.push(weight * tree.value[node]);
            if has_categories {
                walked.categories.push(categories);
            }
            next += 1;
        }
        walked
    }
}

impl<T: Number> MaskedTree<T> {
    /// Adds a categorical split with some leaves on its left.
    fn add_categorical(&mut self, feature: u32, set: CategorySet<'_>, left: Range<usize>) {
        let mut words = Vec::new();
        let mut packed_set = packed(set, &mut words);
        let in_one_word = match words.as_slice() {
            &[word] if set.n_codes() <= MAX_WORD_CODES => Some(word as u32),
            _ => {
                packed_set.first_word = self.words.len() as u32;
                self.words.extend(words);
                None
            }
        };
        for (group, kept) in groups_of::<T>(left) {
            match in_one_word {
                Some(set) => self.groups[group].categorical.push(MaskCategories {
                    set,
                    last_code: packed_set.last_code,
                    feature,
                    kept,
                }),
                None => self.groups[group].lookups.push(MaskLookup {
                    set: packed_set,
                    feature,
                    kept,
                }),
            }
        }
    }
}

/// Appends a set to the words of a tree, with a bit for the codes that have none of their own.
fn packed(set: CategorySet<'_>, words: &mut Vec<u64>) -> PackedSet {
    let first_word = words.len() as u32;
    let n_codes = set.n_codes();
    words.extend((0..=n_codes / 64).map(|word| {
        let codes = word * 64..=n_codes.min(word * 64 + 63);
        codes.fold(0, |bits, code| {
            bits | u64::from(set.contains(code)) << (code % 64)
        })
    }));
    PackedSet {
        first_word,
        last_code: n_codes as u32,
    }
}

impl<T: Number> Layout<T> {
    /// Size in memory of what scoring reads.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Layout::Masked(tree) => {
                let groups = tree.groups.iter();
                let splits = groups.map(|group| {
                    size_of_val(group.dense.as_slice())
                        + size_of_val(group.categorical.as_slice())
                        + size_of_val(group.lookups.as_slice())
                });
                splits.sum::<usize>()
                    + size_of_val(tree.words.as_slice())
                    + size_of_val(tree.values.as_slice())
            }
            Layout::Walked(tree) => {
                size_of_val(tree.nodes.as_slice())
                    + size_of_val(tree.categories.as_slice())
                    + size_of_val(tree.words.as_slice())
                    + size_of_val(tree.values.as_slice())
            }
        }
    }
}

/// The groups that some neighbouring leaves belong to, with the masks that lack them.
fn groups_of<T: Number>(leaves: std::ops::Range<usize>) -> impl Iterator<Item = (usize, T::Mask)> {
    let bits = T::MASK_BITS;
    (leaves.start / bits..leaves.end.div_ceil(bits)).map(move |group| {
        let start = leaves.start.max(group * bits) - group * bits;
        let end = leaves.end.min((group + 1) * bits) - group * bits;
        (group, T::without(start..end))
    })
}
