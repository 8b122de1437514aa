//! A fitted ensemble of decision trees as plain arrays: what training writes and everything else reads.
//!
//! In: nodes from training or from a stored model; out: which way a sample goes at a node, and its
//! score by walking. Scoring of blocks is `scoring`'s and attributions are `shap`'s. [`TreeEnsemble::check`]
//! must have passed before any other use; it makes a damaged file an error here and nowhere else.

use crate::error::{Error, Result};
use crate::features::{Dense, FeatureBlock};

/// What [`Tree::feature`] says of a leaf.
pub(crate) const LEAF: i32 = -1;

/// One tree of an ensemble as parallel arrays; node 0 is the root and a child's number is greater than
/// its parent's.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tree {
    /// The feature that a node splits on; [`LEAF`] for a leaf.
    pub(crate) feature: Vec<i32>,
    /// Dense split: values ≤ threshold go left. Unused (0) otherwise.
    pub(crate) threshold: Vec<f64>,
    /// Categorical split: start of the node's categories in `category_words` (u64 words, bit set =
    /// goes left), and number of words; (0, 0) otherwise.
    pub(crate) categories: Vec<(u32, u32)>,
    /// Bit sets of the categorical splits.
    pub(crate) category_words: Vec<u64>,
    /// Left and right child; (0, 0) for a leaf.
    pub(crate) children: Vec<(u32, u32)>,
    /// Where a missing number or a category beyond the node's words (never seen) goes.
    pub(crate) missing_left: Vec<bool>,
    /// The output of the node if it is a leaf (learn rate included), else what it would have been.
    pub(crate) value: Vec<f64>,
    /// Loss reduction of the split; 0 for a leaf.
    pub(crate) gain: Vec<f64>,
    /// Sum of hessians of the training samples that passed.
    pub(crate) cover: Vec<f64>,
}

/// A fitted ensemble: the score of output `k` is `base_scores[k]` + Σ weight · value of the reached
/// leaf over the trees with output `k`, in tree order.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct TreeEnsemble {
    /// The trees.
    pub(crate) trees: Vec<Tree>,
    /// The output that each tree adds to.
    pub(crate) outputs: Vec<u32>,
    /// The factor of each tree: DART's, else 1.
    pub(crate) weights: Vec<f64>,
    /// The score of each output without any tree.
    pub(crate) base_scores: Vec<f64>,
    /// Number of dense features, which come first.
    pub(crate) n_dense: usize,
    /// Number of categories of each categorical feature, NULL and unseen not counted.
    pub(crate) category_counts: Vec<usize>,
}

/// What a node asks of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Split<'a> {
    /// It asks nothing.
    Leaf,
    /// Is the number at most the threshold?
    Dense {
        /// The dense feature.
        feature: usize,
        /// The threshold.
        threshold: f64,
        /// The way of NaN.
        missing_left: bool,
    },
    /// Is the category in the set?
    Categorical {
        /// The categorical feature, counted from the first categorical one.
        feature: usize,
        /// The categories that go left.
        set: CategorySet<'a>,
    },
}

/// The categories that go left at a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CategorySet<'a> {
    words: &'a [u64],
    /// Codes from here on have no bit of their own: they were never seen.
    n_codes: usize,
    missing_left: bool,
}

impl CategorySet<'_> {
    /// Codes from here on all go the same way.
    pub(crate) fn n_codes(&self) -> usize {
        self.n_codes
    }

    /// Whether a code goes left.
    pub(crate) fn contains(&self, code: usize) -> bool {
        if code >= self.n_codes {
            return self.missing_left;
        }
        self.words[code / 64] >> (code % 64) & 1 == 1
    }
}

impl Tree {
    /// Number of nodes.
    pub(crate) fn n_nodes(&self) -> usize {
        self.feature.len()
    }

    /// Whether a node is a leaf.
    #[cfg(test)]
    pub(crate) fn is_leaf(&self, node: usize) -> bool {
        self.feature[node] < 0
    }

    /// Left and right child of a split.
    pub(crate) fn children(&self, node: usize) -> [usize; 2] {
        let (left, right) = self.children[node];
        [left as usize, right as usize]
    }

