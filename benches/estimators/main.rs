//! Times trainings and predictions of every model type on a device beside the CPU, after comparing the models.
//!
//! `cargo run --release -p auspex-ml --example estimators -- [--device cuda] [--rows N] [--runs N] [--only NAME]`.
//! Prints one line a model type: the fastest of 3 runs with all threads, over samples in memory. What docs/gpu.md allows a
//! model of a device to differ by is checked: trees not at all, parameters of others by 1e-4 relative to the greatest of
//! their array, predictions of one model by 1e-9. What differs by more is told behind the table, and the exit status is 1.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people, whose work is to look at the clock"
)]

mod samples;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use auspex_ml::compute::{Compute, DeviceChoice};
use auspex_ml::estimator::Estimator;
use auspex_ml::model::{Prediction, TensorData};
use auspex_ml::options::Options;
use auspex_ml::registry;
use auspex_ml::run::TrainingRun;
use auspex_ml::trained_model::TrainedModel;
use auspex_ml::training::{TrainingRequest, train};
use datafusion::arrow::array::RecordBatch;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use serde_json::{Map, Value, json};

use samples::Samples;

/// How far parameters may differ, relative to the greatest of their array.
const PARAMETERS: f64 = 1e-4;
/// How far predictions of one model may differ, relative to the greatest.
const PREDICTIONS: f64 = 1e-9;
/// Rows of a call of a model.
const BATCH_ROWS: usize = 8192;

/// What the command line asks for.
struct Arguments {
    device: DeviceChoice,
    n_rows: usize,
    n_runs: usize,
    only: String,
}

impl Arguments {
    fn of_process() -> Arguments {
        let words: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let at = words.iter().position(|word| word == name)?;
            words.get(at + 1).cloned()
        };
        let number =
            |name: &str, default: usize| value(name).map_or(default, |text| text.parse().unwrap());
        let device = value("--device").unwrap_or_else(|| "cuda".to_owned());
        Arguments {
            device: DeviceChoice::parse(&device).unwrap(),
            n_rows: number("--rows", 200_000),
            n_runs: number("--runs", 3),
            only: value("--only").unwrap_or_default(),
        }
    }
}

