//! Compiled scores against walking the trees, bit for bit.

use auspex_gpu::CpuDevice;
use proptest::prelude::*;

use super::super::testing::{
    Numbers, Shape, ensemble_of, leaf, random_block, random_ensemble, rows_of, walked_scores,
};
use super::*;
use crate::estimators::tree::device_forest::DeviceForest;

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

fn shapes() -> impl Strategy<Value = Shape> {
    let max_leaves = prop_oneof![Just(1_usize), 2..33_usize, 30..67_usize, 60..300_usize];
    let counts = prop::collection::vec(prop_oneof![0..40_usize, 60..200_usize], 0..3);
    (
        0..20_usize,
        1..4_usize,
        0..6_usize,
        counts,
        max_leaves,
        any::<bool>(),
    )
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
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn scores_are_those_of_walking_the_trees(
        shape in shapes(), n_samples in 0..200_usize, is_f32: bool, seed: u64
    ) {
        let mut numbers = Numbers(seed);
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        let block = random_block(&ensemble, n_samples, is_f32, &mut numbers);
        let scores = CompiledEnsemble::new(Arc::clone(&ensemble)).score(&block).unwrap();
        let walked = walked_scores(&ensemble, &block);
        prop_assert_eq!(bits(&scores), bits(&walked));
        // A machine without vector instructions gives the same.
        let compiled = CompiledEnsemble::new(Arc::clone(&ensemble));
        let scalar = compiled.score_with(Arch::Scalar, &block).unwrap();
        prop_assert_eq!(bits(&scalar), bits(&walked));
        // And so do the arrays that devices walk.
        let forest = DeviceForest::new(&ensemble);
        let on_device = forest.score(&CpuDevice, &ensemble, &block).unwrap();
        prop_assert_eq!(bits(&on_device), bits(&walked));
    }

    #[test]
    fn splitting_a_block_changes_nothing(shape in shapes(), at in 0..150_usize, seed: u64) {
        let mut numbers = Numbers(seed);
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        let compiled = CompiledEnsemble::new(Arc::clone(&ensemble));
        let block = random_block(&ensemble, 150, seed % 2 == 0, &mut numbers);
        let mut parts = compiled.score(&rows_of(&block, 0..at)).unwrap();
        parts.extend(compiled.score(&rows_of(&block, at..150)).unwrap());
        prop_assert_eq!(bits(&parts), bits(&compiled.score(&block).unwrap()));
    }
}

/// More trees than one group holds, and more samples than pass through it together.
#[test]
fn groups_of_trees_are_added_in_tree_order() {
    for (is_chain, n_outputs) in [(false, 1), (false, 3), (true, 2)] {
        let mut numbers = Numbers(7);
        let shape = Shape {
            n_trees: 120,
            n_outputs,
            n_dense: 5,
            category_counts: vec![10, 500],
            max_leaves: 400,
            is_chain,
        };
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        for is_f32 in [false, true] {
            let block = random_block(&ensemble, 2500, is_f32, &mut numbers);
            let compiled = CompiledEnsemble::new(Arc::clone(&ensemble));
            let scores = compiled.score(&block).unwrap();
            assert_eq!(bits(&scores), bits(&walked_scores(&ensemble, &block)));
            assert!(
                compiled
                    .narrow
                    .get()
                    .is_none_or(|program| program.groups.len() > 2)
            );
            assert!(
                compiled
                    .wide
                    .get()
                    .is_none_or(|program| program.groups.len() > 2)
            );
        }
    }
}

#[test]
fn chains_sixty_deep_are_scored() {
    for max_leaves in [61, 100] {
        let mut numbers = Numbers(3);
        let shape = Shape {
            n_trees: 20,
            n_outputs: 1,
            n_dense: 2,
            category_counts: vec![],
            max_leaves,
            is_chain: true,
        };
        let ensemble = Arc::new(random_ensemble(&shape, &mut numbers));
        let block = random_block(&ensemble, 500, true, &mut numbers);
        let scores = CompiledEnsemble::new(Arc::clone(&ensemble))
            .score(&block)
            .unwrap();
        assert_eq!(bits(&scores), bits(&walked_scores(&ensemble, &block)));
    }
}

#[test]
fn without_trees_the_base_scores_remain_and_without_samples_nothing() {
    let none = Arc::new(ensemble_of(Vec::new(), 2, vec![3]));
    let block = random_block(&none, 3, true, &mut Numbers(1));
    assert_eq!(CompiledEnsemble::new(none).score(&block).unwrap(), [0.5; 3]);
    let one = Arc::new(ensemble_of(vec![leaf(1.0, 1.0)], 0, vec![]));
    let compiled = CompiledEnsemble::new(Arc::clone(&one));
    let block = random_block(&one, 70, false, &mut Numbers(1));
    assert_eq!(compiled.score(&block).unwrap(), [1.5; 70]);
    let block = random_block(&one, 0, true, &mut Numbers(1));
    assert!(compiled.score(&block).unwrap().is_empty());
}

#[test]
fn a_block_of_other_features_is_an_error() {
    let ensemble = Arc::new(ensemble_of(vec![leaf(1.0, 1.0)], 2, vec![3]));
    let block = random_block(&ensemble, 3, true, &mut Numbers(1));
    let compiled = CompiledEnsemble::new(ensemble);
    let mut other = block.clone();
    other.dense = Dense::F64(vec![0.0; 3]);
    assert!(compiled.score(&other).is_err());
    let mut other = block;
    other.codes[0].truncate(1);
    assert!(compiled.score(&other).is_err());
}
