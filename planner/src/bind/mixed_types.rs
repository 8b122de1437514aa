//! Values of several types whose common type is another to the planner than to PostgreSQL.
//!
//! A numeric beside a double is a double: the planner would make decimals of fifteen places of both, in which small doubles
//! are 0 and large ones fail. A date beside a moment is its beginning in microseconds: the planner would count nanoseconds,
//! which end in 2262, and forget the zone.
//!
//! In: expressions and nodes of a plan before their types are settled; out: the same with casts where an operator, IN,
//! BETWEEN, CASE, UNION, VALUES, an array or a function whose arguments have one type has such values. A fraction that is written out
//! is a double to the planner, but means the decimal number, and does not count.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::expr_schema::cast_subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, Join, JoinConstraint, LogicalPlan, Operator, Projection, Union,
    Values,
};

use crate::functions::{TIMESTAMP, is_chain, timestamptz};

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 6] = [
    "coalesce",
    "greatest",
    "least",
    "make_array",
    "nullif",
    "nvl",
];

/// Whether an expression or a key of a plan has such values; CASE and UNION are not looked at.
pub(super) fn are_in(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Join(join) = node {
            found |= join.on.iter().any(|(left, right)| {
                let types = [
                    kind(left, join.left.schema()),
                    kind(right, join.right.schema()),
                ];
                common(types).is_some()
            });
        }
        node.apply_expressions(|expr| {
            let asks =
                |expr: &Expr| matches!(expr, Expr::InSubquery(_)) || !values_of(expr).is_empty();
            if !found && expr.exists(|expr| Ok(asks(expr)))? {
                let inputs = node.inputs();
                let seen = merge_schema(&inputs);
                found |= expr.exists(|expr| Ok(wanted(expr, &seen).is_some()))?;
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

/// The expression with its values in their common type.
pub(super) fn in_expr(expr: Expr, seen: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(wanted) = wanted(&expr, seen) else {
        return Ok(Transformed::no(expr));
    };
    match expr {
        Expr::InSubquery(query) => {
            let column = query.subquery.subquery.schema().field(0);
            let found = match is_cast(column.data_type(), &wanted) {
                true => cast_subquery(query.subquery, &wanted)?,
                false => query.subquery,
            };
            let sought = Box::new(alike(*query.expr, &wanted, seen)?);
            let query = InSubquery::new(sought, found, query.negated);
            Ok(Transformed::yes(Expr::InSubquery(query)))
        }
        expr => expr.map_children(|value| Ok(Transformed::yes(alike(value, &wanted, seen)?))),
    }
}

/// The CASE with its operand in the type of what that is compared with.
pub(super) fn in_operand(mut case: Case, seen: &DFSchema) -> Result<Case> {
    let Some(operand) = &mut case.expr else {
        return Ok(case);
    };
    let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
    let values = std::iter::once(operand.as_ref()).chain(whens);
    if let Some(wanted) = among(values, seen) {
        **operand = alike(std::mem::take(operand.as_mut()), &wanted, seen)?;
        for (when, _) in &mut case.when_then_expr {
            **when = alike(std::mem::take(when.as_mut()), &wanted, seen)?;
        }
    }
    Ok(case)
}

/// The join with keys of one type.
pub(super) fn in_join(mut join: Join) -> Result<Join> {
    for (left, right) in &mut join.on {
        let schemas = [join.left.schema(), join.right.schema()];
        if let Some(wanted) = common([kind(left, schemas[0]), kind(right, schemas[1])]) {
            *left = alike(std::mem::take(left), &wanted, schemas[0])?;
            *right = alike(std::mem::take(right), &wanted, schemas[1])?;
            // Only columns can be told with USING.
            join.join_constraint = JoinConstraint::On;
        }
    }
    Ok(join)
}

/// The union with columns of one type.
pub(super) fn in_union(mut union: Union) -> Result<Union> {
    for idx in 0..union.schema.fields().len() {
        let kinds = union.inputs.iter().map(|input| kind_of_column(input, idx));
        let Some(wanted) = common(kinds) else {
            continue;
        };
        for input in &mut union.inputs {
            if is_cast(input.schema().field(idx).data_type(), &wanted) {
                *input = Arc::new(with_cast(input, idx, &wanted)?);
            }
        }
    }
    Ok(union)
}

/// Whether rows that are written out have dates beside moments in a column.
pub(super) fn are_in_values(values: &Values) -> bool {
    let mut fields = values.schema.fields().iter();
    fields.any(|field| is_in_nanoseconds(field.data_type()))
}

/// Rows that are written out with columns of one type, to which the planner has cast their values.
pub(super) fn in_values(mut values: Values) -> Result<Values> {
    let none = DFSchema::empty();
    let mut fields = Vec::with_capacity(values.schema.fields().len());
    for (idx, field) in values.schema.fields().iter().enumerate() {
        let found = field.data_type();
        let cells = values.values.iter().map(|row| uncast(&row[idx], found));
        let wanted = match is_in_nanoseconds(found) {
            true => among(cells, &none),
            false => None,
        };
        let Some(wanted) = wanted else {
            fields.push(Arc::clone(field));
            continue;
        };
        for row in &mut values.values {
            let cell = uncast(&row[idx], found).clone();
            row[idx] = cell.cast_to(&wanted, &none)?;
        }
        fields.push(Arc::new(field.as_ref().clone().with_data_type(wanted)));
    }
    let metadata = values.schema.metadata().clone();
    values.schema = Arc::new(DFSchema::from_unqualified_fields(fields.into(), metadata)?);
    Ok(values)
}

fn is_in_nanoseconds(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _))
}

/// A value without its cast to a type.
fn uncast<'a>(value: &'a Expr, data_type: &DataType) -> &'a Expr {
    match value {
        Expr::Cast(cast) if cast.field.data_type() == data_type => &cast.expr,
        value => value,
    }
}

