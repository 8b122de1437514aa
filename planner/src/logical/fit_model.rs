//! The operator that learns a model from the rows of its input and publishes a version.
//!
//! In: the training rows; out: one row that names the version. Its input is an ordinary plan, so
//! that filters and projections are pushed into the scan.

use std::cmp::Ordering;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auspex_ml::compute::{BLOCK_ROWS, Compute, Work};
use auspex_ml::estimator::Estimator;
use auspex_ml::options::Options;
use auspex_ml::run::Warning;
use auspex_ml::trained_model::TrainedModel;
use auspex_ml::training::SampleShape;
use auspex_storage::{CatalogEntry, ModelDefinition};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::access::HeldRole;
use crate::bind::BoundQuery;
use crate::checkpoints::EarlierRun;
use crate::distributed::TrainingFigures;
use crate::engine::Engine;

/// What a training does to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum FitMode {
    /// Adds or replaces the model.
    Create {
        /// An existing model gets a new version.
        or_replace: bool,
        /// Only the definition is stored.
        no_train: bool,
    },
    /// Adds a version to an existing model.
    Train {
        /// The statement does not wait for the version.
        in_background: bool,
    },
}

/// Everything that is fixed before a training runs.
pub(crate) struct FitTask {
    pub(crate) engine: Arc<Engine>,
    pub(crate) process_id: i32,
    pub(crate) threads: usize,
    pub(crate) entry: CatalogEntry,
    pub(crate) definition: ModelDefinition,
    pub(crate) mode: FitMode,
    pub(crate) statement: String,
    pub(crate) estimator: &'static dyn Estimator,
    pub(crate) options: Options,
    /// The device that computes, where it does not depend on the rows.
    pub(crate) compute: Compute,
    pub(crate) label: Option<String>,
    pub(crate) shape: SampleShape,
    pub(crate) warm_start: Option<Arc<TrainedModel>>,
    pub(crate) snapshots: serde_json::Value,
    /// What bound its query beside the tables, for the record.
    pub(crate) binding: serde_json::Value,
    /// Bytes of files that it must read to run on the cluster's workers.
    pub(crate) min_distributed_bytes: u64,
    /// How often checkpoints are written; `None`: never.
    pub(crate) checkpoint_interval: Option<Duration>,
    /// What it goes on after, until it runs.
    pub(crate) earlier: Mutex<Option<EarlierRun>>,
    /// Its query as any other is planned, if its rows come in no order that it must keep.
    pub(crate) in_no_order: Option<BoundQuery>,
    /// What workers did for it.
    pub(crate) figures: TrainingFigures,
    /// Whose it is.
    pub(crate) user: HeldRole,
    /// Whose the model is, if it is new.
    pub(crate) owner: HeldRole,
    /// What was surprising before any row was read; kept with the version.
    pub(crate) warnings: Vec<Warning>,
}

impl FitTask {
    /// The model's name as statements write it.
    pub(crate) fn display_name(&self) -> String {
        if self.entry.schema == "public" {
            self.entry.name.clone()
        } else {
            format!("{}.{}", self.entry.schema, self.entry.name)
        }
    }

    /// The device that computes over about so many rows.
    pub(crate) fn compute_for(&self, n_rows: Option<usize>) -> Compute {
        if let Some(reason) = self.estimator.spec().tags.cpu_only {
            return self.compute.cpu_under_auto(reason);
        }
        let passes = self.estimator.passes(&self.options, &self.shape);
        self.compute.decided(&Work {
            n_rows: n_rows.map(|n_rows| n_rows as u64),
            row_bytes: self.shape.sample_bytes as u64,
            n_passes: passes.source + passes.kept,
            beside_device: self.estimator.beside_device(&self.options, &self.shape),
            call_rows: BLOCK_ROWS,
            n_threads: self.threads as u64,
        })
    }
}

impl Debug for FitTask {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "FitTask({} {})",
            self.estimator.spec().name,
            self.display_name()
        )
    }
}

/// Learns a model.
#[derive(Debug, Clone)]
pub(crate) struct FitModelNode {
    pub(crate) task: Arc<FitTask>,
    pub(crate) input: LogicalPlan,
    schema: DFSchemaRef,
}

impl FitModelNode {
    pub(crate) fn new(task: Arc<FitTask>, input: LogicalPlan) -> Result<FitModelNode> {
        let schema = Arc::new(DFSchema::try_from(output_schema().as_ref().clone())?);
        Ok(FitModelNode {
            task,
            input,
            schema,
        })
    }
}

/// The one row of a training.
pub(crate) fn output_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("version", DataType::Int64, false),
        Field::new("training_rows", DataType::Int64, false),
        Field::new("evaluation_rows", DataType::Int64, false),
    ]))
}

impl PartialEq for FitModelNode {
    fn eq(&self, other: &FitModelNode) -> bool {
        Arc::ptr_eq(&self.task, &other.task) && self.input == other.input
    }
}

impl Eq for FitModelNode {}

impl PartialOrd for FitModelNode {
    fn partial_cmp(&self, other: &FitModelNode) -> Option<Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl Hash for FitModelNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.task.statement.hash(state);
        self.input.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for FitModelNode {
    fn name(&self) -> &str {
        "FitModel"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (name, spec) = (self.task.display_name(), self.task.estimator.spec());
        write!(f, "FitModel: model={name}, estimator={}", spec.name)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<FitModelNode> {
        let input = inputs.pop().ok_or_else(|| {
            datafusion::error::DataFusionError::Internal("FitModel has one input".to_owned())
        })?;
        FitModelNode::new(Arc::clone(&self.task), input)
    }
}
