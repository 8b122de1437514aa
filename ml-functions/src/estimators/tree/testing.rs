//! Small and random ensembles and blocks for the tests of this folder.

use super::ensemble::{LEAF, Sample, Tree, TreeEnsemble};
use crate::features::{Dense, FeatureBlock, TargetValues};

/// Numbers for tests from a seed (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number that is often one of few, and now and then an extreme one.
    pub(crate) fn value(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::INFINITY,
            1 => f64::NEG_INFINITY,
            2 => 0.0,
            3 => -0.0,
            4 => 1e300,
            5 => -1e-300,
            6 | 7 => self.below(4) as f64 - 1.5,
            // Between two neighbours of f32.
            8 => f64::from(self.below(4) as f32) * (1.0 + 1e-9),
            9 => f64::from((self.below(9) as f32 - 4.0) / 3.0),
            _ => self.unit() * 4.0 - 2.0,
        }
    }
}

/// A tree of one leaf.
pub(crate) fn leaf(value: f64, cover: f64) -> Tree {
    let mut tree = Tree::default();
    push(&mut tree, LEAF, 0.0);
    tree.value[0] = value;
    tree.cover[0] = cover;
    tree
}

/// A tree whose root splits on a number; its cover is the sum of the children's.
pub(crate) fn split(feature: i32, threshold: f64, left: Tree, right: Tree) -> Tree {
    let mut tree = Tree::default();
    push(&mut tree, feature, threshold);
    tree.cover[0] = left.cover[0] + right.cover[0];
    for (side, child) in [left, right].into_iter().enumerate() {
        let start = tree.n_nodes() as u32;
        let first_word = tree.category_words.len() as u32;
        tree.children[0] = match side {
            0 => (start, 0),
            _ => (tree.children[0].0, start),
        };
        for node in 0..child.n_nodes() {
            push(&mut tree, child.feature[node], child.threshold[node]);
            let at = start as usize + node;
            let (l, r) = child.children[node];
            tree.children[at] = if child.is_leaf(node) {
                (0, 0)
            } else {
                (l + start, r + start)
            };
            let (word, n_words) = child.categories[node];
            tree.categories[at] = (if n_words > 0 { word + first_word } else { 0 }, n_words);
            tree.missing_left[at] = child.missing_left[node];
            tree.value[at] = child.value[node];
            tree.gain[at] = child.gain[node];
            tree.cover[at] = child.cover[node];
        }
        tree.category_words.extend(child.category_words);
    }
    tree
}

fn push(tree: &mut Tree, feature: i32, threshold: f64) {
    tree.feature.push(feature);
    tree.threshold.push(threshold);
    tree.categories.push((0, 0));
    tree.children.push((0, 0));
    tree.missing_left.push(false);
    tree.value.push(0.0);
    tree.gain.push(0.0);
    tree.cover.push(0.0);
}

/// An ensemble of one output.
pub(crate) fn ensemble_of(
    trees: Vec<Tree>,
    n_dense: usize,
    category_counts: Vec<usize>,
) -> TreeEnsemble {
    TreeEnsemble {
        outputs: vec![0; trees.len()],
        weights: vec![1.0; trees.len()],
        trees,
        base_scores: vec![0.5],
        n_dense,
        category_counts,
    }
}

/// What a random ensemble looks like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) n_trees: usize,
    pub(crate) n_outputs: usize,
    pub(crate) n_dense: usize,
    pub(crate) category_counts: Vec<usize>,
    pub(crate) max_leaves: usize,
    /// Always split the newest leaf, so that trees become chains.
    pub(crate) is_chain: bool,
}

/// A random ensemble.
pub(crate) fn random_ensemble(shape: &Shape, numbers: &mut Numbers) -> TreeEnsemble {
    let mut ensemble = ensemble_of(Vec::new(), shape.n_dense, shape.category_counts.clone());
    ensemble.base_scores = (0..shape.n_outputs).map(|_| numbers.unit()).collect();
    for _ in 0..shape.n_trees {
        ensemble.outputs.push(numbers.below(shape.n_outputs) as u32);
        ensemble.weights.push(if numbers.below(2) == 0 {
            1.0
        } else {
            numbers.unit()
        });
        ensemble.trees.push(random_tree(shape, numbers));
    }
    ensemble.check().unwrap();
    ensemble
}

