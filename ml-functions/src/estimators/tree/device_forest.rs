//! An ensemble as a device walks it: arrays over all nodes of all trees.
//!
//! In: a checked ensemble and blocks; out: the scores that [`super::scoring`] gives, to the bit, since values are added
//! in the order of the trees there too.

use auspex_gpu::{Design, Device, Elements, Forest, MatrixView, Version};

use super::ensemble::{Split, TreeEnsemble};
use crate::error::Result;
use crate::features::{Dense, FeatureBlock};

/// See the module.
#[derive(Debug)]
pub(super) struct DeviceForest {
    version: Version,
    feature: Vec<i32>,
    threshold: Vec<f64>,
    left: Vec<u32>,
    right: Vec<u32>,
    missing_left: Vec<u32>,
    set_start: Vec<u32>,
    set_codes: Vec<u32>,
    words: Vec<u64>,
    roots: Vec<u32>,
}

impl DeviceForest {
    /// Lays out an ensemble.
    pub(super) fn new(ensemble: &TreeEnsemble) -> DeviceForest {
        let mut forest = DeviceForest {
            version: Version::new(),
            feature: Vec::new(),
            threshold: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            missing_left: Vec::new(),
            set_start: Vec::new(),
            set_codes: Vec::new(),
            words: Vec::new(),
            roots: Vec::new(),
        };
        for (number, weight) in ensemble.weights.iter().enumerate() {
            forest.add_tree(ensemble, number, *weight);
        }
        forest
    }

    fn add_tree(&mut self, ensemble: &TreeEnsemble, number: usize, weight: f64) {
        let tree = &ensemble.trees[number];
        let root = self.feature.len() as u32;
        self.roots.push(root);
        for node in 0..tree.n_nodes() {
            let [left, right] = tree.children(node);
            self.left.push(root + left as u32);
            self.right.push(root + right as u32);
            self.feature.push(tree.feature[node]);
            self.missing_left.push(u32::from(tree.missing_left[node]));
            self.set_start.push(self.words.len() as u32);
            let (threshold, n_codes) = match ensemble.split(tree, node) {
                Split::Leaf => (weight * tree.value[node], 0),
                Split::Dense { threshold, .. } => (threshold, 0),
                Split::Categorical { set, .. } => {
                    let n_codes = set.n_codes();
                    let word = |word: usize| {
                        let codes = word * 64..n_codes.min(word * 64 + 64);
                        codes.fold(0, |bits, code| {
                            bits | u64::from(set.contains(code)) << (code % 64)
                        })
                    };
                    self.words.extend((0..n_codes.div_ceil(64)).map(word));
                    (0.0, n_codes as u32)
                }
            };
            self.threshold.push(threshold);
            self.set_codes.push(n_codes);
        }
    }

    /// The scores of a block, `(n_samples, n_outputs)` row-major.
    pub(super) fn score(
        &self,
        device: &dyn Device,
        ensemble: &TreeEnsemble,
        block: &FeatureBlock,
    ) -> Result<Vec<f64>> {
        ensemble.check_block(block)?;
        let elements = match &block.dense {
            Dense::F32(values) => Elements::F32(values),
            Dense::F64(values) => Elements::F64(values),
        };
        // Trees compare the numbers as they are.
        let design = Design {
            rows: None,
            dense: MatrixView {
                n_rows: block.n_samples,
                n_cols: ensemble.n_dense,
                elements,
            },
            shift: &vec![0.0; ensemble.n_dense],
            scale: &vec![1.0; ensemble.n_dense],
            codes: &block.codes,
            widths: &vec![0; block.codes.len()],
        };
        let forest = Forest {
            version: self.version,
            feature: &self.feature,
            threshold: &self.threshold,
            left: &self.left,
            right: &self.right,
            missing_left: &self.missing_left,
            set_start: &self.set_start,
            set_codes: &self.set_codes,
            words: &self.words,
            roots: &self.roots,
            outputs: &ensemble.outputs,
            base_scores: &ensemble.base_scores,
        };
        Ok(device.forest(&design, &forest)?)
    }
}
