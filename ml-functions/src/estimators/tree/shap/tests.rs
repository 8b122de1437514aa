//! Attributions against the definition: Shapley values over all subsets of features.

use proptest::prelude::*;

use super::super::ensemble::{Tree, TreeEnsemble};
use super::super::testing::{
    Numbers, Shape, ensemble_of, leaf, random_block, random_ensemble, split, walked_scores,
};
use super::*;

/// The mean of the leaves that a sample reaches when only the features of a set are known.
fn conditional_mean(
    ensemble: &TreeEnsemble,
    tree: &Tree,
    node: usize,
    sample: &Sample,
    known: usize,
) -> f64 {
    if tree.is_leaf(node) {
        return tree.value[node];
    }
    let [left, right] = tree.children(node);
    let below = |child| conditional_mean(ensemble, tree, child, sample, known);
    if known >> tree.feature[node] & 1 == 1 {
        let is_left = ensemble.goes_left(tree, node, sample);
        return below(if is_left { left } else { right });
    }
    let (l, r) = (tree.cover[left], tree.cover[right]);
    if l + r == 0.0 {
        return (below(left) + below(right)) / 2.0;
    }
    (l * below(left) + r * below(right)) / (l + r)
}

/// `φ_i = Σ_S |S|!·(n − |S| − 1)!/n! · (m(S ∪ i) − m(S))`, by output and feature.
fn shapley_values(ensemble: &TreeEnsemble, sample: &Sample) -> Vec<f64> {
    let n = ensemble.n_features();
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let mut values = vec![0.0; ensemble.n_outputs() * n];
    for (number, tree) in ensemble.trees.iter().enumerate() {
        let means: Vec<f64> = (0..1 << n)
            .map(|known| conditional_mean(ensemble, tree, 0, sample, known))
            .collect();
        for feature in 0..n {
            for known in (0..1_usize << n).filter(|known| known >> feature & 1 == 0) {
                let size = known.count_ones() as usize;
                let share = factorial(size) * factorial(n - size - 1) / factorial(n);
                values[ensemble.outputs[number] as usize * n + feature] +=
                    ensemble.weights[number] * share * (means[known | 1 << feature] - means[known]);
            }
        }
    }
    values
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}

/// The scores that the attributions add up to.
fn summed_scores(explainer: &TreeExplainer, attributions: &[f64], n_features: usize) -> Vec<f64> {
    let expected = explainer.expected_scores().iter().cycle();
    let sums = attributions
        .chunks(n_features)
        .map(|values| values.iter().sum::<f64>());
    sums.zip(expected)
        .map(|(sum, expected)| sum + expected)
        .collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        1..4_usize,
        1..3_usize,
        0..5_usize,
        prop::collection::vec(0..70_usize, 0..3),
        1..40_usize,
        any::<bool>(),
    )
        .prop_filter("features", |shape| shape.2 + shape.3.len() > 0)
        .prop_map(
            |(n_trees, n_outputs, n_dense, category_counts, max_leaves, is_chain)| Shape {
                n_trees,
                n_outputs,
                n_dense,
                category_counts,
                max_leaves,
                is_chain,
            },
        )
}

proptest! {
    #[test]
    fn attributions_are_the_shapley_values(shape in shapes(), seed: u64) {
        let mut numbers = Numbers(seed);
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        let block = random_block(&ensemble, 6, seed % 2 == 0, &mut numbers);
        let explainer = TreeExplainer::new(Arc::clone(&ensemble));
        let attributions = explainer.explain(&block).unwrap();
        let n_features = ensemble.n_features();
        let per_row = n_features * ensemble.n_outputs();
        let mut sample = Sample::default();
        for (row, found) in attributions.chunks_exact(per_row).enumerate() {
            sample.read(&block, row);
            assert_close(found, &shapley_values(&ensemble, &sample), 1e-12);
        }
        let sums = summed_scores(&explainer, &attributions, n_features);
        assert_close(&sums, &walked_scores(&ensemble, &block), 1e-12);
    }

    #[test]
    fn attributions_of_deep_trees_sum_to_the_score(
        seed: u64, n_dense in 1..80_usize, is_chain: bool
    ) {
        let mut numbers = Numbers(seed);
        let shape = Shape {
            n_trees: 5, n_outputs: 1, n_dense, category_counts: vec![100], max_leaves: 120, is_chain,
        };
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        let block = random_block(&ensemble, 10, false, &mut numbers);
        let explainer = TreeExplainer::new(Arc::clone(&ensemble));
        let attributions = explainer.explain(&block).unwrap();
        let sums = summed_scores(&explainer, &attributions, n_dense + 1);
        assert_close(&sums, &walked_scores(&ensemble, &block), 1e-11);
    }
}

#[test]
fn an_and_is_shared_by_both_features() {
    // x0 > 0 and x1 > 0 gives 1, with cover 1/4: the attributions of (1, 1) are 3/8 each.
    let tree = split(
        0,
        0.0,
        leaf(0.0, 2.0),
        split(1, 0.0, leaf(0.0, 1.0), leaf(1.0, 1.0)),
    );
    let ensemble = Arc::new(ensemble_of(vec![tree], 2, vec![]));
    let explainer = TreeExplainer::new(Arc::clone(&ensemble));
    assert_close(explainer.expected_scores(), &[0.75], 1e-15);
    let mut block = random_block(&ensemble, 1, false, &mut Numbers(1));
    block.dense = crate::features::Dense::F64(vec![1.0, 1.0]);
    assert_close(&explainer.explain(&block).unwrap(), &[0.375, 0.375], 1e-15);
}

#[test]
fn a_leaf_that_no_training_sample_reached_is_attributed() {
    let tree = split(
        0,
        0.0,
        leaf(1.0, 4.0),
        split(0, 1.0, leaf(5.0, 0.0), leaf(7.0, 0.0)),
    );
    let ensemble = Arc::new(ensemble_of(vec![tree], 1, vec![]));
    let explainer = TreeExplainer::new(Arc::clone(&ensemble));
    let mut block = random_block(&ensemble, 3, false, &mut Numbers(1));
    block.dense = crate::features::Dense::F64(vec![-1.0, 0.5, 2.0]);
    assert_close(&explainer.explain(&block).unwrap(), &[0.0, 4.0, 6.0], 1e-15);
}

#[test]
fn a_tree_of_one_leaf_attributes_nothing() {
    let ensemble = Arc::new(ensemble_of(vec![leaf(3.0, 1.0)], 2, vec![]));
    let explainer = TreeExplainer::new(Arc::clone(&ensemble));
    let block = random_block(&ensemble, 2, true, &mut Numbers(1));
    assert_eq!(explainer.explain(&block).unwrap(), [0.0; 4]);
    assert_eq!(explainer.expected_scores(), [3.5]);
}

#[test]
fn no_samples_have_no_attributions_and_other_features_are_an_error() {
    let ensemble = Arc::new(ensemble_of(vec![leaf(3.0, 1.0)], 2, vec![]));
    let explainer = TreeExplainer::new(Arc::clone(&ensemble));
    let mut block = random_block(&ensemble, 0, true, &mut Numbers(1));
    assert!(explainer.explain(&block).unwrap().is_empty());
    block.codes.push(Vec::new());
    assert!(explainer.explain(&block).is_err());
}
