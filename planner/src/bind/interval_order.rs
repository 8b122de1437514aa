//! Intervals are compared by their length.
//!
//! In: a plan that compares intervals field by field, so that 1000 hours come before 29 days, in ORDER BY (also of windows,
//! which take no intervals at all), BETWEEN and IN; out: the same with keys that are in PostgreSQL's order. Comparisons with operators have such keys from the start
//! (`functions/operators.rs`), `min` and `max` are functions of our own. IN of a subquery gets its keys before subqueries are
//! joined (`looked_up`).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::expr::{Between, InList, InSubquery, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, LogicalPlan, Projection, ScalarUDF, Subquery,
};

/// Rewrites a plan.
pub(super) fn ordered(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let key = state.udf("interval_key")?;
    let ordered = plan.transform_up_with_subqueries(|node| {
        let node = compared(node, &key)?;
        let LogicalPlan::Sort(mut sort) = node.data else {
            return Ok(node);
        };
        for item in &mut sort.expr {
            if is_interval(&item.expr, sort.input.schema()) {
                item.expr = key.call(vec![item.expr.clone()]);
            }
        }
        Ok(Transformed::yes(LogicalPlan::Sort(sort)))
    })?;
    Ok(ordered.data)
}

/// The plan with keys on both sides of IN of a subquery.
pub(super) fn looked_up(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let key = state.udf("interval_key")?;
    let looked_up = plan.transform_up_with_subqueries(|node| {
        let mut asks = false;
        node.apply_expressions(|expr| {
            asks |= expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !asks {
            return Ok(Transformed::no(node));
        }
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let is_sort = matches!(node, LogicalPlan::Sort(_));
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let looked_up = expr.transform_up(|expr| among(expr, &schema, &key))?;
            Ok(looked_up.update_data(|expr| match is_sort {
                true => expr,
                false => name.restore(expr),
            }))
        })
    })?;
    Ok(looked_up.data)
}

fn among(expr: Expr, schema: &DFSchema, key: &Arc<ScalarUDF>) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(query) = expr else {
        return Ok(Transformed::no(expr));
    };
    let rows = Arc::clone(&query.subquery.subquery);
    let found = Expr::Column(Column::from(rows.schema().qualified_field(0)));
    if !is_interval(&query.expr, schema) || !is_interval(&found, rows.schema()) {
        return Ok(Transformed::no(Expr::InSubquery(query)));
    }
    let keys = vec![key.call(vec![found]).alias("__auspex_interval_length")];
    let keys = LogicalPlan::Projection(Projection::try_new(keys, rows)?);
    let subquery = Subquery {
        subquery: Arc::new(keys),
        ..query.subquery
    };
    let sought = Box::new(key.call(vec![*query.expr]));
    let query = InSubquery::new(sought, subquery, query.negated);
    Ok(Transformed::yes(Expr::InSubquery(query)))
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    // A parameter has no type yet.
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

/// The node with keys in its BETWEEN, IN and windows.
fn compared(node: LogicalPlan, key: &Arc<ScalarUDF>) -> Result<Transformed<LogicalPlan>> {
    let mut compares = false;
    node.apply_expressions(|expr| {
        compares |= expr.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::Between(_) | Expr::InList(_) | Expr::WindowFunction(_)
            ))
        })?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !compares {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let compared = expr.transform_up(|expr| Ok(by_length(expr, &schema, key)))?;
        Ok(compared.update_data(|expr| name.restore(expr)))
    })
}

fn by_length(expr: Expr, schema: &DFSchema, key: &Arc<ScalarUDF>) -> Transformed<Expr> {
    let of = |expr: Expr| key.call(vec![expr]);
    match expr {
        Expr::Between(between) if is_interval(&between.expr, schema) => {
            let [expr, low, high] =
                [between.expr, between.low, between.high].map(|expr| Box::new(of(*expr)));
            let negated = between.negated;
            Transformed::yes(Expr::Between(Between::new(expr, negated, low, high)))
        }
        Expr::InList(list) if is_interval(&list.expr, schema) => {
            let values = list.list.into_iter().map(of).collect();
            let expr = Box::new(of(*list.expr));
            Transformed::yes(Expr::InList(InList::new(expr, values, list.negated)))
        }
        Expr::WindowFunction(mut window) => {
            let order = &mut window.params.order_by;
            let is_ours = |item: &&mut Sort| is_interval(&item.expr, schema);
            let mut changes = false;
            for item in order.iter_mut().filter(is_ours) {
                item.expr = of(std::mem::take(&mut item.expr));
                changes = true;
            }
            let window = Expr::WindowFunction(window);
            if changes {
                Transformed::yes(window)
            } else {
                Transformed::no(window)
            }
        }
        other => Transformed::no(other),
    }
}
