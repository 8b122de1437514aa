//! The six metrics of classification, the confusion matrix and the ROC curve.
//!
//! In: class probabilities and true classes; out: counts by score, from which every threshold is
//! answered, and counts of (true, predicted) pairs. All but the logarithmic loss are integers,
//! hence exact in any order. Instance weights are ignored, as in BigQuery's evaluation.
//!
//! A class that training never saw has the code `n_classes`: its rows count as wrong and as not of
//! any known class, and have no logarithmic loss.

use serde::{Deserialize, Serialize};

use super::sum::Sum;
use super::value_counts::{KeyCounts, MAX_DISTINCT, ordered_key, ordered_value};
use crate::error::Result;
use crate::output::{ClassLabels, argmax};

/// Names and order of the metrics.
pub(super) const NAMES: &[&str] = &[
    "precision",
    "recall",
    "accuracy",
    "f1_score",
    "log_loss",
    "roc_auc",
];

/// The threshold of the positive class, where none is asked for.
pub(crate) const DEFAULT_THRESHOLD: f64 = 0.5;

/// Probabilities this near to 0 and 1 are as good as certain: keeps the loss finite.
pub(crate) const CERTAIN: f64 = 1e-15;

/// Distinct scores of one class that are kept exactly, however many classes there are.
const MIN_DISTINCT: usize = 1 << 10;

/// What is known of some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationEvaluation {
    labels: ClassLabels,
    n_samples: u64,
    /// Rows of a class that training never saw.
    n_unknown: u64,
    losses: Sum,
    /// (true, predicted) pairs of more than two classes; of two, the scores tell them.
    pairs: KeyCounts,
    /// The scores of the positive class for two classes, else of each class.
    scores: Vec<ClassScores>,
}

/// The scores of one class against the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ClassScores {
    /// Rows of the class.
    positives: KeyCounts,
    /// Rows of other known classes.
    negatives: KeyCounts,
    /// Rows of classes never seen in training.
    unknowns: KeyCounts,
}

/// The rows with one score (or between two, after compaction: then the lower one stands here).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "(f64, u64, u64, u64)", from = "(f64, u64, u64, u64)")]
pub(super) struct ScoreRow {
    pub(super) score: f64,
    pub(super) positives: u64,
    pub(super) negatives: u64,
    pub(super) unknowns: u64,
}

/// The rows by score, ascending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ScoreTable(Vec<ScoreRow>);

/// How often a true class was predicted as which; the code `n_classes` is the class never seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Confusion {
    n_classes: usize,
    /// (true, predicted, rows), in order, without zeros.
    pairs: Vec<(u32, u32, u64)>,
}

impl ClassificationEvaluation {
    pub(super) fn new(labels: ClassLabels) -> ClassificationEvaluation {
        let n_classes = labels.len();
        let n_scores = if n_classes == 2 { 1 } else { n_classes };
        let max_distinct = (MAX_DISTINCT / n_scores.max(1)).max(MIN_DISTINCT);
        ClassificationEvaluation {
            labels,
            n_samples: 0,
            n_unknown: 0,
            losses: Sum::default(),
            pairs: KeyCounts::new(usize::MAX),
            scores: (0..n_scores)
                .map(|_| ClassScores::new(max_distinct))
                .collect(),
        }
    }

    pub(super) fn labels(&self) -> &ClassLabels {
        &self.labels
    }

    pub(super) fn n_unknown(&self) -> u64 {
        self.n_unknown
    }

    pub(super) fn n_samples(&self) -> u64 {
        self.n_samples
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pairs.memory_bytes()
            + self
                .scores
                .iter()
                .map(ClassScores::memory_bytes)
                .sum::<usize>()
    }

    /// Adds rows: `probabilities` is `(n_samples, n_classes)` row-major.
    pub(super) fn update(&mut self, probabilities: &[f64], classes: &[u32]) {
        let n_classes = self.labels.len();
        for (row, &class) in probabilities.chunks_exact(n_classes.max(1)).zip(classes) {
            match row.get(class as usize) {
                Some(probability) => {
                    self.losses
                        .add(-probability.clamp(CERTAIN, 1.0 - CERTAIN).ln());
                }
                None => self.n_unknown += 1,
            }
            if n_classes != 2 {
                self.pairs
                    .push(u64::from(class) << 32 | u64::from(argmax(row)));
            }
        }
        self.pairs.settle();
        self.n_samples += classes.len() as u64;
        for (idx, scores) in self.scores.iter_mut().enumerate() {
            let class_idx = if n_classes == 2 { 1 } else { idx };
            let column = probabilities.iter().skip(class_idx).step_by(n_classes);
            scores.update(column, classes, class_idx, n_classes);
        }
    }

