//! Exact attributions of scores to features: path-dependent SHAP values of tree ensembles.
//!
//! In: a fitted ensemble and blocks of samples; out: for each sample, output and feature the Shapley
//! value of the game in which absent features are averaged over by cover (Lundberg et al. 2018). The
//! values of a sample and [`TreeExplainer::expected_scores`] sum to its score. Nothing is sampled.
//!
//! A leaf with value `v` adds `v · Π_j f_j` to the game of which each feature `j` of its path is present
//! with probability `y`: `f_j(y) = y·o_j + (1 − y)·z_j`, where `o_j` is 1 if the sample follows all the
//! path's splits on `j`, else 0, and `z_j` is the product of their cover fractions. By Owen's multilinear
//! extension its Shapley value is `φ_i = ∫₀¹ v · (o_i − z_i) · Π_{j≠i} f_j(y) dy`, a polynomial that
//! Gauss–Legendre points integrate exactly. At one point, products over the paths are made from the root
//! to the leaves and sums over leaves from the leaves to the root: O(leaves · depth) a sample instead of
//! O(leaves · depth²). All terms of a leaf have one sign and no weight is divided out of a sum, so that
//! depth costs no digits.

mod quadrature;

use std::array::from_fn;
use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use super::ensemble::{Sample, TreeEnsemble};
use crate::error::Result;
use crate::features::FeatureBlock;
use quadrature::{LANES, PointGroup, point_groups};

/// An ensemble made ready for explaining.
#[derive(Debug, Clone)]
pub(crate) struct TreeExplainer {
    ensemble: Arc<TreeEnsemble>,
    trees: Vec<ExplainedTree>,
    expected_scores: Vec<f64>,
}

/// What does not depend on the sample. An edge has the number of the node that it leads to.
#[derive(Debug, Clone)]
struct ExplainedTree {
    edges: Vec<Edge>,
    /// Weight of the tree × value of each leaf; 0 for a split.
    leaf_values: Vec<f64>,
    /// As many points as the tree's paths have need of.
    points: Vec<PointGroup>,
}

/// The way from a split to one of its children.
#[derive(Debug, Clone, Copy, Default)]
struct Edge {
    /// The split.
    parent: u32,
    /// Its feature.
    feature: u32,
    /// The nearest edge above on the same feature; 0, which no edge is called, if there is none.
    earlier: u32,
    is_left: bool,
    /// The product of the cover fractions of the edges from the root to here on the same feature.
    fraction: f64,
}

/// Room for the work on one sample, kept between samples.
#[derive(Debug, Default)]
struct Scratch {
    sample: Sample,
    /// Whether the sample goes left at each split.
    goes_left: Vec<bool>,
    /// Whether the sample follows an edge and all above on the same feature: `o` of the edge.
    follows: Vec<bool>,
    /// `Π f` along the path to each node, at each point.
    products: Vec<[f64; LANES]>,
    /// Sums over the leaves below each node of weight of the point × value × product.
    sums: Vec<[f64; LANES]>,
}

impl TreeExplainer {
    /// Prepares an ensemble that has been checked.
    pub(crate) fn new(ensemble: Arc<TreeEnsemble>) -> TreeExplainer {
        let mut expected_scores = ensemble.base_scores.clone();
        let mut trees = Vec::with_capacity(ensemble.trees.len());
        for (number, &output) in ensemble.outputs.iter().enumerate() {
            let (tree, expected) = ExplainedTree::new(&ensemble, number);
            expected_scores[output as usize] += expected;
            trees.push(tree);
        }
        TreeExplainer {
            ensemble,
            trees,
            expected_scores,
        }
    }

    /// The score of each output when no feature is known: the mean of the leaves by cover.
    pub(crate) fn expected_scores(&self) -> &[f64] {
        &self.expected_scores
    }

