//! What a subquery gives of rows that it finds nothing for is of the type of what it gives else: `(SELECT coalesce(json_agg(x),
//! '[]') FROM u WHERE u.id = t.id)` is json where `u` has no such row, too.
//!
//! In: a logical plan in which DataFusion has made joins of correlated subqueries, with a CASE for such rows, of which the planner
//! takes the type of values alone; out: the same with the mark of json, of uuids or of an enum on the CASE.

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::last_rule::LastRule;
use super::renamed::rewritten;
use crate::functions::with_mark;

/// The column that is NULL in rows that a subquery has found nothing for, as DataFusion calls it.
const MATCHED: &str = "__always_true";

/// The rule, which runs where subqueries are joins.
pub(super) const MISSING_GROUPS: LastRule = LastRule {
    name: "missing_groups",
    rewrite: with_marks,
};

fn with_marks(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut asks = false;
    plan.apply_expressions(|expr| {
        asks |= expr.exists(|expr| Ok(matches!(expr, Expr::Case(case) if is_of_missing(case))))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !asks {
        return Ok(Transformed::no(plan));
    }
    rewritten(plan, |expr, schema| Ok(mark(expr, schema)))
}

/// Whether the first condition asks whether nothing was found.
fn is_of_missing(case: &Case) -> bool {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == MATCHED);
    let mut conditions = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
    matches!(conditions.next(), Some(Expr::IsNull(found)) if is_column(found))
}

/// A mark on such a CASE. One that has it is left alone, with what is in it.
fn mark(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let marked = |case: &Case| is_of_missing(case).then(|| with_mark(case.clone(), schema));
    if let Expr::ScalarFunction(call) = &expr
        && let Some(Expr::Case(case)) = call.args.first()
        && marked(case).as_ref() == Some(&expr)
    {
        return Transformed::new(expr, false, TreeNodeRecursion::Jump);
    }
    let Expr::Case(case) = &expr else {
        return Transformed::no(expr);
    };
    match marked(case).filter(|marked| *marked != expr) {
        Some(marked) => Transformed::new(marked, true, TreeNodeRecursion::Jump),
        None => Transformed::no(expr),
    }
}
