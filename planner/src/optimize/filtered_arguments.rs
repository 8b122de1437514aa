//! Computes what an aggregate is given of the rows that its FILTER takes: `sum(10 / n) FILTER (WHERE n <> 0)` divides by no zero.
//!
//! In: a logical plan; out: the same in which arguments and keys that may fail are `CASE WHEN filter THEN argument END`, in groups
//! and windows. DataFusion computes them of all rows and takes some. The rule is the first, since an argument that stands in two
//! calls is moved out of both later.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, Sort};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::LogicalRule;
use super::last_rule::LastRule;
use super::renamed::rewritten;
use super::sure_first::cannot_fail;

/// The rules with this one before all others.
pub(super) fn with_filtered_arguments(mut rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    let first = LastRule {
        name: "filtered_arguments",
        rewrite: with_guards,
    };
    rules.insert(0, Arc::new(first));
    rules
}

fn with_guards(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let (LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)) = &plan else {
        return Ok(Transformed::no(plan));
    };
    rewritten(plan, |mut expr, schema| {
        // Rows have their places in a window whether or not they are taken.
        let mut no_keys = Vec::new();
        let (args, keys, filter) = match &mut expr {
            Expr::AggregateFunction(function) => {
                let params = &mut function.params;
                (&mut params.args, &mut params.order_by, &params.filter)
            }
            Expr::WindowFunction(function) => {
                let params = &mut function.params;
                (&mut params.args, &mut no_keys, &params.filter)
            }
            _ => return Ok(Transformed::no(expr)),
        };
        let mut is_new = false;
        if let Some(filter) = filter.as_deref().filter(|filter| is_repeatable(filter)) {
            let keys = keys.iter_mut().map(|Sort { expr, .. }| expr);
            for arg in args.iter_mut().chain(keys) {
                is_new |= guard(arg, filter, schema);
            }
        }
        Ok(match is_new {
            true => Transformed::yes(expr),
            false => Transformed::no(expr),
        })
    })
}

/// Whether a condition may be asked twice.
fn is_repeatable(filter: &Expr) -> bool {
    !filter.is_volatile() && !has_subquery(filter)
}

fn has_subquery(filter: &Expr) -> bool {
    let found = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        ))
    });
    found.unwrap_or(true)
}

/// Puts a CASE in the place of an argument; false if it needs none.
fn guard(arg: &mut Expr, filter: &Expr, schema: &DFSchema) -> bool {
    let is_guarded = matches!(arg, Expr::Case(case) if is_guard(case, filter));
    if is_guarded || cannot_fail(arg, schema) {
        return false;
    }
    let guarded = std::mem::take(arg);
    let branch = (Box::new(filter.clone()), Box::new(guarded));
    *arg = Expr::Case(Case::new(None, vec![branch], None));
    true
}

fn is_guard(case: &Case, filter: &Expr) -> bool {
    let first = case.when_then_expr.first();
    first.is_some_and(|(when, _)| when.as_ref() == filter) && case.else_expr.is_none()
}
