//! How many rows a plan's batches have where rows are known to be wide, or memory is scarce.
//!
//! In: a finished plan, and the pool in which it runs; out: a number of rows, which is DataFusion's 8,192 for most. Joins and filters
//! gather so many rows whatever their width, and account for none of them: of rows of 1 MB they would gather 8 GB. A sort that spills
//! must hold two batches of each of its parts.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;

use crate::memory::limit_bytes;

/// What the rows of a batch should take at most.
const BATCH_BYTES: usize = 16 << 20;
/// Rows up to this width are left alone.
const WIDE_BYTES: usize = 2 << 10;
/// What a text is taken for of which nothing is known.
const USUAL_BYTES: usize = 16;
/// In a pool below this size, no row is expected to be narrow.
const SMALL_POOL_BYTES: usize = 128 << 20;
const ROWS_IN_SMALL_POOL: usize = 1024;
/// How much larger rows are in memory than in files that compress them.
const COMPRESSION: usize = 2;

/// The most rows that a plan's batches should have, as far as the plan tells.
pub(super) fn batch_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let widest = widest(plan)?;
    Ok(match widest > WIDE_BYTES {
        true => (BATCH_BYTES / widest).max(1),
        false => usize::MAX,
    })
}

/// The same task with batches of no more rows, and of no more than its memory suggests.
pub(super) fn with_batch_rows(context: &Arc<TaskContext>, n_rows: usize) -> Arc<TaskContext> {
    let is_scarce = limit_bytes(context.memory_pool()) < SMALL_POOL_BYTES;
    let n_rows = match is_scarce {
        true => n_rows.min(ROWS_IN_SMALL_POOL),
        false => n_rows,
    };
    if n_rows >= context.session_config().batch_size() {
        return Arc::clone(context);
    }
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(n_rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}

/// The bytes of the widest rows of a plan, as far as files and expressions tell.
fn widest(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let mut widest = file_scan(plan).map_or(0, file_width);
    plan.apply_expressions(&mut |root| {
        widest = widest.max(width(root)?);
        Ok(TreeNodeRecursion::Continue)
    })?;
    for child in plan.children() {
        widest = widest.max(self::widest(child)?);
    }
    Ok(widest)
}

/// The files that an operator scans.
pub(super) fn file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let source = plan.downcast_ref::<DataSourceExec>()?;
    source.data_source().downcast_ref::<FileScanConfig>()
}

/// The bytes of a row of files in memory; 0 if they do not tell.
pub(super) fn file_width(files: &FileScanConfig) -> usize {
    let mut n_bytes = 0_u64;
    let mut n_rows = 0_u64;
    for file in files.file_groups.iter().flat_map(|group| group.iter()) {
        let statistics = file.statistics.as_ref();
        let known = statistics.and_then(|statistics| statistics.num_rows.get_value());
        if let Some(known) = known {
            n_bytes += file.object_meta.size;
            n_rows += *known as u64;
        }
    }
    let width = usize::try_from(n_bytes / n_rows.max(1)).unwrap_or(usize::MAX);
    width.saturating_mul(COMPRESSION)
}

/// The bytes of a value of an expression, as far as its constants tell.
pub(super) fn width(root: &Arc<dyn PhysicalExpr>) -> Result<usize> {
    if let Some(constant) = root.downcast_ref::<Literal>() {
        return Ok(constant.value().size());
    }
    let mut widest = 0;
    root.apply(|expr| {
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            widest = widest.max(width_of_call(call));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(widest)
}

fn width_of_call(call: &ScalarFunctionExpr) -> usize {
    let constant = |idx: usize| {
        let arg = call.args().get(idx)?.downcast_ref::<Literal>()?;
        Some(arg.value())
    };
    let count = match constant(1) {
        Some(ScalarValue::Int64(Some(n))) => usize::try_from(*n).unwrap_or(0),
        _ => return 0,
    };
    let text = match constant(0) {
        Some(ScalarValue::Utf8(Some(text))) => text.len(),
        _ => USUAL_BYTES,
    };
    match call.fun().name() {
        "repeat" => count.saturating_mul(text),
        "lpad" | "rpad" => count,
        // An element, and its place while it is made.
        "array_repeat" | "array_resize" => count.saturating_mul(16),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::config::ConfigOptions;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::physical_expr::expressions::{col, lit};
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

    use super::*;

    fn rows_of(expr: Arc<dyn PhysicalExpr>) -> usize {
        let rows = Arc::new(EmptyExec::new(schema()));
        let columns = vec![ProjectionExpr::new(expr, "x".to_owned())];
        let plan: Arc<dyn ExecutionPlan> =
            Arc::new(ProjectionExec::try_new(columns, rows).unwrap());
        batch_rows(&plan).unwrap()
    }

    fn schema() -> Arc<Schema> {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]))
    }

    fn repeated(n: i64) -> Arc<dyn PhysicalExpr> {
        let args = vec![col("a", &schema()).unwrap(), lit(n)];
        let call = ScalarFunctionExpr::try_new(
            datafusion::functions::string::repeat(),
            args,
            &schema(),
            Arc::new(ConfigOptions::default()),
        );
        Arc::new(call.unwrap())
    }

    #[test]
    fn wide_rows_are_few_in_a_batch() {
        assert_eq!(rows_of(col("a", &schema()).unwrap()), usize::MAX);
        assert_eq!(rows_of(repeated(-1)), usize::MAX);
        assert_eq!(rows_of(repeated(100)), usize::MAX);
        assert_eq!(rows_of(repeated(1 << 16)), 16);
        assert_eq!(rows_of(repeated(1 << 40)), 1);
        assert!(rows_of(lit("x".repeat(1 << 20))) <= 16);
    }

    #[test]
    fn batches_never_become_larger() {
        let context = Arc::new(TaskContext::default());
        let usual = context.session_config().batch_size();
        let of = |n_rows| {
            with_batch_rows(&context, n_rows)
                .session_config()
                .batch_size()
        };
        assert_eq!((of(10), of(usual + 1)), (10, usual));
    }

    #[test]
    fn little_memory_makes_small_batches() {
        let of = |n_bytes| {
            let runtime = RuntimeEnvBuilder::new().with_memory_limit(n_bytes, 1.0);
            let context = TaskContext::default().with_runtime(runtime.build_arc().unwrap());
            let context = with_batch_rows(&Arc::new(context), usize::MAX);
            context.session_config().batch_size()
        };
        assert_eq!((of(80 << 20), of(1 << 30)), (ROWS_IN_SMALL_POOL, 8192));
    }
}
