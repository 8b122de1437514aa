//! Rows are told apart by the keys of values that Arrow compares otherwise than PostgreSQL (`functions/order_keys.rs`): `1 day`
//! and `24:00:00` are one group, and so are `1` and `1.0` of jsonb.
//!
//! In: a plan in which GROUP BY, DISTINCT, PARTITION BY, `count(DISTINCT …)`, and the columns of joins that USING, INTERSECT
//! and EXCEPT are, compare such values as they are; out: the same over their keys, with the first of the values of each
//! group in the result. What a subquery is given of an outer row is told apart as it is.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable as _, Join, JoinConstraint, LogicalPlan, Projection,
    Window,
};

use super::dependent::is_outer;
use crate::functions::{Key, float_key, key_of};

/// Rewrites a plan.
pub(super) fn grouped(plan: LogicalPlan) -> Result<LogicalPlan> {
    let grouped = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            let columns: Vec<Expr> = columns.collect();
            let schema = input.schema();
            if !columns
                .iter()
                .any(|column| group_key(column, schema).is_some())
            {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            aggregated(Aggregate::try_new(input, columns, Vec::new())?)
        }
        LogicalPlan::Window(window) => parted(window),
        LogicalPlan::Join(join) => Ok(paired(join)),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(grouped.data)
}

/// By what the values of an expression are told apart, if not as they are.
fn group_key(expr: &Expr, schema: &DFSchema) -> Option<Key> {
    match expr {
        Expr::Column(column) if is_outer(column) => None,
        expr => key_of(expr, Key::of_equality, schema),
    }
}

/// An aggregate with keys among its groups, and what it had as columns.
fn aggregated(node: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(node.input.schema());
    let has_sets = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
    let groups = node.group_expr.iter();
    let keys: Vec<Option<Key>> = match node.group_expr.iter().any(has_sets) {
        true => groups.map(|_| None).collect(),
        false => groups.map(|expr| group_key(expr, &schema)).collect(),
    };
    let values = node.aggr_expr.iter();
    let counted: Vec<Option<Expr>> = values.map(|expr| counted(expr, &schema)).collect();
    if keys.iter().all(Option::is_none) && counted.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(node)));
    }
    let wanted = node.schema.columns();
    let preserver = NamePreserver::new_for_projection();
    let values = node.aggr_expr.iter().zip(counted);
    let values = values.map(|(expr, counted)| match counted {
        Some(counted) => preserver.save(expr).restore(counted),
        None => expr.clone(),
    });
    let mut values: Vec<Expr> = values.collect();
    let mut groups = Vec::with_capacity(keys.len());
    for (idx, (expr, key)) in node.group_expr.iter().zip(&keys).enumerate() {
        let Some(key) = key else {
            groups.push(expr.clone());
            continue;
        };
        let name = format!("__auspex_key_{idx}");
        let value = expr.clone().unalias();
        values.push(first_value(value.clone(), Vec::new()).alias(format!("{name}_value")));
        groups.push(key.of(value).alias(name));
    }
    let aggregate = Aggregate::try_new(Arc::clone(&node.input), groups, values)?;
    let given = aggregate.schema.columns();
    // The values of the groups stand behind all other columns.
    let mut behind = given.iter().skip(wanted.len());
    let mut columns = Vec::with_capacity(wanted.len());
    for (idx, column) in wanted.iter().enumerate() {
        // Of `GROUPING(…)` the planner makes columns that take its place.
        if column.name == Aggregate::INTERNAL_GROUPING_ID {
            continue;
        }
        let from = match keys.get(idx) {
            Some(Some(_)) => behind.next(),
            _ => given.get(idx),
        };
        if let Some(from) = from {
            let from = Expr::Column(from.clone());
            columns.push(from.alias_qualified(column.relation.clone(), column.name.clone()));
        }
    }
    let input = Arc::new(LogicalPlan::Aggregate(aggregate));
    let projection = Projection::try_new(columns, input)?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// `count(DISTINCT value)` of keys; of floats, any aggregate with DISTINCT: the planner's tell -0 from 0.
fn counted(expr: &Expr, schema: &DFSchema) -> Option<Expr> {
    let Expr::AggregateFunction(function) = expr.clone().unalias() else {
        return None;
    };
    let AggregateFunction { func, mut params } = function;
    let [value] = params.args.as_mut_slice() else {
        return None;
    };
    if !params.distinct {
        return None;
    }
    let is_float = value
        .get_type(schema)
        .is_ok_and(|found| found.is_floating());
    *value = match key_of(value, Key::of_equality, schema) {
        Some(key) if func.name() == "count" => key.of(std::mem::take(value)),
        None if is_float => float_key(std::mem::take(value)),
        _ => return None,
    };
    Some(Expr::AggregateFunction(AggregateFunction { func, params }))
}

fn parted(window: Window) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(window.input.schema());
    let by_key = |expr: &Expr| {
        let Expr::WindowFunction(mut function) = expr.clone().unalias() else {
            return None;
        };
        let mut is_changed = false;
        for part in &mut function.params.partition_by {
            if let Some(key) = group_key(part, &schema) {
                *part = key.of(std::mem::take(part));
                is_changed = true;
            }
        }
        is_changed.then_some(Expr::WindowFunction(function))
    };
    let changed: Vec<Option<Expr>> = window.window_expr.iter().map(by_key).collect();
    if changed.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let preserver = NamePreserver::new_for_projection();
    let exprs = window.window_expr.iter().zip(changed);
    let exprs = exprs.map(|(expr, changed)| match changed {
        Some(changed) => preserver.save(expr).restore(changed),
        None => expr.clone(),
    });
    let window = Window::try_new(exprs.collect(), window.input)?;
    Ok(Transformed::yes(LogicalPlan::Window(window)))
}

/// A join that compares columns of both sides; conditions of the query have their keys already.
fn paired(mut join: Join) -> Transformed<LogicalPlan> {
    let mut is_changed = false;
    for (left, right) in &mut join.on {
        let are_columns = matches!((&*left, &*right), (Expr::Column(_), Expr::Column(_)));
        let keys = (
            group_key(left, join.left.schema()),
            group_key(right, join.right.schema()),
        );
        if let (Some(key), Some(same)) = keys
            && are_columns
            && key == same
        {
            *left = key.of(std::mem::take(left));
            *right = key.of(std::mem::take(right));
            is_changed = true;
        }
    }
    if is_changed {
        // Those of USING are columns.
        join.join_constraint = JoinConstraint::On;
    }
    Transformed::new_transformed(LogicalPlan::Join(join), is_changed)
}