    /// The attributions of each sample, output and feature: `(n_samples, n_outputs, n_features)`
    /// row-major, dense features first.
    ///
    /// Cost: O(n_samples · Σ nodes · (1 + distinct features of the longest path / 8)).
    /// Deterministic; a sample's values do not depend on the others of its block.
    /// Errors: `Internal` if the block has other features.
    pub(crate) fn explain(&self, block: &FeatureBlock) -> Result<Vec<f64>> {
        self.ensemble.check_block(block)?;
        let n_features = self.ensemble.n_features();
        let n_values = self.ensemble.n_outputs() * n_features;
        let mut attributions = vec![0.0; block.n_samples * n_values];
        if n_values == 0 {
            return Ok(attributions);
        }
        let mut scratch = Scratch::default();
        for (row, attributions) in attributions.chunks_exact_mut(n_values).enumerate() {
            scratch.sample.read(block, row);
            Arch::new().dispatch(ExplainSample {
                explainer: self,
                scratch: &mut scratch,
                attributions,
            });
        }
        Ok(attributions)
    }

    /// Adds the attributions by one tree.
    #[inline(always)]
    fn explain_tree(&self, number: usize, scratch: &mut Scratch, into: &mut [f64]) {
        let (tree, nodes) = (&self.trees[number], &self.ensemble.trees[number]);
        let n_nodes = tree.edges.len();
        scratch.goes_left.clear();
        let goes_left = (0..n_nodes).map(|n| self.ensemble.goes_left(nodes, n, &scratch.sample));
        scratch.goes_left.extend(goes_left);
        scratch.follows.clear();
        // Edge 0 stands for "none above", which every sample follows.
        scratch.follows.push(true);
        for edge in &tree.edges[1..] {
            let follows = scratch.goes_left[edge.parent as usize] == edge.is_left
                && scratch.follows[edge.earlier as usize];
            scratch.follows.push(follows);
        }
        scratch.products.resize(n_nodes, [0.0; LANES]);
        scratch.sums.resize(n_nodes, [0.0; LANES]);
        for points in &tree.points {
            tree.multiply_down(points, scratch);
            tree.sum_up(points, scratch, into);
        }
    }
}

/// Adds the attributions of a sample by all trees.
struct ExplainSample<'a> {
    explainer: &'a TreeExplainer,
    scratch: &'a mut Scratch,
    attributions: &'a mut [f64],
}

impl WithSimd for ExplainSample<'_> {
    type Output = ();

    // The lanes are few and fixed: the compiler makes registers of them once it may use the machine's.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n_features = self.explainer.ensemble.n_features();
        for (number, &output) in self.explainer.ensemble.outputs.iter().enumerate() {
            let start = output as usize * n_features;
            let into = &mut self.attributions[start..start + n_features];
            self.explainer.explain_tree(number, self.scratch, into);
        }
    }
}

impl ExplainedTree {
    /// Prepares a tree; also says its expected value.
    fn new(ensemble: &TreeEnsemble, number: usize) -> (ExplainedTree, f64) {
        let (tree, weight) = (&ensemble.trees[number], ensemble.weights[number]);
        let n_nodes = tree.n_nodes();
        let mut edges = vec![Edge::default(); n_nodes];
        let mut leaf_values = vec![0.0; n_nodes];
        let mut n_distinct = vec![0_usize; n_nodes];
        let mut reach = vec![0.0; n_nodes];
        reach[0] = 1.0;
        let mut expected = 0.0;
        for node in 0..n_nodes {
            let Ok(feature) = u32::try_from(tree.feature[node]) else {
                leaf_values[node] = weight * tree.value[node];
                expected += reach[node] * leaf_values[node];
                continue;
            };
            let earlier = nearest_edge(&edges, node, feature);
            let above = if earlier == 0 {
                1.0
            } else {
                edges[earlier].fraction
            };
            let fractions = tree.child_fractions(node);
            for (side, child) in tree.children(node).into_iter().enumerate() {
                edges[child] = Edge {
                    parent: node as u32,
                    feature,
                    earlier: earlier as u32,
                    is_left: side == 0,
                    fraction: above * fractions[side],
                };
                reach[child] = reach[node] * fractions[side];
                n_distinct[child] = n_distinct[node] + usize::from(earlier == 0);
            }
        }
        // The integrand is a product over the other features of a path.
        let degree = n_distinct.into_iter().max().unwrap_or(0).saturating_sub(1);
        let explained = ExplainedTree {
            edges,
            leaf_values,
            points: point_groups(degree),
        };
        (explained, expected)
    }