    pub(super) fn merge(&mut self, later: ClassificationEvaluation) -> Result<()> {
        if self.labels != later.labels {
            return Err(super::mismatch());
        }
        self.n_samples += later.n_samples;
        self.n_unknown += later.n_unknown;
        self.losses.merge(later.losses);
        self.pairs.merge(later.pairs);
        for (scores, later) in self.scores.iter_mut().zip(later.scores) {
            scores.positives.merge(later.positives);
            scores.negatives.merge(later.negatives);
            scores.unknowns.merge(later.unknowns);
        }
        Ok(())
    }

    /// The scores of the positive class of two; `None` for other numbers of classes.
    pub(super) fn score_table(&self) -> Option<ScoreTable> {
        match self.scores.as_slice() {
            [scores] if self.labels.len() == 2 => Some(scores.table()),
            _ => None,
        }
    }

    /// The confusion of more than two classes.
    pub(super) fn confusion(&self) -> Confusion {
        let unpack = |(key, count): (u64, u64)| ((key >> 32) as u32, key as u32, count);
        let pairs = self.pairs.entries().into_iter().map(unpack).collect();
        Confusion {
            n_classes: self.labels.len(),
            pairs,
        }
    }

    /// The metrics in the order of [`NAMES`]; the threshold matters for two classes only.
    pub(super) fn metrics(&self, threshold: f64) -> [Option<f64>; 6] {
        let n_known = self.n_samples - self.n_unknown;
        let log_loss = (n_known > 0).then(|| self.losses.value() / n_known as f64);
        let ([precision, recall, accuracy, f1_score], roc_auc) = match self.score_table() {
            Some(table) => (table.at(threshold).metrics(), table.area()),
            None => (self.confusion().macro_metrics(), self.macro_area()),
        };
        [precision, recall, accuracy, f1_score, log_loss, roc_auc]
    }

    /// The mean area over the classes that have rows of theirs and others.
    fn macro_area(&self) -> Option<f64> {
        let areas: Vec<f64> = self
            .scores
            .iter()
            .filter_map(|scores| scores.table().area())
            .collect();
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }
}

impl ClassScores {
    fn new(max_distinct: usize) -> ClassScores {
        let empty = KeyCounts::new(max_distinct);
        ClassScores {
            positives: empty.clone(),
            negatives: empty.clone(),
            unknowns: empty,
        }
    }

    fn memory_bytes(&self) -> usize {
        [&self.positives, &self.negatives, &self.unknowns]
            .map(KeyCounts::memory_bytes)
            .iter()
            .sum()
    }

    fn update<'a>(
        &mut self,
        scores: impl Iterator<Item = &'a f64>,
        classes: &[u32],
        class_idx: usize,
        n_classes: usize,
    ) {
        for (&score, &class) in scores.zip(classes) {
            let counts = match class as usize {
                class if class == class_idx => &mut self.positives,
                class if class < n_classes => &mut self.negatives,
                _ => &mut self.unknowns,
            };
            counts.push(ordered_key(score));
        }
        self.positives.settle();
        self.negatives.settle();
        self.unknowns.settle();
    }

    fn table(&self) -> ScoreTable {
        let parts = [&self.positives, &self.negatives, &self.unknowns];
        let parts = parts.map(|counts| counts.at_level(0));
        let level = parts.iter().map(|counts| counts.level()).max().unwrap_or(0);
        let parts = parts.each_ref().map(|counts| counts.at_level(level));
        let mut next = [0_usize; 3];
        let mut rows = Vec::with_capacity(parts.iter().map(|counts| counts.n_distinct()).sum());
        loop {
            let heads = [0, 1, 2].map(|part: usize| parts[part].entry(next[part]));
            let Some(key) = heads.iter().flatten().map(|entry| entry.0).min() else {
                return ScoreTable(rows);
            };
            let mut counts = [0; 3];
            for part in 0..3 {
                if let Some((_, count)) = heads[part].filter(|entry| entry.0 == key) {
                    counts[part] = count;
                    next[part] += 1;
                }
            }
            let [positives, negatives, unknowns] = counts;
            rows.push(ScoreRow {
                score: ordered_value(key),
                positives,
                negatives,
                unknowns,
            });
        }
    }
}

