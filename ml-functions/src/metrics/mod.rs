//! Judges predictions: metrics, confusion matrices and ROC curves.
//!
//! In: blocks with their labels, and what a model says of them; out: an [`Evaluation`], which
//! merges with others over any partitioning of the rows, then answers by name. Reading order: `mod`
//! is the evaluation of any task; one file a task; `value_counts` and `sum` are what they
//! accumulate in; `stored` is what a model keeps; `aggregate` makes an SQL aggregate of it. Never
//! sees unencoded rows, and ignores instance weights, as BigQuery's evaluation does.

pub mod aggregate;
mod anomaly;
mod classification;
mod clustering;
mod decomposition;
mod regression;
mod stored;
mod sum;
mod value_counts;

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

pub use classification::ClassificationEvaluation;
pub(crate) use classification::{CERTAIN, DEFAULT_THRESHOLD};
pub use clustering::ClusteringEvaluation;
pub(crate) use clustering::in_radii;
pub use decomposition::DecompositionEvaluation;
pub use regression::RegressionEvaluation;
pub use stored::StoredEvaluation;

use self::classification::{Confusion, Outcomes, ScoreTable};
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::features::{FeatureBlock, TargetEncoding, TargetValues};
use crate::model::{Model, Prediction};
use crate::output::ClassLabels;

/// Thresholds of a ROC curve, where none are asked for.
const N_ROC_THRESHOLDS: u64 = 100;

/// What is known of some rows and a model's predictions for them. Evaluations of parts merge to
/// that of the whole: counts exactly, sums with their rounding errors carried along.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evaluation {
    /// Of a regression.
    Regression(RegressionEvaluation),
    /// Of a classification.
    Classification(ClassificationEvaluation),
    /// Of a clustering.
    Clustering(ClusteringEvaluation),
    /// Of a decomposition.
    Decomposition(DecompositionEvaluation),
    /// What a model keeps of an evaluation, see [`Evaluation::compact`]; answers, but takes no
    /// rows.
    Stored(StoredEvaluation),
}

impl Evaluation {
    /// The evaluation of no rows.
    pub fn new(task: Task, target: Option<&TargetEncoding>, model: &dyn Model) -> Evaluation {
        match task {
            Task::Regression => {
                let origin = target.map_or(0.0, |target| target.mean);
                Evaluation::Regression(RegressionEvaluation::new(origin))
            }
            Task::Classification => {
                let labels = target.map(ClassLabels::of).unwrap_or_default();
                Evaluation::Classification(ClassificationEvaluation::new(labels))
            }
            Task::Clustering => {
                let radii = model.cluster_radii().to_vec();
                let distances = model.centroid_distances();
                Evaluation::Clustering(ClusteringEvaluation::new(distances, radii))
            }
            Task::Decomposition => Evaluation::Decomposition(DecompositionEvaluation::default()),
        }
    }

    /// Adds the rows of a block.
    pub fn update(&mut self, prediction: &Prediction, block: &FeatureBlock) -> Result<()> {
        if prediction.len() != block.n_samples {
            return Err(mismatch());
        }
        match (self, prediction, &block.target) {
            (
                Evaluation::Regression(rows),
                Prediction::Values(values),
                TargetValues::Numbers(labels),
            ) if labels.len() == values.len() => rows.update(values, labels),
            (
                Evaluation::Classification(rows),
                Prediction::Probabilities { n_classes, values },
                TargetValues::Classes(classes),
            ) if *n_classes == rows.labels().len() && values.len() == classes.len() * n_classes => {
                rows.update(values, classes);
            }
            (Evaluation::Clustering(rows), Prediction::Clusters { ids, distances, .. }, _) => {
                rows.update(ids, distances);
            }
            (Evaluation::Clustering(rows), Prediction::Nearest { ids, distances }, _)
                if ids.len() == distances.len() =>
            {
                rows.update_nearest(ids, distances);
            }
            (
                Evaluation::Decomposition(rows),
                Prediction::Components {
                    reconstruction_errors,
                    mean_squares,
                    ..
                },
                _,
            ) => rows.update(reconstruction_errors, mean_squares),
            _ => return Err(mismatch()),
        }
        Ok(())
    }

    /// Adds the rows of another evaluation.
    pub fn merge(&mut self, later: Evaluation) -> Result<()> {
        match (self, later) {
            (Evaluation::Regression(rows), Evaluation::Regression(later)) => rows.merge(later),
            (Evaluation::Classification(rows), Evaluation::Classification(later)) => {
                rows.merge(later)
            }
            (Evaluation::Clustering(rows), Evaluation::Clustering(later)) => rows.merge(later),
            (Evaluation::Decomposition(rows), Evaluation::Decomposition(later)) => {
                rows.merge(later);
                Ok(())
            }
            _ => Err(mismatch()),
        }
    }

