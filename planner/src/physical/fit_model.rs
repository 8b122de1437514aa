//! Runs a training over the partitions of its input and publishes the version that it learned.
//!
//! In: the partitions of the training query, in their canonical order; out: one row. Reports progress
//! to the statement's client and to `pg_stat_progress_train`.

use std::fmt::Formatter;
use std::sync::Arc;
use std::time::Instant;

use auspex_ml::checkpoint::Checkpoints;
use auspex_ml::run::{TrainingRun, Warning};
use auspex_ml::trained_model::TrainedModel;
use auspex_ml::training::{TrainingRequest, train, train_on};
use auspex_storage::{
    CatalogEntry, Change, Definition, Error as StorageError, ModelDefinition, ObjectKind,
};
use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use serde_json::json;

use super::plan_source::PlanSource;
use super::report::Reporter;
use crate::checkpoints::{EarlierRun, Keeper, may_go_on};
use crate::distributed::{TrainingPlace, WrittenRows, describe_training};
use crate::engine::{TrainingProgress, lock};
use crate::error::{Error, Result};
use crate::explain::{Estimate, about};
use crate::jobs::RunningJob;
use crate::logical::{FitMode, FitTask, output_schema};
use crate::statement_run::{Notice, StatementControl};

/// Learns a model; see [`FitModelNode`](crate::logical::FitModelNode).
#[derive(Debug)]
pub(crate) struct FitModelExec {
    task: Arc<FitTask>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FitModelExec {
    pub(crate) fn new(task: Arc<FitTask>, input: Arc<dyn ExecutionPlan>) -> FitModelExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(output_schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        FitModelExec {
            task,
            input,
            properties: Arc::new(properties),
            metrics,
        }
    }
}

impl DisplayAs for FitModelExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let task = &self.task;
        let passes = task.estimator.passes(&task.options, &task.shape);
        let read = Estimate::of(self.input.as_ref());
        let kept = read.n_rows.filter(|_| passes.kept > 0);
        let kept = kept.map(|n_rows| n_rows.saturating_mul(task.shape.sample_bytes));
        let compute = task.compute_for(read.n_rows);
        // A device that was asked for is asked, and told of when it has declined.
        let cpu_only = task.estimator.spec().tags.cpu_only;
        let device = cpu_only.map_or(compute.info().kind, |_| "cpu");
        let reason = compute.reason().or(cpu_only);
        let reason = reason.map(|reason| format!(" ({reason})"));
        write!(
            f,
            "FitModelExec: model={}, estimator={}, device={}{}, partitions={}, threads={}, rows={}, \
             source_passes={}, read_bytes={}",
            task.display_name(),
            task.estimator.spec().name,
            device,
            reason.unwrap_or_default(),
            self.input.output_partitioning().partition_count(),
            task.threads,
            about(read.n_rows),
            passes.source,
            about(read.n_bytes),
        )?;
        if passes.kept > 0 {
            write!(
                f,
                ", kept_passes=~{}, kept_bytes={}",
                passes.kept,
                about(kept)
            )?;
        }
        if let Some(place) = describe_training(task, &self.input) {
            write!(f, ", place=[{place}]")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for FitModelExec {
    fn name(&self) -> &str {
        "FitModelExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("FitModelExec has one input".to_owned()))?;
        Ok(Arc::new(FitModelExec::new(Arc::clone(&self.task), input)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let source = Arc::new(PlanSource {
            plan: Arc::clone(&self.input),
            context: Arc::clone(&context),
        });
        let task = Arc::clone(&self.task);
        let metrics = self.metrics.clone();
        let row = async move {
            let (version, model) = run(&task, source, &context).await?;
            record_metrics(&metrics, &model);
            result_row(&task, version, &model)
        };
        let stream = futures::stream::once(row);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            output_schema(),
            stream,
        )))
    }
}

/// A training in `pg_stat_progress_train` and `ml.jobs`; it leaves the one and ends in the other however it ends.
struct Listed<'a> {
    task: &'a FitTask,
    job: RunningJob,
}