    /// The fraction of a split's training samples, by cover, that went to each child; halves where
    /// none is known, so that fractions sum to one everywhere.
    pub(crate) fn child_fractions(&self, node: usize) -> [f64; 2] {
        let [left, right] = self.children(node);
        let (left, right) = (self.cover[left], self.cover[right]);
        // Halves cannot overflow where two covers could.
        let both = left / 2.0 + right / 2.0;
        if both > 0.0 {
            let left = left / 2.0 / both;
            [left, 1.0 - left]
        } else {
            [0.5, 0.5]
        }
    }

    /// Checks that every index is in bounds, that children come after their parent and that every
    /// node but the root has exactly one, so that every walk ends at a leaf.
    fn check(&self, n_dense: usize, n_categorical: usize) -> std::result::Result<(), &'static str> {
        let n_nodes = self.n_nodes();
        let lengths = [
            self.threshold.len(),
            self.categories.len(),
            self.children.len(),
            self.missing_left.len(),
            self.value.len(),
            self.gain.len(),
            self.cover.len(),
        ];
        if n_nodes == 0 || u32::try_from(n_nodes).is_err() || lengths != [n_nodes; 7] {
            return Err("number of nodes");
        }
        let mut has_parent = vec![false; n_nodes];
        for node in 0..n_nodes {
            self.check_numbers(node)?;
            let Ok(feature) = usize::try_from(self.feature[node]) else {
                continue;
            };
            if feature >= n_dense + n_categorical {
                return Err("feature of a node");
            }
            if feature < n_dense && self.threshold[node].is_nan() {
                return Err("threshold of a node");
            }
            let (start, n_words) = self.categories[node];
            let end = start as usize + n_words as usize;
            if feature >= n_dense && end > self.category_words.len() {
                return Err("categories of a node");
            }
            for child in self.children(node) {
                if child <= node || child >= n_nodes || has_parent[child] {
                    return Err("children of a node");
                }
                has_parent[child] = true;
            }
        }
        match has_parent.iter().skip(1).all(|&has| has) {
            true => Ok(()),
            false => Err("parent of a node"),
        }
    }

    fn check_numbers(&self, node: usize) -> std::result::Result<(), &'static str> {
        if !self.value[node].is_finite() {
            return Err("value of a node");
        }
        if !self.gain[node].is_finite() {
            return Err("gain of a node");
        }
        match self.cover[node].is_finite() && self.cover[node] >= 0.0 {
            true => Ok(()),
            false => Err("cover of a node"),
        }
    }
}

impl TreeEnsemble {
    /// Checks everything that scoring and explaining rely on.
    ///
    /// Errors: `DamagedModel` that names the tree and the part.
    pub(crate) fn check(&self) -> Result<()> {
        let n_trees = self.trees.len();
        let is_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let parts = [
            (
                "weights",
                self.weights.len() == n_trees && is_finite(&self.weights),
            ),
            (
                "base scores",
                !self.base_scores.is_empty() && is_finite(&self.base_scores),
            ),
            ("outputs", self.outputs.len() == n_trees),
            (
                "outputs",
                self.outputs
                    .iter()
                    .all(|&output| (output as usize) < self.n_outputs()),
            ),
            // Codes are u32 and two more than the categories are in use; features are i32.
            (
                "category counts",
                self.category_counts
                    .iter()
                    .all(|&k| k < u32::MAX as usize - 1),
            ),
            (
                "number of features",
                self.n_dense.saturating_add(self.category_counts.len()) <= i32::MAX as usize,
            ),
        ];
        for (what, is_sound) in parts {
            if !is_sound {
                return Err(damaged(format!("{what} of the trees")));
            }
        }
        for (number, tree) in self.trees.iter().enumerate() {
            tree.check(self.n_dense, self.category_counts.len())
                .map_err(|what| damaged(format!("{what} in tree {number}")))?;
        }
        Ok(())
    }

    /// Number of scores of a sample.
    pub(crate) fn n_outputs(&self) -> usize {
        self.base_scores.len()
    }

