//! The aggregate inside DataFusion: partial and final, unnested to the contract's columns.

use std::any::Any;

use datafusion::arrow::array::{BooleanArray, StringArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::AggregateUDF;
use datafusion::prelude::{SessionConfig, SessionContext, col};

use super::*;
use crate::estimator::{EstimatorSpec, Tags};
use crate::features::{
    ClassLabel, Dense, Feature, FeatureBlock, FeatureEncoder, FeatureSchema, FeatureStatistics,
    NumericStatistics, TargetEncoding,
};
use crate::model::{Model, ModelState, Prediction};
use crate::options::Options;
use crate::trained_model::TrainingRecord;
use crate::training_set::Part;

/// Predicts its one feature: as the number, or as the probability of the second class.
#[derive(Debug)]
struct Identity(Task);

impl Model for Identity {
    fn predict(&self, block: &FeatureBlock, _: &Compute) -> Result<Prediction> {
        let Dense::F64(values) = &block.dense else {
            return Err(super::super::mismatch());
        };
        Ok(match self.0 {
            Task::Classification => Prediction::Probabilities {
                n_classes: 2,
                values: values.iter().flat_map(|p| [1.0 - p, *p]).collect(),
            },
            _ => Prediction::Values(values.clone()),
        })
    }

    fn state(&self) -> ModelState {
        ModelState::default()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

const fn spec(task: Task) -> EstimatorSpec {
    EstimatorSpec {
        name: "identity",
        aliases: &[],
        task,
        summary: "",
        doc: "",
        hyperparameters: &[],
        check: |_| Ok(()),
        tags: Tags::NONE,
        inspections: &[],
        steps: &[],
        state_steps: &[],
        load: |_, _| Err(damaged_state()),
    }
}

static REGRESSION: EstimatorSpec = spec(Task::Regression);
static CLASSIFICATION: EstimatorSpec = spec(Task::Classification);

fn model(spec: &'static EstimatorSpec, classes: &[&str]) -> Arc<TrainedModel> {
    let (min, max, mean) = (0.0, 1.0, 0.5);
    let numbers = NumericStatistics {
        count: 9,
        null_count: 0,
        min,
        max,
        mean,
        median: mean,
        stddev: 0.3,
    };
    let encoder = FeatureEncoder {
        schema: FeatureSchema {
            features: vec![Feature::of("x", &DataType::Float64).unwrap()],
        },
        statistics: vec![FeatureStatistics::Numeric(numbers)],
    };
    let is_regression = classes.is_empty();
    let target = TargetEncoding {
        column: "y".to_owned(),
        sql_type: if is_regression {
            "double precision"
        } else {
            "text"
        }
        .to_owned(),
        classes: classes
            .iter()
            .map(|class| ClassLabel::Text((*class).to_owned()))
            .collect(),
        class_counts: vec![1; classes.len().max(1)],
        mean: 0.0,
    };
    let learned = Identity(spec.task);
    let record = TrainingRecord {
        training_rows: 9,
        evaluation_rows: 0,
        dropped_rows: 0,
        split_method: "NO_SPLIT".to_owned(),
        iterations: Vec::new(),
        warnings: Vec::new(),
        evaluation: Evaluation::new(spec.task, Some(&target), &learned).compact(),
        evaluated_on: Part::Training,
        baseline: Vec::new(),
        global_attributions: None,
        training_run: 0,
        seed: 0,
        device: "cpu".to_owned(),
        duration_ms: 0,
        cost: crate::training::Cost::default(),
    };
    let (options, learned) = (Options::default(), Arc::new(learned));
    Arc::new(TrainedModel::new(
        spec,
        encoder,
        Some(target),
        options,
        learned,
        record,
    ))
}

/// Runs the aggregate over partitions of rows and unnests its value.
async fn evaluate(
    model: &Arc<TrainedModel>,
    output: EvaluationOutput,
    partitions: Vec<Vec<RecordBatch>>,
) -> RecordBatch {
    let is_list = output.is_list();
    let fields = output.fields(model);
    let udaf = EvaluateUdaf::new(Arc::clone(model), Compute::cpu(), output).unwrap();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    let rows = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
    let arguments = EvaluateUdaf::columns(model).into_iter().map(col).collect();
    let value = AggregateUDF::from(udaf).call(arguments).alias("e");
    let mut frame = context.read_table(Arc::new(rows)).unwrap();
    frame = frame.aggregate(vec![], vec![value]).unwrap();
    if is_list {
        frame = frame.unnest_columns(&["e"]).unwrap();
    }
    frame = frame.unnest_columns(&["e"]).unwrap();
    let batches = frame.clone().collect().await.unwrap();
    let schema = batches
        .first()
        .map_or_else(|| frame.schema().inner().clone(), RecordBatch::schema);
    let table = concat_batches(&schema, &batches).unwrap();
    // Unnesting a struct prefixes its name; a plan projects it away.
    let found: Vec<String> = table
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().replacen("e.", "", 1))
        .collect();
    assert_eq!(
        found,
        fields
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    );
    for (column, field) in table.columns().iter().zip(&fields) {
        assert_eq!(column.data_type(), field.data_type());
    }
    table
}

fn numbers(labels: &[Option<f64>], features: &[f64]) -> RecordBatch {
    let y: ArrayRef = Arc::new(labels.iter().copied().collect::<Float64Array>());
    let x: ArrayRef = Arc::new(Float64Array::from(features.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("x", x, true), ("y", y, true)]).unwrap()
}

fn classes(labels: &[&str], scores: &[f64]) -> RecordBatch {
    let y: ArrayRef = Arc::new(StringArray::from(labels.to_vec()));
    let x: ArrayRef = Arc::new(Float64Array::from(scores.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("y", y, true), ("x", x, true)]).unwrap()
}

fn float(table: &RecordBatch, column: usize, row: usize) -> Option<f64> {
    let array = table.column(column).as_primitive::<Float64Type>();
    array.is_valid(row).then(|| array.value(row))
}

#[tokio::test]
async fn metrics_are_one_row_of_the_merged_partitions() {
    let model = model(&REGRESSION, &[]);
    let parts = vec![
        vec![numbers(&[Some(1.0), None, Some(2.0)], &[1.5, 9.0, 2.0])],
        vec![numbers(&[Some(4.0)], &[3.0]), numbers(&[Some(5.0)], &[5.0])],
    ];
    let table = evaluate(&model, EvaluationOutput::Metrics { threshold: None }, parts).await;
    assert_eq!(table.num_rows(), 1);
    assert_eq!(float(&table, 0, 0), Some(1.5 / 4.0));
    assert_eq!(
        float(&table, 3, 0),
        Some(0.0),
        "the lower median of 0, 0, 0.5, 1"
    );
}

#[tokio::test]
async fn no_rows_give_a_row_of_nulls() {
    let model = model(&REGRESSION, &[]);
    let rows = vec![vec![numbers(&[None], &[1.0])]];
    let table = evaluate(&model, EvaluationOutput::Metrics { threshold: None }, rows).await;
    assert_eq!(table.num_rows(), 1);
    assert!(table.columns().iter().all(|column| column.is_null(0)));
}

#[tokio::test]
async fn tables_unnest_to_their_columns() {
    let model = model(&CLASSIFICATION, &["no", "yes"]);
    let parts = vec![
        vec![classes(&["no", "yes", "no"], &[0.1, 0.9, 0.6])],
        vec![classes(&["yes"], &[0.4]), classes(&["never seen"], &[0.7])],
    ];
    let output = EvaluationOutput::ConfusionMatrix {
        threshold: Some(0.65),
    };
    let table = evaluate(&model, output, parts.clone()).await;
    let counts = |idx: usize| {
        table
            .column(idx)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    assert_eq!((counts(1), counts(2)), (vec![2, 1, 0], vec![0, 1, 1]));
    assert!(table.column(0).is_null(2));

    let thresholds = Some(vec![0.5, 0.0]);
    let table = evaluate(
        &model,
        EvaluationOutput::RocCurve { thresholds },
        parts.clone(),
    )
    .await;
    assert_eq!(
        [0, 1].map(|row| float(&table, 0, row)),
        [Some(0.5), Some(0.0)]
    );
    assert_eq!(
        [0, 1].map(|row| float(&table, 1, row)),
        [Some(0.5), Some(1.0)]
    );
    let table = evaluate(
        &model,
        EvaluationOutput::RocCurve { thresholds: None },
        parts,
    )
    .await;
    assert_eq!(table.num_rows(), 5);
}

#[test]
fn a_model_that_cannot_answer_is_refused() {
    let refused = |model: &Arc<TrainedModel>, output: EvaluationOutput| {
        let udaf = EvaluateUdaf::new(Arc::clone(model), Compute::cpu(), output);
        udaf.map(|_| ()).unwrap_err().to_string()
    };
    let regression = model(&REGRESSION, &[]);
    let thresholds = None;
    assert_eq!(
        refused(
            &regression,
            EvaluationOutput::RocCurve {
                thresholds: thresholds.clone()
            }
        ),
        "a ROC curve of a regression model is not supported"
    );
    assert_eq!(
        refused(
            &regression,
            EvaluationOutput::Metrics {
                threshold: Some(0.5)
            }
        ),
        "option \"threshold\" needs a model with two classes"
    );
    let three = model(&CLASSIFICATION, &["a", "b", "c"]);
    assert_eq!(
        refused(&three, EvaluationOutput::RocCurve { thresholds }),
        "a ROC curve of a model with 3 classes is not supported"
    );
}

#[test]
fn equal_aggregates_have_the_same_model_and_output() {
    let model = model(&CLASSIFICATION, &["a", "b"]);
    let of = |threshold| {
        let output = EvaluationOutput::Metrics { threshold };
        EvaluateUdaf::new(Arc::clone(&model), Compute::cpu(), output).unwrap()
    };
    assert_eq!(of(Some(0.5)), of(Some(0.5)));
    assert_ne!(of(Some(0.5)), of(None));
    let too_many = of(None).return_type(&[DataType::Boolean, DataType::Float64, DataType::Null]);
    assert!(too_many.unwrap_err().to_string().contains("3 of 2 columns"));
    let batch: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let mut accumulator = EvaluateAccumulator::new(of(None).bound);
    assert!(accumulator.update_batch(&[batch]).is_err());
}
