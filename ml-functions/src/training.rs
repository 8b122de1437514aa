//! Walks one training from query to model: reads, fits, evaluates, records.
//!
//! In: a [`TrainingRequest`] whose options are checked; out: a [`TrainedModel`] with its record. Knows
//! no estimator by name and plans no query.

mod carried_model;
mod evaluate;
mod explain;
mod usage;
mod weighted_losses;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use crate::compute::Compute;
use crate::error::Result;
use crate::estimator::{Estimator, EstimatorSpec, Task};
use crate::model::ModelContext;
use crate::options::Options;
use crate::run::{Progress, TrainingRun, Warning};
use crate::trained_model::{TrainedModel, TrainingRecord};
use crate::training_set::{
    CheckpointedTrainingSet, HostPool, LocalTrainingSet, LoopbackTrainingSet, Part,
    RemoteTrainingSet, Roles, StepDecoder, TrainingSet,
};

use usage::MeasuredPool;
pub use usage::{Cost, Usage};

/// The steps that do not belong to one estimator.
pub(crate) static COMMON_STEPS: &[StepDecoder] = &[
    StepDecoder::of::<evaluate::EvaluateStep>(),
    StepDecoder::of::<evaluate::LabelsStep>(),
    StepDecoder::of::<explain::ExplainStep>(),
];

/// The rows of a training query. Every opening of a partition must give the same rows in the same
/// order, and the partitions must depend on the data alone, not on the number of threads.
pub trait SampleSource: Send + Sync {
    /// The columns of the query.
    fn schema(&self) -> SchemaRef;

    /// Number of partitions.
    fn n_partitions(&self) -> usize;

    /// The rows of a partition from the first on.
    fn open(&self, partition: usize) -> datafusion::error::Result<SendableRecordBatchStream>;

    /// The same with only these columns, in this order; worth overriding where the others then need
    /// not be read.
    fn open_columns(
        &self,
        partition: usize,
        columns: &[usize],
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let stream = self.open(partition)?;
        if columns.iter().copied().eq(0..self.schema().fields().len()) {
            return Ok(stream);
        }
        let schema = Arc::new(self.schema().project(columns)?);
        let columns = columns.to_vec();
        let projected = stream
            .and_then(move |batch| std::future::ready(batch.project(&columns).map_err(Into::into)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, projected)))
    }
}

/// What to train.
pub struct TrainingRequest {
    /// The algorithm.
    pub estimator: &'static dyn Estimator,
    /// Its checked options.
    pub options: Options,
    /// The rows of the training query.
    pub source: Arc<dyn SampleSource>,
    /// The label column, where the statement names it beside the options.
    pub label: Option<String>,
    /// The feature columns in their order; `None` is every column without another role.
    pub features: Option<Vec<String>>,
    /// Accounts what the training holds.
    pub memory: Arc<dyn MemoryPool>,
    /// Where blocks go beyond the memory.
    pub spill: Arc<DiskManager>,
    /// Threads of a pass.
    pub threads: usize,
}

/// What decides which column of a training query is for what.
pub struct ColumnRequest<'a> {
    /// The algorithm.
    pub estimator: &'static dyn Estimator,
    /// Its checked options.
    pub options: &'a Options,
    /// The columns of the query.
    pub schema: SchemaRef,
    /// See [`TrainingRequest::label`].
    pub label: Option<&'a str>,
    /// See [`TrainingRequest::features`].
    pub features: Option<&'a [String]>,
}

/// What a training will read of its rows, known before any is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleShape {
    /// Number of numeric features.
    pub n_numeric: usize,
    /// Number of categorical features.
    pub n_categorical: usize,
    /// Size of an encoded sample in memory.
    pub sample_bytes: usize,
}

/// Checks the columns of a training query: that the label, the features and what options name are
/// there and of types that can be learned from.
pub fn check_columns(request: &ColumnRequest<'_>) -> Result<SampleShape> {
    let roles = Roles::resolve(request)?;
    Ok(roles.shape(request.estimator.spec().task, request.options))
}

impl TrainingRequest {
    /// What decides about its columns.
    pub(crate) fn columns(&self) -> ColumnRequest<'_> {
        ColumnRequest {
            estimator: self.estimator,
            options: &self.options,
            schema: self.source.schema(),
            label: self.label.as_deref(),
            features: self.features.as_deref(),
        }
    }

    /// The same, with its memory counted by the run.
    pub(crate) fn measured(self, run: &TrainingRun) -> TrainingRequest {
        let memory = MeasuredPool::new(self.memory, Arc::clone(&run.usage));
        TrainingRequest {
            memory: Arc::new(memory),
            ..self
        }
    }
}

/// Trains and evaluates a model. Dropping the future ends the threads of the pass that runs.
pub async fn train(request: TrainingRequest, run: &TrainingRun) -> Result<TrainedModel> {
    let request = request.measured(run);
    run.report(Progress::Phase("reading"));
    let started_ms = now_ms(run);
    let samples = Box::pin(LocalTrainingSet::open(&request, run)).await?;
    Box::pin(learn(
        &request,
        Held::Local(&samples),
        &samples,
        started_ms,
        run,
    ))
    .await
}

