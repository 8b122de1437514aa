//! Tests of splitting, encoding, passes, spilling and cancelling, over sources in memory.

mod both_parts;
mod hosts;
mod merging;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::compute::Compute;
use crate::estimator::{Estimator, EstimatorSpec, Tags, Task};
use crate::features::TargetValues;
use crate::model::Model;
use crate::options::Options;
use crate::training::{SampleShape, SampleSource, TrainingRequest};

struct Toy(EstimatorSpec);

#[async_trait]
impl Estimator for Toy {
    fn spec(&self) -> &'static EstimatorSpec {
        match (self.0.task, self.0.tags.revisits) {
            (Task::Regression, _) => &REGRESSOR.0,
            (_, false) => &CLASSIFIER.0,
            (_, true) => &REVISITOR.0,
        }
    }

    fn first_step(&self, _: &Options, _: &SampleShape) -> Option<Arc<dyn AnyStep>> {
        (self.0.task == Task::Regression).then(|| Arc::new(SumStep) as Arc<dyn AnyStep>)
    }

    async fn fit(
        &self,
        _: &dyn TrainingSet,
        _: &Options,
        _: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        Err(Error::Internal {
            what: "the toy learns nothing".to_owned(),
        })
    }
}

const fn toy(task: Task, revisits: bool) -> Toy {
    Toy(EstimatorSpec {
        name: "toy",
        aliases: &[],
        task,
        summary: "",
        doc: "",
        hyperparameters: &[],
        check: |_| Ok(()),
        tags: Tags {
            revisits,
            ..Tags::NONE
        },
        inspections: &[],
        steps: &[],
        state_steps: &[],
        load: |_, _| {
            Err(Error::Internal {
                what: "the toy is never loaded".to_owned(),
            })
        },
    })
}

static REGRESSOR: Toy = toy(Task::Regression, false);
static CLASSIFIER: Toy = toy(Task::Classification, false);
static REVISITOR: Toy = toy(Task::Classification, true);

/// Batches in memory; counts how often a partition was opened.
struct Batches {
    schema: SchemaRef,
    partitions: Vec<Vec<RecordBatch>>,
    n_opened: AtomicU64,
    hangs: bool,
}

impl SampleSource for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn n_partitions(&self) -> usize {
        self.partitions.len()
    }

    fn open(&self, partition: usize) -> datafusion::error::Result<SendableRecordBatchStream> {
        self.n_opened.fetch_add(1, Ordering::Relaxed);
        let batches: Vec<_> = self.partitions[partition].iter().cloned().map(Ok).collect();
        let schema = Arc::clone(&self.schema);
        let batches = futures::stream::iter(batches);
        if self.hangs {
            let forever = futures::StreamExt::chain(batches, futures::stream::pending());
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, forever)));
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

fn source(columns: Vec<(&str, ArrayRef)>, n_partitions: usize, batch_rows: usize) -> Arc<Batches> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let whole = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let of_partition = whole.num_rows().div_ceil(n_partitions).max(1);
    let cut = |batch: RecordBatch, rows: usize| -> Vec<RecordBatch> {
        let starts = (0..batch.num_rows()).step_by(rows);
        starts
            .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
            .collect()
    };
    let partitions = cut(whole, of_partition)
        .into_iter()
        .map(|part| cut(part, batch_rows))
        .collect();
    Arc::new(Batches {
        schema,
        partitions,
        n_opened: AtomicU64::new(0),
        hangs: false,
    })
}

fn request(toy: &'static Toy, source: Arc<Batches>, options: Value) -> TrainingRequest {
    let written: Map<String, Value> = options.as_object().unwrap().clone();
    TrainingRequest {
        estimator: toy,
        options: Options::check(toy.spec(), &written).unwrap().0,
        source,
        label: Some("y".to_owned()),
        features: None,
        memory: Arc::new(UnboundedMemoryPool::default()),
        spill: disk(),
        threads: 2,
    }
}

fn disk() -> Arc<DiskManager> {
    Arc::new(DiskManagerBuilder::default().build().unwrap())
}

/// Sums, in an order-dependent way, everything of the blocks.
#[derive(Serialize, Deserialize)]
struct SumStep;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sums {
    n_samples: u64,
    dense: f64,
    target: f64,
    weights: f64,
}

