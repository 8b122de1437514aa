//! What a model keeps of its evaluation.
//!
//! In: an evaluation; out: its metrics to the last digit and, for classifications, enough counts to
//! answer confusion matrices, and for two classes any threshold. A few kilobytes, readable as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Evaluation;
use super::classification::{Confusion, DEFAULT_THRESHOLD, ScoreTable};
use crate::estimator::Task;
use crate::output::ClassLabels;

/// Score quantiles whose counts are kept for two classes.
const N_QUANTILES: u64 = 1_000;

/// The evaluation that a training stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvaluation {
    task: Task,
    n_samples: u64,
    metrics: BTreeMap<String, Option<f64>>,
    classification: Option<StoredCounts>,
    /// Ascending by rank; for clusterings and decompositions.
    #[serde(default)]
    anomaly_scores: Vec<f64>,
}

/// What only classifications have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredCounts {
    labels: ClassLabels,
    n_unknown: u64,
    /// For more than two classes.
    confusion: Option<Confusion>,
    /// For two classes.
    scores: Option<ScoreTable>,
}

impl StoredEvaluation {
    pub(super) fn of(evaluation: &Evaluation) -> StoredEvaluation {
        let named = |(name, value): (&str, Option<f64>)| (name.to_owned(), value);
        let classification = match evaluation {
            Evaluation::Classification(rows) => {
                let scores = rows.score_table().map(|table| table.parted(N_QUANTILES));
                Some(StoredCounts {
                    labels: rows.labels().clone(),
                    n_unknown: rows.n_unknown(),
                    confusion: scores.is_none().then(|| rows.confusion()),
                    scores,
                })
            }
            _ => None,
        };
        let anomaly_scores = match evaluation {
            Evaluation::Clustering(rows) => rows.scores.kept(),
            Evaluation::Decomposition(rows) => rows.scores.kept(),
            _ => Vec::new(),
        };
        StoredEvaluation {
            task: evaluation.task(),
            n_samples: evaluation.n_samples(),
            metrics: evaluation.metrics(None).into_iter().map(named).collect(),
            classification,
            anomaly_scores,
        }
    }

    pub(super) fn task(&self) -> Task {
        self.task
    }

    pub(super) fn n_samples(&self) -> u64 {
        self.n_samples
    }

    pub(super) fn anomaly_scores(&self) -> &[f64] {
        &self.anomaly_scores
    }

    pub(super) fn n_unknown(&self) -> u64 {
        self.classification
            .as_ref()
            .map_or(0, |counts| counts.n_unknown)
    }

    pub(super) fn labels(&self) -> Option<&ClassLabels> {
        self.classification.as_ref().map(|counts| &counts.labels)
    }

    pub(super) fn confusion(&self) -> Option<&Confusion> {
        self.classification
            .as_ref()
            .and_then(|counts| counts.confusion.as_ref())
    }

    pub(super) fn score_table(&self) -> Option<&ScoreTable> {
        self.classification
            .as_ref()
            .and_then(|counts| counts.scores.as_ref())
    }

    /// The metrics in order; another threshold than the default changes those that depend on it.
    pub(super) fn metrics(&self, threshold: f64) -> Vec<Option<f64>> {
        let names = Evaluation::metric_names(self.task).iter();
        let mut values: Vec<Option<f64>> = names
            .map(|name| self.metrics.get(*name).copied().flatten())
            .collect();
        if let Some(table) = self
            .score_table()
            .filter(|_| threshold != DEFAULT_THRESHOLD)
        {
            values.splice(..4, table.at(threshold).metrics());
        }
        values
    }
}
