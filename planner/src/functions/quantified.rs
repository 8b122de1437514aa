//! Comparisons with all rows of a subquery: `x >= ALL (SELECT …)`, `x < ANY (SELECT …)`.
//!
//! In: a value and a digest of the subquery's rows (their least and greatest value, how many there are, how many of them
//! are not NULL); out: what comparing with each row would give, with SQL's three values. An operator stands for the comparison
//! until the types of both sides are known: labels and jsonb are compared by their keys.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StructArray};
use datafusion::arrow::compute::kernels::cmp;
use datafusion::arrow::compute::{and, cast, or};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ExprSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable as _, LogicalPlan, Projection, Subquery, lit,
};
use datafusion::logical_expr_common::type_coercion::binary::comparison_coercion;
use datafusion::sql::sqlparser::ast::{self, BinaryOperator};

use super::assigned_value::type_of;
use super::call::{Call, Function, failure, function, no_function};
use super::extremes::{GREATEST_ROW, LEAST_ROW};
use super::order_keys::{Key, comparable, key_of, no_operator};

/// The name of the function.
pub(super) const QUANTIFIED: &str = "quantified";

/// The beginning of the operator, which no client's text can write.
const MARK: &str = "\u{1e}quantified ";

/// The functions of this family: `quantified(value, digest, operator, is_all)`.
pub(super) fn functions() -> Vec<Function> {
    vec![function(QUANTIFIED, &[4], DataType::Boolean, quantified)]
}

/// The operator between a value and the query of a digest.
pub(in crate::functions) fn marked(
    value: &ast::Expr,
    op: &BinaryOperator,
    digest: Box<ast::Query>,
    is_all: bool,
) -> ast::Expr {
    let all = if is_all { "all" } else { "any" };
    ast::Expr::Nested(Box::new(ast::Expr::BinaryOp {
        left: Box::new(value.clone()),
        op: BinaryOperator::Custom(format!("{MARK}{all} {op}")),
        right: Box::new(ast::Expr::Subquery(digest)),
    }))
}

/// The call that an operator of ours stands for; `None`: the operator is another.
pub(super) fn planned(
    raw: &RawBinaryExpr,
    schema: &dyn ExprSchema,
    call: impl Fn(Vec<Expr>) -> Option<Expr>,
) -> Result<Option<Expr>> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return Ok(None);
    };
    let comparison = mark.strip_prefix(MARK).and_then(|of| of.split_once(' '));
    let Some((all, op)) = comparison else {
        return Ok(None);
    };
    let keyed = keyed(raw, op, schema)?;
    let (value, digest) = keyed.unwrap_or_else(|| (raw.left.clone(), raw.right.clone()));
    Ok(call(vec![value, digest, lit(op), lit(all == "all")]))
}

/// The value and the digest of keys, where values are labels, addresses or jsonb; `None`: they are compared as they are.
fn keyed(raw: &RawBinaryExpr, op: &str, schema: &dyn ExprSchema) -> Result<Option<(Expr, Expr)>> {
    let Expr::ScalarSubquery(query) = &raw.right else {
        return Ok(None);
    };
    let LogicalPlan::Projection(projection) = query.subquery.as_ref() else {
        return Ok(None);
    };
    let LogicalPlan::Aggregate(digest) = projection.input.as_ref() else {
        return Ok(None);
    };
    let Some(row) = digest.aggr_expr.iter().find_map(row_of) else {
        return Ok(None);
    };
    let key = |expr: &Expr, schema: &dyn ExprSchema| {
        let key = key_of(expr, Key::of_order, schema);
        key.filter(|key| matches!(key, Key::Json | Key::Place(_) | Key::Address))
    };
    let rows = digest.input.schema().as_ref();
    let fields = [raw.left.to_field(schema), row.to_field(rows)].map(|field| Some(field.ok()?.1));
    // A text may be one without a type, which is read as what it is compared with.
    let is_open = |idx: usize| {
        let found: Option<&DataType> = fields[idx].as_ref().map(|field| field.data_type());
        found.is_none_or(|found| found.is_null() || idx == 0 && found.is_string())
    };
    let found = (key(&raw.left, schema), key(row, rows));
    let is_compared = match &found {
        (None, None) => return Ok(None),
        (Some(value), Some(row)) => value == row,
        (None, Some(_)) => is_open(0),
        (Some(_), None) => is_open(1),
    };
    if !is_compared {
        let names = fields.map(|field| field.map_or("unknown".to_owned(), |field| type_of(&field)));
        return Err(no_operator(&names[0], op, &names[1]));
    }
    let (_, Some(key)) = found else {
        return Ok(None);
    };
    let digest = digest_of_keys(digest, &key)?;
    let digest = Projection::try_new(projection.expr.clone(), Arc::new(digest))?;
    let digest = Subquery {
        subquery: Arc::new(LogicalPlan::Projection(digest)),
        ..query.clone()
    };
    let value = key.of(raw.left.clone());
    Ok(Some((value, Expr::ScalarSubquery(digest))))
}