impl PartitionStep for SumStep {
    type Partial = Sums;
    const NAME: &'static str = "tests.sum";

    fn run(&self, block: &FeatureBlock, _: &Compute) -> Result<Sums> {
        let dense = match &block.dense {
            crate::features::Dense::F32(values) => values.iter().map(|x| f64::from(*x)).sum(),
            crate::features::Dense::F64(values) => values.iter().sum(),
        };
        let target = match &block.target {
            TargetValues::None => 0.0,
            TargetValues::Numbers(values) => values.iter().sum(),
            TargetValues::Classes(values) => values.iter().map(|code| f64::from(*code)).sum(),
        };
        let weights = block
            .weights
            .as_ref()
            .map_or(0.0, |weights| weights.iter().sum());
        Ok(Sums {
            n_samples: block.n_samples as u64,
            dense,
            target,
            weights,
        })
    }

    fn merge(&self, into: &mut Sums, later: Sums) -> Result<()> {
        into.n_samples += later.n_samples;
        into.dense += later.dense;
        into.target += later.target;
        into.weights += later.weights;
        Ok(())
    }
}

fn quiet() -> TrainingRun {
    TrainingRun::quiet(0, Compute::cpu())
}

async fn open(request: TrainingRequest) -> Result<(LocalTrainingSet, TrainingRun)> {
    let run = quiet();
    let set = LocalTrainingSet::open(&request, &run).await?;
    Ok((set, run))
}

async fn failure(request: TrainingRequest) -> Error {
    match open(request).await {
        Ok(_) => unreachable!("this training set cannot be opened"),
        Err(error) => error,
    }
}

/// `n_rows` of features `x` (f32, some NULL), `t` (three texts), label `y` (text of `n_classes`).
fn columns(n_rows: usize, n_classes: usize) -> Vec<(&'static str, ArrayRef)> {
    let noise = |row: usize| (row as f32 * 0.37).sin();
    let x: Float32Array = (0..n_rows)
        .map(|row| (row % 11 != 0).then(|| noise(row)))
        .collect();
    let t: StringArray = (0..n_rows)
        .map(|row| Some(["a", "b", "c"][row % 3]))
        .collect();
    let y: StringArray = (0..n_rows)
        .map(|row| (row % 100 != 7).then(|| format!("c{}", row % n_classes)))
        .collect();
    vec![("x", Arc::new(x)), ("t", Arc::new(t)), ("y", Arc::new(y))]
}

