//! A trained model as the engine holds it: the fitted state with all that gives it meaning.
//!
//! In: what a training made, or the parts of a stored model; out: predictions for record batches, and
//! tables about the model. Immutable; shared by `Arc`.

mod tables;

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::EstimatorSpec;
use crate::explain::GlobalAttributions;
use crate::features::{
    BatchEncoder, ClassCodes, ClassLabel, FeatureBlock, FeatureEncoder, Labels, Missing, Rows,
    TargetEncoding, TargetValues, check_label_type, check_type, find_column, find_features,
    is_missing, sql_type,
};
use crate::metrics::Evaluation;
use crate::model::{Inspection, Model, ModelContext, Prediction};
use crate::model_file;
use crate::options::Options;
use crate::run::{Iteration, Warning};
use crate::surprises::{Surprises, n_missing};
use crate::training::Cost;
use crate::training_set::Part;

/// How a model was trained and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Rows learned from.
    pub training_rows: u64,
    /// Rows held out.
    pub evaluation_rows: u64,
    /// Rows without a label.
    pub dropped_rows: u64,
    /// `AUTO_SPLIT`, `NO_SPLIT`, …
    pub split_method: String,
    /// The training curve.
    pub iterations: Vec<Iteration>,
    /// What was surprising.
    pub warnings: Vec<Warning>,
    /// Metrics, and what answers a confusion matrix and a ROC curve without rows.
    pub evaluation: Evaluation,
    /// The part that was evaluated: the training part where none was held out.
    pub evaluated_on: Part,
    /// The metrics of predicting the mean or the class frequencies, on the same rows.
    pub baseline: Vec<(String, Option<f64>)>,
    /// What `ML.GLOBAL_EXPLAIN` shows, where `enable_global_explain` asked for it.
    #[serde(default)]
    pub global_attributions: Option<GlobalAttributions>,
    /// 0, or one more than that of the version that a warm start went on from.
    #[serde(default)]
    pub training_run: u64,
    /// The seed.
    pub seed: u64,
    /// The kind of device that computed.
    pub device: String,
    /// Time from the first row to the metrics.
    pub duration_ms: u64,
    /// Passes, memory and disk; of versions that were stored without, all 0.
    #[serde(default)]
    pub cost: Cost,
}

/// A fitted model with its encodings, options and record.
pub struct TrainedModel {
    /// The estimator.
    pub spec: &'static EstimatorSpec,
    /// How features become numbers.
    pub encoder: FeatureEncoder,
    /// How the label becomes numbers; `None` for unsupervised tasks.
    pub target: Option<TargetEncoding>,
    /// The options of the training.
    pub options: Options,
    /// The fitted state.
    pub model: Arc<dyn Model>,
    /// How it was trained.
    pub record: TrainingRecord,
    columns: BatchEncoder,
    classes: ClassCodes,
}

