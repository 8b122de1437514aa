//! Evaluation as an SQL aggregate: `Aggregate(evaluate(label, features …))`, partial on the
//! partitions, final on one.
//!
//! In: the label column and the feature columns of some rows, as written; out: one value, a struct
//! of the metrics, or a list of the rows of a confusion matrix or ROC curve, which a plan unnests
//! into the columns of [`EvaluationOutput::fields`]. Predicts within, so that predictions are never
//! stored.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::{DataFusionError, Result as QueryResult};
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use datafusion::scalar::ScalarValue;
use serde::{Deserialize, Serialize};

use super::{Evaluation, check_threshold, confusion_matrix_fields, roc_curve_fields};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::output::ClassLabels;
use crate::surprises::Surprises;
use crate::trained_model::TrainedModel;

/// What an evaluation answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum EvaluationOutput {
    /// `ML.EVALUATE`: one row.
    Metrics {
        /// Of the positive class of two; 0.5 without.
        threshold: Option<f64>,
    },
    /// `ML.CONFUSION_MATRIX`: a row for each true class that occurs.
    ConfusionMatrix {
        /// Of the positive class of two; 0.5 without.
        threshold: Option<f64>,
    },
    /// `ML.ROC_CURVE`: a row for each threshold.
    RocCurve {
        /// The thresholds; about 100 quantiles of the scores without.
        thresholds: Option<Vec<f64>>,
    },
}

impl EvaluationOutput {
    /// The columns.
    pub fn fields(&self, model: &TrainedModel) -> Vec<Field> {
        match self {
            EvaluationOutput::Metrics { .. } => {
                let names = Evaluation::metric_names(model.spec.task).iter();
                names
                    .map(|name| Field::new(*name, DataType::Float64, true))
                    .collect()
            }
            EvaluationOutput::ConfusionMatrix { .. } => confusion_matrix_fields(&labels(model)),
            EvaluationOutput::RocCurve { .. } => roc_curve_fields(),
        }
    }

    /// Whether the aggregate's value is a list of rows; else it is one struct.
    pub fn is_list(&self) -> bool {
        !matches!(self, EvaluationOutput::Metrics { .. })
    }

    /// The rows as a table with the columns of [`EvaluationOutput::fields`], also from what
    /// training stored.
    pub fn table(&self, evaluation: &Evaluation) -> Result<RecordBatch> {
        match self {
            EvaluationOutput::Metrics { threshold } => {
                let (mut fields, mut arrays) = (Vec::new(), Vec::new());
                for (name, value) in evaluation.metrics(*threshold) {
                    fields.push(Field::new(name, DataType::Float64, true));
                    arrays.push(Arc::new(Float64Array::from(vec![value])) as ArrayRef);
                }
                Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
            }
            EvaluationOutput::ConfusionMatrix { threshold } => {
                evaluation.confusion_matrix(*threshold)
            }
            EvaluationOutput::RocCurve { thresholds } => {
                evaluation.roc_curve(thresholds.as_deref())
            }
        }
    }

    /// Whether the model can answer it.
    fn check(&self, model: &TrainedModel) -> Result<()> {
        let (task, n_classes) = (model.spec.task, labels(model).len());
        match self {
            EvaluationOutput::Metrics { threshold } => check_threshold(task, n_classes, *threshold),
            EvaluationOutput::ConfusionMatrix { threshold } if task == Task::Classification => {
                check_threshold(task, n_classes, *threshold)
            }
            EvaluationOutput::ConfusionMatrix { .. } => {
                Err(super::not_of_task("a confusion matrix", task))
            }
            EvaluationOutput::RocCurve { .. } => super::check_roc_curve(task, n_classes),
        }
    }

    /// The numbers by their bits, so that equal outputs hash alike.
    fn bits(&self) -> (u8, Option<Vec<u64>>) {
        let one = |threshold: &Option<f64>| threshold.map(|value| vec![value.to_bits()]);
        match self {
            EvaluationOutput::Metrics { threshold } => (0, one(threshold)),
            EvaluationOutput::ConfusionMatrix { threshold } => (1, one(threshold)),
            EvaluationOutput::RocCurve { thresholds } => {
                let all = thresholds.as_ref();
                (
                    2,
                    all.map(|all| all.iter().map(|value| value.to_bits()).collect()),
                )
            }
        }
    }
}