/// [`train`] with every step, partial and state sent through bytes, as between machines; the model is
/// the same to the bit.
pub async fn train_over_bytes(request: TrainingRequest, run: &TrainingRun) -> Result<TrainedModel> {
    let request = request.measured(run);
    run.report(Progress::Phase("reading"));
    let started_ms = now_ms(run);
    let local = Box::pin(LocalTrainingSet::open(&request, run)).await?;
    let samples = LoopbackTrainingSet::new(&local)?;
    Box::pin(learn(
        &request,
        Held::Local(&local),
        &samples,
        started_ms,
        run,
    ))
    .await
}

/// [`train`] on the machines of a pool, each of which reads and keeps some of the partitions; the model is the same to
/// the bit. Of the request's source only the schema and the number of partitions are asked.
pub async fn train_on(
    request: TrainingRequest,
    pool: Arc<dyn HostPool>,
    run: &TrainingRun,
) -> Result<TrainedModel> {
    let request = request.measured(run);
    run.report(Progress::Phase("reading"));
    let started_ms = now_ms(run);
    let samples = Box::pin(RemoteTrainingSet::open(&request, pool, run)).await?;
    let held = Held::Remote(&samples);
    Box::pin(learn(&request, held, &samples, started_ms, run)).await
}

/// What holds the samples, for what estimators need not know of them.
#[derive(Clone, Copy)]
enum Held<'a> {
    Local(&'a LocalTrainingSet),
    Remote(&'a RemoteTrainingSet),
}

impl Held<'_> {
    fn begin_phase(self, phase: &'static str, run: &TrainingRun) {
        match self {
            Held::Local(samples) => samples.begin_phase(phase, run),
            Held::Remote(_) => run.report(Progress::Phase(phase)),
        }
    }

    async fn drop_states(self, run: &TrainingRun) -> Result<()> {
        match self {
            Held::Local(samples) => samples.drop_states(),
            Held::Remote(samples) => samples.drop_states(run).await?,
        }
        Ok(())
    }

    fn n_dropped(self) -> u64 {
        match self {
            Held::Local(samples) => samples.n_dropped(),
            Held::Remote(samples) => samples.n_dropped(),
        }
    }
}

async fn learn(
    request: &TrainingRequest,
    held: Held<'_>,
    samples: &dyn TrainingSet,
    started_ms: u64,
    run: &TrainingRun,
) -> Result<TrainedModel> {
    let spec = request.estimator.spec();
    let kept = run.checkpoints.as_ref();
    let kept = kept.map(|checkpoints| CheckpointedTrainingSet::new(samples, checkpoints));
    let samples = kept
        .as_ref()
        .map_or(samples, |kept| kept as &dyn TrainingSet);
    held.begin_phase("training", run);
    let model = request
        .estimator
        .fit(samples, &request.options, run)
        .await?;
    held.drop_states(run).await?;
    held.begin_phase("evaluating", run);
    let context = ModelContext {
        encoder: samples.encoder(),
        target: samples.target(),
        options: &request.options,
    };
    let evaluated = evaluate::evaluate(spec, &context, model.as_ref(), samples, run).await?;
    let global_attributions = if request.options.is_true("enable_global_explain") {
        explain::explain(spec, &context, model.as_ref(), samples, evaluated.part, run).await?
    } else {
        None
    };
    for warning in declined(&run.compute, spec) {
        run.warn(&warning.code, warning.message, None);
    }
    let (encoder, target) = (samples.encoder().clone(), samples.target().cloned());
    let record = TrainingRecord {
        training_rows: samples.n_samples(Part::Training),
        evaluation_rows: samples.n_samples(Part::Evaluation),
        dropped_rows: held.n_dropped(),
        split_method: split_method(spec.task, &request.options),
        iterations: run.iterations(),
        warnings: run.warnings(),
        evaluation: evaluated.model,
        evaluated_on: evaluated.part,
        baseline: evaluated.baseline,
        global_attributions,
        training_run: 0,
        seed: run.seed,
        device: run.compute.used(),
        duration_ms: now_ms(run).saturating_sub(started_ms),
        cost: run.usage.cost().with_device(run.compute.figures()),
    };
    let options = request.options.clone();
    Ok(TrainedModel::new(
        spec,
        encoder,
        target,
        options,
        Arc::from(model),
        record,
    ))
}

/// What is told where the CPU computed although another device was chosen, a warning a reason.
pub fn declined(compute: &Compute, spec: &EstimatorSpec) -> Vec<Warning> {
    let mut reasons = compute.left_to_cpu();
    let cpu_only = spec
        .tags
        .cpu_only
        .filter(|_| compute.accelerator().is_some());
    reasons.extend(cpu_only.map(ToOwned::to_owned));
    let warning = |reason: String| Warning {
        code: "device_declined".to_owned(),
        message: format!("the CPU computed what the device should: {reason}"),
        hint: None,
    };
    reasons.into_iter().map(warning).collect()
}

fn split_method(task: Task, options: &Options) -> String {
    let written = if task.is_supervised() {
        options.text("data_split_method")
    } else {
        None
    };
    written.unwrap_or("NO_SPLIT").to_owned()
}

fn now_ms(run: &TrainingRun) -> u64 {
    u64::try_from(run.now().as_millis()).unwrap_or(u64::MAX)
}
