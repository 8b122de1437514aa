//! ORDER BY of intervals goes by their length.
//!
//! In: a plan whose sorts compare intervals field by field, so that 1000 hours come before 29 days; out: the same with
//! keys that are in PostgreSQL's order.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::{ExprSchemable as _, LogicalPlan};

/// Rewrites a plan.
pub(super) fn ordered(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let key = state.udf("interval_key")?;
    let ordered = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Sort(mut sort) = node else {
            return Ok(Transformed::no(node));
        };
        for item in &mut sort.expr {
            // A parameter has no type yet.
            let data_type = item.expr.get_type(sort.input.schema());
            if matches!(data_type, Ok(DataType::Interval(_))) {
                item.expr = key.call(vec![item.expr.clone()]);
            }
        }
        Ok(Transformed::yes(LogicalPlan::Sort(sort)))
    })?;
    Ok(ordered.data)
}