/// What an aggregate takes the least or the greatest of.
fn row_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::AggregateFunction(call) if [LEAST_ROW, GREATEST_ROW].contains(&call.func.name()) => {
            call.params.args.first()
        }
        _ => None,
    }
}

/// The digest of the keys of its rows, in columns of the same names.
fn digest_of_keys(digest: &Aggregate, key: &Key) -> Result<LogicalPlan> {
    let of_keys = digest.aggr_expr.iter().map(|expr| {
        let mut of_keys = expr.clone();
        if let (Some(row), Expr::AggregateFunction(call)) = (row_of(expr), &mut of_keys) {
            call.params.args = vec![key.of(row.clone())];
            return of_keys.alias(expr.schema_name().to_string());
        }
        of_keys
    });
    let groups = digest.group_expr.clone();
    let digest = Aggregate::try_new(Arc::clone(&digest.input), groups, of_keys.collect())?;
    Ok(LogicalPlan::Aggregate(digest))
}

fn quantified(call: &Call<'_>) -> Result<ArrayRef> {
    let digest = call.arg(1)?;
    let digest = digest
        .as_struct_opt()
        .ok_or_else(|| failure("XX000", "the digest of a subquery is no struct"))?;
    let (operator, is_all) = (call.texts(2)?, call.converted(3, &DataType::Boolean)?);
    if call.n_rows == 0 {
        return Ok(Arc::new(BooleanArray::from(Vec::<bool>::new())));
    }
    let is_all = is_all.as_boolean().value(0);
    let value = call.arg(0)?;
    let holds = decisive(value, digest, operator.value(0), is_all)?;
    let counts =
        |name: &str| -> Result<ArrayRef> { Ok(cast(column(digest, name)?, &DataType::Int64)?) };
    let (rows, known) = (counts("n")?, counts("c")?);
    let (rows, known) = (
        rows.as_primitive::<Int64Type>(),
        known.as_primitive::<Int64Type>(),
    );
    let nulls = value.logical_nulls();
    let of = |row: usize| {
        // No row of the outer query met one of the subquery.
        if digest.is_null(row) || rows.is_null(row) || rows.value(row) == 0 {
            return Some(is_all);
        }
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        if is_null || known.value(row) == 0 {
            return None;
        }
        // One row decides: one for which it holds for ANY, one for which it does not for ALL.
        let holds = holds.value(row);
        let may_differ = known.value(row) < rows.value(row);
        (holds != is_all || !may_differ).then_some(holds)
    };
    Ok(Arc::new((0..call.n_rows).map(of).collect::<BooleanArray>()))
}

fn column<'a>(digest: &'a StructArray, name: &str) -> Result<&'a ArrayRef> {
    digest
        .column_by_name(name)
        .ok_or_else(|| failure("XX000", "the digest of a subquery is incomplete"))
}

/// Whether the comparison holds for some row (ANY), or for each (ALL).
fn decisive(
    value: &ArrayRef,
    digest: &StructArray,
    operator: &str,
    is_all: bool,
) -> Result<BooleanArray> {
    let (least, greatest) = (column(digest, "lo")?, column(digest, "hi")?);
    let types = [value.data_type().clone(), least.data_type().clone()];
    let common =
        comparison_coercion(&types[0], &types[1]).ok_or_else(|| no_function(operator, &types))?;
    let key = |values: &ArrayRef| comparable(&cast(values, &common)?);
    let (value, least, greatest) = (key(value)?, key(least)?, key(greatest)?);
    let nearest = if is_all { &greatest } else { &least };
    let farthest = if is_all { &least } else { &greatest };
    Ok(match operator {
        ">" => cmp::gt(&value, nearest)?,
        ">=" => cmp::gt_eq(&value, nearest)?,
        "<" => cmp::lt(&value, farthest)?,
        "<=" => cmp::lt_eq(&value, farthest)?,
        "=" => and(&cmp::eq(&value, &least)?, &cmp::eq(&value, &greatest)?)?,
        _ => or(&cmp::neq(&value, &least)?, &cmp::neq(&value, &greatest)?)?,
    })
}