impl PartialEq for EvaluationOutput {
    fn eq(&self, other: &EvaluationOutput) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for EvaluationOutput {}

impl Hash for EvaluationOutput {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

/// What the aggregate is called where it is alone.
const NAME: &str = "evaluate";

/// The aggregate of one model. Its arguments are the columns of [`EvaluateUdaf::columns`].
pub struct EvaluateUdaf {
    name: String,
    bound: Bound,
    signature: Signature,
}

/// What each accumulator needs.
#[derive(Clone)]
struct Bound {
    model: Arc<TrainedModel>,
    compute: Compute,
    output: EvaluationOutput,
    columns: Arc<[String]>,
    found: Arc<Mutex<Surprises>>,
}

impl EvaluateUdaf {
    /// The aggregate that answers `output`, or why the model cannot.
    pub fn new(
        model: Arc<TrainedModel>,
        compute: Compute,
        output: EvaluationOutput,
    ) -> Result<EvaluateUdaf> {
        output.check(&model)?;
        let columns = EvaluateUdaf::columns(&model).into();
        Ok(EvaluateUdaf {
            name: NAME.to_owned(),
            bound: Bound {
                model,
                compute,
                output,
                columns,
                found: Arc::default(),
            },
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }

    /// The same under a name of its own: plans that go to other machines name their functions alone.
    pub fn named(self, name: String) -> EvaluateUdaf {
        EvaluateUdaf { name, ..self }
    }

    /// What was surprising in the rows, known once the aggregate has its value.
    pub fn found(&self) -> Arc<Mutex<Surprises>> {
        Arc::clone(&self.bound.found)
    }

    /// The names of the columns that the arguments must be, in order: the label if the model has
    /// one, then its features.
    pub fn columns(model: &TrainedModel) -> Vec<String> {
        let label = model.target.iter().map(|target| target.column.clone());
        let features = &model.encoder.schema.features;
        label
            .chain(features.iter().map(|feature| feature.name.clone()))
            .collect()
    }

    /// The model.
    pub fn model(&self) -> &Arc<TrainedModel> {
        &self.bound.model
    }

    /// Where it predicts.
    pub fn compute(&self) -> &Compute {
        &self.bound.compute
    }

    /// The same with figures of a device of its own.
    pub fn for_part(&self) -> EvaluateUdaf {
        EvaluateUdaf {
            name: self.name.clone(),
            bound: Bound {
                compute: self.bound.compute.for_part(),
                ..self.bound.clone()
            },
            signature: self.signature.clone(),
        }
    }

    /// What it answers.
    pub fn output(&self) -> &EvaluationOutput {
        &self.bound.output
    }

    fn key(&self) -> (*const TrainedModel, &EvaluationOutput) {
        (Arc::as_ptr(&self.bound.model), &self.bound.output)
    }
}

impl std::fmt::Debug for EvaluateUdaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, output) = (self.bound.model.spec.name, &self.bound.output);
        f.debug_struct("EvaluateUdaf")
            .field("model", &name)
            .field("output", output)
            .finish()
    }
}

impl PartialEq for EvaluateUdaf {
    fn eq(&self, other: &EvaluateUdaf) -> bool {
        self.key() == other.key()
    }
}

impl Eq for EvaluateUdaf {}

impl Hash for EvaluateUdaf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl AggregateUDFImpl for EvaluateUdaf {
    fn name(&self) -> &str {
        &self.name
    }