impl Listed<'_> {
    fn end(&self, outcome: std::result::Result<u64, &Error>) {
        let trainings = self.task.engine.trainings().into_iter();
        let mut own = trainings.filter(|(process_id, _)| *process_id == self.task.process_id);
        self.job
            .end(outcome, own.next().map(|(_, progress)| progress));
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.task.engine.set_training(self.task.process_id, None);
    }
}

async fn run(
    task: &Arc<FitTask>,
    source: Arc<PlanSource>,
    context: &TaskContext,
) -> Result<(u64, TrainedModel)> {
    let control = context
        .session_config()
        .get_extension::<StatementControl>()
        .ok_or_else(|| {
            Error::invalid(
                "XX000",
                "a training runs only as a statement of its own",
                None,
            )
        })?;
    #[allow(
        clippy::disallowed_methods,
        reason = "measures the statement, not its result"
    )]
    let started = Instant::now();
    let earlier = lock(&task.earlier).take();
    let progress = TrainingProgress {
        model: task.display_name(),
        phase: "reading",
        rows: 0,
        iteration: None,
        started,
    };
    task.engine.set_training(task.process_id, Some(progress));
    let names = (task.display_name(), task.user.clone());
    let jobs = &task.engine.jobs;
    let listed = Listed {
        task,
        job: jobs.begin(task.process_id, names, earlier.is_some()),
    };
    let running = learn_and_publish(task, source, context, (&control, started), &listed, earlier);
    let outcome = Box::pin(running).await;
    listed.end(outcome.as_ref().map(|(version, _)| *version));
    if task.engine.background.is_ending() && outcome.as_ref().is_err_and(may_go_on) {
        tell_of_cut(task, listed.job.has_checkpoint());
    }
    outcome
}

/// Says in the log what is left of a training that the end of the server cut off.
fn tell_of_cut(task: &FitTask, has_checkpoint: bool) {
    let model = task.display_name();
    match has_checkpoint {
        true => tracing::warn!(
            model,
            "a training ends with the server; TRAIN MODEL … RESUME goes on with its checkpoint"
        ),
        false => tracing::warn!(
            model,
            "a training ends with the server, and has no checkpoint"
        ),
    }
}

/// Learns and publishes with checkpoints, over rows that workers write first where these come in no order.
async fn learn_and_publish(
    task: &Arc<FitTask>,
    mut source: Arc<PlanSource>,
    context: &TaskContext,
    (control, started): (&Arc<StatementControl>, Instant),
    listed: &Listed<'_>,
    earlier: Option<EarlierRun>,
) -> Result<(u64, TrainedModel)> {
    let written = WrittenRows::of_run(task, &source.plan, earlier.as_ref(), control);
    let written = Box::pin(written).await?;
    if let Some(rows) = &written {
        source = Arc::new(PlanSource {
            plan: Arc::clone(rows.plan()),
            context: Arc::clone(&source.context),
        });
    }
    let (keeper, checkpoints) = match (task.checkpoint_interval, earlier) {
        (None, None) => (None, None),
        (interval, earlier) => {
            let rows = written.as_ref().map(WrittenRows::of_checkpoint);
            let (keeper, checkpoints) = Keeper::start(task, interval, earlier, rows)?;
            listed.job.keeps(keeper.last_ms());
            (Some(keeper), Some(checkpoints))
        }
    };
    let run_id = keeper.as_ref().map(|keeper| keeper.run().to_owned());
    let control = (control, started);
    let learning = learn(task, source, context, control, listed, checkpoints);
    let outcome = match Box::pin(learning).await {
        Ok(model) => publish(task, &model, run_id.as_deref())
            .await
            .map(|version| (version, model)),
        Err(error) => Err(error),
    };
    let may_go_on = match keeper {
        Some(keeper) => keeper.end(outcome.as_ref().err()).await,
        None => false,
    };
    if let (Some(rows), false) = (written, may_go_on) {
        rows.remove().await;
    }
    outcome
}

