//! `json` has neither an equality nor an order, unlike `jsonb`: what would need one fails, as in PostgreSQL.
//!
//! In: a plan; out: nothing, or the error. Operators tell their own (`functions/operators.rs`). Columns of outer rows, by which
//! subqueries of views are joined, are told apart as texts, and so are columns that stand in a GROUP BY beside their key.

use auspex_storage::{JsonKind, marked_element};
use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable as _, LogicalPlan};

use super::dependent::is_outer;
use super::distinct_keys::parts;
use crate::error::Error;
use crate::functions::{no_operator, type_of};

/// Fails where json is compared.
pub(super) fn refuse(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let mut inputs = node.inputs().into_iter();
        let has_json = inputs.any(|input| {
            let mut fields = input.schema().fields().iter();
            fields.any(|field| is_json(field))
        });
        if has_json || tells_apart(node) {
            check(node, &merge_schema(&node.inputs()))?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Whether an aggregate tells apart what may be cast to json within its call.
fn tells_apart(node: &LogicalPlan) -> bool {
    let is_distinct = |expr: &Expr| match expr {
        Expr::Alias(alias) => is_distinct_call(&alias.expr),
        expr => is_distinct_call(expr),
    };
    matches!(node, LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(is_distinct))
}

fn is_distinct_call(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call) if call.params.distinct)
}

fn is_json(field: &Field) -> bool {
    let element = marked_element(field);
    JsonKind::of(element.as_ref().unwrap_or(field)) == Some(JsonKind::Json)
}

/// The type of an expression if it is json, or an array of it.
fn json_type(expr: &Expr, schema: &DFSchema) -> Option<String> {
    match expr {
        Expr::Column(column) if is_outer(column) => None,
        expr => {
            let (_, field) = expr.to_field(schema).ok()?;
            is_json(&field).then(|| type_of(&field))
        }
    }
}

fn check(node: &LogicalPlan, schema: &DFSchema) -> Result<()> {
    match node {
        LogicalPlan::Sort(sort) => {
            let mut exprs = sort.expr.iter().map(|item| &item.expr);
            exprs.try_for_each(|expr| order(expr, schema))?;
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            tell_apart(&columns.collect::<Vec<_>>(), schema)?;
        }
        LogicalPlan::Distinct(Distinct::On(on)) => tell_apart(&on.on_expr, schema)?,
        LogicalPlan::Aggregate(aggregate) => {
            let mut groups = aggregate.group_expr.iter();
            if groups.all(|expr| json_type(expr, schema).is_some()) {
                tell_apart(&aggregate.group_expr, schema)?;
            }
        }
        // Those of INTERSECT and EXCEPT.
        LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
            let sides = join.on.iter().cloned().map(|(left, _)| left);
            tell_apart(&sides.collect::<Vec<_>>(), schema)?;
        }
        _ => {}
    }
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            compare(expr, schema)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// Fails where an expression compares json.
fn compare(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::Between(between) => beside(&between.expr, ">=", &between.low, schema),
        Expr::InList(list) => match list.list.as_slice() {
            [one] => beside(&list.expr, "=", one, schema),
            // Several are an array of the type that all have together.
            _ => beside(&list.expr, "=", &list.expr, schema),
        },
        Expr::Case(case) => match (&case.expr, case.when_then_expr.first()) {
            (Some(base), Some((when, _))) => beside(base, "=", when, schema),
            _ => Ok(()),
        },
        Expr::ScalarFunction(call) => match (call.func.name(), call.args.as_slice()) {
            ("nullif", [value, other]) => beside(value, "=", other, schema),
            ("greatest" | "least", args) => {
                let mut args = args.iter();
                match args.find_map(|arg| json_type(arg, schema)) {
                    Some(name) => Err(missing("a comparison function", &name, None)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        },
        Expr::AggregateFunction(function) if function.params.distinct => {
            let parts = function.params.args.iter().flat_map(parts);
            tell_apart(&parts.cloned().collect::<Vec<_>>(), schema)
        }
        Expr::WindowFunction(window) => {
            tell_apart(&window.params.partition_by, schema)?;
            let mut exprs = window.params.order_by.iter().map(|item| &item.expr);
            exprs.try_for_each(|expr| order(expr, schema))
        }
        _ => Ok(()),
    }
}

fn beside(left: &Expr, op: &str, right: &Expr, schema: &DFSchema) -> Result<()> {
    let Some(name) = json_type(left, schema) else {
        return Ok(());
    };
    // A literal was read as json, since it stood beside such.
    let is_literal = matches!(right, Expr::ScalarFunction(call)
        if matches!(call.args.as_slice(), [Expr::Literal(..)]));
    let other = match right.to_field(schema) {
        Ok((_, field)) if !is_literal => type_of(&field),
        _ => "unknown".to_owned(),
    };
    Err(no_operator(&name, op, &other))
}

fn tell_apart(exprs: &[Expr], schema: &DFSchema) -> Result<()> {
    let mut exprs = exprs.iter();
    match exprs.find_map(|expr| json_type(expr, schema)) {
        Some(name) => Err(missing("an equality operator", &name, None)),
        None => Ok(()),
    }
}

fn order(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let hint = "Use an explicit ordering operator or modify the query.";
    match json_type(expr, schema) {
        Some(name) => Err(missing("an ordering operator", &name, Some(hint))),
        None => Ok(()),
    }
}

fn missing(what: &str, name: &str, hint: Option<&str>) -> DataFusionError {
    let message = format!("could not identify {what} for type {name}");
    Error::invalid("42883", message, hint).into()
}