    /// Number of features.
    pub(crate) fn n_features(&self) -> usize {
        self.n_dense + self.category_counts.len()
    }

    /// What a node asks of a sample.
    pub(crate) fn split<'a>(&self, tree: &'a Tree, node: usize) -> Split<'a> {
        let Ok(feature) = usize::try_from(tree.feature[node]) else {
            return Split::Leaf;
        };
        let missing_left = tree.missing_left[node];
        if feature < self.n_dense {
            return Split::Dense {
                feature,
                threshold: tree.threshold[node],
                missing_left,
            };
        }
        let feature = feature - self.n_dense;
        let (start, n_words) = tree.categories[node];
        let words = &tree.category_words[start as usize..start as usize + n_words as usize];
        // The categories and NULL have codes up to and including the number of categories.
        let n_codes = (self.category_counts[feature] + 1).min(words.len() * 64);
        let set = CategorySet {
            words,
            n_codes,
            missing_left,
        };
        Split::Categorical { feature, set }
    }

    /// Whether a sample goes left at a split.
    pub(crate) fn goes_left(&self, tree: &Tree, node: usize, sample: &Sample) -> bool {
        match self.split(tree, node) {
            Split::Leaf => false,
            Split::Dense {
                feature,
                threshold,
                missing_left,
            } => {
                let x = sample.dense[feature];
                x <= threshold || (x.is_nan() && missing_left)
            }
            Split::Categorical { feature, set } => set.contains(sample.codes[feature] as usize),
        }
    }

    /// Adds to the base scores of each sample, `(n_samples, n_outputs)` row-major, the leaves that it reaches.
    pub(crate) fn walk(&self, block: &FeatureBlock, scores: &mut [f64]) {
        let mut sample = Sample::default();
        for (row, scores) in scores.chunks_exact_mut(self.n_outputs()).enumerate() {
            sample.read(block, row);
            let trees = self.trees.iter().zip(&self.outputs).zip(&self.weights);
            for ((tree, &output), weight) in trees {
                let mut node = 0;
                while tree.feature[node] != LEAF {
                    let [left, right] = tree.children(node);
                    let goes_left = self.goes_left(tree, node, &sample);
                    node = if goes_left { left } else { right };
                }
                scores[output as usize] += weight * tree.value[node];
            }
        }
    }

    /// Whether a block has this ensemble's features.
    ///
    /// Errors: `Internal`, since the encoder makes blocks of the model's own features.
    pub(crate) fn check_block(&self, block: &FeatureBlock) -> Result<()> {
        let n_values = match &block.dense {
            Dense::F32(values) => values.len(),
            Dense::F64(values) => values.len(),
        };
        let is_sound = n_values == self.n_dense * block.n_samples
            && block.codes.len() == self.category_counts.len()
            && block
                .codes
                .iter()
                .all(|codes| codes.len() == block.n_samples);
        if is_sound {
            return Ok(());
        }
        Err(Error::Internal {
            what: "a block has other features than the trees".to_owned(),
        })
    }
}

/// One sample of a block, row by row; kept between rows so that reading one allocates nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sample {
    /// Its numbers.
    pub(crate) dense: Vec<f64>,
    /// Its codes.
    pub(crate) codes: Vec<u32>,
}

impl Sample {
    /// Becomes a row of a block.
    pub(crate) fn read(&mut self, block: &FeatureBlock, row: usize) {
        self.dense.clear();
        match &block.dense {
            Dense::F32(values) => {
                let columns = values.chunks_exact(block.n_samples);
                self.dense
                    .extend(columns.map(|column| f64::from(column[row])));
            }
            Dense::F64(values) => {
                let columns = values.chunks_exact(block.n_samples);
                self.dense.extend(columns.map(|column| column[row]));
            }
        }
        self.codes.clear();
        self.codes
            .extend(block.codes.iter().map(|codes| codes[row]));
    }
}

/// The error that names a part of a stored model.
pub(super) fn damaged(what: String) -> Error {
    Error::DamagedModel { what }
}

#[cfg(test)]
mod tests;
