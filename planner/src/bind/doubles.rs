//! A numeric beside a double is a double, as in PostgreSQL: the planner would make decimals of fifteen places of both, in
//! which small doubles are 0 and large ones fail.
//!
//! In: expressions and nodes of a plan before their types are settled; out: the same with casts of numerics where an
//! operator, IN, BETWEEN, UNION, an array or a function whose arguments have one type has a double among them. A fraction
//! that is written out is a double to the planner, but means the decimal number, and does not count.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, Join, JoinConstraint, LogicalPlan, Operator, Projection, Union,
};

use crate::functions::is_chain;

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 6] = [
    "coalesce",
    "greatest",
    "least",
    "make_array",
    "nullif",
    "nvl",
];

/// Whether an expression or a key of a plan has a numeric beside a double; CASE and UNION are not looked at.
pub(super) fn are_beside_numerics(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node {
            found |= join.on.iter().any(|(left, right)| {
                let types = [
                    kind(left, join.left.schema()),
                    kind(right, join.right.schema()),
                ];
                are_mixed(types)
            });
        }
        node.apply_expressions(|expr| {
            let asks =
                |expr: &Expr| matches!(expr, Expr::InSubquery(_)) || !values_of(expr).is_empty();
            if !found && expr.exists(|expr| Ok(asks(expr)))? {
                let inputs = node.inputs();
                let seen = merge_schema(&inputs);
                found |= expr.exists(|expr| Ok(is_mixed(expr, &seen)))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// The expression with doubles in the place of numerics that stand beside them.
pub(super) fn in_expr(expr: Expr, seen: &DFSchema) -> Result<Transformed<Expr>> {
    if !is_mixed(&expr, seen) {
        return Ok(Transformed::no(expr));
    }
    match expr {
        Expr::InSubquery(query) => {
            let column = query.subquery.subquery.schema().field(0);
            let found = match column.data_type().is_decimal() {
                true => cast_subquery(query.subquery, &DataType::Float64)?,
                false => query.subquery,
            };
            let sought = Box::new(double(*query.expr, seen)?);
            let query = InSubquery::new(sought, found, query.negated);
            Ok(Transformed::yes(Expr::InSubquery(query)))
        }
        expr => expr.map_children(|value| Ok(Transformed::yes(double(value, seen)?))),
    }
}

/// The join with doubles among its keys.
pub(super) fn in_join(mut join: Join) -> Result<Join> {
    for (left, right) in &mut join.on {
        let schemas = [join.left.schema(), join.right.schema()];
        if are_mixed([kind(left, schemas[0]), kind(right, schemas[1])]) {
            *left = double(std::mem::take(left), schemas[0])?;
            *right = double(std::mem::take(right), schemas[1])?;
            // Only columns can be told with USING.
            join.join_constraint = JoinConstraint::On;
        }
    }
    Ok(join)
}

/// The union with doubles among its columns.
pub(super) fn in_union(mut union: Union) -> Result<Union> {
    for idx in 0..union.schema.fields().len() {
        let kinds = union.inputs.iter().map(|input| kind_of_column(input, idx));
        if !are_mixed(kinds) {
            continue;
        }
        for input in &mut union.inputs {
            if input.schema().field(idx).data_type().is_decimal() {
                *input = Arc::new(with_double(input, idx)?);
            }
        }
    }
    Ok(union)
}

/// Whether numerics and doubles are among some values, so that all of them are doubles.
pub(super) fn are_among<'a>(values: impl IntoIterator<Item = &'a Expr>, seen: &DFSchema) -> bool {
    are_mixed(values.into_iter().map(|value| kind(value, seen)))
}

#[derive(PartialEq, Eq)]
enum Kind {
    Numeric,
    Double,
    Other,
}

fn kind(value: &Expr, seen: &DFSchema) -> Kind {
    // A parameter has no type yet.
    match value.get_type(seen) {
        Ok(found) if found.is_decimal() => Kind::Numeric,
        Ok(DataType::Float32 | DataType::Float64) if !is_written(value) => Kind::Double,
        _ => Kind::Other,
    }
}

fn kind_of_column(input: &LogicalPlan, idx: usize) -> Kind {
    if let LogicalPlan::Projection(projection) = input {
        return kind(&projection.expr[idx], projection.input.schema());
    }
    match input.schema().field(idx).data_type() {
        found if found.is_decimal() => Kind::Numeric,
        DataType::Float32 | DataType::Float64 => Kind::Double,
        _ => Kind::Other,
    }
}

fn are_mixed(kinds: impl IntoIterator<Item = Kind>) -> bool {
    let (mut numeric, mut double) = (false, false);
    for kind in kinds {
        numeric |= kind == Kind::Numeric;
        double |= kind == Kind::Double;
    }
    numeric && double
}

fn is_mixed(expr: &Expr, seen: &DFSchema) -> bool {
    if let Expr::InSubquery(query) = expr {
        let found = kind_of_column(&query.subquery.subquery, 0);
        return are_mixed([kind(&query.expr, seen), found]);
    }
    are_among(values_of(expr), seen)
}

/// The values of one type in an expression, which are its operands.
fn values_of(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(binary) if takes_numbers(binary.op) => vec![&binary.left, &binary.right],
        Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
        Expr::InList(list) => {
            let first = std::iter::once(list.expr.as_ref());
            first.chain(&list.list).collect()
        }
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            call.args.iter().collect()
        }
        _ => Vec::new(),
    }
}

fn takes_numbers(op: Operator) -> bool {
    use Operator as O;
    let compares = matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq);
    let tells_apart = matches!(op, O::IsDistinctFrom | O::IsNotDistinctFrom);
    let computes = matches!(op, O::Plus | O::Minus | O::Multiply | O::Divide);
    compares || tells_apart || computes
}

/// Whether a number is written out, or computed of such; one that no decimal of the planner holds is a double.
fn is_written(expr: &Expr) -> bool {
    const BOUND: f64 = 1e15;
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => value.abs() < BOUND,
        Expr::Literal(ScalarValue::Int32(_) | ScalarValue::Int64(_), _) => true,
        Expr::Alias(alias) => is_written(&alias.expr),
        Expr::Negative(inner) => is_written(inner),
        Expr::ScalarFunction(call) if is_chain(&call.func) => {
            call.args.iter().all(|arg| match arg {
                Expr::Cast(cast) => matches!(*cast.expr, Expr::Literal(..)),
                arg => is_written(arg),
            })
        }
        _ => false,
    }
}

/// A numeric as a double; others as they are.
fn double(value: Expr, seen: &DFSchema) -> Result<Expr> {
    match kind(&value, seen) {
        Kind::Numeric => value.cast_to(&DataType::Float64, seen),
        Kind::Double | Kind::Other => Ok(value),
    }
}

/// The rows with a double in a column that is numeric.
fn with_double(input: &Arc<LogicalPlan>, idx: usize) -> Result<LogicalPlan> {
    let (mut exprs, input) = match input.as_ref() {
        LogicalPlan::Projection(projection) => {
            (projection.expr.clone(), Arc::clone(&projection.input))
        }
        _ => {
            let columns = input.schema().columns().into_iter();
            (columns.map(Expr::Column).collect(), Arc::clone(input))
        }
    };
    let name = NamePreserver::new_for_projection().save(&exprs[idx]);
    let value = std::mem::take(&mut exprs[idx]).unalias();
    exprs[idx] = name.restore(value.cast_to(&DataType::Float64, input.schema())?);
    Projection::try_new(exprs, input).map(LogicalPlan::Projection)
}