fn random_tree(shape: &Shape, numbers: &mut Numbers) -> Tree {
    let mut tree = leaf(numbers.unit() * 2.0 - 1.0, 100.0);
    let n_features = shape.n_dense + shape.category_counts.len();
    let n_leaves = if n_features == 0 {
        1
    } else {
        1 + numbers.below(shape.max_leaves)
    };
    let mut leaves = vec![0];
    while leaves.len() < n_leaves {
        let index = if shape.is_chain {
            leaves.len() - 1
        } else {
            numbers.below(leaves.len())
        };
        let node = leaves.swap_remove(index);
        let feature = numbers.below(n_features);
        tree.feature[node] = feature as i32;
        tree.missing_left[node] = numbers.below(2) == 0;
        tree.gain[node] = numbers.unit();
        if feature < shape.n_dense {
            tree.threshold[node] = numbers.value();
        } else {
            let k = shape.category_counts[feature - shape.n_dense];
            // Sometimes with room for codes that do not exist, sometimes without room for the last.
            let n_words = (k / 64 + 1 + numbers.below(2)).saturating_sub(numbers.below(3));
            tree.categories[node] = (tree.category_words.len() as u32, n_words as u32);
            tree.category_words
                .extend((0..n_words).map(|_| numbers.bits()));
        }
        let left = tree.n_nodes();
        tree.children[node] = (left as u32, left as u32 + 1);
        let fraction = match numbers.below(8) {
            0 => 0.0,
            1 => 1.0,
            _ => numbers.unit(),
        };
        for (child, fraction) in [(left, fraction), (left + 1, 1.0 - fraction)] {
            push(&mut tree, LEAF, 0.0);
            tree.value[child] = numbers.unit() * 2.0 - 1.0;
            tree.cover[child] = tree.cover[node] * fraction;
            leaves.push(child);
        }
    }
    tree
}

/// Random samples for an ensemble, with missing numbers and codes of every kind.
pub(crate) fn random_block(
    ensemble: &TreeEnsemble,
    n_samples: usize,
    is_f32: bool,
    numbers: &mut Numbers,
) -> FeatureBlock {
    let has_missing = numbers.below(2) == 0;
    // Values close to a threshold are where rounding could go wrong.
    let mut thresholds = vec![0.0];
    thresholds.extend(
        ensemble
            .trees
            .iter()
            .flat_map(|tree| tree.threshold.iter().copied()),
    );
    let mut value = || match numbers.below(6) {
        0 if has_missing => f64::NAN,
        1 | 2 => {
            let threshold = thresholds[numbers.below(thresholds.len())];
            match numbers.below(3) {
                0 => threshold,
                1 => threshold.next_up(),
                _ => threshold.next_down(),
            }
        }
        _ => numbers.value(),
    };
    let dense: Vec<f64> = (0..n_samples * ensemble.n_dense).map(|_| value()).collect();
    let codes = ensemble.category_counts.iter();
    let codes = codes
        .map(|&k| {
            (0..n_samples)
                .map(|_| numbers.below(k + 2) as u32)
                .collect()
        })
        .collect();
    FeatureBlock {
        n_samples,
        dense: match is_f32 {
            true => Dense::F32(dense.into_iter().map(|x| x as f32).collect()),
            false => Dense::F64(dense),
        },
        codes,
        target: TargetValues::None,
        weights: None,
    }
}

/// The scores by walking each tree for each sample: what every faster way must equal.
pub(crate) fn walked_scores(ensemble: &TreeEnsemble, block: &FeatureBlock) -> Vec<f64> {
    let mut scores = Vec::new();
    let mut sample = Sample::default();
    for row in 0..block.n_samples {
        sample.read(block, row);
        let mut of_row = ensemble.base_scores.clone();
        for (number, tree) in ensemble.trees.iter().enumerate() {
            let mut node = 0;
            while !tree.is_leaf(node) {
                let [left, right] = tree.children(node);
                node = if ensemble.goes_left(tree, node, &sample) {
                    left
                } else {
                    right
                };
            }
            let output = ensemble.outputs[number] as usize;
            of_row[output] += ensemble.weights[number] * tree.value[node];
        }
        scores.extend(of_row);
    }
    scores
}

/// Some rows of a block.
pub(crate) fn rows_of(block: &FeatureBlock, rows: std::ops::Range<usize>) -> FeatureBlock {
    fn columns<T: Copy>(values: &[T], n: usize, rows: &std::ops::Range<usize>) -> Vec<T> {
        let columns = values.chunks_exact(n.max(1));
        columns
            .flat_map(|column| column[rows.clone()].to_vec())
            .collect()
    }
    FeatureBlock {
        n_samples: rows.len(),
        dense: match &block.dense {
            Dense::F32(values) => Dense::F32(columns(values, block.n_samples, &rows)),
            Dense::F64(values) => Dense::F64(columns(values, block.n_samples, &rows)),
        },
        codes: block
            .codes
            .iter()
            .map(|codes| codes[rows.clone()].to_vec())
            .collect(),
        target: TargetValues::None,
        weights: None,
    }
}
