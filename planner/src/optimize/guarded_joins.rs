//! Joins without an equality whose conditions guard one another.
//!
//! In: a physical plan; out: whether it has such a join. DataFusion's rule for projections computes what a condition asks of
//! one side alone before the join: in `ON a.x <> 0 AND 1 / a.x > b.y`, the quotient of all rows of `a`. Where there is such a
//! condition it is left whole, so that `guards` find it.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;

use super::failing::may_fail;

/// Whether some join has a condition of which a part may fail.
pub(super) fn has_guarded_condition(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        let join = node.downcast_ref::<NestedLoopJoinExec>();
        let filter = join.and_then(NestedLoopJoinExec::filter);
        found |= filter.map(is_guarded).transpose()?.unwrap_or(false);
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Whether a condition joins several by AND or OR, of which a part that reads one side may fail.
fn is_guarded(filter: &JoinFilter) -> Result<bool> {
    let (mut is_joined, mut is_risky) = (false, false);
    filter.expression().apply(|expr| {
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            is_joined |= matches!(binary.op(), Operator::And | Operator::Or);
        }
        if may_fail(expr, filter.schema()) {
            let columns = collect_columns(expr);
            let places = columns.iter();
            let places = places.filter_map(|column| filter.column_indices().get(column.index()));
            let sides: Vec<_> = places.map(|place| place.side).collect();
            is_risky |= sides.windows(2).all(|pair| pair[0] == pair[1]);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(is_joined && is_risky)
}
