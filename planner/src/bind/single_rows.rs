//! Scalar subqueries that look up one row for each outer row: `(SELECT d.name FROM dept d WHERE d.id = e.dept_id)`.
//!
//! In: a plan whose correlated scalar subqueries give rows as they are, which the planner refuses; out: a plan in which
//! they are aggregates, which it turns into joins: of the one value that there may be, or, behind `LIMIT 1`, of the first.
//! On a cluster it turns those that read no outer columns into joins, too, which take however many rows there are: they
//! become such aggregates as well.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, LogicalPlanBuilder, SortExpr, Subquery};
use datafusion::logical_expr::{FetchType, SkipType};

use crate::functions::{only_value, single_value};

/// What the value is called: the join has the columns of the key beside it, of which it may be one.
const VALUE: &str = "__auspex_value";

/// Rewrites a plan that `state` will optimize.
pub(super) fn looked_up(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let options = &state.config().options().optimizer;
    let asks_apart = options.enable_physical_uncorrelated_scalar_subquery;
    let done = plan.transform_up_with_subqueries(|node| {
        // Columns are known by the names of their expressions; what rows are sorted by makes none.
        let keeps_names = !matches!(node, LogicalPlan::Sort(_));
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let done = expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(query) if is_look_up(&query, asks_apart) => {
                    let (row, is_checked) = one_row(query.subquery.as_ref())?;
                    let subquery = Arc::new(row);
                    let value = Expr::ScalarSubquery(Subquery { subquery, ..query });
                    Ok(Transformed::yes(match is_checked {
                        true => value,
                        false => only_value().call(vec![value]),
                    }))
                }
                expr => Ok(Transformed::no(expr)),
            })?;
            Ok(match keeps_names && done.transformed {
                true => done.update_data(|expr| name.restore(expr)),
                false => done,
            })
        })
    })?;
    Ok(done.data)
}

/// Whether a subquery of one column becomes a join and may give several rows. If it reads no outer columns, it becomes
/// one unless it is asked apart from the rows around it.
fn is_look_up(query: &Subquery, asks_apart: bool) -> bool {
    let plan = query.subquery.as_ref();
    let gives_one = plan.max_rows() == Some(1);
    let becomes_look_up = match is_correlated(query) {
        true => !gives_one || matches!(plan, LogicalPlan::Limit(_)),
        false => !gives_one && !asks_apart,
    };
    becomes_look_up && plan.schema().fields().len() == 1
}

/// Whether a subquery, or one in it, reads columns of a query around it.
fn is_correlated(query: &Subquery) -> bool {
    if !query.outer_ref_columns.is_empty() {
        return true;
    }
    let mut is_correlated = false;
    let walk = query.subquery.apply_with_subqueries(|node| {
        is_correlated |= node.contains_outer_reference();
        Ok(TreeNodeRecursion::Continue)
    });
    is_correlated && walk.is_ok()
}

/// The same rows as one, and whether it holds the value itself: else a struct that tells how many rows there were.
fn one_row(plan: &LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let (input, value, is_checked) = match plan {
        LogicalPlan::Limit(limit) if is_first(limit) => {
            let (input, value, order) = ordered(&limit.input, value);
            (input, first_value(value, order), true)
        }
        _ => (plan, single_value().call(vec![value]), false),
    };
    let row = LogicalPlanBuilder::from(input.clone())
        .aggregate(Vec::<Expr>::new(), vec![value.alias(VALUE)])?
        .project(vec![Expr::Column(Column::from_name(VALUE))])?
        .build()?;
    Ok((row, is_checked))
}

fn is_first(limit: &Limit) -> bool {
    matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(1))))
        && matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
}

/// The rows below a sort, the value over them, and their order.
fn ordered(plan: &LogicalPlan, value: Expr) -> (&LogicalPlan, Expr, Vec<SortExpr>) {
    match plan {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), value, sort.expr.clone()),
        // What is sorted by is not selected.
        LogicalPlan::Projection(projection) => {
            match (projection.input.as_ref(), projection.expr.as_slice()) {
                (LogicalPlan::Sort(sort), [expr]) => {
                    let value = expr.clone().unalias();
                    (sort.input.as_ref(), value, sort.expr.clone())
                }
                _ => (plan, value, vec![]),
            }
        }
        _ => (plan, value, vec![]),
    }
}
