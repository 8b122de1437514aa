//! The order in which a training query gives its rows.
//!
//! In: a bound training query; out: the same in the form in which a training reads it. Rows of scans, filters and
//! projections come in the order of their sources, in as many partitions as any; those of other operators in one.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Distinct, Expr, LogicalPlan, WindowFrameUnits, WindowFunctionDefinition,
};

use super::BoundQuery;
use crate::engine::Engine;
use crate::optimize::with_partitions;

/// Aggregates whose value the order of their rows decides.
const OF_ORDER: [&str; 6] = [
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "nth_value",
    "any_value",
];
/// Functions of windows that give the same for all rows which ORDER BY finds equal.
const OF_PEERS: [&str; 4] = ["rank", "dense_rank", "percent_rank", "cume_dist"];

/// A training query in its last form: where operators bring rows of several partitions together, they come in the
/// order in which threads happen to have them, so that such a query has one partition.
pub(super) fn settled(rows: BoundQuery) -> BoundQuery {
    if is_apart(&rows.plan) {
        return rows;
    }
    let mut config = rows.state.config().clone();
    with_partitions(config.options_mut(), 1);
    config.options_mut().optimizer.repartition_file_scans = false;
    let state = SessionStateBuilder::new_from_existing(Arc::unwrap_or_clone(rows.state))
        .with_config(config)
        .build();
    let state = Arc::new(state);
    BoundQuery { state, ..rows }
}

/// A settled query planned as any other, in any number of partitions; `None` if its rows come in an order of their own,
/// which a training must keep, or if the order in which an operator happens to have its rows decides what they are.
pub(super) fn in_no_order(engine: &Engine, rows: &BoundQuery) -> Option<BoundQuery> {
    if is_apart(&rows.plan) || is_ordered(&rows.plan) || takes_any(&rows.plan) {
        return None;
    }
    let mut config = rows.state.config().clone();
    config.options_mut().optimizer.repartition_file_scans = true;
    // Without the rule that divides the scans of trainings.
    let rules = engine.base_state().physical_optimizers().to_vec();
    let state = SessionStateBuilder::new_from_existing(rows.state.as_ref().clone())
        .with_config(config)
        .with_physical_optimizer_rules(rules)
        .build();
    Some(BoundQuery {
        plan: rows.plan.clone(),
        state: Arc::new(state),
        findings: rows.findings.clone(),
        names: Vec::new(),
        origins: Vec::new(),
    })
}

/// Whether no operator brings rows of several partitions together.
fn is_apart(plan: &LogicalPlan) -> bool {
    let mut is_apart = true;
    let walk = plan.apply_with_subqueries(|node| {
        is_apart &= matches!(
            node,
            LogicalPlan::TableScan(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Projection(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::Values(_)
                | LogicalPlan::EmptyRelation(_)
                | LogicalPlan::Unnest(_)
                // The barrier of a view.
                | LogicalPlan::Extension(_)
        ) && !node.expressions().iter().any(asks_a_query);
        Ok(TreeNodeRecursion::Continue)
    });
    is_apart && walk.is_ok()
}

/// Whether the last operator that orders rows is followed by none that brings rows together.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_) => plan.inputs().into_iter().any(is_ordered),
        _ => false,
    }
}

/// Whether some operator takes the first of its rows, or counts them, where others could have come first.
fn takes_any(plan: &LogicalPlan) -> bool {
    let mut takes_any = false;
    let walk = plan.apply_with_subqueries(|node| {
        let is_of_order = |expr: &Expr| Ok(is_of_order(expr, node));
        takes_any |= matches!(node, LogicalPlan::Limit(_))
            || matches!(node, LogicalPlan::Distinct(Distinct::On(_)))
            || node
                .expressions()
                .iter()
                .any(|expr| expr.exists(is_of_order).unwrap_or(true));
        Ok(TreeNodeRecursion::Continue)
    });
    takes_any || walk.is_err()
}

/// Whether the order of the rows decides the value of an aggregate or a window. Of rows that are all the same it does not.
fn is_of_order(expr: &Expr, node: &LogicalPlan) -> bool {
    match expr {
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let is_key = |arg: &Expr| {
                let mut keys = params.order_by.iter();
                matches!(arg, Expr::Literal(..)) || keys.any(|key| key.expr == *arg)
            };
            OF_ORDER.contains(&func.name()) && !params.args.iter().all(is_key)
        }
        Expr::WindowFunction(window) => {
            let frame = &window.params.window_frame;
            let is_of_peers = match &window.fun {
                WindowFunctionDefinition::WindowUDF(function) => {
                    OF_PEERS.contains(&function.name())
                }
                WindowFunctionDefinition::AggregateUDF(function) => {
                    let is_whole =
                        frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
                    let counts_rows = frame.units == WindowFrameUnits::Rows && !is_whole;
                    !OF_ORDER.contains(&function.name()) && !counts_rows
                }
            };
            !is_of_peers && !tells_apart(&window.params, node)
        }
        _ => false,
    }
}

/// Whether all columns of the rows are keys of a window.
fn tells_apart(window: &WindowFunctionParams, node: &LogicalPlan) -> bool {
    let order = window.order_by.iter().map(|key| &key.expr);
    let keys: Vec<&Expr> = window.partition_by.iter().chain(order).collect();
    let columns = node.inputs().into_iter();
    let mut columns = columns.flat_map(|input| input.schema().columns());
    columns.all(|column| keys.contains(&&Expr::Column(column)))
}

/// Whether an expression has a subquery, which becomes a join.
fn asks_a_query(expr: &Expr) -> bool {
    let is_query = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    };
    expr.exists(is_query).unwrap_or(true)
}