/// The common type of values of several types; `None`: the planner's is right.
pub(super) fn among<'a>(
    values: impl IntoIterator<Item = &'a Expr>,
    seen: &DFSchema,
) -> Option<DataType> {
    common(values.into_iter().map(|value| kind(value, seen)))
}

#[derive(PartialEq, Eq)]
enum Kind {
    Numeric,
    Double,
    Date,
    /// What a clock shows.
    Clock,
    /// A time stamp with a zone.
    Moment,
    Other,
}

fn kind(value: &Expr, seen: &DFSchema) -> Kind {
    // A parameter has no type yet.
    match value.get_type(seen) {
        Ok(DataType::Float32 | DataType::Float64) if is_written(value) => Kind::Other,
        Ok(found) => kind_of_type(&found),
        Err(_) => Kind::Other,
    }
}

fn kind_of_type(data_type: &DataType) -> Kind {
    match data_type {
        found if found.is_decimal() => Kind::Numeric,
        DataType::Float32 | DataType::Float64 => Kind::Double,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Timestamp(_, None) => Kind::Clock,
        DataType::Timestamp(_, Some(_)) => Kind::Moment,
        _ => Kind::Other,
    }
}

fn kind_of_column(input: &LogicalPlan, idx: usize) -> Kind {
    if let LogicalPlan::Projection(projection) = input {
        return kind(&projection.expr[idx], projection.input.schema());
    }
    kind_of_type(input.schema().field(idx).data_type())
}

/// The type that values of such kinds have together, where it is ours to tell.
fn common(kinds: impl IntoIterator<Item = Kind>) -> Option<DataType> {
    let kinds: Vec<Kind> = kinds.into_iter().collect();
    let has = |kind: Kind| kinds.contains(&kind);
    match () {
        () if has(Kind::Numeric) && has(Kind::Double) => Some(DataType::Float64),
        () if has(Kind::Date) && has(Kind::Moment) => Some(timestamptz()),
        () if has(Kind::Date) && has(Kind::Clock) => Some(TIMESTAMP),
        () => None,
    }
}

/// The common type of the values of one type in an expression.
fn wanted(expr: &Expr, seen: &DFSchema) -> Option<DataType> {
    if let Expr::InSubquery(query) = expr {
        let found = kind_of_column(&query.subquery.subquery, 0);
        return common([kind(&query.expr, seen), found]);
    }
    among(values_of(expr), seen)
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

/// Whether values of a type become those of the common one here.
fn is_cast(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Timestamp(unit, zone), DataType::Timestamp(wanted, of_wanted)) => {
            unit != wanted || zone.is_some() != of_wanted.is_some()
        }
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(..)) => true,
        (found, wanted) => found.is_decimal() && wanted.is_floating(),
    }
}

/// A value in the common type, if it becomes one here; others as they are.
fn alike(value: Expr, wanted: &DataType, seen: &DFSchema) -> Result<Expr> {
    match value.get_type(seen) {
        Ok(found) if is_cast(&found, wanted) => value.cast_to(wanted, seen),
        _ => Ok(value),
    }
}

/// The rows with another type of a column.
fn with_cast(input: &Arc<LogicalPlan>, idx: usize, wanted: &DataType) -> Result<LogicalPlan> {
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
    exprs[idx] = name.restore(value.cast_to(wanted, input.schema())?);
    Projection::try_new(exprs, input).map(LogicalPlan::Projection)
}
