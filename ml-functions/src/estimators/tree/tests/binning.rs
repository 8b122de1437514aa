//! Cuts, categories and the look-up of bins.

use proptest::prelude::*;

use super::*;
use crate::estimators::tree::binning::{CategoryBins, DenseBins};
use crate::estimators::tree::lookup::bin_block;

#[test]
fn few_values_have_a_bin_each() {
    let bins = DenseBins::fit(&[1.0, 3.0, 2.0, 3.0, -0.0, 0.0, f64::NAN], &[], true, 255);
    assert_eq!(bins.cuts, [0.5, 1.5, 2.5]);
    assert_eq!(bins.n_bins(), 4);
    let infinite = [f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::MAX];
    let bins = DenseBins::fit(&infinite, &[], false, 255);
    assert_eq!(bins.cuts, [f64::NEG_INFINITY, f64::MAX / 2.0, f64::MAX]);
    assert_eq!(DenseBins::fit(&[], &[], true, 255).n_bins(), 0);
}

#[test]
fn many_values_share_bins_by_weight() {
    let mut values = draws(20_000, 1);
    // Half of the weight in one value.
    values.extend(vec![0.5; 20_000]);
    let bins = DenseBins::fit(&values, &[], false, 255);
    assert!((200..=255).contains(&bins.n_bins()), "{}", bins.n_bins());
    let count = |bin: usize| {
        let low = if bin == 0 {
            f64::NEG_INFINITY
        } else {
            bins.cuts[bin - 1]
        };
        values
            .iter()
            .filter(|&&v| v > low && v <= bins.threshold(bin))
            .count()
    };
    let counts: Vec<usize> = (0..bins.n_bins()).map(count).collect();
    assert_eq!(counts.iter().filter(|&&count| count >= 20_000).count(), 1);
    assert!(
        counts
            .iter()
            .all(|&count| (20..200).contains(&count) || count >= 20_000)
    );
    // The same by weights.
    let weights: Vec<f64> = (0..20_001)
        .map(|i| if i < 20_000 { 1.0 } else { 20_000.0 })
        .collect();
    assert_eq!(
        DenseBins::fit(&values[..20_001], &weights, false, 255).cuts,
        bins.cuts
    );
}

proptest! {
    #[test]
    fn bins_agree_with_cuts(
        values in prop::collection::vec(prop_oneof![
            -3.0f32..3.0, Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(0.0f32),
        ], 1..700),
        max_bin in 2usize..=255,
        single in any::<bool>(),
    ) {
        let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        let has_missing = wide.iter().any(|v| v.is_nan());
        let bins = DenseBins::fit(&wide, &[], has_missing, max_bin);
        prop_assert!(bins.n_bins() <= max_bin);
        prop_assert!(bins.cuts.windows(2).all(|pair| pair[0] < pair[1]));
        let features = FeatureBins::new(vec![bins.clone(), DenseBins::default()], vec![]);
        let n_samples = values.len();
        let padded = |missing: usize| vec![f64::NAN; missing];
        let dense = if single {
            Dense::F32([values.clone(), vec![f32::NAN; n_samples]].concat())
        } else {
            Dense::F64([wide.clone(), padded(n_samples)].concat())
        };
        let block = FeatureBlock {
            n_samples, dense, codes: vec![], target: TargetValues::None, weights: None,
        };
        let found = bin_block(&features, &block);
        prop_assert_eq!(features.columns.len(), usize::from(!found.is_empty()));
        for (value, bin) in wide.iter().zip(found) {
            let expected = if value.is_nan() {
                bins.n_bins()
            } else {
                bins.cuts.iter().filter(|&&cut| cut < *value).count()
            };
            prop_assert_eq!(bin as usize, expected);
        }
    }
}

#[test]
fn many_categories_are_grouped_by_their_target() {
    let sums: Vec<(f64, f64)> = (0..65_537).map(|c| (10.0, f64::from(c % 100))).collect();
    let bins = CategoryBins::fit(&sums, 254);
    assert!(bins.n_bins <= 254 && bins.n_bins > 90);
    for c in 100..65_537 {
        assert!(bins.bins[c].abs_diff(bins.bins[c - 100]) <= 3);
    }
    assert!(bins.bins[99] > bins.bins[50] && bins.bins[50] > bins.bins[0]);
    let few = CategoryBins::fit(&sums[..255], 255);
    assert_eq!((few.n_bins, few.bins[254]), (255, 254));
}

#[test]
fn a_feature_of_65536_categories_is_learned() {
    let n = 140_000;
    let codes: Vec<u32> = draws(n, 1).iter().map(|x| (x * 65_537.0) as u32).collect();
    let labels = codes
        .iter()
        .map(|&code| f64::from(u8::from(hash_word(u64::from(code)).is_multiple_of(3))));
    let table = Table {
        codes: vec![codes.clone()],
        category_counts: vec![65_536],
        ..Table::regression(vec![], labels.collect())
    };
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_iterations = 2;
    let fitted = fit(&table, &parameters);
    let tree = &fitted.ensemble.trees[0];
    assert_eq!(tree.categories[0], (0, 65_537u32.div_ceil(64)));
    let wrong = fitted
        .scores
        .iter()
        .zip(&table.labels)
        .filter(|(s, y)| (*s - *y).abs() > 0.5)
        .count();
    assert!(wrong < n / 100, "{wrong}");
}

#[test]
fn unseen_categories_go_the_missing_way() {
    let table = Table {
        codes: vec![vec![0, 1, 1, 1]],
        category_counts: vec![2],
        ..Table::regression(vec![], vec![0.0, 5.0, 5.0, 5.0])
    };
    let mut parameters = exact(Objective::SquaredError);
    parameters.max_tree_depth = 1;
    let ensemble = fit(&table, &parameters).ensemble;
    let unseen = Table {
        codes: vec![vec![0, 1, 2, 3]],
        ..table.clone()
    };
    let (bins, _) = table.bins(parameters.objective);
    // NULL (2) never occurred either: both go with the heavier side.
    assert_eq!(
        scores_of(&unseen, &bins, parameters.objective, &ensemble),
        [0.0, 5.0, 5.0, 5.0]
    );
}
