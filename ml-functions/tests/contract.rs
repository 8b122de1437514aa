//! The contract of an estimator, checked for every one that is registered.
//!
//! Over samples made here: the same seed gives the same bytes; threads, batches, bytes on the way and
//! spilling change nothing; predictions keep rows and order; saving loses nothing; errors name what
//! is wrong. An estimator that departs from a rule says so in its tags, with the reason.
//!
//! The suite runs on the CPU, and once more on the stand-in CUDA driver over few rows and iterations, since an interpreter
//! is slow; `AUSPEX_TEST_FULL=1` gives it more rows and ways. Where `AUSPEX_CONTRACT_DEVICE` names a device, it runs there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use auspex_gpu::{Device, OnFailure};
use auspex_ml::checkpoint::{CheckpointRecord, Checkpoints};
use auspex_ml::compute::{Compute, DeviceChoice};
use auspex_ml::error::{Error, Result};
use auspex_ml::estimator::{Estimator, EstimatorSpec, Task};
use auspex_ml::model::{Inspection, Prediction, TensorData};
use auspex_ml::options::{Kind, Options, options_table};
use auspex_ml::registry;
use auspex_ml::run::{TrainingRun, Warning};
use auspex_ml::trained_model::TrainedModel;
use auspex_ml::training::{SampleSource, TrainingRequest, train, train_on, train_over_bytes};
use auspex_ml::training_set::{HostFailure, HostPool, HostedPartitions, PartitionHost};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, RecordBatch,
    StringArray, UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use serde_json::{Map, Value, json};

/// Partitions of batches in memory.
struct Batches {
    schema: SchemaRef,
    partitions: Vec<Vec<RecordBatch>>,
}

impl SampleSource for Batches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn n_partitions(&self) -> usize {
        self.partitions.len()
    }

    fn open(&self, partition: usize) -> datafusion::error::Result<SendableRecordBatchStream> {
        let batches: Vec<_> = self.partitions[partition].iter().cloned().map(Ok).collect();
        let stream = futures::stream::iter(batches);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        )))
    }
}

/// How a training runs, which must not matter.
#[derive(Clone, Copy)]
struct Manner {
    threads: usize,
    batch_rows: usize,
    memory_bytes: usize,
    over_bytes: bool,
}

const PLAIN: Manner = Manner {
    threads: 2,
    batch_rows: 8_192,
    memory_bytes: usize::MAX,
    over_bytes: false,
};

fn estimators() -> impl Iterator<Item = &'static dyn Estimator> {
    registry::all()
}

/// Names the device that the suite runs on, in a process of its own.
const DEVICE: &str = "AUSPEX_CONTRACT_DEVICE";

/// The device that the suite runs on.
fn compute() -> Compute {
    match std::env::var(DEVICE) {
        Ok(device) => Compute::choose(DeviceChoice::parse(&device).unwrap()).unwrap(),
        Err(_) => Compute::cpu(),
    }
}

/// How much the suite does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// On the CPU: everything.
    Whole,
    /// On a device, which may be an interpreter, with the time for it.
    Full,
    /// On a device in a minute.
    Short,
}

fn extent() -> Extent {
    match (
        std::env::var_os(DEVICE),
        std::env::var_os("AUSPEX_TEST_FULL"),
    ) {
        (None, _) => Extent::Whole,
        (Some(_), Some(_)) => Extent::Full,
        (Some(_), None) => Extent::Short,
    }
}

/// All ways to try something, the first two of them where there is little time.
fn ways<T>(all: Vec<T>) -> impl Iterator<Item = T> {
    let n_ways = match extent() {
        Extent::Whole | Extent::Full => all.len(),
        Extent::Short => 2,
    };
    all.into_iter().take(n_ways)
}