impl fmt::Debug for TrainedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainedModel")
            .field("estimator", &self.spec.name)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl TrainedModel {
    /// A model of its parts.
    pub fn new(
        spec: &'static EstimatorSpec,
        encoder: FeatureEncoder,
        target: Option<TargetEncoding>,
        options: Options,
        model: Arc<dyn Model>,
        record: TrainingRecord,
    ) -> TrainedModel {
        let columns = BatchEncoder::new(&encoder, Missing::of(&spec.tags));
        let classes = target.as_ref().map(ClassCodes::new).unwrap_or_default();
        TrainedModel {
            spec,
            encoder,
            target,
            options,
            model,
            record,
            columns,
            classes,
        }
    }

    /// What the model was trained with, beside its own state.
    pub fn context(&self) -> ModelContext<'_> {
        ModelContext {
            encoder: &self.encoder,
            target: self.target.as_ref(),
            options: &self.options,
        }
    }

    /// Predicts each row of a batch, in its order. Features are found by name, in any case if only one
    /// column has it so.
    pub fn predict(&self, batch: &RecordBatch, compute: &Compute) -> Result<Prediction> {
        let block = self.encode(batch, "rows to predict", false, &mut Surprises::default())?;
        self.model.predict(&block, compute)
    }

    /// The columns of a schema that hold the features, in their order; checks names and types.
    pub fn feature_columns(&self, schema: &SchemaRef, place: &'static str) -> Result<Vec<usize>> {
        find_features(&self.encoder.schema.features, schema, place)
    }

    /// Encodes any number of rows, whose features are given in the model's order, and counts what is surprising
    /// in them.
    ///
    /// Errors: `ColumnType` for a feature of another kind than training saw.
    pub fn encode_features(
        &self,
        features: &[ArrayRef],
        n_rows: usize,
        surprises: &mut Surprises,
    ) -> Result<FeatureBlock> {
        for (feature, array) in self.encoder.schema.features.iter().zip(features) {
            check_type(feature, array.data_type())?;
        }
        let rows = Rows::all([n_rows].into_iter());
        self.encode_rows(features, &rows, TargetValues::None, surprises)
    }

    /// Encodes rows of single values as [`TrainedModel::encode_features`] encodes arrays of them, in less time; each row
    /// has the features in the model's order. `None` if a value is of a type that only arrays are read of.
    ///
    /// Errors: `ColumnType` for a feature of another kind than training saw.
    pub fn encode_values(
        &self,
        rows: &[Vec<&ScalarValue>],
        surprises: &mut Surprises,
    ) -> Result<Option<FeatureBlock>> {
        for row in rows {
            for (feature, value) in self.encoder.schema.features.iter().zip(row) {
                check_type(feature, &value.data_type())?;
            }
        }
        let Some((dense, codes)) = self.columns.encode_values(rows) else {
            return Ok(None);
        };
        let block = FeatureBlock {
            n_samples: rows.len(),
            dense,
            codes,
            target: TargetValues::None,
            weights: None,
        };
        let n_missing = (0..self.encoder.statistics.len()).map(|idx| {
            let is_missing =
                |row: &&Vec<&ScalarValue>| row.get(idx).is_some_and(|value| is_missing(value));
            rows.iter().filter(is_missing).count() as u64
        });
        surprises.note(self, n_missing, &block);
        Ok(Some(block))
    }

    /// Encodes any number of rows and counts what is surprising in them. With the target, rows whose
    /// label is NULL are dropped, and a class that training never saw has the number of classes as its
    /// code.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        place: &'static str,
        with_target: bool,
        surprises: &mut Surprises,
    ) -> Result<FeatureBlock> {
        let features: Vec<ArrayRef> = self
            .feature_columns(batch.schema_ref(), place)?
            .into_iter()
            .map(|column| Arc::clone(batch.column(column)))
            .collect();
        let target = if with_target {
            self.target.as_ref()
        } else {
            None
        };
        let (rows, target) = match target {
            None => (
                Rows::all([batch.num_rows()].into_iter()),
                TargetValues::None,
            ),
            Some(target) => {
                let labels = self.labels(target, batch, place)?;
                let mut rows = Rows::default();
                for row in (0..batch.num_rows()).filter(|row| !labels.is_null(*row)) {
                    rows.push(0, row, row);
                }
                let values = labels.target_values(&rows, &self.classes);
                (rows, values)
            }
        };
        surprises.null_labels += (batch.num_rows() - rows.n_rows) as u64;
        self.encode_rows(&features, &rows, target, surprises)
    }

    fn encode_rows(
        &self,
        features: &[ArrayRef],
        rows: &Rows,
        target: TargetValues,
        surprises: &mut Surprises,
    ) -> Result<FeatureBlock> {
        let (dense, codes) = self.columns.encode(&[features], rows)?;
        let block = FeatureBlock {
            n_samples: rows.n_rows,
            dense,
            codes,
            target,
            weights: None,
        };
        surprises.note(self, features.iter().map(n_missing), &block);
        Ok(block)
    }

    fn labels(
        &self,
        target: &TargetEncoding,
        batch: &RecordBatch,
        place: &'static str,
    ) -> Result<Labels> {
        let column = find_column(batch.schema_ref(), &target.column, place, "label")?;
        let array = batch.column(column);
        let found = array.data_type();
        check_label_type(self.spec.task, &target.column, found)?;
        // Classes compare by type: 1 and 1.0 must be read as training read them.
        let learned = match target.classes.first() {
            Some(ClassLabel::Integer(_)) => Some(DataType::Int64),
            Some(ClassLabel::Float(_)) => Some(DataType::Float64),
            Some(ClassLabel::Bool(_)) => Some(DataType::Boolean),
            Some(ClassLabel::Text(_)) => Some(DataType::Utf8View),
            None => None,
        };
        let Some(learned) = learned else {
            return Labels::read(self.spec.task, &[array]);
        };
        let is_alike = found.is_numeric() && learned.is_numeric()
            || sql_type(found) == sql_type(&learned)
            || *found == DataType::Null;
        if !is_alike {
            return Err(Error::ColumnType {
                column: target.column.clone(),
                found: sql_type(found),
                expected: target.sql_type.clone(),
            });
        }
        Labels::read(self.spec.task, &[&cast(array, &learned)?])
    }

    /// Answers a request for a table about the model.
    pub fn inspect(&self, request: &Inspection) -> Result<RecordBatch> {
        let threshold = request.arguments.get("threshold").and_then(Value::as_f64);
        match request.function.as_str() {
            "feature_info" => tables::feature_info(&self.encoder),
            "training_info" => tables::training_info(&self.record.iterations, self.record.training_run),
            "global_explain" => match &self.record.global_attributions {
                Some(found) => {
                    let by_class = request.arguments.get("class_level_explain");
                    let by_class = by_class.and_then(Value::as_bool).unwrap_or(false);
                    if by_class && self.target.as_ref().is_none_or(|target| target.classes.is_empty()) {
                        return Err(Error::ConflictingOptions {
                            message: format!("a \"{}\" model has no classes to explain", self.spec.name),
                            hint: "Leave class_level_explain out.".to_owned(),
                        });
                    }
                    tables::global_explain(found, self.target.as_ref().filter(|_| by_class))
                }
                None => Err(Error::ConflictingOptions {
                    message: "ml.global_explain needs a model that was trained with enable_global_explain"
                        .to_owned(),
                    hint: "Train it again WITH (enable_global_explain = TRUE).".to_owned(),
                }),
            },
            "classes" => match &self.target {
                Some(target) if !target.classes.is_empty() => tables::classes(target),
                _ => Err(Error::Unsupported {
                    what: format!("ml.classes of a \"{}\" model", self.spec.name),
                }),
            },
            "confusion_matrix" => self.record.evaluation.confusion_matrix(threshold),
            "roc_curve" => {
                let thresholds = request
                    .arguments
                    .get("thresholds")
                    .and_then(Value::as_array);
                let thresholds: Option<Vec<f64>> =
                    thresholds.map(|values| values.iter().filter_map(Value::as_f64).collect());
                self.record.evaluation.roc_curve(thresholds.as_deref())
            }
            function if self.spec.inspections.contains(&function) => {
                self.model.inspect(request, &self.context())
            }
            function => Err(Error::Unsupported {
                what: format!("ml.{function} of a \"{}\" model", self.spec.name),
            }),
        }
    }

    /// The manifest and the tensors to store.
    pub fn to_parts(&self) -> Result<(Value, Vec<u8>)> {
        let (mut manifest, tensors) =
            model_file::to_parts(self.spec, &self.context(), self.model.as_ref())?;
        manifest["record"] =
            serde_json::to_value(&self.record).map_err(|source| Error::Internal {
                what: format!("cannot write the record of a model: {source}"),
            })?;
        Ok((manifest, tensors))
    }

    /// The model that [`TrainedModel::to_parts`] stored.
    pub fn from_parts(manifest: &Value, tensors: &[u8]) -> Result<TrainedModel> {
        let core = model_file::from_parts(manifest, tensors)?;
        let record = model_file::part(manifest, "record")?;
        let (spec, encoder, target) = (core.spec, core.encoder, core.target);
        Ok(TrainedModel::new(
            spec,
            encoder,
            target,
            core.options,
            core.model,
            record,
        ))
    }
}