    /// What a model keeps: the metrics to the last digit, and of a classification the confusion
    /// matrix or, for two classes, the counts at 1,000 score quantiles.
    pub fn compact(self) -> Evaluation {
        Evaluation::Stored(match self {
            Evaluation::Stored(stored) => stored,
            evaluation => StoredEvaluation::of(&evaluation),
        })
    }

    /// The task of the model.
    pub fn task(&self) -> Task {
        match self {
            Evaluation::Regression(_) => Task::Regression,
            Evaluation::Classification(_) => Task::Classification,
            Evaluation::Clustering(_) => Task::Clustering,
            Evaluation::Decomposition(_) => Task::Decomposition,
            Evaluation::Stored(stored) => stored.task(),
        }
    }

    /// Number of rows, without those whose label is NULL.
    pub fn n_samples(&self) -> u64 {
        match self {
            Evaluation::Regression(rows) => rows.n_samples(),
            Evaluation::Classification(rows) => rows.n_samples(),
            Evaluation::Clustering(rows) => rows.n_samples(),
            Evaluation::Decomposition(rows) => rows.n_samples(),
            Evaluation::Stored(stored) => stored.n_samples(),
        }
    }

    /// Rows of a class that training never saw: each counts as wrong.
    pub fn n_unknown_classes(&self) -> u64 {
        match self {
            Evaluation::Classification(rows) => rows.n_unknown(),
            Evaluation::Stored(stored) => stored.n_unknown(),
            _ => 0,
        }
    }

    /// The score from which on a row is an anomaly, so that the share `contamination` of these rows
    /// are; `None` for tasks without such scores.
    pub fn anomaly_threshold(&self, contamination: f64) -> Option<f64> {
        let kept = match self {
            Evaluation::Clustering(rows) => rows.scores.kept(),
            Evaluation::Decomposition(rows) => rows.scores.kept(),
            Evaluation::Stored(stored) => stored.anomaly_scores().to_vec(),
            _ => Vec::new(),
        };
        anomaly::threshold(&kept, contamination)
    }

    /// Size in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Evaluation>()
            + match self {
                Evaluation::Regression(rows) => rows.memory_bytes(),
                Evaluation::Classification(rows) => rows.memory_bytes(),
                Evaluation::Clustering(rows) => rows.memory_bytes(),
                Evaluation::Decomposition(rows) => rows.scores.memory_bytes(),
                Evaluation::Stored(_) => 0,
            }
    }

    /// The metrics of a task, as SQL.md names and orders them.
    pub fn metric_names(task: Task) -> &'static [&'static str] {
        match task {
            Task::Regression => regression::NAMES,
            Task::Classification => classification::NAMES,
            Task::Clustering => clustering::NAMES,
            Task::Decomposition => decomposition::NAMES,
        }
    }

    /// The metrics; `None` where there is no finite value. The threshold of the positive class
    /// (0.5) matters for two classes only; see [`check_threshold`].
    pub fn metrics(&self, threshold: Option<f64>) -> Vec<(&'static str, Option<f64>)> {
        let threshold = threshold.unwrap_or(DEFAULT_THRESHOLD);
        let values = match self {
            Evaluation::Regression(rows) => rows.metrics().to_vec(),
            Evaluation::Classification(rows) => rows.metrics(threshold).to_vec(),
            Evaluation::Clustering(rows) => rows.metrics().to_vec(),
            Evaluation::Decomposition(rows) => rows.metrics().to_vec(),
            Evaluation::Stored(stored) => stored.metrics(threshold),
        };
        let finite = values
            .into_iter()
            .map(|value| value.filter(|value| value.is_finite()));
        Evaluation::metric_names(self.task())
            .iter()
            .copied()
            .zip(finite)
            .collect()
    }

    /// The confusion matrix: a row for each true class that occurs, in order, the last (with a NULL
    /// label) for classes that training never saw; columns `confusion_matrix_fields`.
    pub fn confusion_matrix(&self, threshold: Option<f64>) -> Result<RecordBatch> {
        let labels = self
            .labels()
            .ok_or_else(|| not_of_task("a confusion matrix", self.task()))?;
        check_threshold(self.task(), labels.len(), threshold)?;
        let confusion = match self.score_table() {
            Some(table) => table.at(threshold.unwrap_or(DEFAULT_THRESHOLD)).confusion(),
            None => self.confusion(),
        };
        let rows = confusion.rows();
        let known = |class: usize| (class < labels.len()).then_some(class as u32);
        let expected: UInt32Array = rows.iter().map(|(class, _)| known(*class)).collect();
        let mut arrays = vec![take(&labels.array(), &expected, None)?];
        for class in 0..labels.len() {
            let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.1[class] as i64));
            arrays.push(Arc::new(counts));
        }
        table_of(confusion_matrix_fields(labels), arrays)
    }

    /// The ROC curve of two classes at the thresholds given, in their order, or else at about 100
    /// quantiles of the scores, descending; columns `roc_curve_fields`.
    pub fn roc_curve(&self, thresholds: Option<&[f64]>) -> Result<RecordBatch> {
        check_roc_curve(self.task(), self.labels().map_or(0, ClassLabels::len))?;
        let table = self.score_table().unwrap_or_default();
        let thresholds = match thresholds {
            Some(thresholds) => thresholds.to_vec(),
            None => table.quantiles(N_ROC_THRESHOLDS),
        };
        let points = table.at_each(&thresholds);
        let float = |of: fn(&Outcomes) -> Option<f64>| -> ArrayRef {
            Arc::new(points.iter().map(of).collect::<Float64Array>())
        };
        let count = |of: fn(&Outcomes) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                points.iter().map(|point| of(point) as i64),
            ))
        };
        let arrays = vec![
            Arc::new(Float64Array::from(thresholds)) as ArrayRef,
            float(Outcomes::recall),
            float(Outcomes::false_positive_rate),
            count(|point| point.true_positives),
            count(|point| point.false_positives),
            count(Outcomes::negatives_below),
            count(|point| point.false_negatives),
        ];
        table_of(roc_curve_fields(), arrays)
    }

    fn labels(&self) -> Option<&ClassLabels> {
        match self {
            Evaluation::Classification(rows) => Some(rows.labels()),
            Evaluation::Stored(stored) => stored.labels(),
            _ => None,
        }
    }

    fn score_table(&self) -> Option<ScoreTable> {
        match self {
            Evaluation::Classification(rows) => rows.score_table(),
            Evaluation::Stored(stored) => stored.score_table().cloned(),
            _ => None,
        }
    }

    fn confusion(&self) -> Confusion {
        match self {
            Evaluation::Classification(rows) => rows.confusion(),
            Evaluation::Stored(stored) => stored.confusion().cloned().unwrap_or_default(),
            _ => Confusion::default(),
        }
    }
}