/// Numbers of the unit interval, the same in every run.
fn unit(row: usize, stream: u64) -> f64 {
    let mut z =
        (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xbf58_476d);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Three groups of rows, every type of feature, NULLs here and there, and the label of the task.
fn samples(task: Task, first_row: usize, n_rows: usize) -> RecordBatch {
    let rows = || first_row..first_row + n_rows;
    let group = |row: usize| (unit(row, 1) * 3.0) as usize;
    let noise = |row: usize, stream: u64| unit(row, stream) + unit(row, stream + 50) - 1.0;
    let is_null = |row: usize, stream: u64| unit(row, stream) < 0.02;
    let small: Float32Array = rows()
        .map(|row| (!is_null(row, 2)).then(|| (group(row) as f64 * 2.0 + noise(row, 3)) as f32))
        .collect();
    let wide: Float64Array = rows()
        .map(|row| {
            (!is_null(row, 4)).then(|| 1e3 - group(row) as f64 * 50.0 + 20.0 * noise(row, 5))
        })
        .collect();
    let whole: Int64Array = rows()
        .map(|row| Some((unit(row, 6) * 20.0) as i64))
        .collect();
    let text: StringArray = rows()
        .map(|row| {
            (!is_null(row, 7))
                .then(|| ["red", "green", "blue", "grey"][(unit(row, 8) * 4.0) as usize])
        })
        .collect();
    let flag: BooleanArray = rows().map(|row| Some(unit(row, 9) < 0.3)).collect();
    let day: Date32Array = rows()
        .map(|row| Some(19_000 + (unit(row, 10) * 900.0) as i32))
        .collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("small", Arc::new(small)),
        ("wide", Arc::new(wide)),
        ("whole", Arc::new(whole)),
        ("text", Arc::new(text)),
        ("flag", Arc::new(flag)),
        ("day", Arc::new(day)),
    ];
    let signal = |row: usize| group(row) as f64 + unit(row, 6) + noise(row, 11);
    match task {
        Task::Regression => {
            let label = Float64Array::from_iter_values(rows().map(|row| 10.0 + 3.0 * signal(row)));
            columns.push(("label", Arc::new(label)));
        }
        Task::Classification => {
            let class = |row: usize| ["high", "low", "mid"][(signal(row).clamp(0.0, 2.9)) as usize];
            let label = StringArray::from_iter_values(rows().map(class));
            columns.push(("label", Arc::new(label)));
        }
        Task::Clustering | Task::Decomposition => {}
    }
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), arrays).unwrap()
}

/// Rows of each partition; the first has more than a chunk, on a device more than a partial of its sums, unless all must
/// fit one place or there is little time.
fn partition_rows(spec: &EstimatorSpec) -> [usize; 3] {
    match extent() {
        _ if spec.tags.gathers => [300, 0, 200],
        Extent::Whole => [70_000, 0, 6_000],
        Extent::Full => [2_100, 0, 100],
        Extent::Short => [90, 0, 60],
    }
}

fn source(spec: &EstimatorSpec, batch_rows: usize) -> Arc<dyn SampleSource> {
    let mut first_row = 0;
    let mut partitions = Vec::new();
    for n_rows in partition_rows(spec) {
        let whole = samples(spec.task, first_row, n_rows);
        let starts = (0..n_rows).step_by(batch_rows);
        let cut = |start: usize| whole.slice(start, batch_rows.min(n_rows - start));
        partitions.push(starts.map(cut).collect());
        first_row += n_rows;
    }
    Arc::new(Batches {
        schema: samples(spec.task, 0, 1).schema(),
        partitions,
    })
}

