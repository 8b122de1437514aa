//! How unusual rows are: the scores behind `ML.DETECT_ANOMALIES`.
//!
//! In: a score a row, the greater the more unusual; out: the score that a share of the rows reach.

use serde::{Deserialize, Serialize};

use super::value_counts::{KeyCounts, MAX_DISTINCT, ordered_key, ordered_value};

/// Scores that a model keeps, evenly spaced by rank from the smallest to the greatest.
const N_KEPT: u64 = 1_000;

/// The scores of some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AnomalyScores {
    n_scores: u64,
    counts: KeyCounts,
}

impl Default for AnomalyScores {
    fn default() -> AnomalyScores {
        AnomalyScores {
            n_scores: 0,
            counts: KeyCounts::new(MAX_DISTINCT),
        }
    }
}

impl AnomalyScores {
    pub(super) fn add(&mut self, scores: impl Iterator<Item = f64>) {
        for score in scores {
            self.n_scores += 1;
            self.counts.push(ordered_key(score));
        }
        self.counts.settle();
    }

    pub(super) fn merge(&mut self, later: AnomalyScores) {
        self.n_scores += later.n_scores;
        self.counts.merge(later.counts);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes()
    }

    /// The kept scores, ascending; all of them for few rows.
    pub(super) fn kept(&self) -> Vec<f64> {
        let n_kept = self.n_scores.min(N_KEPT + 1);
        let rank = |idx: u64| idx * (self.n_scores - 1) / n_kept.saturating_sub(1).max(1);
        let key = |idx| self.counts.key_at_rank(rank(idx));
        (0..n_kept).filter_map(key).map(ordered_value).collect()
    }
}

/// The score that the share `contamination` of rows reach or exceed; infinite for none.
pub(super) fn threshold(kept: &[f64], contamination: f64) -> Option<f64> {
    if kept.is_empty() {
        return None;
    }
    // Rounding must not make 2 % of 50 rows one row more or less.
    let n_anomalies = (kept.len() as f64 * contamination + 1e-9).floor() as usize;
    let idx = kept.len() - n_anomalies.min(kept.len());
    Some(kept.get(idx).copied().unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_cuts_off_the_share_that_was_asked_for() {
        let mut scores = AnomalyScores::default();
        scores.add((0..100).rev().map(f64::from));
        let kept = scores.kept();
        assert_eq!(kept.len(), 100);
        assert_eq!(threshold(&kept, 0.02), Some(98.0));
        assert_eq!(threshold(&kept, 0.5), Some(50.0));
        assert_eq!(threshold(&kept, 0.0), Some(f64::INFINITY));
        assert_eq!(threshold(&[], 0.1), None);
    }

    #[test]
    fn many_scores_are_kept_by_rank_and_merge() {
        let (mut left, mut right) = (AnomalyScores::default(), AnomalyScores::default());
        left.add((0..5_000).map(f64::from));
        right.add((5_000..10_000).map(f64::from));
        left.merge(right);
        let kept = left.kept();
        assert_eq!((kept.len(), kept[0], kept[1_000]), (1_001, 0.0, 9_999.0));
    }
}