/// The outcomes at one threshold of the positive class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    pub(super) true_positives: u64,
    /// Rows of the negative class, and of unknown ones, that were predicted positive.
    pub(super) false_positives: u64,
    pub(super) true_negatives: u64,
    pub(super) false_negatives: u64,
    /// Rows of unknown classes that were predicted positive (also in `false_positives`).
    unknown_positives: u64,
    /// Rows of unknown classes that were predicted negative (in no other number).
    unknown_negatives: u64,
}

impl Outcomes {
    pub(super) fn recall(&self) -> Option<f64> {
        ratio(
            self.true_positives,
            self.true_positives + self.false_negatives,
        )
    }

    /// Unknown classes are no positive ones, so they count among the negatives here.
    pub(super) fn false_positive_rate(&self) -> Option<f64> {
        ratio(
            self.false_positives,
            self.false_positives + self.negatives_below(),
        )
    }

    /// Rows that are not of the positive class and were predicted so.
    pub(super) fn negatives_below(&self) -> u64 {
        self.true_negatives + self.unknown_negatives
    }

    /// Precision, recall, accuracy and F₁; a ratio without rows is 0, as scikit-learn has it.
    pub(super) fn metrics(&self) -> [Option<f64>; 4] {
        let (hits, false_positives, misses) = (
            self.true_positives,
            self.false_positives,
            self.false_negatives,
        );
        let n_samples = hits + misses + false_positives + self.negatives_below();
        let or_zero = |value: Option<f64>| (n_samples > 0).then(|| value.unwrap_or(0.0));
        [
            or_zero(ratio(hits, hits + false_positives)),
            or_zero(self.recall()),
            ratio(hits + self.true_negatives, n_samples),
            or_zero(ratio(2 * hits, 2 * hits + false_positives + misses)),
        ]
    }

    pub(super) fn confusion(&self) -> Confusion {
        let known_false_positives = self.false_positives - self.unknown_positives;
        let mut pairs = vec![
            (0, 0, self.true_negatives),
            (0, 1, known_false_positives),
            (1, 0, self.false_negatives),
            (1, 1, self.true_positives),
            (2, 0, self.unknown_negatives),
            (2, 1, self.unknown_positives),
        ];
        pairs.retain(|pair| pair.2 > 0);
        Confusion {
            n_classes: 2,
            pairs,
        }
    }
}

impl ScoreTable {
    /// The outcomes when scores of at least `threshold` are predicted positive.
    pub(super) fn at(&self, threshold: f64) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for row in &self.0 {
            if row.score >= threshold {
                outcomes.true_positives += row.positives;
                outcomes.false_positives += row.negatives + row.unknowns;
                outcomes.unknown_positives += row.unknowns;
            } else {
                outcomes.false_negatives += row.positives;
                outcomes.true_negatives += row.negatives;
                outcomes.unknown_negatives += row.unknowns;
            }
        }
        outcomes
    }

    /// The outcomes at each threshold: one pass over the scores for all of them.
    pub(super) fn at_each(&self, thresholds: &[f64]) -> Vec<Outcomes> {
        let mut order: Vec<usize> = (0..thresholds.len()).collect();
        order.sort_by(|a, b| thresholds[*a].total_cmp(&thresholds[*b]));
        let mut outcomes = self.at(f64::NEG_INFINITY);
        let mut result = vec![outcomes; thresholds.len()];
        let mut rows = self.0.iter().peekable();
        for idx in order {
            while let Some(row) = rows.next_if(|row| row.score < thresholds[idx]) {
                outcomes.true_positives -= row.positives;
                outcomes.false_negatives += row.positives;
                outcomes.false_positives -= row.negatives + row.unknowns;
                outcomes.true_negatives += row.negatives;
                outcomes.unknown_positives -= row.unknowns;
                outcomes.unknown_negatives += row.unknowns;
            }
            result[idx] = outcomes;
        }
        result
    }

    /// The area under the ROC curve: the share of (positive, other) pairs of rows in which the
    /// positive one scores higher, ties counting half. `None` unless there are rows of both kinds.
    pub(super) fn area(&self) -> Option<f64> {
        // Twice the number of pairs is a whole number, hence exact in any order of rows.
        let (mut twice_pairs, mut positives, mut others) = (0_u128, 0_u128, 0_u128);
        for row in &self.0 {
            let n_others = u128::from(row.negatives) + u128::from(row.unknowns);
            twice_pairs += u128::from(row.positives) * (2 * others + n_others);
            positives += u128::from(row.positives);
            others += n_others;
        }
        let n_pairs = positives * others;
        (n_pairs > 0).then(|| twice_pairs as f64 / (2.0 * n_pairs as f64))
    }

    /// At most `n` scores in descending order that part the rows into shares of about equal size.
    pub(super) fn quantiles(&self, n: u64) -> Vec<f64> {
        self.parted(n).0.iter().rev().map(|row| row.score).collect()
    }

    /// The same rows at about `n` scores: those between two scores are counted at the lower one.
    /// The default threshold keeps its exact counts.
    pub(super) fn parted(&self, n: u64) -> ScoreTable {
        let n_samples = self.0.iter().map(ScoreRow::n_samples).sum::<u64>();
        let (mut below, mut part_idx) = (0, None);
        let mut parts: Vec<ScoreRow> = Vec::new();
        for row in &self.0 {
            // u128, since a table may count more rows than u64::MAX / n.
            let idx = u128::from(below) * u128::from(n) / u128::from(n_samples.max(1));
            let part = Some((idx, row.score >= DEFAULT_THRESHOLD));
            match parts.last_mut() {
                Some(last) if part == part_idx => {
                    last.positives += row.positives;
                    last.negatives += row.negatives;
                    last.unknowns += row.unknowns;
                }
                _ => parts.push(*row),
            }
            part_idx = part;
            below += row.n_samples();
        }
        ScoreTable(parts)
    }
}

