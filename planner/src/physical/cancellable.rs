//! Lets operators that compute for long without a pause end when their statement is cancelled.
//!
//! In: a finished physical plan and the statement's token; out: the same plan, in which operators fail
//! at the next batch, and conditions of joins at the next evaluation, once the token is cancelled.
//! Dropping a stream ends it only between two polls, and one poll of an aggregate over a join may last
//! for hours. Plans are wrapped when they are run: `EXPLAIN` and optimizers see none of it. The wrapping also watches what
//! memory rows take (`watch`).

use std::fmt::{Debug, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use datafusion_distributed::{DistributedExec, NetworkBoundaryExt as _};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::batch_rows::{batch_rows, with_batch_rows};
use super::last_row::LastRow;
use super::watch::{Reader, Watch};
use crate::error::Error;

/// The plan, ending soon after `token` is cancelled.
pub(crate) fn cancellable(
    plan: Arc<dyn ExecutionPlan>,
    token: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    cancellable_noting(plan, token, &LastRow::default())
}

/// The same of a plan that workers have a part in, which notes when the coordinator's own part has given its last row.
pub(crate) fn cancellable_noting(
    plan: Arc<dyn ExecutionPlan>,
    token: &CancellationToken,
    last_row: &LastRow,
) -> Result<Arc<dyn ExecutionPlan>> {
    let batch_rows = Some(batch_rows(&plan)?);
    let noted = plan.is::<DistributedExec>().then(|| last_row.clone());
    let plan = wrapped(plan, token, Reader::default(), noted)?;
    Ok(Arc::new(CancellableExec { batch_rows, ..plan }))
}

/// The same for an operator whose rows a reader reads, and for those below it, whose last row may be noted.
fn wrapped(
    plan: Arc<dyn ExecutionPlan>,
    token: &CancellationToken,
    reader: Reader,
    noted_below: Option<LastRow>,
) -> Result<CancellableExec> {
    let own = Reader::new(&plan)?;
    // The steps of a recursion are planned again from inside, by operators that look for their own; what is below a
    // boundary runs on other machines, which end it when nobody reads it.
    let children = if plan.is::<RecursiveQueryExec>() || plan.is_network_boundary() {
        Vec::new()
    } else {
        plan.children().into_iter().cloned().collect()
    };
    let plan = if children.is_empty() {
        plan
    } else {
        let wrapped = |child| -> Result<Arc<dyn ExecutionPlan>> {
            let child = wrapped(child, token, own.clone(), None)?;
            let last_row = noted_below.clone();
            Ok(Arc::new(CancellableExec { last_row, ..child }))
        };
        let children = children.into_iter().map(wrapped);
        let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        plan.replace_children(children.collect::<Result<_>>()?, same)?
    };
    let watch = Watch::new(&plan, own, reader);
    let inner = with_cancellable_condition(plan, token)?;
    Ok(CancellableExec {
        inner,
        token: token.clone(),
        watch,
        batch_rows: None,
        last_row: None,
    })
}

/// A join whose condition ends it: a condition that is never true gives no batch to end at.
fn with_cancellable_condition(
    plan: Arc<dyn ExecutionPlan>,
    token: &CancellationToken,
) -> Result<Arc<dyn ExecutionPlan>> {
    let filtered = |filter: &JoinFilter| {
        let condition = CancellableExpr {
            inner: Arc::clone(filter.expression()),
            token: token.clone(),
        };
        let columns = filter.column_indices().to_vec();
        JoinFilter::new(Arc::new(condition), columns, Arc::clone(filter.schema()))
    };
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(filter) = join.filter()
    {
        return join
            .builder()
            .with_filter(Some(filtered(filter)))
            .build_exec();
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = join.filter()
    {
        let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
        let join = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
            .with_projection_ref(join.projection().clone())
            .with_filter(Some(filtered(filter)))
            .build()?;
        return Ok(Arc::new(join));
    }
    Ok(plan)
}

fn cancelled() -> DataFusionError {
    Error::Cancelled.into()
}

/// Stands for another operator in everything but the end of its streams.
struct CancellableExec {
    inner: Arc<dyn ExecutionPlan>,
    token: CancellationToken,
    watch: Watch,
    /// Of the plan's last operator, the most rows that batches of the plan should have.
    batch_rows: Option<usize>,
    /// Notes that it has given its last row.
    last_row: Option<LastRow>,
}

impl CancellableExec {
    fn around(&self, inner: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(CancellableExec {
            inner,
            token: self.token.clone(),
            watch: self.watch.clone(),
            batch_rows: self.batch_rows,
            last_row: self.last_row.clone(),
        })
    }
}

impl Debug for CancellableExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl DisplayAs for CancellableExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_as(format, f)
    }
}

impl ExecutionPlan for CancellableExec {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.inner.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inner.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).replace_children(children, options)?;
        Ok(self.around(inner))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = Arc::clone(&self.inner).reset_state()?;
        Ok(self.around(inner))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.inner.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.inner.statistics_from_inputs(inputs, args)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.inner.metrics()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let context = match self.batch_rows {
            Some(n_rows) => with_batch_rows(&context, n_rows),
            None => context,
        };
        let pool = Arc::clone(context.memory_pool());
        let stream = self.inner.execute(partition, context)?;
        let (schema, token) = (stream.schema(), self.token.clone());
        let stream = self.watch.stream(stream, partition, &pool);
        let batches = stream.map(move |batch| {
            if token.is_cancelled() {
                Err(cancelled())
            } else {
                batch
            }
        });
        let batches: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        Ok(match &self.last_row {
            Some(last_row) => last_row.noted(batches),
            None => batches,
        })
    }
}

/// Stands for a condition, and fails once the token is cancelled.
struct CancellableExpr {
    inner: Arc<dyn PhysicalExpr>,
    token: CancellationToken,
}

impl Debug for CancellableExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(&self.inner, f)
    }
}

impl Display for CancellableExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Display::fmt(&self.inner, f)
    }
}

impl PartialEq for CancellableExpr {
    fn eq(&self, other: &CancellableExpr) -> bool {
        self.inner.as_ref() == other.inner.as_ref()
    }
}

impl Eq for CancellableExpr {}

impl Hash for CancellableExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for CancellableExpr {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.token.is_cancelled() {
            return Err(cancelled());
        }
        self.inner.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next();
        Ok(Arc::new(CancellableExpr {
            inner: inner.unwrap_or_else(|| Arc::clone(&self.inner)),
            token: self.token.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_sql(f)
    }
}