/// What an estimator cannot be trained without, and what keeps the training of many trees short.
fn needed_options(spec: &EstimatorSpec) -> Map<String, Value> {
    let needed = [
        ("num_principal_components", json!(3)),
        ("num_clusters", json!(3)),
        ("eps", json!(1.5)),
        ("num_parallel_tree", json!(2)),
        ("max_tree_depth", json!(3)),
        ("max_iterations", json!(3)),
    ];
    let is_declared = |name: &str| {
        spec.hyperparameters
            .iter()
            .any(|option| option.name == name)
    };
    let needed = needed.into_iter().filter(|(name, _)| is_declared(name));
    needed
        .filter(|(name, _)| *name != "max_iterations" || extent() != Extent::Whole)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn request(estimator: &'static dyn Estimator, manner: Manner) -> TrainingRequest {
    request_over(
        source(estimator.spec(), manner.batch_rows),
        estimator,
        manner,
    )
}

fn request_over(
    source: Arc<dyn SampleSource>,
    estimator: &'static dyn Estimator,
    manner: Manner,
) -> TrainingRequest {
    let spec = estimator.spec();
    let memory: Arc<dyn MemoryPool> = match manner.memory_bytes {
        usize::MAX => Arc::new(UnboundedMemoryPool::default()),
        limit => Arc::new(GreedyMemoryPool::new(limit)),
    };
    TrainingRequest {
        estimator,
        options: Options::check(spec, &needed_options(spec)).unwrap().0,
        source,
        label: None,
        features: None,
        memory,
        spill: Arc::new(DiskManagerBuilder::default().build().unwrap()),
        threads: manner.threads,
    }
}

async fn try_model(estimator: &'static dyn Estimator, manner: Manner) -> Result<TrainedModel> {
    let run = TrainingRun::quiet(7, compute());
    let request = request(estimator, manner);
    if manner.over_bytes {
        train_over_bytes(request, &run).await
    } else {
        train(request, &run).await
    }
}

async fn model(estimator: &'static dyn Estimator, manner: Manner) -> TrainedModel {
    let name = estimator.spec().name;
    match try_model(estimator, manner).await {
        Ok(model) => model,
        Err(error) => panic!("{name} cannot be trained: {error}"),
    }
}

/// The stored form, which holds every bit of the state; without what the training cost, which is no part of what it learned.
fn parts(model: &TrainedModel) -> (String, Vec<u8>) {
    let (mut manifest, tensors) = model.to_parts().unwrap();
    let record = manifest["record"].as_object_mut().unwrap();
    assert!(record.remove("cost").is_some());
    if extent() != Extent::Whole {
        // A coordinator knows nothing of its machines' devices, and what a checkpoint keeps no device computes again.
        assert!(record.remove("device").is_some());
    }
    (manifest.to_string(), tensors)
}

fn assert_same(name: &str, what: &str, found: &TrainedModel, expected: &TrainedModel) {
    let (found, expected) = (parts(found), parts(expected));
    assert_eq!(
        found.0, expected.0,
        "{name}: the manifest depends on {what}"
    );
    assert!(
        found.1 == expected.1,
        "{name}: the parameters depend on {what}"
    );
}

/// Rows that training never saw, with a category and NULLs of their own.
fn new_rows(task: Task) -> RecordBatch {
    let n_rows = match extent() {
        Extent::Whole => 1_500,
        Extent::Full => 300,
        Extent::Short => 30,
    };
    let batch = samples(task, 1_000_000, n_rows);
    let mut columns = batch.columns().to_vec();
    let strange: StringArray = (0..n_rows)
        .map(|row| [Some("red"), Some("violet"), None][row % 3])
        .collect();
    columns[3] = Arc::new(strange);
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn append(into: &mut Prediction, later: Prediction) {
    match (into, later) {
        (Prediction::Values(into), Prediction::Values(later)) => into.extend(later),
        (
            Prediction::Probabilities { values: into, .. },
            Prediction::Probabilities { values: later, .. },
        ) => into.extend(later),
        (
            Prediction::Clusters { ids, distances, .. },
            Prediction::Clusters {
                ids: later_ids,
                distances: later_distances,
                ..
            },
        ) => {
            ids.extend(later_ids);
            distances.extend(later_distances);
        }
        (
            Prediction::Components {
                values,
                reconstruction_errors,
                mean_squares,
                ..
            },
            Prediction::Components {
                values: later_values,
                reconstruction_errors: later_errors,
                mean_squares: later_squares,
                ..
            },
        ) => {
            values.extend(later_values);
            reconstruction_errors.extend(later_errors);
            mean_squares.extend(later_squares);
        }
        _ => panic!("a model changed the form of its predictions"),
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes() {
    for estimator in estimators() {
        let name = estimator.spec().name;
        let first = model(estimator, PLAIN).await;
        assert_same(name, "chance", &model(estimator, PLAIN).await, &first);
        assert_eq!(first.record.seed, 7, "{name}");
        assert!(
            first.record.evaluation.n_samples() > 0,
            "{name} was not evaluated"
        );
    }
}

/// A training after `earlier`, and what it kept.
async fn model_after(
    estimator: &'static dyn Estimator,
    earlier: &[CheckpointRecord],
) -> (TrainedModel, Vec<CheckpointRecord>) {
    let kept: Arc<Mutex<Vec<CheckpointRecord>>> = Arc::default();
    let mut run = TrainingRun::quiet(7, compute());
    let sink = {
        let kept = Arc::clone(&kept);
        Arc::new(move |record| kept.lock().unwrap().push(record))
    };
    run.checkpoints = Some(Arc::new(Checkpoints::new(earlier.to_vec(), sink)));
    let model = train(request(estimator, PLAIN), &run).await.unwrap();
    let kept = kept.lock().unwrap().clone();
    (model, kept)
}

#[tokio::test]
async fn a_training_that_was_cut_goes_on_to_the_same_model() {
    for estimator in estimators() {
        let name = estimator.spec().name;
        let expected = model(estimator, PLAIN).await;
        let (whole, records) = model_after(estimator, &[]).await;
        assert_same(name, "checkpoints", &whole, &expected);
        let n_records = records.len();
        let cuts = BTreeSet::from([1, n_records / 2, n_records]);
        for cut in ways(cuts.into_iter().collect()) {
            let cut = cut.min(n_records);
            let (found, later) = model_after(estimator, &records[..cut]).await;
            assert_same(name, "where it was cut", &found, &expected);
            assert!(later.len() <= n_records - cut, "{name}: a pass ran twice");
        }
    }
}

#[tokio::test]
async fn threads_and_batches_change_nothing() {
    for estimator in estimators() {
        let name = estimator.spec().name;
        let expected = model(estimator, PLAIN).await;
        for (threads, batch_rows) in ways(vec![(1, 65_536), (2, 7), (4, 1_000)]) {
            let found = model(
                estimator,
                Manner {
                    threads,
                    batch_rows,
                    ..PLAIN
                },
            )
            .await;
            assert_same(name, "threads or batches", &found, &expected);
        }
    }
}

#[tokio::test]
async fn bytes_on_the_way_change_nothing() {
    for estimator in estimators() {
        let expected = model(estimator, PLAIN).await;
        let found = model(
            estimator,
            Manner {
                over_bytes: true,
                ..PLAIN
            },
        )
        .await;
        assert_same(estimator.spec().name, "the transport", &found, &expected);
    }
}

/// Machines that host partitions, some of which are lost at some of the requests.
struct Machines {
    estimator: &'static dyn Estimator,
    /// The requests, counted over all machines, at which the machine that is asked is lost.
    lost_at: Vec<usize>,
    n_asked: Arc<AtomicUsize>,
}

/// One of them.
struct Machine {
    hosted: HostedPartitions,
    lost_at: Vec<usize>,
    n_asked: Arc<AtomicUsize>,
}

#[async_trait]
impl HostPool for Machines {
    async fn open(&self, partitions: &[usize]) -> Result<Vec<Arc<dyn PartitionHost>>> {
        let half = partitions.len().div_ceil(2);
        let machine = |share: &[usize]| -> Result<Arc<dyn PartitionHost>> {
            let run = TrainingRun::quiet(7, compute());
            let request = request(self.estimator, PLAIN);
            Ok(Arc::new(Machine {
                hosted: HostedPartitions::open(request, share, run)?,
                lost_at: self.lost_at.clone(),
                n_asked: Arc::clone(&self.n_asked),
            }))
        };
        partitions.chunks(half).map(machine).collect()
    }
}

#[async_trait]
impl PartitionHost for Machine {
    fn partitions(&self) -> &[usize] {
        self.hosted.partitions()
    }

    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        let number = self.n_asked.fetch_add(1, Ordering::Relaxed);
        // What it did before it was lost is lost, too.
        let reply = self.hosted.ask(request).await?;
        match self.lost_at.contains(&number) {
            true => Err(HostFailure::Lost(format!("at request {number}"))),
            false => Ok(reply),
        }
    }
}

#[tokio::test]
async fn machines_and_their_loss_change_nothing() {
    for estimator in estimators() {
        let spec = estimator.spec();
        if spec.tags.gathers {
            continue;
        }
        let expected = model(estimator, PLAIN).await;
        let mut n_requests = 0;
        // Never; between; at the first readings; two at a time; again while a state is made again; after a pass over the
        // states of both parts.
        let again = vec![7, 12, 13, 14];
        let losses = vec![vec![], vec![6], vec![1], vec![9, 10], again, vec![27]];
        for lost_at in ways(losses) {
            let n_asked = Arc::new(AtomicUsize::new(0));
            let is_whole = lost_at.is_empty();
            let loses = lost_at.iter().any(|number| *number < n_requests);
            let pool = Arc::new(Machines {
                estimator,
                lost_at,
                n_asked: Arc::clone(&n_asked),
            });
            let run = TrainingRun::quiet(7, compute());
            let found = train_on(request(estimator, PLAIN), pool, &run).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {error}", spec.name));
            assert_same(spec.name, "the machines", &found, &expected);
            let n_asked = n_asked.load(Ordering::Relaxed);
            match is_whole {
                true => n_requests = n_asked,
                false => assert_eq!(n_asked > n_requests, loses, "{}", spec.name),
            }
        }
    }
}

#[tokio::test]
async fn spilling_changes_nothing() {
    for estimator in estimators() {
        let spec = estimator.spec();
        let tight = Manner {
            memory_bytes: 4_096,
            ..PLAIN
        };
        if spec.tags.gathers {
            let error = try_model(estimator, tight).await.err();
            let Some(Error::OutOfMemory { hint, .. }) = error else {
                panic!(
                    "{} gathers more than the memory holds: {error:?}",
                    spec.name
                )
            };
            assert!(hint.contains("rows would fit"), "{}: {hint}", spec.name);
            continue;
        }
        let expected = model(estimator, PLAIN).await;
        assert_same(
            spec.name,
            "the memory",
            &model(estimator, tight).await,
            &expected,
        );
    }
}

#[tokio::test]
async fn predictions_keep_rows_and_order() {
    for estimator in estimators() {
        let spec = estimator.spec();
        let model = model(estimator, PLAIN).await;
        let (rows, compute) = (new_rows(spec.task), compute());
        let whole = model.predict(&rows, &compute).unwrap();
        assert_eq!(whole.len(), rows.num_rows(), "{}", spec.name);
        assert!(
            model
                .predict(&rows.slice(0, 0), &compute)
                .unwrap()
                .is_empty(),
            "{}",
            spec.name
        );
        for batch_rows in [1, 7, 1_000] {
            let mut joined: Option<Prediction> = None;
            for start in (0..rows.num_rows()).step_by(batch_rows) {
                let batch = rows.slice(start, batch_rows.min(rows.num_rows() - start));
                let prediction = model.predict(&batch, &compute).unwrap();
                match &mut joined {
                    None => joined = Some(prediction),
                    Some(into) => append(into, prediction),
                }
            }
            let is_same = joined.as_ref() == Some(&whole);
            assert!(
                is_same,
                "{}: predictions depend on batches of {batch_rows}",
                spec.name
            );
        }
        let backward: UInt32Array = (0..rows.num_rows() as u32).rev().collect();
        let reversed = take_record_batch(&rows, &backward).unwrap();
        let both = concat_batches(&rows.schema(), [&rows, &reversed]).unwrap();
        let mut joined = whole.clone();
        append(&mut joined, model.predict(&reversed, &compute).unwrap());
        let is_same = model.predict(&both, &compute).unwrap() == joined;
        assert!(
            is_same,
            "{}: predictions depend on the order of rows",
            spec.name
        );
    }
}

#[tokio::test]
async fn saving_loses_nothing() {
    for estimator in estimators() {
        let spec = estimator.spec();
        let model = model(estimator, PLAIN).await;
        let (manifest, tensors) = model.to_parts().unwrap();
        let manifest = serde_json::from_str(&manifest.to_string()).unwrap();
        let loaded = TrainedModel::from_parts(&manifest, &tensors).unwrap();
        assert_same(spec.name, "saving", &loaded, &model);
        let (rows, compute) = (new_rows(spec.task), compute());
        let is_same =
            loaded.predict(&rows, &compute).unwrap() == model.predict(&rows, &compute).unwrap();
        assert!(is_same, "{}: a loaded model predicts otherwise", spec.name);
        for tensor_bytes in [&[][..], &tensors[..tensors.len() / 2]] {
            let error = TrainedModel::from_parts(&manifest, tensor_bytes).unwrap_err();
            assert_eq!(error.sqlstate(), "XX001", "{}", spec.name);
        }
    }
}

#[tokio::test]
async fn every_table_about_a_model_answers() {
    for estimator in estimators() {
        let spec = estimator.spec();
        let model = model(estimator, PLAIN).await;
        for function in spec
            .inspections
            .iter()
            .chain(&["feature_info", "training_info"])
        {
            let request = Inspection {
                function: (*function).to_owned(),
                arguments: Map::new(),
            };
            match model.inspect(&request) {
                // An estimator without iterations has no training curve.
                Ok(_) if *function == "training_info" => {}
                Ok(table) => assert!(table.num_rows() > 0, "{}: ml.{function}", spec.name),
                // Some need an option of their training, and say so.
                Err(error) => {
                    let is_told = ["0A000", "22023"].contains(&error.sqlstate());
                    assert!(
                        is_told && error.hint().is_some(),
                        "{}: ml.{function}: {error}",
                        spec.name
                    );
                }
            }
        }
        let unknown = Inspection {
            function: "no_such".to_owned(),
            arguments: Map::new(),
        };
        assert_eq!(model.inspect(&unknown).unwrap_err().sqlstate(), "0A000");
    }
}

#[test]
fn bad_options_are_named() {
    for spec in estimators().map(|estimator| estimator.spec()) {
        let check = |name: &str, value: Value| {
            let mut written = needed_options(spec);
            written.insert(name.to_owned(), value);
            Options::check(spec, &written).unwrap_err()
        };
        let error = check("no_such_option", json!(1));
        assert!(
            matches!(error, Error::UnknownOption { .. }),
            "{}: {error}",
            spec.name
        );
        assert!(
            error.to_string().contains("\"no_such_option\""),
            "{}",
            spec.name
        );
        for option in spec.hyperparameters {
            let wrong = match option.kind {
                Kind::Text | Kind::TextArray => json!(1.5),
                Kind::CloudOnly => continue,
                _ => json!("no such value"),
            };
            let error = check(option.name, wrong);
            let message = error.to_string();
            assert!(
                matches!(error, Error::InvalidOption { .. }),
                "{}: {message}",
                spec.name
            );
            assert!(
                message.contains(&format!("\"{}\"", option.name)),
                "{}: {message}",
                spec.name
            );
            assert!(
                !option.doc.is_empty(),
                "{} has no doc for {}",
                spec.name,
                option.name
            );
        }
    }
}

#[test]
fn every_option_is_a_row_of_the_table() {
    let rows = options_table();
    for spec in estimators().map(|estimator| estimator.spec()) {
        let of_spec: Vec<&str> = rows
            .iter()
            .filter(|row| row.model_type == spec.name)
            .map(|row| row.name)
            .collect();
        assert!(
            spec.hyperparameters
                .iter()
                .all(|option| of_spec.contains(&option.name))
        );
        assert!(of_spec.contains(&"seed"));
        assert_eq!(
            of_spec.contains(&"data_split_method"),
            spec.task.is_supervised()
        );
        assert_eq!(
            of_spec.contains(&"class_weights"),
            spec.task == Task::Classification
        );
    }
}

#[tokio::test]
async fn missing_and_mistyped_features_are_named() {
    for estimator in estimators() {
        let spec = estimator.spec();
        let model = model(estimator, PLAIN).await;
        let rows = new_rows(spec.task);
        let without = rows.project(&[0, 1, 3, 4, 5]).unwrap();
        let error = model.predict(&without, &compute()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column \"whole\" does not exist in the rows to predict"
        );
        let mut columns = rows.columns().to_vec();
        columns[2] = Arc::new(StringArray::from(vec!["1"; rows.num_rows()]));
        let mut fields: Vec<Field> = rows
            .schema()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        fields[2] = Field::new("whole", DataType::Utf8, true);
        let mistyped = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let error = model.predict(&mistyped, &compute()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column \"whole\" is of type text but the model expects bigint",
            "{}",
            spec.name
        );
    }
}

#[tokio::test]
async fn a_cancelled_run_ends_as_cancelled() {
    for estimator in estimators() {
        let run = TrainingRun::quiet(7, compute());
        run.cancel.cancel();
        let error = train(request(estimator, PLAIN), &run).await.err();
        assert!(
            matches!(error, Some(Error::Cancelled)),
            "{}: {error:?}",
            estimator.spec().name
        );
    }
}

/// The stand-in CUDA driver, which cargo builds beside the tests.
fn simulated_driver() -> std::path::PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    path.join(format!("{prefix}auspex_gpu_sim{suffix}"))
}

/// Names the driver's file.
const DRIVER: &str = "AUSPEX_CUDA_LIBRARY";

/// Runs tests of this file again, in a process whose environment names the stand-in driver and its settings from the start.
fn run_again(arguments: &[&str], device: Option<&str>, settings: &str) -> String {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again
        .args(arguments)
        .env(DRIVER, simulated_driver())
        .env("AUSPEX_GPU_SIM", settings);
    again.envs(device.map(|device| (DEVICE, device)));
    let again = again.output().unwrap();
    let output = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success(), "{output}");
    output
}

/// Whether this process has the stand-in driver; if not, a test ran again in a process of its own.
fn has_simulated_driver(test: &str, settings: &str) -> bool {
    if std::env::var_os(DRIVER).is_some() {
        return true;
    }
    let output = run_again(&["--exact", test], None, settings);
    assert!(output.contains("1 passed"), "{output}");
    false
}

#[test]
fn the_suite_holds_on_a_device() {
    if std::env::var_os(DRIVER).is_some() {
        return;
    }
    // These have processes of their own.
    let others = [
        "the_suite_holds_on_a_device",
        "a_device_learns_what_the_cpu_learns",
        "a_device_learns_what_the_cpu_learns_by_every_choice",
        "the_cpu_ends_what_a_failing_device_began",
    ];
    let arguments: Vec<&str> = others.iter().flat_map(|test| ["--skip", *test]).collect();
    let output = run_again(&arguments, Some("cuda"), "");
    assert!(!output.contains("running 0 tests"), "{output}");
}

/// Relative to the greatest number of the tensor, as a coefficient near 0 has no digits of its own.
fn assert_close(name: &str, found: &TrainedModel, expected: &TrainedModel) {
    let (found, expected) = (found.model.state(), expected.model.state());
    assert_eq!(
        found.tensors.keys().collect::<Vec<_>>(),
        expected.tensors.keys().collect::<Vec<_>>()
    );
    for (tensor, found) in &found.tensors {
        assert_eq!(
            found.shape, expected.tensors[tensor].shape,
            "{name}: {tensor}"
        );
        let (TensorData::F64(found), TensorData::F64(expected)) =
            (&found.data, &expected.tensors[tensor].data)
        else {
            continue;
        };
        let greatest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (found, expected) in found.iter().zip(expected) {
            let is_close = (found - expected).abs() <= 1e-4 * greatest;
            assert!(is_close, "{name}: {tensor} has {found}, not {expected}");
        }
    }
}

/// All numbers of a prediction.
fn numbers(prediction: Prediction) -> Vec<f64> {
    match prediction {
        Prediction::Values(values) | Prediction::Probabilities { values, .. } => values,
        Prediction::Nearest { ids, distances } => {
            ids.into_iter().map(f64::from).chain(distances).collect()
        }
        Prediction::Clusters { ids, distances, .. } => {
            let ids = ids.into_iter().map(|id| id.map_or(-1.0, f64::from));
            ids.chain(distances).collect()
        }
        Prediction::Components {
            values,
            reconstruction_errors,
            mean_squares,
            ..
        } => [values, reconstruction_errors, mean_squares].concat(),
    }
}

/// A model predicts on a device what it predicts on the CPU, if `is_exact` to the bit.
fn assert_same_predictions(task: Task, model: &TrainedModel, is_exact: bool) {
    let rows = samples(task, 5_000, 130);
    let name = model.spec.name;
    let device = Compute::choose(DeviceChoice::Cuda(None)).unwrap();
    let cuda = model.predict(&rows, &device).unwrap();
    let cpu = model.predict(&rows, &Compute::cpu()).unwrap();
    // What `auto` counts is what came back.
    let brought = device.figures().unwrap_or_default().downloaded_bytes;
    let n_rows = rows.num_rows() as u64;
    assert_eq!(brought, n_rows * model.model.predicted_bytes(), "{name}");
    if is_exact {
        assert_eq!(format!("{cuda:?}"), format!("{cpu:?}"), "{name}");
    }
    let (cuda, cpu) = (numbers(cuda), numbers(cpu));
    assert_eq!(cuda.len(), cpu.len(), "{name}");
    for (cuda, cpu) in cuda.iter().zip(&cpu) {
        assert!(
            (cuda - cpu).abs() <= 1e-9 * cpu.abs().max(1.0),
            "{name}: {cuda}, not {cpu}"
        );
    }
}

/// A training of few rows, since an interpreter is slow.
async fn try_small(
    estimator: &'static dyn Estimator,
    options: Options,
    compute: Compute,
) -> Result<TrainedModel> {
    let rows = samples(estimator.spec().task, 0, 250);
    let source = Arc::new(Batches {
        schema: rows.schema(),
        partitions: vec![vec![rows.slice(0, 130)], vec![rows.slice(130, 120)]],
    });
    let request = TrainingRequest {
        options,
        ..request_over(source, estimator, PLAIN)
    };
    train(request, &TrainingRun::quiet(7, compute)).await
}

async fn small(estimator: &'static dyn Estimator, compute: Compute) -> TrainedModel {
    let spec = estimator.spec();
    let (options, _) = Options::check(spec, &needed_options(spec)).unwrap();
    try_small(estimator, options, compute).await.unwrap()
}

#[tokio::test]
async fn a_device_learns_what_the_cpu_learns() {
    if !has_simulated_driver("a_device_learns_what_the_cpu_learns", "") {
        return;
    }
    for estimator in estimators().filter(|estimator| !estimator.spec().tags.gathers) {
        let spec = estimator.spec();
        let on = async |choice| small(estimator, Compute::choose(choice).unwrap()).await;
        let cuda = on(DeviceChoice::Cuda(None)).await;
        let cpu = on(DeviceChoice::Cpu).await;
        assert_close(spec.name, &cuda, &cpu);
        let is_exact = spec.tags.is_exact_on_devices;
        if is_exact {
            assert!(
                parts(&cuda).1 == parts(&cpu).1,
                "{} depends on the device",
                spec.name
            );
        }
        assert_same_predictions(spec.task, &cuda, is_exact);
        assert_same(
            spec.name,
            "the run",
            &cuda,
            &on(DeviceChoice::Cuda(Some(0))).await,
        );
        let is_declined = |warning: &Warning| warning.code == "device_declined";
        if spec.tags.cpu_only.is_none() {
            assert!(cuda.record.device.starts_with("cuda: "), "{}", spec.name);
            let cost = &cuda.record.cost;
            assert!(
                cost.kernel_launches > 0 && cost.uploaded_bytes > 0,
                "{cost:?}"
            );
            assert!(cost.downloaded_bytes > 0, "{cost:?}");
            assert!(
                !cuda.record.warnings.iter().any(is_declined),
                "{}",
                spec.name
            );
        } else {
            assert_eq!(cuda.record.device, "cpu", "{}", spec.name);
            assert!(
                cuda.record.warnings.iter().any(is_declined),
                "{}",
                spec.name
            );
        }
    }
}

/// What each word of each option leads to, solvers and distances among them, runs on a device, too.
#[tokio::test]
async fn a_device_learns_what_the_cpu_learns_by_every_choice() {
    let test = "a_device_learns_what_the_cpu_learns_by_every_choice";
    if !has_simulated_driver(test, "") {
        return;
    }
    let is_full = std::env::var_os("AUSPEX_TEST_FULL").is_some();
    let has_kernels = |spec: &EstimatorSpec| spec.tags.cpu_only.is_none();
    // Trees ask a device for the same whatever is chosen.
    let is_short = |spec: &EstimatorSpec| is_full || !spec.tags.is_exact_on_devices;
    let mut n_trained = 0;
    for estimator in estimators() {
        let spec = estimator.spec();
        let all = spec.hyperparameters.iter();
        let choices = all.filter_map(|option| match &option.kind {
            Kind::Choice(choices) => Some(choices.iter().map(move |choice| (option.name, *choice))),
            _ => None,
        });
        for (name, choice) in choices
            .flatten()
            .filter(|_| has_kernels(spec) && is_short(spec))
        {
            let mut written = needed_options(spec);
            written.insert(name.to_owned(), json!(choice));
            // Some need an option more.
            let Ok((options, _)) = Options::check(spec, &written) else {
                continue;
            };
            let on = async |device| {
                let compute = Compute::choose(device).unwrap();
                try_small(estimator, options.clone(), compute).await
            };
            let what = format!("{} with {name} = {choice}", spec.name);
            match (
                on(DeviceChoice::Cuda(None)).await,
                on(DeviceChoice::Cpu).await,
            ) {
                (Ok(cuda), Ok(cpu)) => {
                    assert_close(&what, &cuda, &cpu);
                    assert!(cuda.record.device.starts_with("cuda: "), "{what}");
                    assert_same_predictions(spec.task, &cuda, spec.tags.is_exact_on_devices);
                    n_trained += 1;
                }
                (cuda, cpu) => {
                    let said = |found: Result<TrainedModel>| found.err().map(|e| e.to_string());
                    assert_eq!(said(cuda), said(cpu), "{what}");
                }
            }
        }
    }
    assert!(n_trained > 10, "{n_trained}");
}

/// A kernel fails in the middle of a training whose device was not asked for: the CPU goes on from what the host has.
#[tokio::test]
async fn the_cpu_ends_what_a_failing_device_began() {
    let test = "the_cpu_ends_what_a_failing_device_began";
    if !has_simulated_driver(test, "fault_at_launch=30") {
        return;
    }
    let device = auspex_gpu::probe_cuda().devices[0].clone().unwrap();
    let compute = Compute::of_devices(vec![device.another_run()], OnFailure::UseCpu);
    let estimator = estimators()
        .find(|estimator| estimator.spec().name == "boosted_tree_regressor")
        .unwrap();
    let on = async |compute| small(estimator, compute).await;
    let found = on(compute).await;
    assert!(parts(&found).1 == parts(&on(Compute::cpu()).await).1);
    assert_eq!(found.record.device, "cuda: PTX interpreter (no GPU)");
    let mut warnings = found.record.warnings.iter();
    let warning = warnings.find(|warning| warning.code == "device_declined");
    let message = &warning.unwrap().message;
    assert!(message.contains("failed on device"), "{message}");
    // It was not asked again, unless a call of another thread was on its way; the next run opens its context anew.
    assert!(device.n_rebuilt() <= 1);
    let compute = Compute::of_devices(vec![device.another_run()], OnFailure::Fail);
    let next = on(compute).await;
    assert!(parts(&next).1 == parts(&found).1);
    assert_eq!(device.n_rebuilt(), 1);
}