/// Learns the model; publishes nothing.
async fn learn(
    task: &Arc<FitTask>,
    source: Arc<PlanSource>,
    context: &TaskContext,
    (control, started): (&Arc<StatementControl>, Instant),
    listed: &Listed<'_>,
    checkpoints: Option<Arc<Checkpoints>>,
) -> Result<TrainedModel> {
    let n_rows = Estimate::of(source.plan.as_ref()).n_rows;
    let place = TrainingPlace::of(task, &source.plan, &source.context)?;
    let request = TrainingRequest {
        estimator: task.estimator,
        options: task.options.clone(),
        source,
        label: task.label.clone(),
        features: None,
        memory: Arc::clone(context.memory_pool()),
        spill: Arc::clone(&context.runtime_env().disk_manager),
        threads: task.threads,
    };
    let reporter = Reporter::new(Arc::clone(task), Arc::clone(control), started, n_rows);
    let mut run = TrainingRun::new(
        task.options.u64("seed"),
        task.compute_for(n_rows),
        control.cancel.clone(),
        Arc::new(move |progress| reporter.report(progress)),
        Arc::new(move || started.elapsed()),
    );
    run.warm_start = task.warm_start.as_ref().map(|last| Arc::clone(&last.model));
    run.checkpoints = checkpoints;
    listed.job.counts(&run.usage);
    let mut model = match place {
        TrainingPlace::Workers(pool) => {
            listed.job.runs_on(&pool);
            train_on(request, pool, &run).await?
        }
        TrainingPlace::Here(reason) => {
            tracing::debug!(reason, "a training stays on this machine");
            train(request, &run).await?
        }
    };
    let starts_anew = |warning: &Warning| warning.code == "no_warm_start";
    model.record.training_run = match &task.warm_start {
        Some(last) if !model.record.warnings.iter().any(starts_anew) => {
            last.record.training_run + 1
        }
        _ => 0,
    };
    model.record.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    model
        .record
        .warnings
        .splice(0..0, task.warnings.iter().cloned());
    run.check_cancelled()?;
    Ok(model)
}

pub(crate) fn warning_notice(warning: &Warning) -> Notice {
    Notice {
        hint: warning.hint.clone(),
        ..Notice::warning(warning.message.clone())
    }
}

/// Stores the version, then lets the catalog name it. Until the last step the model is as it was.
async fn publish(task: &FitTask, model: &TrainedModel, run: Option<&str>) -> Result<u64> {
    let (trained, tensors) = model.to_parts()?;
    let tensors = bytes::Bytes::from(tensors);
    let engine = &task.engine;
    let stored = engine.models.versions(&task.entry.id).await?;
    let newest = stored
        .last()
        .copied()
        .unwrap_or(0)
        .max(task.definition.current_version);
    let mut version = newest + 1;
    loop {
        let manifest = json!({
            "format_version": 1,
            "model": task.display_name(),
            "version": version,
            "statement": task.statement,
            "query": task.definition.query,
            "definition": task.definition,
            "snapshots": task.snapshots,
            "binding": task.binding,
            "run": run,
            "created_at_ms": chrono::Utc::now().timestamp_millis(),
            "auspex_version": env!("CARGO_PKG_VERSION"),
            "trained": trained,
        });
        match engine
            .models
            .publish(&task.entry.id, version, manifest, tensors.clone())
            .await
        {
            Ok(_) => break,
            Err(StorageError::VersionTaken { .. }) => version += 1,
            Err(error) => return Err(error.into()),
        }
    }
    match name_version(task, version).await {
        Ok(()) => Ok(version),
        Err(error) => {
            remove_unnamed(task, &error).await;
            Err(error)
        }
    }
}

/// Removes what was stored of a model that has no entry and gets none.
async fn remove_unnamed(task: &FitTask, error: &Error) {
    let (engine, id) = (&task.engine, &task.entry.id);
    let is_settled = !matches!(error, Error::Storage(error) if !error.is_settled());
    let is_named = engine.catalog.state().by_id(id).is_some();
    if is_settled && !is_named {
        // The error of the commit is the one to tell.
        let _ = engine.models.remove(id).await;
    }
}