    /// The product along each path, from the root down.
    #[inline(always)]
    fn multiply_down(&self, points: &PointGroup, scratch: &mut Scratch) {
        scratch.products[0] = [1.0; LANES];
        for (node, edge) in self.edges.iter().enumerate().skip(1) {
            let factors = edge.factors(scratch.follows[node], points);
            let above = &scratch.products[edge.parent as usize];
            let mut product = from_fn(|lane| above[lane] * factors[lane]);
            // The factor takes the place of that of the edge above on the same feature. Where that was
            // 0 the product is 0 already.
            if let Some(earlier) = self.earlier_factors(edge, points, &scratch.follows) {
                product = quotients(&product, &earlier);
            }
            scratch.products[node] = product;
        }
    }

    /// The sums over leaves, from the leaves up, and each edge's part of its feature's attribution.
    ///
    /// For the leaves below an edge, it is the nearest on its feature as long as no edge on the same
    /// feature follows; one that follows takes back what the one above will add for its leaves.
    #[inline(always)]
    fn sum_up(&self, points: &PointGroup, scratch: &mut Scratch, into: &mut [f64]) {
        let leaves = scratch.products.iter().zip(&self.leaf_values);
        for (sum, (product, value)) in scratch.sums.iter_mut().zip(leaves) {
            *sum = from_fn(|lane| points.weights[lane] * value * product[lane]);
        }
        for (node, edge) in self.edges.iter().enumerate().skip(1).rev() {
            let sum = scratch.sums[node];
            let parent = &mut scratch.sums[edge.parent as usize];
            *parent = from_fn(|lane| parent[lane] + sum[lane]);
            let follows = scratch.follows[node];
            let others = total(&quotients(&sum, &edge.factors(follows, points)));
            let mut attribution = others * edge.difference(follows);
            if let Some(factors) = self.earlier_factors(edge, points, &scratch.follows) {
                let earlier = edge.earlier as usize;
                let difference = self.edges[earlier].difference(scratch.follows[earlier]);
                attribution -= total(&quotients(&sum, &factors)) * difference;
            }
            into[edge.feature as usize] += attribution;
        }
    }

    /// The factors of the edge above on the same feature, if there is one.
    #[inline(always)]
    fn earlier_factors(
        &self,
        edge: &Edge,
        points: &PointGroup,
        follows: &[bool],
    ) -> Option<[f64; LANES]> {
        match edge.earlier as usize {
            0 => None,
            earlier => Some(self.edges[earlier].factors(follows[earlier], points)),
        }
    }
}

impl Edge {
    /// `f(y) = y·o + (1 − y)·z` at each point.
    #[inline(always)]
    fn factors(&self, follows: bool, points: &PointGroup) -> [f64; LANES] {
        let followed = f64::from(u8::from(follows));
        from_fn(|lane| points.present[lane] * followed + points.absent[lane] * self.fraction)
    }

    /// `o − z`.
    fn difference(&self, follows: bool) -> f64 {
        if follows {
            1.0 - self.fraction
        } else {
            -self.fraction
        }
    }
}

/// The nearest edge from a node up whose feature it is; 0 if there is none.
fn nearest_edge(edges: &[Edge], node: usize, feature: u32) -> usize {
    let mut edge = node;
    while edge != 0 && edges[edge].feature != feature {
        edge = edges[edge].parent as usize;
    }
    edge
}

/// Quotients whose numerators are 0 where the denominators are, and so are they.
#[inline(always)]
fn quotients(numerators: &[f64; LANES], denominators: &[f64; LANES]) -> [f64; LANES] {
    from_fn(|lane| {
        let denominator = denominators[lane];
        numerators[lane] / if denominator > 0.0 { denominator } else { 1.0 }
    })
}

#[inline(always)]
fn total(values: &[f64; LANES]) -> f64 {
    let [a, b, c, d] = values;
    (a + b) + (c + d)
}

#[cfg(test)]
mod tests;