impl ScoreRow {
    fn n_samples(&self) -> u64 {
        self.positives + self.negatives + self.unknowns
    }
}

impl From<ScoreRow> for (f64, u64, u64, u64) {
    fn from(row: ScoreRow) -> (f64, u64, u64, u64) {
        (row.score, row.positives, row.negatives, row.unknowns)
    }
}

impl From<(f64, u64, u64, u64)> for ScoreRow {
    fn from(row: (f64, u64, u64, u64)) -> ScoreRow {
        let (score, positives, negatives, unknowns) = row;
        ScoreRow {
            score,
            positives,
            negatives,
            unknowns,
        }
    }
}

impl Confusion {
    /// The rows of the matrix for the true classes that occur, in order: the code (`n_classes` for
    /// classes never seen) and how often each class was predicted.
    pub(super) fn rows(&self) -> Vec<(usize, Vec<u64>)> {
        let by_class = self.pairs.chunk_by(|a, b| a.0 == b.0);
        by_class
            .map(|pairs| {
                let mut row = vec![0; self.n_classes];
                for &(_, predicted, count) in pairs {
                    if let Some(cell) = row.get_mut(predicted as usize) {
                        *cell = count;
                    }
                }
                (pairs[0].0 as usize, row)
            })
            .collect()
    }

    /// Means of precision, recall and F₁ over the classes that are true or predicted somewhere (all
    /// classes never seen are one), a ratio without rows being 0, as scikit-learn has it; accuracy
    /// stands in the third place.
    fn macro_metrics(&self) -> [Option<f64>; 4] {
        let mut n_true = vec![0_u64; self.n_classes + 1];
        let (mut n_predicted, mut n_hits) = (n_true.clone(), n_true.clone());
        for &(class, predicted, count) in &self.pairs {
            n_true[class as usize] += count;
            n_predicted[predicted as usize] += count;
            if class == predicted {
                n_hits[class as usize] += count;
            }
        }
        let (mut sums, mut n_present) = ([0.0; 3], 0.0);
        for class in 0..n_true.len() {
            if n_true[class] + n_predicted[class] > 0 {
                n_present += 1.0;
                sums[0] += ratio(n_hits[class], n_predicted[class]).unwrap_or(0.0);
                sums[1] += ratio(n_hits[class], n_true[class]).unwrap_or(0.0);
                let n_both = n_true[class] + n_predicted[class];
                sums[2] += ratio(2 * n_hits[class], n_both).unwrap_or(0.0);
            }
        }
        let [precision, recall, f1_score] =
            sums.map(|sum| (n_present > 0.0).then(|| sum / n_present));
        let accuracy = ratio(n_hits.iter().sum(), n_true.iter().sum());
        [precision, recall, accuracy, f1_score]
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
