//! Keeps large values out of plans: `repeat('x', 1000000000)` is computed where the plan is run.
//!
//! In: DataFusion's rule that computes constants; out: the same rule, whose functions fail where the constants of a statement
//! become large. What fails there is left as it is written. A constant is there several times while a plan is made of it,
//! and no pool counts it; what an operator makes is there once, and counted.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;
use crate::memory::folding;

/// The rules with this one around the rule that computes constants.
pub(super) fn with_small_constants(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, SimplifyExpressions::default().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    folding(|| rule.rewrite(plan, config))
}
