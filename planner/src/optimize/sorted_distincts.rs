//! Leaves DISTINCT to the aggregates that sort what they gather: `array_agg(DISTINCT x)`.
//!
//! In: DataFusion's rule that groups by the argument of DISTINCT aggregates first, so that these gather what the groups happen
//! to come in; out: the same rule for all plans but those. The others, such as `count(DISTINCT x)`, have no order.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with this one around the rule that groups by the argument of DISTINCT aggregates.
pub(super) fn with_sorted_distincts(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, SingleDistinctToGroupBy::new().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Aggregate(node) if node.aggr_expr.iter().any(sorts) => {
            Ok(Transformed::no(plan))
        }
        _ => rule.rewrite(plan, config),
    }
}

fn sorts(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call)
        if call.params.distinct && call.func.name() == "array_agg")
}
