//! The types of CASE, UNION and VALUES, which are those of all branches: to the planner they have that of the first branch until
//! a plan is analysed, after clients were told the columns of a statement and tables got theirs.
//!
//! In and out: a plan. Branches of several types become their common type, and all schemas above follow; so do numerics
//! beside doubles and dates beside moments anywhere (`mixed_types`), and quotients are those of the types found. A literal
//! among branches is read as a value of the type of the others, as PostgreSQL reads it:
//! `CASE WHEN … THEN day ELSE '2026-01-01' END`. CASE keeps the mark of json, uuids and enums.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, LogicalPlan, Projection, Union};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use super::mixed_types;
use crate::functions::{
    check_text, literal_text, of_settled_types, read_once, type_beside, with_mark, with_moment,
};

/// The plan with the types that its branches have together.
pub(super) fn settled(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_branches(&plan)? && !mixed_types::are_in(&plan)? {
        return Ok(plan);
    }
    let settled = plan.transform_up_with_subqueries(|node| {
        let seen = merge_schema(&node.inputs());
        // Columns keep their names, by which operators above know them.
        let names = NamePreserver::new(&node);
        let is_sort = matches!(node, LogicalPlan::Sort(_));
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let typed = expr.transform_up(|expr| match expr {
                Expr::Case(case) => of_one_type(mixed_types::in_operand(case, &seen)?, &seen),
                Expr::ScalarFunction(call) if let Some(once) = read_once(&call) => {
                    Ok(Transformed::yes(once))
                }
                expr => with_moment(expr, &seen)
                    .transform_data(|expr| mixed_types::in_expr(expr, &seen))?
                    .transform_data(|expr| of_settled_types(expr, &seen)),
            })?;
            Ok(typed.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })?;
        let node = match node.data {
            LogicalPlan::Union(union) if differs(&union) => {
                let union = with_parameters(mixed_types::in_union(union)?)?;
                let union = with_literals(union)?;
                // So far the columns are those that the first input had, which may be others now.
                let union = Union::try_new_with_loose_types(union.inputs)?;
                // What has no common type is told when the plan is analysed.
                let coerced = TypeCoercionRewriter::coerce_union(union.clone());
                coerced.unwrap_or(LogicalPlan::Union(union))
            }
            LogicalPlan::Values(values) => LogicalPlan::Values(mixed_types::in_values(values)?),
            LogicalPlan::Join(join) => {
                LogicalPlan::Join(mixed_types::in_join(join)?).recompute_schema()?
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
        found |= match node {
            LogicalPlan::Union(union) => differs(union),
            LogicalPlan::Values(values) => mixed_types::are_in_values(values),
            _ => false,
        };
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
    let thens = case.when_then_expr.iter_mut().map(|(_, then)| then);
    let branches = thens.chain(&mut case.else_expr).map(AsMut::as_mut);
    read_literals(branches.collect(), seen)?;
    let Some(wanted) = common_type(&case, seen) else {
        return Ok(Transformed::yes(with_mark(case, seen)));
    };
    for (_, then) in &mut case.when_then_expr {
        **then = std::mem::take(then.as_mut()).cast_to(&wanted, seen)?;
    }
    if let Some(other) = &mut case.else_expr {
        **other = std::mem::take(other.as_mut()).cast_to(&wanted, seen)?;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The type that literals have among values of these types; `None`: that of texts, or none.
fn type_of_literals(others: Vec<DataType>) -> Option<DataType> {
    let others: Vec<DataType> = others
        .into_iter()
        .filter(|found| !found.is_null())
        .collect();
    let wanted = get_coerce_type_for_case_expression(&others, None)?;
    (!wanted.is_string()).then_some(wanted)
}

/// Reads literals among the values of branches as the type of the others.
fn read_literals(branches: Vec<&mut Expr>, seen: &DFSchema) -> Result<()> {
    let (literals, others): (Vec<_>, Vec<_>) = branches
        .into_iter()
        .partition(|branch| literal_text(branch).is_some());
    if literals.is_empty() {
        return Ok(());
    }
    // A parameter has no type yet.
    let types: Result<Vec<DataType>> = others.iter().map(|other| other.get_type(seen)).collect();
    if let Some(wanted) = types.ok().and_then(type_of_literals) {
        for branch in literals {
            *branch = read(std::mem::take(branch), &wanted)?;
        }
    }
    Ok(())
}

/// A literal as a value of a type. Error: it is the text of none, also where it would never be computed.
fn read(expr: Expr, wanted: &DataType) -> Result<Expr> {
    if let Expr::Alias(mut alias) = expr {
        *alias.expr = read(std::mem::take(alias.expr.as_mut()), wanted)?;
        return Ok(Expr::Alias(alias));
    }
    let wanted = match literal_text(&expr) {
        Some(text) => type_beside(text, wanted),
        None => wanted.clone(),
    };
    if let Some(text) = literal_text(&expr) {
        check_text(text, &wanted)?;
    }
    Ok(Expr::Cast(Cast::new(Box::new(expr), wanted)))
}

/// A UNION whose parameters are of the type that the other inputs have in their place, and else texts. The planner finds no type of
/// one that is a column of another name, as those of all inputs but the first are.
fn with_parameters(mut union: Union) -> Result<Union> {
    for idx in 0..union.schema.fields().len() {
        let (open, others): (Vec<_>, Vec<_>) = union
            .inputs
            .iter_mut()
            .partition(|input| is_parameter(input, idx));
        let types = others.iter().map(|other| other.schema().field(idx));
        let types = types.map(|field| field.data_type().clone());
        let types: Vec<DataType> = types.filter(|found| !found.is_null()).collect();
        let wanted = get_coerce_type_for_case_expression(&types, None);
        let wanted = wanted.unwrap_or(DataType::Utf8);
        for input in open {
            if let LogicalPlan::Projection(projection) = input.as_ref() {
                let mut exprs = projection.expr.clone();
                let name = NamePreserver::new_for_projection().save(&exprs[idx]);
                let value = std::mem::take(&mut exprs[idx]).unalias_nested().data;
                let cast = Cast::new(Box::new(value), wanted.clone());
                exprs[idx] = name.restore(Expr::Cast(cast));
                let typed = Projection::try_new(exprs, Arc::clone(&projection.input))?;
                *input = Arc::new(LogicalPlan::Projection(typed));
            }
        }
    }
    Ok(union)
}

/// Whether a column of a query is a parameter without a type.
fn is_parameter(query: &LogicalPlan, idx: usize) -> bool {
    let LogicalPlan::Projection(projection) = query else {
        return false;
    };
    let mut expr = &projection.expr[idx];
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    matches!(expr, Expr::Placeholder(placeholder) if placeholder.field.is_none())
}

/// A UNION whose literals are of the type that the other inputs have in their place.
fn with_literals(mut union: Union) -> Result<Union> {
    let of = |input: &Arc<LogicalPlan>, idx: usize| match input.as_ref() {
        LogicalPlan::Projection(projection) => literal_text(&projection.expr[idx]).is_some(),
        _ => false,
    };
    for idx in 0..union.schema.fields().len() {
        let (literals, others): (Vec<_>, Vec<_>) =
            union.inputs.iter_mut().partition(|input| of(input, idx));
        let types = others.iter().map(|other| other.schema().field(idx));
        let types = types.map(|field| field.data_type().clone()).collect();
        let Some(wanted) = type_of_literals(types) else {
            continue;
        };
        for input in literals {
            if let LogicalPlan::Projection(projection) = input.as_ref() {
                let mut exprs = projection.expr.clone();
                exprs[idx] = read(std::mem::take(&mut exprs[idx]), &wanted)?;
                let read = Projection::try_new(exprs, Arc::clone(&projection.input))?;
                *input = Arc::new(LogicalPlan::Projection(read));
            }
        }
    }
    Ok(union)
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
    let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
    let wanted = match mixed_types::among(branches.chain(case.else_expr.as_deref()), seen) {
        Some(wanted) => wanted,
        None => get_coerce_type_for_case_expression(&types, other.as_ref())?,
    };
    let mut all = types.iter().chain(&other);
    all.any(|found| !found.is_null() && *found != wanted)
        .then_some(wanted)
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
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

    #[test]
    fn literals_are_of_the_type_of_the_others() {
        let day = || lit(ScalarValue::Date32(Some(1)));
        assert_eq!(type_of(case(day(), lit("2026-01-01"))), DataType::Date32);
        assert_eq!(type_of(case(lit("2026-01-01"), day())), DataType::Date32);
        assert_eq!(type_of(case(lit("a"), lit("b"))), DataType::Utf8);
        assert!(settled(case(lit(1_i32), lit("x"))).is_err());
        let second = row(lit("2026-01-01")).build().unwrap();
        let both = row(day()).union(second).unwrap().build().unwrap();
        assert_eq!(type_of(both), DataType::Date32);
    }

    #[test]
    fn numerics_beside_doubles_are_doubles_in_unions_of_unions() {
        let column = |data_type: DataType| {
            let cast = Cast::new(Box::new(lit(ScalarValue::Null)), data_type);
            row(Expr::Cast(cast))
        };
        let numeric = || column(DataType::Decimal128(10, 2));
        let double = || column(DataType::Float64).build().unwrap();
        let both = numeric().union(double()).unwrap();
        assert_eq!(type_of(both.clone().build().unwrap()), DataType::Float64);
        let three = both.union(numeric().build().unwrap()).unwrap();
        assert_eq!(type_of(three.build().unwrap()), DataType::Float64);
    }
}
