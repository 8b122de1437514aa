//! The types of CASE and UNION, which are those of all branches: to the planner they have that of the first branch until
//! a plan is analysed, after clients were told the columns of a statement and tables got theirs.
//!
//! In and out: a plan. Branches of several types become their common type, and all schemas above follow.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, Union};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

/// The plan with the types that its branches have together.
pub(super) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_branches(&plan)? {
        return Ok(plan);
    }
    let settled = plan.transform_up_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        let node = node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::Case(case) => of_one_type(case, &seen),
                expr => Ok(Transformed::no(expr)),
            })
        })?;
        let node = match node.data {
            LogicalPlan::Union(union) if differs(&union) => {
                // What has no common type is told when the plan is analysed.
                let coerced = TypeCoercionRewriter::coerce_union(union.clone());
                coerced.unwrap_or(LogicalPlan::Union(union))
            }
            node => node.recompute_schema()?,
        };
        Ok(Transformed::yes(node))
    })?;
    Ok(settled.data)
}

/// Whether there is anything to do.
fn has_branches(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Union(union) if differs(union));
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(matches!(expr, Expr::Case(_))))?;
            Ok(match found {
                true => TreeNodeRecursion::Stop,
                false => TreeNodeRecursion::Continue,
            })
        })
    })?;
    Ok(found)
}

/// Whether the inputs of a UNION have several types.
fn differs(union: &Union) -> bool {
    let wanted = union.schema.fields();
    let is_same = |input: &Arc<LogicalPlan>| {
        let found = input.schema().fields();
        let mut pairs = found.iter().zip(wanted);
        pairs.all(|(found, wanted)| found.data_type() == wanted.data_type())
    };
    !union.inputs.iter().all(is_same)
}

fn of_one_type(mut case: Case, seen: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(wanted) = common_type(&case, seen) else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    for (_, then) in &mut case.when_then_expr {
        **then = std::mem::take(then.as_mut()).cast_to(&wanted, seen)?;
    }
    if let Some(other) = &mut case.else_expr {
        **other = std::mem::take(other.as_mut()).cast_to(&wanted, seen)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The common type of branches that have several; `None`: they have one, or a parameter has none yet.
fn common_type(case: &Case, seen: &DFSchema) -> Option<DataType> {
    let thens = case.when_then_expr.iter().map(|(_, then)| then);
    let types = thens.map(|then| then.get_type(seen).ok());
    let types = types.collect::<Option<Vec<_>>>()?;
    let other = match &case.else_expr {
        Some(other) => Some(other.get_type(seen).ok()?),
        None => None,
    };
    let wanted = get_coerce_type_for_case_expression(&types, other.as_ref())?;
    let mut all = types.iter().chain(&other);
    all.any(|found| !found.is_null() && *found != wanted)
        .then_some(wanted)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    fn row(expr: Expr) -> LogicalPlanBuilder {
        let one = LogicalPlanBuilder::empty(true);
        one.project(vec![expr.alias("x")]).unwrap()
    }

    fn type_of(plan: LogicalPlan) -> DataType {
        let plan = settled(plan).unwrap();
        plan.schema().field(0).data_type().clone()
    }

    fn case(then: Expr, other: Expr) -> LogicalPlan {
        let then = vec![(Box::new(lit(true)), Box::new(then))];
        let case = Case::new(None, then, Some(Box::new(other)));
        row(Expr::Case(case)).build().unwrap()
    }

    #[test]
    fn all_branches_tell_the_type() {
        assert_eq!(type_of(case(lit(0_i32), lit(5_i64))), DataType::Int64);
        assert_eq!(type_of(case(lit(0_i32), lit(5_i32))), DataType::Int32);
        let second = row(lit(1.5)).build().unwrap();
        let both = row(lit(1_i32)).union(second).unwrap().build().unwrap();
        assert_eq!(type_of(both), DataType::Float64);
    }
}
