//! Where NULLs make `x IN (SELECT …)` unknown, and unknown differs from false.
//!
//! The planner joins such a subquery and knows only whether a row is found. That is enough below AND and OR; it is not below
//! NOT, `IS NULL` and the like. In: a filter; out: the same with `CASE WHEN EXISTS (…) THEN true WHEN` a NULL may be like it
//! `THEN NULL ELSE false END` there, whose subqueries have two values only.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{Column, DFSchema, ExprSchema as _, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable as _, Filter, LogicalPlan, Operator, Subquery, lit, not, when,
};

use super::outer_columns;

/// Rewrites a filter; other nodes are left as they are.
pub(super) fn told(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = &node else {
        return Ok(Transformed::no(node));
    };
    let schema = filter.input.schema();
    let mut is_told = false;
    let mut conditions = Vec::new();
    for condition in split_conjunction(&filter.predicate) {
        let told = match is_joined(condition) {
            true => Transformed::no(condition.clone()),
            false => in_condition(condition.clone(), schema)?,
        };
        is_told |= told.transformed;
        conditions.push(told.data);
    }
    let Some(predicate) = conjunction(conditions).filter(|_| is_told) else {
        return Ok(Transformed::no(node));
    };
    let filter = Filter::try_new(predicate, Arc::clone(&filter.input))?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// Whether a condition is `x NOT IN (q)` of a column and a query of its own: the planner has a join for it that knows NULLs.
fn is_joined(condition: &Expr) -> bool {
    let query = match condition {
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(query) if !query.negated => query,
            _ => return false,
        },
        Expr::InSubquery(query) if query.negated => query,
        _ => return false,
    };
    matches!(query.expr.as_ref(), Expr::Column(_))
        && outer_columns(&query.subquery.subquery).is_empty()
}

fn in_condition(condition: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match condition {
        Expr::InSubquery(query) if !query.negated => Ok(Transformed::no(Expr::InSubquery(query))),
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let left = in_condition(*left, schema)?;
            let right = in_condition(*right, schema)?;
            let is_told = left.transformed || right.transformed;
            let (left, right) = (Box::new(left.data), Box::new(right.data));
            let both = Expr::BinaryExpr(BinaryExpr::new(left, op, right));
            Ok(Transformed::new_transformed(both, is_told))
        }
        condition => condition.transform_up(|expr| match expr {
            Expr::InSubquery(query) => answer(query, schema),
            expr => Ok(Transformed::no(expr)),
        }),
    }
}

/// The answer with three values, if it may be unknown; else whether a row is found, of a query that uses outer columns.
fn answer(query: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let rows = &query.subquery.subquery;
    let column = rows.schema().columns().into_iter().next();
    let (Some(column), false) = (column, query.expr.is_volatile()) else {
        return Ok(Transformed::no(Expr::InSubquery(query)));
    };
    let asked = |plan: Arc<LogicalPlan>| {
        let subquery = Subquery {
            subquery: plan,
            ..query.subquery.clone()
        };
        Expr::Exists(Exists::new(subquery, false))
    };
    let mut unknown = Vec::new();
    if rows.schema().field(0).is_nullable() {
        let is_null = Expr::Column(column.clone()).is_null();
        let nulls = LogicalPlan::Filter(Filter::try_new(is_null, Arc::clone(rows))?);
        unknown.push(asked(Arc::new(nulls)));
    }
    if query.expr.nullable(schema).unwrap_or(true) {
        let is_null = query.expr.as_ref().clone().is_null();
        unknown.push(is_null.and(asked(Arc::clone(rows))));
    }
    let is_own = outer_columns(rows).is_empty();
    let unknown = unknown.into_iter().reduce(Expr::or);
    if unknown.is_none() && is_own {
        return Ok(Transformed::no(Expr::InSubquery(query)));
    }
    let negated = query.negated;
    let found = found(query, column, schema)?;
    let Some(unknown) = unknown else {
        // The planner's join for NOT IN looks for NULLs all the same, and cannot where rows depend on outer columns.
        return Ok(Transformed::yes(match negated {
            true => not(found),
            false => found,
        }));
    };
    let null = Expr::Literal(ScalarValue::try_from(&DataType::Boolean)?, None);
    let answer = when(found, lit(!negated))
        .when(unknown, null)
        .otherwise(lit(negated))?;
    Ok(Transformed::yes(answer))
}

/// Whether a row is like the value: as a question for a row, which the planner never takes for one about NULLs.
fn found(query: InSubquery, column: Column, schema: &DFSchema) -> Result<Expr> {
    let is_plain = !query.expr.exists(|expr| Ok(asks(expr)))?;
    if !is_plain {
        return Ok(Expr::InSubquery(InSubquery {
            negated: false,
            ..query
        }));
    }
    let mut outer = query.subquery.outer_ref_columns.clone();
    let value = query.expr.transform(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            let column = Expr::OuterReferenceColumn(field, column);
            if !outer.contains(&column) {
                outer.push(column.clone());
            }
            Ok(Transformed::yes(column))
        }
        expr => Ok(Transformed::no(expr)),
    });
    let same = Expr::Column(column).eq(value.data()?);
    let rows = Filter::try_new(same, query.subquery.subquery)?;
    let subquery = Subquery {
        subquery: Arc::new(LogicalPlan::Filter(rows)),
        outer_ref_columns: outer,
        spans: query.subquery.spans,
    };
    Ok(Expr::Exists(Exists::new(subquery, false)))
}

fn asks(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)
    )
}