/// Puts the catalog entry that makes `version` the current one.
async fn name_version(task: &FitTask, version: u64) -> Result<()> {
    let entry = &task.entry;
    let committed = task.engine.catalog.commit(&task.statement, |state| {
        let found = state.get(&entry.schema, &entry.name);
        let is_same = found.is_some_and(|found| found.id == entry.id);
        let is_new = matches!(
            task.mode,
            FitMode::Create {
                or_replace: false,
                ..
            }
        );
        if !is_same && is_new && (found.is_some() || state.by_id(&entry.id).is_some()) {
            return Err(duplicate(entry));
        }
        let adds = matches!(task.mode, FitMode::Train { .. });
        if !is_same && (adds || found.is_some()) {
            return Err(StorageError::Conflict {
                object: format!("model \"{}\"", entry.name),
            });
        }
        // The rows and options of a TRAIN are its version's alone; the model stays as CREATE and ALTER made it, also
        // while the training ran.
        let mut definition: ModelDefinition = task.definition.clone();
        match found.map(|found| &found.definition) {
            Some(Definition::Model(now)) if matches!(task.mode, FitMode::Train { .. }) => {
                definition.clone_from(now);
            }
            Some(Definition::Model(now)) => {
                definition.aliases.clone_from(&now.aliases);
                definition
                    .dropped_versions
                    .clone_from(&now.dropped_versions);
                definition.current_version = now.current_version;
            }
            _ => {}
        }
        definition.current_version = definition.current_version.max(version);
        let definition = Definition::Model(definition);
        // So may its owner, its comment and the privileges on it.
        let now = match found {
            Some(found) => found.as_ref().clone(),
            None => task.owner.own(state, entry)?,
        };
        Ok(vec![Change::Put(CatalogEntry { definition, ..now })])
    });
    committed.await?;
    Ok(())
}

fn record_metrics(metrics: &ExecutionPlanMetricsSet, model: &TrainedModel) {
    let record = &model.record;
    let count = |name: &'static str, value: u64| {
        let counter = MetricBuilder::new(metrics).counter(name, 0);
        counter.add(usize::try_from(value).unwrap_or(usize::MAX));
    };
    count("training_rows", record.training_rows);
    count("evaluation_rows", record.evaluation_rows);
    count("iterations", record.iterations.len() as u64);
    count("source_passes", record.cost.source_passes);
    count("kept_passes", record.cost.kept_passes);
    count("memory_bytes", record.cost.memory_bytes);
    count("spilled_bytes", record.cost.spilled_bytes);
    count("duration_ms", record.duration_ms);
    if record.cost.kernel_launches > 0 {
        count("kernel_launches", record.cost.kernel_launches);
        count("kernel_us", record.cost.kernel_us);
        count("uploaded_bytes", record.cost.uploaded_bytes);
        count("downloaded_bytes", record.cost.downloaded_bytes);
    }
}

fn result_row(task: &FitTask, version: u64, model: &TrainedModel) -> DfResult<RecordBatch> {
    let number = |value: u64| Arc::new(Int64Array::from(vec![value.cast_signed()]));
    let batch = RecordBatch::try_new(
        output_schema(),
        vec![
            Arc::new(StringArray::from(vec![task.display_name()])),
            number(version),
            number(model.record.training_rows),
            number(model.record.evaluation_rows),
        ],
    )?;
    Ok(batch)
}

/// Stores a definition without a version (`WITH NO TRAIN`).
pub(crate) async fn define_without_training(task: &FitTask) -> Result<()> {
    let entry = &task.entry;
    let committed = task.engine.catalog.commit(&task.statement, |state| {
        let now = match state.get(&entry.schema, &entry.name) {
            Some(found) if found.id != entry.id => return Err(duplicate(entry)),
            Some(found) => found.as_ref().clone(),
            None => task.owner.own(state, entry)?,
        };
        let definition = Definition::Model(task.definition.clone());
        Ok(vec![Change::Put(CatalogEntry { definition, ..now })])
    });
    committed.await?;
    Ok(())
}

fn duplicate(entry: &CatalogEntry) -> StorageError {
    let (schema, name) = (entry.schema.clone(), entry.name.clone());
    StorageError::DuplicateObject {
        kind: ObjectKind::Model,
        schema,
        name,
    }
}