fn numbers(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

async fn sums(set: &LocalTrainingSet, part: Part, visit: Visit, run: &TrainingRun) -> Option<Sums> {
    reduce(set, &SumStep, part, visit, run).await.unwrap()
}

#[tokio::test]
async fn partials_do_not_depend_on_threads_batches_or_memory() {
    let mut found = Vec::new();
    for (threads, batch_rows, limit) in [
        (1, 7_000, usize::MAX),
        (2, 65_536, usize::MAX),
        (4, 1_000, usize::MAX),
        (3, 9_999, 100),
    ] {
        let mut request = request(
            &CLASSIFIER,
            source(columns(230_000, 3), 2, batch_rows),
            json!({}),
        );
        request.threads = threads;
        request.memory = Arc::new(GreedyMemoryPool::new(limit));
        let (set, run) = open(request).await.unwrap();
        let once = sums(&set, Part::Training, Visit::Once, &run).await;
        let evaluation = sums(&set, Part::Evaluation, Visit::Once, &run).await;
        for _ in 0..2 {
            assert_eq!(sums(&set, Part::Training, Visit::Again, &run).await, once);
            assert_eq!(
                sums(&set, Part::Evaluation, Visit::Again, &run).await,
                evaluation
            );
        }
        found.push((
            once,
            evaluation,
            serde_json::to_string(set.encoder()).unwrap(),
        ));
        let codes: Vec<String> = run
            .warnings()
            .into_iter()
            .map(|warning| warning.code)
            .collect();
        assert_eq!(codes, ["null_labels_dropped", "nulls_filled"]);
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    let n_evaluation = found[0].1.as_ref().unwrap().n_samples;
    assert!(n_evaluation.abs_diff(10_000) <= 1, "{n_evaluation}");
    assert_eq!(
        found[0].0.as_ref().unwrap().n_samples + n_evaluation,
        230_000 - 2_300
    );
}

#[tokio::test]
async fn small_sources_are_read_once() {
    let source = source(columns(5_000, 3), 2, 1_000);
    let (set, run) = open(request(&CLASSIFIER, Arc::clone(&source), json!({})))
        .await
        .unwrap();
    for visit in [Visit::Once, Visit::Again, Visit::Again] {
        sums(&set, Part::Training, visit, &run).await;
    }
    assert_eq!(source.n_opened.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_first_reading_makes_the_blocks_of_a_second() {
    // NULLs, labels whose classes come in another order in each partition, and weights.
    let columns = || {
        let mut columns = columns(150_000, 3);
        columns.retain(|(name, _)| *name != "t");
        columns.push(("w", numbers((0..150_000).map(|row| f64::from(row % 5)))));
        columns
    };
    let options = json!({"instance_weight_col": "w"});
    let mut found = Vec::new();
    for (toy, limit) in [
        (&CLASSIFIER, usize::MAX),
        (&REVISITOR, usize::MAX),
        (&REVISITOR, 1_000_000),
    ] {
        let mut request = request(toy, source(columns(), 2, 7_000), options.clone());
        request.memory = Arc::new(GreedyMemoryPool::new(limit));
        let (set, run) = open(request).await.unwrap();
        let mut blocks = Vec::new();
        for part in [Part::Training, Part::Evaluation] {
            blocks.push(sums(&set, part, Visit::Again, &run).await);
            blocks.push(sums(&set, part, Visit::Again, &run).await);
        }
        found.push(blocks);
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_step_runs_with_the_first_reading_unless_a_feature_is_null() {
    for null_row in [None, Some(140_000)] {
        let x: Float64Array = (0..150_000)
            .map(|row| (null_row != Some(row)).then(|| (row as f64 * 0.37).sin()))
            .collect();
        let y = numbers((0..150_000).map(f64::from));
        let columns = vec![("x", Arc::new(x) as ArrayRef), ("y", y)];
        let options = json!({"data_split_method": "RANDOM"});
        let request = request(&REGRESSOR, source(columns, 3, 7_000), options);
        let (set, run) = open(request).await.unwrap();
        let first = take_first_partial(&set, &SumStep).unwrap();
        assert_eq!(first.is_some(), null_row.is_none());
        if first.is_some() {
            assert_eq!(first, sums(&set, Part::Training, Visit::Once, &run).await);
        }
        assert!(take_first_partial(&set, &SumStep).unwrap().is_none());
    }
}

#[tokio::test]
async fn blocks_spill_beyond_the_memory_and_the_pool_is_empty_afterwards() {
    let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(600_000));
    let spill = disk();
    let mut request = request(
        &CLASSIFIER,
        source(columns(200_000, 3), 1, 8_192),
        json!({}),
    );
    request.memory = Arc::clone(&memory);
    request.spill = Arc::clone(&spill);
    let (set, run) = open(request).await.unwrap();
    sums(&set, Part::Training, Visit::Again, &run).await;
    assert!(
        spill.used_disk_space() > 1_000_000,
        "{}",
        spill.used_disk_space()
    );
    assert!(memory.reserved() > 0 && memory.reserved() <= 600_000);
    drop(set);
    assert_eq!((memory.reserved(), spill.used_disk_space()), (0, 0));
}

#[tokio::test]
async fn auto_split_follows_the_number_of_rows() {
    for (n_rows, n_expected) in [(400, 0), (1_000, 198), (60_000, 10_000)] {
        let source = source(columns(n_rows, 4), 1, 1_000);
        let (set, _) = open(request(&CLASSIFIER, source, json!({}))).await.unwrap();
        assert!(
            set.n_samples(Part::Evaluation).abs_diff(n_expected) <= 2,
            "{n_rows}"
        );
    }
}

#[tokio::test]
async fn random_splits_are_stratified_for_classifiers() {
    let labels: StringArray = (0..1_010)
        .map(|row| Some(if row < 10 { "rare" } else { "common" }))
        .collect();
    let columns = vec![
        ("x", numbers((0..1_010).map(f64::from))),
        ("y", Arc::new(labels) as ArrayRef),
    ];
    let options = json!({"data_split_method": "random", "data_split_eval_fraction": 0.3});
    let (set, _) = open(request(&CLASSIFIER, source(columns, 3, 100), options))
        .await
        .unwrap();
    assert_eq!(set.target().unwrap().class_counts, [700, 7]);
    assert_eq!(set.n_samples(Part::Evaluation), 303);
}

#[tokio::test]
async fn random_splits_of_regressions_need_no_survey() {
    let columns = || {
        vec![
            ("x", numbers((0..10_000).map(f64::from))),
            ("y", numbers((0..10_000).map(f64::from))),
        ]
    };
    let options = json!({"data_split_method": "RANDOM", "data_split_eval_fraction": 0.5});
    let source = source(columns(), 1, 1_000);
    let (set, _) = open(request(&REGRESSOR, Arc::clone(&source), options))
        .await
        .unwrap();
    assert!(set.n_samples(Part::Evaluation).abs_diff(5_000) < 200);
    assert_eq!(source.n_opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn custom_and_sequential_splits_hold_out_their_rows() {
    let marks: BooleanArray = (0..10)
        .map(|row| [Some(true), Some(false), None][row % 3])
        .collect();
    let columns = vec![
        ("x", numbers((0..10).map(f64::from))),
        ("y", numbers((0..10).map(f64::from))),
        ("mark", Arc::new(marks) as ArrayRef),
    ];
    let options = json!({"data_split_method": "CUSTOM", "data_split_col": "mark"});
    let (set, run) = open(request(&REGRESSOR, source(columns, 1, 4), options))
        .await
        .unwrap();
    assert_eq!(set.encoder().schema.features.len(), 1);
    let held_out = sums(&set, Part::Evaluation, Visit::Once, &run)
        .await
        .unwrap();
    assert_eq!(
        (held_out.n_samples, held_out.target),
        (4, 0.0 + 3.0 + 6.0 + 9.0)
    );

    let days: Int64Array = [Some(5), None, Some(4), Some(1), Some(5)]
        .into_iter()
        .collect();
    let names: StringArray = ["e", "a", "d", "b", "e"].into_iter().map(Some).collect();
    for order in [Arc::new(days) as ArrayRef, Arc::new(names)] {
        let columns = vec![
            ("x", numbers([0.0; 5])),
            ("y", numbers([1.0, 2.0, 4.0, 8.0, 16.0])),
            ("day", order),
        ];
        let options = json!({
            "data_split_method": "SEQ", "data_split_col": "day", "data_split_eval_fraction": 0.4,
        });
        let (set, run) = open(request(&REGRESSOR, source(columns, 2, 2), options))
            .await
            .unwrap();
        let held_out = sums(&set, Part::Evaluation, Visit::Once, &run)
            .await
            .unwrap();
        assert_eq!(held_out.target, 17.0);
    }
}

#[tokio::test]
async fn weights_multiply_and_nulls_weigh_nothing() {
    let labels: StringArray = ["a", "b", "b", "b"].into_iter().map(Some).collect();
    let weights: Float64Array = [Some(1.0), Some(2.0), None, Some(0.5)]
        .into_iter()
        .collect();
    let columns = vec![
        ("x", numbers([1.0, 2.0, 3.0, 4.0])),
        ("y", Arc::new(labels) as ArrayRef),
        ("w", Arc::new(weights)),
    ];
    let with = |mut options: Value| {
        options["instance_weight_col"] = json!("w");
        request(&CLASSIFIER, source(columns.clone(), 1, 3), options)
    };
    let (set, run) = open(with(json!({}))).await.unwrap();
    assert_eq!(
        sums(&set, Part::Training, Visit::Once, &run)
            .await
            .unwrap()
            .weights,
        3.5
    );
    assert_eq!(
        run.warnings()[0].message,
        "1 NULL weights in column \"w\" count as 0"
    );
    let options = json!({"class_weights": [["a", 10], ["b", 2]]});
    let (set, run) = open(with(options)).await.unwrap();
    assert_eq!(
        sums(&set, Part::Training, Visit::Once, &run)
            .await
            .unwrap()
            .weights,
        15.0
    );
    let (set, run) = open(with(json!({"auto_class_weights": true})))
        .await
        .unwrap();
    let expected = 4.0 / 2.0 + 2.5 * (4.0 / 6.0);
    let found = sums(&set, Part::Training, Visit::Once, &run)
        .await
        .unwrap()
        .weights;
    assert!((found - expected).abs() < 1e-12);
    let error = failure(with(json!({"class_weights": [["a", 1], ["c", 1]]}))).await;
    assert_eq!(
        error.to_string(),
        "option \"class_weights\" must be given for the classes 'a', 'b' of column \"y\", got 'a', 'c'"
    );
}

#[tokio::test]
async fn bad_labels_are_told() {
    let regression = |y: ArrayRef| {
        let columns = vec![("x", numbers(vec![1.0; y.len()])), ("y", y)];
        request(&REGRESSOR, source(columns, 1, 10), json!({}))
    };
    let texts = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let error = failure(regression(texts(&[Some("a"), Some("b")]))).await;
    assert_eq!(
        error.to_string(),
        "label column \"y\" is of type text, which this model type cannot learn"
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("Use a classifier: model_type = 'logistic_reg'.")
    );
    let nulls: Float64Array = [None, None::<f64>].into_iter().collect();
    let error = failure(regression(Arc::new(nulls))).await;
    assert_eq!(error.to_string(), "label column \"y\" is NULL in every row");
    let error = failure(regression(numbers([1.0, f64::INFINITY]))).await;
    assert_eq!(
        error.to_string(),
        "column \"y\" holds the value Infinity, which training cannot use"
    );
    let error = failure(regression(numbers([]))).await;
    assert_eq!(error.to_string(), "training needs at least 1 row, got 0");

    let classes = |y: ArrayRef| {
        let columns = vec![("x", numbers(vec![1.0; y.len()])), ("y", y)];
        request(&CLASSIFIER, source(columns, 1, 10), json!({}))
    };
    let error = failure(classes(texts(&[Some("a"), None, Some("a")]))).await;
    assert_eq!(
        error.to_string(),
        "label column \"y\" has only one class: \"a\""
    );
    let error = failure(classes(texts(&[None, None]))).await;
    assert_eq!(error.to_string(), "label column \"y\" is NULL in every row");
    let error = failure(classes(Arc::new(Int64Array::from_iter_values(0..10_001)))).await;
    assert_eq!(
        error.to_string(),
        "label column \"y\" has more than 10000 classes"
    );
}

#[tokio::test]
async fn bad_columns_are_told() {
    let of = |columns: Vec<(&str, ArrayRef)>, options: Value| {
        failure(request(&REGRESSOR, source(columns, 1, 10), options))
    };
    let one = || numbers([1.0, 2.0]);
    let error = of(vec![("x", one()), ("x", one()), ("y", one())], json!({})).await;
    assert_eq!(
        error.to_string(),
        "column name \"x\" appears more than once in the training query"
    );
    let error = of(vec![("x", one()), ("yy", one())], json!({})).await;
    assert_eq!(
        error.to_string(),
        "column \"y\" does not exist in the training query"
    );
    assert_eq!(error.hint().as_deref(), Some("Did you mean \"yy\"?"));
    let error = of(vec![("y", one())], json!({})).await;
    assert_eq!(
        error.to_string(),
        "the training query has no column that can be a feature"
    );
    let options = json!({"data_split_method": "CUSTOM", "data_split_col": "x"});
    let error = of(vec![("x", one()), ("z", one()), ("y", one())], options).await;
    assert_eq!(
        error.to_string(),
        "column \"x\" is of type double precision but the model expects boolean"
    );
    let options = json!({"instance_weight_col": "x"});
    let columns = vec![("x", numbers([1.0, -2.0])), ("z", one()), ("y", one())];
    assert_eq!(
        of(columns, options).await.to_string(),
        "column \"x\" holds the value -2, which training cannot use"
    );
}

#[tokio::test]
async fn a_class_outside_the_training_part_is_a_warning() {
    let labels: StringArray = ["a", "b", "c", "b"].into_iter().map(Some).collect();
    let marks = BooleanArray::from(vec![false, false, true, true]);
    let columns = vec![
        ("x", numbers([1.0, 2.0, 3.0, 4.0])),
        ("y", Arc::new(labels) as ArrayRef),
        ("mark", Arc::new(marks)),
    ];
    let options = json!({"data_split_method": "CUSTOM", "data_split_col": "mark"});
    let (set, run) = open(request(&CLASSIFIER, source(columns, 1, 9), options))
        .await
        .unwrap();
    assert_eq!(set.target().unwrap().classes.len(), 2);
    let held_out = sums(&set, Part::Evaluation, Visit::Once, &run)
        .await
        .unwrap();
    // The unseen class has code 2, the known one code 1.
    assert_eq!(held_out.target, 3.0);
    let codes: BTreeSet<String> = run
        .warnings()
        .into_iter()
        .map(|warning| warning.code)
        .collect();
    assert_eq!(
        codes,
        BTreeSet::from(["class_missing_from_split".to_owned()])
    );
    assert_eq!(
        run.warnings()[0].message,
        "1 of 3 classes of column \"y\" have no row in the training part: \"c\""
    );
}

#[tokio::test]
async fn gathering_keeps_the_order_and_the_limit() {
    let columns = || {
        vec![
            ("x", numbers((0..150_000).map(f64::from))),
            ("y", numbers((0..150_000).map(f64::from))),
        ]
    };
    let options = json!({"data_split_method": "NO_SPLIT"});
    let (set, run) = open(request(
        &REGRESSOR,
        source(columns(), 2, 10_000),
        options.clone(),
    ))
    .await
    .unwrap();
    let block = set.gather(Part::Training, &run).await.unwrap();
    let expected: Vec<f64> = (0..150_000).map(f64::from).collect();
    assert_eq!(block.dense, crate::features::Dense::F64(expected.clone()));
    assert_eq!(block.target, TargetValues::Numbers(expected));

    let mut tight = request(&REGRESSOR, source(columns(), 2, 10_000), options);
    tight.memory = Arc::new(GreedyMemoryPool::new(160_000));
    let (set, run) = open(tight).await.unwrap();
    let error = set.gather(Part::Training, &run).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "holding 150000 rows in one place needs 2400000 bytes of memory, 160000 are available"
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("10000 rows would fit; train on a sample of the rows, or raise the memory limit.")
    );
}

#[tokio::test]
async fn gathered_memory_is_accounted_as_long_as_its_guard_lives() {
    let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000_000));
    let mut request = request(&CLASSIFIER, source(columns(1_000, 2), 1, 100), json!({}));
    request.memory = Arc::clone(&memory);
    let (set, run) = open(request).await.unwrap();
    set.gather(Part::Training, &run).await.unwrap();
    let guard = set.memory_guard();
    drop(set);
    assert!(memory.reserved() > 0);
    drop(guard);
    assert_eq!(memory.reserved(), 0);
}

#[tokio::test]
async fn a_cancel_is_answered_while_the_source_waits() {
    let mut hanging = source(columns(10, 2), 2, 5);
    Arc::get_mut(&mut hanging).unwrap().hangs = true;
    let request = request(&CLASSIFIER, hanging, json!({}));
    let run = quiet();
    let cancel = run.cancel.clone();
    let opening = LocalTrainingSet::open(&request, &run);
    let cancelling = async {
        tokio::task::yield_now().await;
        cancel.cancel();
    };
    let (opened, ()) = tokio::join!(opening, cancelling);
    assert!(matches!(opened.err(), Some(Error::Cancelled)));
}

#[tokio::test]
async fn a_dropped_run_ends_its_threads_and_frees_its_memory() {
    let mut hanging = source(columns(10, 2), 2, 5);
    Arc::get_mut(&mut hanging).unwrap().hangs = true;
    let watched = Arc::downgrade(&hanging);
    {
        let request = request(&CLASSIFIER, hanging, json!({}));
        let run = quiet();
        let mut opening = Box::pin(LocalTrainingSet::open(&request, &run));
        for _ in 0..10 {
            let polled = futures::poll!(opening.as_mut());
            assert!(polled.is_pending());
            tokio::task::yield_now().await;
        }
    }
    // The threads let go of the source at their next look at the token.
    while watched.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn other_rows_at_a_second_reading_are_an_error() {
    struct Shrinking(Arc<Batches>);
    impl SampleSource for Shrinking {
        fn schema(&self) -> SchemaRef {
            self.0.schema()
        }
        fn n_partitions(&self) -> usize {
            1
        }
        fn open(&self, _: usize) -> datafusion::error::Result<SendableRecordBatchStream> {
            let n_opened = self.0.n_opened.load(Ordering::Relaxed) as usize;
            self.0.open(n_opened % 2)
        }
    }
    let mut request = request(
        &REGRESSOR,
        source(
            vec![
                ("x", numbers([1.0, 2.0, 3.0])),
                ("y", numbers([1.0, 2.0, 3.0])),
            ],
            2,
            10,
        ),
        json!({"data_split_method": "NO_SPLIT"}),
    );
    let batches = source(
        vec![
            ("x", numbers([1.0, 2.0, 3.0])),
            ("y", numbers([1.0, 2.0, 3.0])),
        ],
        2,
        10,
    );
    request.source = Arc::new(Shrinking(batches));
    // Without memory nothing is kept, so that every pass reads again.
    request.memory = Arc::new(GreedyMemoryPool::new(1));
    let (set, run) = open(request).await.unwrap();
    let error = reduce(&set, &SumStep, Part::Training, Visit::Once, &run)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::UnstableQuery));
    assert_eq!(error.sqlstate(), "55000");
}

#[tokio::test]
async fn precision_decides_the_type_of_blocks() {
    for (precision, n_bytes) in [("AUTO", 4), ("F64", 8), ("F32", 4)] {
        let options = json!({"precision": precision});
        let (set, run) = open(request(&CLASSIFIER, source(columns(20, 2), 1, 9), options))
            .await
            .unwrap();
        let block = set.gather(Part::Training, &run).await.unwrap();
        assert_eq!(
            block.dense.memory_bytes(),
            n_bytes * block.n_samples,
            "{precision}"
        );
    }
}

#[tokio::test]
async fn very_wide_tables_have_shorter_chunks() {
    assert_eq!(roles::chunk_rows(3), 65_536);
    assert_eq!(roles::chunk_rows(128), 65_536);
    assert_eq!(roles::chunk_rows(129), 32_768);
    assert_eq!(roles::chunk_rows(10_000), 512);
    let mut columns: Vec<(String, ArrayRef)> = (0..10_000)
        .map(|column| {
            (
                format!("x{column}"),
                Arc::new(Float32Array::from(vec![column as f32; 600])) as ArrayRef,
            )
        })
        .collect();
    columns.push(("y".to_owned(), numbers((0..600).map(f64::from))));
    let columns = columns
        .iter()
        .map(|(name, array)| (name.as_str(), Arc::clone(array)))
        .collect();
    let options = json!({"data_split_method": "NO_SPLIT"});
    let (set, run) = open(request(&REGRESSOR, source(columns, 1, 100), options))
        .await
        .unwrap();
    let found = sums(&set, Part::Training, Visit::Once, &run).await.unwrap();
    assert_eq!(found.dense, 600.0 * 9_999.0 * 10_000.0 / 2.0);
}

#[test]
fn a_feature_may_be_named_in_any_order() {
    let columns = vec![
        ("b", numbers([1.0])),
        ("a", numbers([1.0])),
        ("y", numbers([1.0])),
    ];
    let mut request = request(&REGRESSOR, source(columns, 1, 1), json!({}));
    request.features = Some(vec!["A".to_owned(), "b".to_owned()]);
    let roles = roles::Roles::resolve(&request.columns()).unwrap();
    let names: Vec<&str> = roles
        .features
        .features
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    request.features = Some(vec!["y".to_owned()]);
    let error = roles::Roles::resolve(&request.columns()).unwrap_err();
    assert_eq!(error.sqlstate(), "22023");
    let lists = Arc::new(Schema::new(vec![Field::new(
        "l",
        DataType::new_list(DataType::Int8, true),
        true,
    )]));
    assert!(Feature::of("l", lists.field(0).data_type()).is_err());
}

use crate::features::Feature;
