//! How much the trees use each feature: what `ML.FEATURE_IMPORTANCE` shows.
//!
//! In: a fitted ensemble; out: a figure of each kind for each feature. Reads no samples.

use super::ensemble::TreeEnsemble;

/// The use of one feature, as XGBoost and BigQuery ML define it; zeros for one that no tree splits on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct FeatureImportance {
    /// Number of splits on the feature over all trees.
    pub(crate) weight: f64,
    /// Mean loss reduction of those splits.
    pub(crate) gain: f64,
    /// Mean cover (sum of hessians) of those splits.
    pub(crate) cover: f64,
}

/// The importance of each feature, in the order of the features.
///
/// Source: BigQuery ML, "The ML.FEATURE_IMPORTANCE function"; XGBoost, `Booster.get_score`.
pub(crate) fn feature_importances(ensemble: &TreeEnsemble) -> Vec<FeatureImportance> {
    let mut importances = vec![FeatureImportance::default(); ensemble.n_features()];
    for tree in &ensemble.trees {
        for (node, &feature) in tree.feature.iter().enumerate() {
            // A leaf has no feature.
            let Ok(feature) = usize::try_from(feature) else {
                continue;
            };
            let importance = &mut importances[feature];
            importance.weight += 1.0;
            importance.gain += tree.gain[node];
            importance.cover += tree.cover[node];
        }
    }
    for importance in importances
        .iter_mut()
        .filter(|importance| importance.weight > 0.0)
    {
        importance.gain /= importance.weight;
        importance.cover /= importance.weight;
    }
    importances
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ensemble_of, leaf, split};
    use super::*;

    #[test]
    fn gains_and_covers_are_means_over_the_splits_of_a_feature() {
        let mut first = split(
            0,
            0.5,
            split(1, 2.0, leaf(1.0, 2.0), leaf(2.0, 4.0)),
            leaf(3.0, 6.0),
        );
        first.gain[0] = 10.0;
        first.gain[1] = 4.0;
        let mut second = split(0, 0.1, leaf(1.0, 1.0), leaf(2.0, 1.0));
        second.gain[0] = 2.0;
        let ensemble = ensemble_of(vec![first, second], 3, vec![]);
        let expected = |weight, gain, cover| FeatureImportance {
            weight,
            gain,
            cover,
        };
        assert_eq!(
            feature_importances(&ensemble),
            [
                expected(2.0, 6.0, 7.0),
                expected(1.0, 4.0, 6.0),
                expected(0.0, 0.0, 0.0)
            ]
        );
    }
}
