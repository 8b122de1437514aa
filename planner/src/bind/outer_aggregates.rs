//! Aggregates in a subquery that read columns of the query around it alone: `SELECT (SELECT sum(t.x) FROM u) FROM t`. In
//! PostgreSQL such an aggregate is one of that query, here it would be one of the subquery's rows.
//!
//! In: a plan as the planner gives it; out: nothing, or the refusal.

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::Error;

/// What stands for something else than a call of an aggregate: `ARRAY(SELECT t.x FROM u)`, the one row of a look-up by a key.
const SPELT: [&str; 2] = ["array_agg", "first_value"];

/// Fails where a subquery has such an aggregate.
pub(super) fn refuse(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Aggregate(aggregate) = node {
            aggregate.aggr_expr.iter().try_for_each(check)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn check(expr: &Expr) -> Result<()> {
    expr.apply(|expr| match expr {
        Expr::AggregateFunction(call) if is_of_outer_query(call)? => {
            let message = format!(
                "{} of columns of the outer query alone is not supported in a subquery",
                call.func.name()
            );
            let hint = "Such an aggregate is one of the outer query: compute it there.";
            Err(Error::invalid("0A000", message, Some(hint)).into())
        }
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(())
}

/// Whether a call reads some columns, all of them of a query further out. Those of a subquery within it are not looked at.
fn is_of_outer_query(call: &AggregateFunction) -> Result<bool> {
    if SPELT.contains(&call.func.name()) {
        return Ok(false);
    }
    let (mut reads_outer, mut reads_own) = (false, false);
    let params = &call.params;
    let ordered = params.order_by.iter().map(|key| &key.expr);
    let read = params.args.iter().chain(params.filter.as_deref());
    for expr in read.chain(ordered) {
        expr.apply(|expr| {
            reads_outer |= matches!(expr, Expr::OuterReferenceColumn(..));
            reads_own |= matches!(
                expr,
                Expr::Column(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            );
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(reads_outer && !reads_own)
}
