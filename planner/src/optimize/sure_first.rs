//! Puts a condition that cannot fail first in each filter of a logical plan.
//!
//! In: a plan whose filters DataFusion has put together, cheap conditions first; out: the same plan, in which the first
//! condition cannot fail, if there is such a one. What a filter computes twice is computed once below it, of all rows,
//! where the first condition has it: that condition alone is sure to be computed. The order in which conditions run is
//! settled later, see [`with_guards`](super::with_guards).

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, LogicalPlan, Operator};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::failing::{always_casts, is_sure};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules with [`SureFirst`] among them.
pub(crate) fn with_sure_first(mut rules: Vec<Rule>) -> Vec<Rule> {
    let common = CommonSubexprEliminate::new();
    let place = rules.iter().position(|rule| rule.name() == common.name());
    rules.insert(place.unwrap_or(rules.len()), Arc::new(SureFirst));
    rules
}

/// See the module.
#[derive(Debug)]
struct SureFirst;

impl OptimizerRule for SureFirst {
    fn name(&self) -> &str {
        "sure_first"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(mut filter) = plan else {
            return Ok(Transformed::no(plan));
        };
        let schema = filter.input.schema();
        let conditions = split_conjunction(&filter.predicate);
        let cannot_fail = |condition: &&Expr| cannot_fail(condition, schema);
        let is_first = conditions.first().is_none_or(cannot_fail);
        if is_first || !conditions.iter().any(&cannot_fail) {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let (sure, others): (Vec<&Expr>, Vec<&Expr>) =
            conditions.into_iter().partition(cannot_fail);
        let ordered = conjunction(sure.into_iter().chain(others).cloned());
        if let Some(ordered) = ordered {
            filter.predicate = ordered;
        }
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    }
}

/// The logical twin of what guards ask; it knows less.
pub(super) fn cannot_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let fails = expr.exists(|node| Ok(!computes(node, schema)));
    fails.is_ok_and(|fails| !fails)
}

/// Whether a node has a value whatever the values of its operands are.
fn computes(node: &Expr, schema: &DFSchema) -> bool {
    match node {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Like(_)
        | Expr::Case(_) => true,
        Expr::BinaryExpr(BinaryExpr { op, right, .. }) => match op {
            Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch => matches!(right.as_ref(), Expr::Literal(..)),
            op => is_sure(*op),
        },
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            from.is_ok_and(|from| always_casts(&from, cast.field.data_type()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit, table_scan};
    use datafusion::optimizer::OptimizerContext;

    use super::*;

    #[test]
    fn a_sure_condition_is_the_first() {
        let number = |name| Field::new(name, DataType::Int64, true);
        let rows = Schema::new(vec![number("x"), number("y")]);
        let rows = table_scan(Some("t"), &rows, None).unwrap();
        let filtered = |predicate| {
            let rows: LogicalPlanBuilder = rows.clone();
            rows.filter(predicate).unwrap().build().unwrap()
        };
        let rewritten = |plan| SureFirst.rewrite(plan, &OptimizerContext::new()).unwrap();
        let division = || (lit(10_i64) / col("x")).gt(lit(1_i64));
        let late = filtered(division().and(col("x").not_eq(lit(0_i64))));
        let first = filtered(col("x").not_eq(lit(0_i64)).and(division()));
        assert_eq!(rewritten(late).data, first);
        assert!(!rewritten(first).transformed);
        assert!(!rewritten(filtered(division().and(division()))).transformed);
    }
}