/// Checks a threshold that a statement gave: it must be in [0, 1], and the model have two classes.
pub fn check_threshold(task: Task, n_classes: usize, threshold: Option<f64>) -> Result<()> {
    let Some(threshold) = threshold else {
        return Ok(());
    };
    if task != Task::Classification || n_classes != 2 {
        return Err(Error::ConflictingOptions {
            message: "option \"threshold\" needs a model with two classes".to_owned(),
            hint: "Leave the threshold out.".to_owned(),
        });
    }
    if !(0.0..=1.0).contains(&threshold) {
        return Err(Error::InvalidOption {
            name: "threshold".to_owned(),
            expected: "between 0 and 1".to_owned(),
            found: threshold.to_string(),
        });
    }
    Ok(())
}

/// A ROC curve needs a model with two classes.
fn check_roc_curve(task: Task, n_classes: usize) -> Result<()> {
    match (task, n_classes) {
        (Task::Classification, 2) => Ok(()),
        (Task::Classification, _) => Err(Error::Unsupported {
            what: format!("a ROC curve of a model with {n_classes} classes"),
        }),
        _ => Err(not_of_task("a ROC curve", task)),
    }
}

/// The columns of a confusion matrix: `expected_label` and one a class, named by its label.
pub(crate) fn confusion_matrix_fields(labels: &ClassLabels) -> Vec<Field> {
    let mut fields = vec![Field::new("expected_label", labels.data_type(), true)];
    let mut taken = BTreeSet::from(["expected_label".to_owned()]);
    for label in labels.texts() {
        let wanted = column_name(&label);
        let mut name = wanted.clone();
        let mut suffix = 1;
        // Column names are compared without case.
        while !taken.insert(name.to_lowercase()) {
            name = format!("{wanted}_{suffix}");
            suffix += 1;
        }
        fields.push(Field::new(name, DataType::Int64, true));
    }
    fields
}

/// The columns of a ROC curve.
pub(crate) fn roc_curve_fields() -> Vec<Field> {
    let float = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    vec![
        float("threshold"),
        float("recall"),
        float("false_positive_rate"),
        count("true_positives"),
        count("false_positives"),
        count("true_negatives"),
        count("false_negatives"),
    ]
}

/// A label as a column name: `_` for what a name may not hold, and before a leading digit.
fn column_name(label: &str) -> String {
    let allowed = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    };
    let name: String = label.chars().map(allowed).collect();
    if name.chars().next().is_none_or(|first| first.is_numeric()) {
        format!("_{name}")
    } else {
        name
    }
}

fn table_of(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn not_of_task(what: &str, task: Task) -> Error {
    let task = match task {
        Task::Regression => "regression",
        Task::Classification => "classification",
        Task::Clustering => "clustering",
        Task::Decomposition => "decomposition",
    };
    Error::Unsupported {
        what: format!("{what} of a {task} model"),
    }
}

fn mismatch() -> Error {
    Error::Internal {
        what: "an evaluation was given another model's rows".to_owned(),
    }
}

#[cfg(test)]
mod tests;
