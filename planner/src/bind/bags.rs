//! INTERSECT ALL and EXCEPT ALL count the copies of a row.
//!
//! In: a plan in which they are joins that only look for a row like it; out: joins in which the first copy of the left side
//! meets the first of the right side, the second the second, and so on.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt as _, Join, LogicalPlan, LogicalPlanBuilder};

/// The number of a row among those like it, on each side. What compares them may become a filter, in which one name would be
/// that of both.
const COPIES: [&str; 2] = ["__auspex_left_copy", "__auspex_right_copy"];

/// Rewrites a plan.
pub(super) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_of_bags(&join) => Ok(Transformed::yes(numbered(join)?)),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(counted.data)
}

/// Whether a join is what the planner makes of INTERSECT ALL or EXCEPT ALL: it alone compares all columns and takes NULLs
/// for equal. Without ALL the left side is made distinct first.
fn is_of_bags(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && join.on.len() == join.left.schema().fields().len()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
        && !is_numbered(join)
}

/// Whether a join counts copies already: that of a view, whose plan was bound before.
fn is_numbered(join: &Join) -> bool {
    let number = Expr::Column(Column::from_name(COPIES[0]));
    join.on.last().is_some_and(|(left, _)| *left == number)
}

fn numbered(mut join: Join) -> Result<LogicalPlan> {
    let columns = columns(&join.left);
    for (side, copy) in [&mut join.left, &mut join.right].into_iter().zip(COPIES) {
        *side = with_copies(side.as_ref().clone(), copy)?.into();
    }
    let [left, right] = COPIES.map(|copy| Expr::Column(Column::from_name(copy)));
    join.on.push((left, right));
    let join = LogicalPlan::Join(join).recompute_schema()?;
    LogicalPlanBuilder::from(join).project(columns)?.build()
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    let fields = plan.schema().iter();
    fields.map(|field| Expr::Column(field.into())).collect()
}

fn with_copies(plan: LogicalPlan, copy: &str) -> Result<LogicalPlan> {
    let number = row_number().partition_by(columns(&plan)).build()?;
    LogicalPlanBuilder::from(plan)
        .window(vec![number.alias(copy)])?
        .build()
}
