//! A tree ensemble in a stored model: flat tensors over the nodes of all trees, and a small head.
//!
//! In: an ensemble; out: tensors whose names begin with `trees.`, and back. Reading checks everything,
//! so that a damaged file is an error that names the part and never a panic.

use serde_json::json;

use super::ensemble::{LEAF, Tree, TreeEnsemble, damaged};
use crate::error::Result;
use crate::model::{ModelState, Tensor, TensorData};

/// How [`LEAF`] is stored.
const STORED_LEAF: u32 = u32::MAX;

impl TreeEnsemble {
    /// Adds the ensemble to the state of a model.
    pub(crate) fn save(&self, state: &mut ModelState) {
        state.head["trees"] = json!({
            "n_dense": self.n_dense,
            "category_counts": self.category_counts,
        });
        let mut put = |name: &str, n_cols: Option<usize>, data: TensorData| {
            let n_values = match &data {
                TensorData::F64(values) => values.len(),
                TensorData::F32(values) => values.len(),
                TensorData::U32(values) => values.len(),
                TensorData::U8(values) => values.len(),
            };
            let shape = match n_cols {
                None => vec![n_values],
                Some(n_cols) => vec![n_values / n_cols, n_cols],
            };
            state
                .tensors
                .insert(format!("trees.{name}"), Tensor { shape, data });
        };
        let counts = |count: fn(&Tree) -> usize| {
            TensorData::U32(self.trees.iter().map(|tree| count(tree) as u32).collect())
        };
        put("n_nodes", None, counts(Tree::n_nodes));
        put(
            "n_category_words",
            None,
            counts(|tree| tree.category_words.len()),
        );
        put("outputs", None, TensorData::U32(self.outputs.clone()));
        put("weights", None, TensorData::F64(self.weights.clone()));
        put(
            "base_scores",
            None,
            TensorData::F64(self.base_scores.clone()),
        );

        let feature = |&feature: &i32| u32::try_from(feature).unwrap_or(STORED_LEAF);
        put(
            "feature",
            None,
            TensorData::U32(self.gather(|tree| tree.feature.iter().map(feature))),
        );
        let pairs = |pairs: fn(&Tree) -> &Vec<(u32, u32)>| {
            TensorData::U32(self.gather(|tree| pairs(tree).iter().flat_map(|&(a, b)| [a, b])))
        };
        put("categories", Some(2), pairs(|tree| &tree.categories));
        put("children", Some(2), pairs(|tree| &tree.children));
        let halves = |&word: &u64| [word as u32, (word >> 32) as u32];
        let words = self.gather(|tree| tree.category_words.iter().flat_map(halves));
        put("category_words", Some(2), TensorData::U32(words));
        let ways = self.gather(|tree| tree.missing_left.iter().map(|&left| u8::from(left)));
        put("missing_left", None, TensorData::U8(ways));
        let numbers = |numbers: fn(&Tree) -> &Vec<f64>| {
            TensorData::F64(self.gather(|tree| numbers(tree).iter().copied()))
        };
        put("threshold", None, numbers(|tree| &tree.threshold));
        put("value", None, numbers(|tree| &tree.value));
        put("gain", None, numbers(|tree| &tree.gain));
        put("cover", None, numbers(|tree| &tree.cover));
    }

    /// Reads what [`TreeEnsemble::save`] wrote, and checks it.
    ///
    /// Errors: `DamagedModel` that names the part.
    pub(crate) fn load(state: &ModelState) -> Result<TreeEnsemble> {
        let head: Head = state.head("trees")?;
        let mut parts = Parts::read(state)?;
        let n_words = u32s(state, "n_category_words")?;
        let n_nodes = u32s(state, "n_nodes")?;
        if n_words.len() != n_nodes.len() {
            return Err(damaged("number of trees".to_owned()));
        }
        let trees = n_nodes
            .iter()
            .zip(n_words)
            .map(|(&n_nodes, &n_words)| parts.tree(n_nodes as usize, n_words as usize));
        let ensemble = TreeEnsemble {
            trees: trees.collect::<Result<_>>()?,
            outputs: u32s(state, "outputs")?.to_vec(),
            weights: state.f64("trees.weights")?.to_vec(),
            base_scores: state.f64("trees.base_scores")?.to_vec(),
            n_dense: head.n_dense,
            category_counts: head.category_counts,
        };
        if !parts.is_empty() {
            return Err(damaged("number of nodes".to_owned()));
        }
        ensemble.check()?;
        Ok(ensemble)
    }

