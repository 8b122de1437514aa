//! Names each key of an aggregate's order once: `array_agg(x ORDER BY a, a DESC, b)` is ordered by `a, b`.
//!
//! In: a logical plan; out: the same in which a key that an earlier one settles is left out, DISTINCT ON included, which is
//! `first_value` by then. DataFusion's accumulators compute the values of all keys and compare by the different ones, so that
//! the values of a repeated key were taken for those of the next.

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::last_rule::LastRule;
use super::renamed::rewritten;

/// The rule, which runs where keys are not spelled anew any more, which may make two of them alike.
pub(super) const ORDERED_ONCE: LastRule = LastRule {
    name: "ordered_once",
    rewrite: without_repeats,
};

fn without_repeats(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Aggregate(_) = &plan else {
        return Ok(Transformed::no(plan));
    };
    rewritten(plan, |expr, _| {
        let Expr::AggregateFunction(mut function) = expr else {
            return Ok(Transformed::no(expr));
        };
        let keys = &mut function.params.order_by;
        let n_keys = keys.len();
        let mut known: Vec<Expr> = Vec::with_capacity(n_keys);
        keys.retain(|key| is_new(&mut known, key));
        let is_shorter = keys.len() < n_keys;
        // Nothing stands in a call of an aggregate that is one.
        let found = Expr::AggregateFunction(function);
        Ok(Transformed::new(found, is_shorter, TreeNodeRecursion::Jump))
    })
}

fn is_new(known: &mut Vec<Expr>, key: &Sort) -> bool {
    let is_new = !known.contains(&key.expr);
    if is_new {
        known.push(key.expr.clone());
    }
    is_new
}