/// What an estimator cannot be trained without.
fn needed_options(estimator: &dyn Estimator) -> Map<String, Value> {
    let needed = [
        ("num_principal_components", json!(3)),
        ("num_clusters", json!(8)),
        ("num_parallel_tree", json!(10)),
    ];
    let declared = estimator.spec().hyperparameters;
    let is_declared = |name: &str| declared.iter().any(|option| option.name == name);
    let needed = needed.into_iter().filter(|(name, _)| is_declared(name));
    needed
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn trained(
    estimator: &'static dyn Estimator,
    samples: &Arc<Samples>,
    compute: Compute,
) -> TrainedModel {
    let spec = estimator.spec();
    let request = TrainingRequest {
        estimator,
        options: Options::check(spec, &needed_options(estimator)).unwrap().0,
        source: Arc::clone(samples) as _,
        label: None,
        features: None,
        memory: Arc::new(UnboundedMemoryPool::default()),
        spill: Arc::new(DiskManagerBuilder::default().build().unwrap()),
        threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let run = TrainingRun::quiet(7, compute);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(train(request, &run)).unwrap()
}

/// All numbers that a model predicts.
fn predicted(model: &TrainedModel, batches: &[RecordBatch], compute: &Compute) -> Vec<f64> {
    let predict = |batch: &RecordBatch| numbers(model.predict(batch, compute).unwrap());
    batches.iter().flat_map(predict).collect()
}

fn numbers(prediction: Prediction) -> Vec<f64> {
    match prediction {
        Prediction::Values(values) | Prediction::Probabilities { values, .. } => values,
        Prediction::Clusters { ids, distances, .. } => {
            let ids = ids.into_iter().map(|id| id.map_or(-1.0, f64::from));
            ids.chain(distances).collect()
        }
        Prediction::Nearest { ids, distances } => {
            ids.into_iter().map(f64::from).chain(distances).collect()
        }
        Prediction::Components {
            values,
            reconstruction_errors,
            mean_squares,
            ..
        } => [values, reconstruction_errors, mean_squares].concat(),
    }
}

/// The greatest difference, relative to the greatest number; infinite where one is no number or missing.
fn difference(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let greatest = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most: f64, (a, b)| match (a - b).abs() / greatest {
        difference if difference.is_nan() => f64::INFINITY,
        difference => most.max(difference),
    })
}

/// The greatest difference of the parameters of two models.
fn difference_of_models(found: &TrainedModel, expected: &TrainedModel) -> f64 {
    let (found, expected) = (found.model.state(), expected.model.state());
    if !found.tensors.keys().eq(expected.tensors.keys()) {
        return f64::INFINITY;
    }
    let pairs = found.tensors.values().zip(expected.tensors.values());
    let of_tensors = pairs.map(|(found, expected)| match (&found.data, &expected.data) {
        (TensorData::F64(found), TensorData::F64(expected)) => difference(found, expected),
        (found, expected) if found == expected => 0.0,
        _ => f64::INFINITY,
    });
    of_tensors.fold(0.0, f64::max)
}

/// The fastest of some runs, and what the last one gave.
fn fastest<T>(n_runs: usize, mut run: impl FnMut() -> T) -> (f64, T) {
    let mut once = || {
        let start = Instant::now();
        let found = run();
        (start.elapsed().as_secs_f64(), found)
    };
    let (mut least, mut last) = once();
    for _ in 1..n_runs {
        let (seconds, found) = once();
        (least, last) = (least.min(seconds), found);
    }
    (least, last)
}

/// Prints the line of a model type; what is wrong with its model, if anything.
fn measure(arguments: &Arguments, estimator: &'static dyn Estimator) -> Option<String> {
    let spec = estimator.spec();
    let name = spec.name;
    if let Some(reason) = spec.tags.cpu_only {
        println!("| {name} | on the CPU alone: {reason} | | | | | | | |");
        return None;
    }
    let samples = Arc::new(Samples::new(spec.task, arguments.n_rows));
    let on = |choice| {
        let train = || trained(estimator, &samples, Compute::choose(choice).unwrap());
        fastest(arguments.n_runs, train)
    };
    let (cpu_s, expected) = on(DeviceChoice::Cpu);
    let (device_s, found) = on(arguments.device);
    let batches = samples.batches(BATCH_ROWS);
    let predict = |choice| {
        let compute = Compute::choose(choice).unwrap();
        fastest(arguments.n_runs, || predicted(&found, &batches, &compute))
    };
    let (predict_cpu_s, on_cpu) = predict(DeviceChoice::Cpu);
    let (predict_device_s, on_device) = predict(arguments.device);
    let differences = [
        difference_of_models(&found, &expected),
        difference(&on_device, &on_cpu),
    ];
    let allowed = match spec.tags.is_exact_on_devices {
        true => [0.0; 2],
        false => [PARAMETERS, PREDICTIONS],
    };
    let cost = &found.record.cost;
    println!(
        "| {name} | {cpu_s:.2} | {device_s:.2} | {:.2} | {:.1} | {:.1} | {predict_cpu_s:.3} | {predict_device_s:.3} | {:.1e}, {:.1e} |",
        cost.kernel_us as f64 / 1e6,
        cost.uploaded_bytes as f64 / 1e6,
        cost.downloaded_bytes as f64 / 1e6,
        differences[0],
        differences[1],
    );
    if let Some(warning) = found
        .record
        .warnings
        .iter()
        .find(|warning| warning.code == "device_declined")
    {
        return Some(format!("{name}: {}", warning.message));
    }
    let whats = ["its parameters", "predictions of one model"];
    let mut checks = whats.iter().zip(differences.iter().zip(&allowed));
    let wrong = checks.find(|(_, (difference, allowed))| difference > allowed);
    wrong.map(|(what, (difference, allowed))| {
        format!("{name}: {what} differ by {difference:.1e}, allowed is {allowed:.0e}")
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::of_process();
    let info = Compute::choose(arguments.device).unwrap().info();
    let (kind, n_rows, n_runs) = (info.kind, arguments.n_rows, arguments.n_runs);
    println!(
        "{} ({kind}), {n_rows} samples, fastest of {n_runs}",
        info.name
    );
    println!(
        "| model type | training on the cpu, s | on {kind}, s | its kernels, s | MB to it | MB from it | predictions on the cpu, s | on {kind}, s | differences |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let asked =
        registry::all().filter(|estimator| estimator.spec().name.starts_with(&arguments.only));
    let wrong: Vec<String> = asked
        .filter_map(|estimator| measure(&arguments, estimator))
        .collect();
    for line in &wrong {
        println!("\n*** WRONG: {line}");
    }
    match wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