    /// The same array of all trees, one after another.
    fn gather<'a, T, I: Iterator<Item = T>>(&'a self, of: impl Fn(&'a Tree) -> I) -> Vec<T> {
        self.trees.iter().flat_map(of).collect()
    }
}

/// The small values.
#[derive(serde::Deserialize)]
struct Head {
    n_dense: usize,
    category_counts: Vec<usize>,
}

/// What is left of the tensors while trees are taken off their fronts.
struct Parts<'a> {
    feature: &'a [u32],
    categories: &'a [u32],
    children: &'a [u32],
    category_words: &'a [u32],
    missing_left: &'a [u8],
    threshold: &'a [f64],
    value: &'a [f64],
    gain: &'a [f64],
    cover: &'a [f64],
}

impl<'a> Parts<'a> {
    fn read(state: &'a ModelState) -> Result<Parts<'a>> {
        Ok(Parts {
            feature: u32s(state, "feature")?,
            categories: u32s(state, "categories")?,
            children: u32s(state, "children")?,
            category_words: u32s(state, "category_words")?,
            missing_left: u8s(state, "missing_left")?,
            threshold: state.f64("trees.threshold")?,
            value: state.f64("trees.value")?,
            gain: state.f64("trees.gain")?,
            cover: state.f64("trees.cover")?,
        })
    }

    /// Takes the next tree.
    fn tree(&mut self, n_nodes: usize, n_words: usize) -> Result<Tree> {
        let feature = |&feature: &u32| match feature {
            STORED_LEAF => Ok(LEAF),
            feature => i32::try_from(feature).map_err(|_| damaged("feature of a node".to_owned())),
        };
        let pairs = |values: &[u32]| {
            values
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect()
        };
        let word = |pair: &[u32]| u64::from(pair[0]) | u64::from(pair[1]) << 32;
        let words = take(
            &mut self.category_words,
            n_words.saturating_mul(2),
            "category_words",
        )?;
        let n_pairs = n_nodes.saturating_mul(2);
        let missing_left = take(&mut self.missing_left, n_nodes, "missing_left")?;
        Ok(Tree {
            feature: take(&mut self.feature, n_nodes, "feature")?
                .iter()
                .map(feature)
                .collect::<Result<_>>()?,
            threshold: take(&mut self.threshold, n_nodes, "threshold")?.to_vec(),
            categories: pairs(take(&mut self.categories, n_pairs, "categories")?),
            category_words: words.chunks_exact(2).map(word).collect(),
            children: pairs(take(&mut self.children, n_pairs, "children")?),
            missing_left: missing_left.iter().map(|&left| left != 0).collect(),
            value: take(&mut self.value, n_nodes, "value")?.to_vec(),
            gain: take(&mut self.gain, n_nodes, "gain")?.to_vec(),
            cover: take(&mut self.cover, n_nodes, "cover")?.to_vec(),
        })
    }

    fn is_empty(&self) -> bool {
        let u32s = [
            self.feature,
            self.categories,
            self.children,
            self.category_words,
        ];
        let f64s = [self.threshold, self.value, self.gain, self.cover];
        u32s.iter().all(|values| values.is_empty())
            && f64s.iter().all(|values| values.is_empty())
            && self.missing_left.is_empty()
    }
}

/// The first `n` of the values that are left.
fn take<'a, T>(left: &mut &'a [T], n: usize, name: &str) -> Result<&'a [T]> {
    let (taken, rest) = left
        .split_at_checked(n)
        .ok_or_else(|| damaged(format!("tensor \"trees.{name}\"")))?;
    *left = rest;
    Ok(taken)
}

fn u32s<'a>(state: &'a ModelState, name: &str) -> Result<&'a [u32]> {
    let name = format!("trees.{name}");
    match state.tensors.get(&name).map(|tensor| &tensor.data) {
        Some(TensorData::U32(values)) => Ok(values),
        _ => Err(damaged(format!("tensor \"{name}\" of type u32"))),
    }
}

fn u8s<'a>(state: &'a ModelState, name: &str) -> Result<&'a [u8]> {
    let name = format!("trees.{name}");
    match state.tensors.get(&name).map(|tensor| &tensor.data) {
        Some(TensorData::U8(values)) => Ok(values),
        _ => Err(damaged(format!("tensor \"{name}\" of type u8"))),
    }
}

#[cfg(test)]
mod tests;