    /// Names of its own tell those who read a plan nothing.
    fn human_display(&self, params: &AggregateFunctionParams) -> QueryResult<String> {
        let args = params
            .args
            .iter()
            .map(|arg| arg.human_display().to_string());
        let args: Vec<String> = args.collect();
        Ok(format!("{NAME}({})", args.join(", ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> QueryResult<DataType> {
        if arguments.len() != self.bound.columns.len() {
            return Err(query_error(wrong_columns(
                arguments.len(),
                &self.bound.columns,
            )));
        }
        let row = DataType::Struct(self.bound.output.fields(&self.bound.model).into());
        Ok(if self.bound.output.is_list() {
            DataType::new_list(row, true)
        } else {
            row
        })
    }

    fn accumulator(&self, _: AccumulatorArgs) -> QueryResult<Box<dyn Accumulator>> {
        Ok(Box::new(EvaluateAccumulator::new(self.bound.clone())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> QueryResult<Vec<FieldRef>> {
        let name = format_state_name(args.name, "evaluation");
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }
}

/// The rows so far.
struct EvaluateAccumulator {
    bound: Bound,
    evaluation: Evaluation,
    surprises: Surprises,
}

impl EvaluateAccumulator {
    fn new(bound: Bound) -> EvaluateAccumulator {
        let evaluation = empty_evaluation(&bound.model);
        EvaluateAccumulator {
            bound,
            evaluation,
            surprises: Surprises::default(),
        }
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let Bound {
            model,
            compute,
            columns: names,
            ..
        } = &self.bound;
        if columns.len() != names.len() {
            return Err(wrong_columns(columns.len(), names));
        }
        let field = |(name, column): (&String, &ArrayRef)| {
            Field::new(name, column.data_type().clone(), true)
        };
        let schema = Schema::new(names.iter().zip(columns).map(field).collect::<Vec<_>>());
        let n_rows = columns.first().map_or(0, |column| column.len());
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch =
            RecordBatch::try_new_with_options(Arc::new(schema), columns.to_vec(), &options)?;
        let block = model.encode(
            &batch,
            "rows to evaluate",
            model.target.is_some(),
            &mut self.surprises,
        )?;
        if block.n_samples == 0 {
            return Ok(());
        }
        let prediction = model.model.predict_for_metrics(&block, compute)?;
        self.evaluation.update(&prediction, &block)
    }

    fn merge(&mut self, states: &ArrayRef) -> Result<()> {
        let states = states.as_binary_opt::<i32>().ok_or_else(damaged_state)?;
        for state in states.iter().flatten() {
            let (later, surprises): (Evaluation, Surprises) =
                postcard::from_bytes(state).map_err(|_| damaged_state())?;
            self.evaluation.merge(later)?;
            self.surprises.merge(&surprises);
        }
        Ok(())
    }

    fn value(&self) -> Result<ScalarValue> {
        let Bound { model, output, .. } = &self.bound;
        let table = output.table(&self.evaluation)?;
        let n_rows = table.num_rows();
        let fields = Fields::from(output.fields(model));
        let rows = StructArray::try_new(fields, table.columns().to_vec(), None)?;
        if !output.is_list() {
            return Ok(ScalarValue::Struct(Arc::new(rows)));
        }
        let item = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([n_rows]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(
            item,
            offsets,
            Arc::new(rows),
            None,
        )?)))
    }
}

impl Accumulator for EvaluateAccumulator {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> QueryResult<()> {
        self.add(columns).map_err(query_error)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> QueryResult<()> {
        states
            .iter()
            .try_for_each(|states| self.merge(states))
            .map_err(query_error)
    }

    fn state(&mut self) -> QueryResult<Vec<ScalarValue>> {
        let state =
            postcard::to_allocvec(&(&self.evaluation, &self.surprises)).map_err(|source| {
                query_error(Error::Internal {
                    what: format!("cannot encode an evaluation: {source}"),
                })
            })?;
        Ok(vec![ScalarValue::Binary(Some(state))])
    }

    fn evaluate(&mut self) -> QueryResult<ScalarValue> {
        let value = self.value().map_err(query_error)?;
        let mut surprises = std::mem::take(&mut self.surprises);
        surprises.unknown_classes = self.evaluation.n_unknown_classes();
        surprises.nothing_evaluated = self.evaluation.n_samples() == 0;
        let found = self.bound.found.lock();
        found
            .unwrap_or_else(PoisonError::into_inner)
            .merge(&surprises);
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of::<EvaluateAccumulator>() + self.evaluation.memory_bytes()
    }
}

impl std::fmt::Debug for EvaluateAccumulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvaluateAccumulator")
            .field("output", &self.bound.output)
            .finish()
    }
}

fn empty_evaluation(model: &TrainedModel) -> Evaluation {
    Evaluation::new(model.spec.task, model.target.as_ref(), model.model.as_ref())
}

fn labels(model: &TrainedModel) -> ClassLabels {
    model
        .target
        .as_ref()
        .map(ClassLabels::of)
        .unwrap_or_default()
}

fn wrong_columns(found: usize, names: &[String]) -> Error {
    Error::Internal {
        what: format!("evaluate was given {found} of {} columns", names.len()),
    }
}

fn damaged_state() -> Error {
    Error::Internal {
        what: "the state of evaluate is damaged".to_owned(),
    }
}

fn query_error(error: Error) -> DataFusionError {
    match error {
        Error::Query(error) => error,
        error => DataFusionError::External(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
