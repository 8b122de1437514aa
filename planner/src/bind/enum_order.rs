//! Labels of enums are compared by their places, and functions of enums are labels.
//!
//! In: a plan that compares labels as the texts that they are, in ORDER BY (also of windows, aggregates and DISTINCT ON),
//! BETWEEN, `greatest`, `least`, `min` and `max`; out: the same over their places. Operators compare places from the start
//! (`functions/operators.rs`); equal labels are equal texts.

use std::sync::Arc;

use auspex_storage::EnumType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, ScalarFunction, Sort, WindowFunctionDefinition};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, Window};

use crate::error::Error;
use crate::functions::{enum_call, enum_of, is_enum_call, label_of, order_key, order_keys};

/// The aggregates whose result is one of the labels that they saw, by their order.
const EXTREMES: [&str; 2] = ["min", "max"];

/// The functions whose result is one of their arguments, by their order.
const OF_ORDER: [&str; 2] = ["greatest", "least"];

/// Rewrites a plan.
pub(super) fn ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_labels(&plan)? {
        return Ok(plan);
    }
    let ordered = plan.transform_up_with_subqueries(|node| {
        let node = compared(node)?;
        let node = match node {
            LogicalPlan::Sort(mut sort) => {
                by_place(&mut sort.expr, sort.input.schema());
                LogicalPlan::Sort(sort)
            }
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                let schema = on.input.schema();
                for expr in &mut on.on_expr {
                    if let Some(key) = order_key(expr, schema) {
                        *expr = key;
                    }
                }
                by_place(on.sort_expr.as_deref_mut().unwrap_or_default(), schema);
                LogicalPlan::Distinct(Distinct::On(on))
            }
            LogicalPlan::Aggregate(aggregate) => extremes_of_groups(aggregate)?,
            LogicalPlan::Window(window) => extremes_of_windows(window)?,
            node => node,
        };
        // What is a label now may have been none to the operators above.
        Ok(Transformed::yes(node.recompute_schema()?))
    })?;
    Ok(ordered.data)
}

