//! The physical operators that SQL lacks, the planner that makes them of their logical twins, and how
//! plans are started.

mod barrier;
mod batch_rows;
mod cancellable;
mod fit_model;
mod last_row;
mod plan_source;
mod ration;
mod report;
mod sent_rows;
mod watch;
mod write_files;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::logical::{BarrierNode, FitModelNode, GivenRowsNode};
use crate::statement_run::StatementControl;
pub(crate) use barrier::BarrierExec;
pub(crate) use cancellable::{cancellable, cancellable_noting};
pub(crate) use fit_model::{FitModelExec, define_without_training, warning_notice};
pub(crate) use last_row::LastRow;
pub(crate) use plan_source::PlanSource;
pub(crate) use ration::rows_at_first;
pub(crate) use sent_rows::sent_rows;
pub(crate) use write_files::{WriteFilesExec, WriteTarget, files_written};

/// Starts a plan; its rows end with an error when the statement of `state` is cancelled.
pub(crate) async fn open(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<SendableRecordBatchStream> {
    let physical = ready(state, plan).await?;
    execute_stream(physical, Arc::new(TaskContext::from(state)))
}

/// A plan that is ready to be started; its rows end with an error when the statement of `state` is cancelled.
pub(crate) async fn ready(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>> {
    let physical = state.create_physical_plan(plan).await?;
    match state.config().get_extension::<StatementControl>() {
        Some(control) => cancellable(physical, &control.cancel),
        None => Ok(physical),
    }
}

/// Plans SQL and the operators of this crate.
#[derive(Debug)]
pub(crate) struct AuspexQueryPlanner;

#[async_trait]
impl QueryPlanner for AuspexQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(ModelPlanner)])
            .create_physical_plan(plan, session)
            .await
    }
}

/// Plans the operators of this crate.
#[derive(Debug)]
struct ModelPlanner;

#[async_trait]
impl ExtensionPlanner for ModelPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(given) = node.as_any().downcast_ref::<GivenRowsNode>() {
            let rows = given.known()?.clone();
            let schema = rows.schema();
            let source = MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?;
            return Ok(Some(source));
        }
        let fit = node.as_any().downcast_ref::<FitModelNode>();
        Ok(match (fit, inputs) {
            (Some(fit), [input]) => Some(Arc::new(FitModelExec::new(
                Arc::clone(&fit.task),
                Arc::clone(input),
            ))),
            (None, [input]) if node.as_any().is::<BarrierNode>() => {
                Some(Arc::new(BarrierExec::new(Arc::clone(input))))
            }
            _ => None,
        })
    }
}