/// Whether labels have to do with a plan.
fn has_labels(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        let mut fields = node.schema().fields().iter();
        found |= fields.any(|field| EnumType::of_elements(field).is_some());
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(is_enum_call(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

fn by_place(order: &mut [Sort], schema: &DFSchema) {
    for item in order {
        if let Some(key) = order_key(&item.expr, schema) {
            item.expr = key;
        }
    }
}

/// The node with places in its expressions.
fn compared(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut compares = false;
    node.apply_expressions(|expr| {
        compares |= expr.exists(|expr| Ok(may_compare(expr)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !compares {
        return Ok(node);
    }
    let schema = merge_schema(&node.inputs());
    // Columns keep their names, by which operators above know them.
    let names = NamePreserver::new(&node);
    let keeps_names = !matches!(node, LogicalPlan::Sort(_));
    let compared = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let compared = expr.transform_up(|expr| settled(expr, &schema))?;
        Ok(match keeps_names && compared.transformed {
            true => compared.update_data(|expr| name.restore(expr)),
            false => compared,
        })
    })?;
    Ok(compared.data)
}

/// Whether an expression is of a form that compares values, or is a label.
fn may_compare(expr: &Expr) -> bool {
    match expr {
        Expr::Between(_) | Expr::WindowFunction(_) => true,
        Expr::AggregateFunction(function) => !function.params.order_by.is_empty(),
        Expr::ScalarFunction(call) => is_enum_call(expr) || OF_ORDER.contains(&call.func.name()),
        _ => false,
    }
}

fn settled(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Between(between) => {
            let values = [&*between.expr, &*between.low, &*between.high];
            match order_keys(&values, schema).map(|(_, keys)| <[Expr; 3]>::try_from(keys)) {
                Some(Ok([value, low, high])) => Transformed::yes(Expr::Between(Between::new(
                    Box::new(value),
                    between.negated,
                    Box::new(low),
                    Box::new(high),
                ))),
                _ => Transformed::no(Expr::Between(between)),
            }
        }
        Expr::WindowFunction(mut window) => {
            by_place(&mut window.params.order_by, schema);
            Transformed::yes(Expr::WindowFunction(window))
        }
        Expr::AggregateFunction(mut function) => {
            let params = &mut function.params;
            let has_labels = |item: &Sort| enum_of(&item.expr, schema).is_some();
            if params.distinct && params.order_by.iter().any(has_labels) {
                let what = "DISTINCT with ORDER BY of an enum in an aggregate";
                return Err(Error::unsupported(what).into());
            }
            by_place(&mut params.order_by, schema);
            Transformed::yes(Expr::AggregateFunction(function))
        }
        Expr::ScalarFunction(call) => of_call(call, schema),
        other => Transformed::no(other),
    })
}

fn of_call(call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    if let Some(meant) = enum_call(&call, schema) {
        return Transformed::yes(meant);
    }
    if OF_ORDER.contains(&call.func.name()) {
        let values: Vec<&Expr> = call.args.iter().collect();
        if let Some((known, keys)) = order_keys(&values, schema) {
            return Transformed::yes(label_of(call.func.call(keys), &known));
        }
    }
    Transformed::no(Expr::ScalarFunction(call))
}

/// The enum of `min(label)` and `max(label)`, and the same of the label's place, under a name of its own.
fn extreme(expr: &Expr, schema: &DFSchema, name: &str) -> Option<(EnumType, Expr)> {
    let mut expr = expr.clone().unalias();
    let args = match &mut expr {
        Expr::AggregateFunction(function) if EXTREMES.contains(&function.func.name()) => {
            &mut function.params.args
        }
        Expr::WindowFunction(window) if is_extreme(&window.fun) => &mut window.params.args,
        _ => return None,
    };
    let label = args.first_mut()?;
    let known = enum_of(label, schema)?;
    *label = order_key(label, schema)?;
    Some((known, expr.alias(name)))
}

fn is_extreme(function: &WindowFunctionDefinition) -> bool {
    matches!(function, WindowFunctionDefinition::AggregateUDF(known)
        if EXTREMES.contains(&known.name()))
}

/// The expressions with those of places among them, and what each is of that was one of labels.
fn of_places(exprs: &[Expr], schema: &DFSchema) -> Option<(Vec<Expr>, Vec<Option<EnumType>>)> {
    let mut places = Vec::with_capacity(exprs.len());
    let mut types = Vec::with_capacity(exprs.len());
    for (idx, expr) in exprs.iter().enumerate() {
        match extreme(expr, schema, &format!("__auspex_enum_{idx}")) {
            Some((known, place)) => {
                places.push(place);
                types.push(Some(known));
            }
            None => {
                places.push(expr.clone());
                types.push(None);
            }
        }
    }
    types.iter().any(Option::is_some).then_some((places, types))
}

fn extremes_of_groups(node: Aggregate) -> Result<LogicalPlan> {
    let Some((places, types)) = of_places(&node.aggr_expr, node.input.schema()) else {
        return Ok(LogicalPlan::Aggregate(node));
    };
    let places = Aggregate::try_new(Arc::clone(&node.input), node.group_expr, places)?;
    with_labels(LogicalPlan::Aggregate(places), &node.schema, &types)
}

fn extremes_of_windows(node: Window) -> Result<LogicalPlan> {
    let Some((places, types)) = of_places(&node.window_expr, node.input.schema()) else {
        return Ok(LogicalPlan::Window(node));
    };
    let places = Window::try_new(places, Arc::clone(&node.input))?;
    with_labels(LogicalPlan::Window(places), &node.schema, &types)
}

/// A plan whose last columns are places with the labels in their stead, and the names that the columns had.
fn with_labels(
    places: LogicalPlan,
    wanted: &DFSchemaRef,
    types: &[Option<EnumType>],
) -> Result<LogicalPlan> {
    let given: Vec<Column> = places.schema().columns();
    let first = given.len() - types.len();
    let column = |(idx, (given, wanted)): (usize, (Column, Column))| {
        let known = idx
            .checked_sub(first)
            .and_then(|idx| types.get(idx)?.as_ref());
        let value = Expr::Column(given);
        let value = match known {
            Some(known) => label_of(value, known),
            None => value,
        };
        value.alias_qualified(wanted.relation, wanted.name)
    };
    let pairs = given.into_iter().zip(wanted.columns());
    let columns = pairs.enumerate().map(column).collect();
    let projection = Projection::try_new(columns, Arc::new(places))?;
    Ok(LogicalPlan::Projection(projection))
}
