//! Rows are ordered by the keys of values that Arrow orders otherwise than PostgreSQL (`functions/order_keys.rs`).
//!
//! In: a plan that orders or compares such values as they are, in ORDER BY (also of windows, aggregates and DISTINCT ON), in
//! expressions (`compared_values`), and in `min`, `max` and other aggregates that give back one of the labels or addresses they saw;
//! out: the same over their keys. Operators compare keys from the start (`functions/operators.rs`), `min` and `max` of all but
//! these are functions of our own.

use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Sort, WindowFunctionDefinition};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, Window};

use super::address_operands;
use super::compared_values::{compares, settled};
use crate::functions::{Key, KeyOf, is_enum_call, key_of, keyed};

/// The aggregates whose result is one of the values that they saw, by their order.
const CHOOSING: [&str; 4] = ["min", "max", "mode", "percentile_disc"];

/// Rewrites a plan.
pub(super) fn ordered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let is_marked = has_marked(&plan)?;
    let ordered = plan.transform_up_with_subqueries(|node| {
        let node = match is_marked {
            true => address_operands::read(node)?,
            false => node,
        };
        let node = match compared(node)? {
            LogicalPlan::Sort(mut sort) => {
                by_key(&mut sort.expr, Key::of_order, sort.input.schema());
                LogicalPlan::Sort(sort)
            }
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                let schema = on.input.schema();
                for expr in &mut on.on_expr {
                    if let Some(key) = keyed(expr, Key::of_order, schema) {
                        *expr = key;
                    }
                }
                let order = on.sort_expr.as_deref_mut().unwrap_or_default();
                by_key(order, Key::of_order, schema);
                LogicalPlan::Distinct(Distinct::On(on))
            }
            LogicalPlan::Aggregate(aggregate) => chosen_of_groups(aggregate)?,
            LogicalPlan::Window(window) => chosen_of_windows(window)?,
            node => node,
        };
        // What is a label now may have been none to the operators above.
        Ok(Transformed::yes(match is_marked {
            true => node.recompute_schema()?,
            false => node,
        }))
    })?;
    Ok(ordered.data)
}

/// Whether labels or addresses have to do with a plan.
fn has_marked(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        let mut fields = node.schema().fields().iter();
        found |= fields.any(|field| {
            EnumType::of_elements(field).is_some() || AddressKind::of_elements(field).is_some()
        });
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

/// Puts keys in the place of values that rows are ordered by; whether there are such.
pub(super) fn by_key(order: &mut [Sort], of: KeyOf, schema: &DFSchema) -> bool {
    let mut is_changed = false;
    for item in order {
        if let Some(key) = keyed(&item.expr, of, schema) {
            item.expr = key;
            is_changed = true;
        }
    }
    is_changed
}

/// The node with keys in its expressions.
fn compared(node: LogicalPlan) -> Result<LogicalPlan> {
    let mut asks = false;
    node.apply_expressions(|expr| {
        asks |= expr.exists(|expr| Ok(compares(expr)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !asks {
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

/// The key of `min(label)`, `mode(address)` and the like, and the same of its values, under a name of its own.
fn chosen(expr: &Expr, schema: &DFSchema, name: &str) -> Option<(Key, Expr)> {
    let mut expr = expr.clone().unalias();
    let args = match &mut expr {
        Expr::AggregateFunction(function) if CHOOSING.contains(&function.func.name()) => {
            &mut function.params.args
        }
        Expr::WindowFunction(window) if is_choosing(&window.fun) => &mut window.params.args,
        _ => return None,
    };
    let value = args.first_mut()?;
    let key = key_of(value, Key::of_order, schema)?;
    // Others are told from no key.
    let is_told = matches!(key, Key::Place(_) | Key::Address);
    is_told.then(|| *value = key.of(std::mem::take(value)))?;
    Some((key, expr.alias(name)))
}

fn is_choosing(function: &WindowFunctionDefinition) -> bool {
    matches!(function, WindowFunctionDefinition::AggregateUDF(known)
        if CHOOSING.contains(&known.name()))
}

/// The expressions with those of keys among them, and which keys these are.
fn of_keys(exprs: &[Expr], schema: &DFSchema) -> Option<(Vec<Expr>, Vec<Option<Key>>)> {
    let mut values = Vec::with_capacity(exprs.len());
    let mut keys = Vec::with_capacity(exprs.len());
    for (idx, expr) in exprs.iter().enumerate() {
        match chosen(expr, schema, &format!("__auspex_chosen_{idx}")) {
            Some((key, value)) => {
                values.push(value);
                keys.push(Some(key));
            }
            None => {
                values.push(expr.clone());
                keys.push(None);
            }
        }
    }
    keys.iter().any(Option::is_some).then_some((values, keys))
}

fn chosen_of_groups(node: Aggregate) -> Result<LogicalPlan> {
    let Some((values, keys)) = of_keys(&node.aggr_expr, node.input.schema()) else {
        return Ok(LogicalPlan::Aggregate(node));
    };
    let chosen = Aggregate::try_new(Arc::clone(&node.input), node.group_expr, values)?;
    with_values(LogicalPlan::Aggregate(chosen), &node.schema, &keys)
}

fn chosen_of_windows(node: Window) -> Result<LogicalPlan> {
    let Some((values, keys)) = of_keys(&node.window_expr, node.input.schema()) else {
        return Ok(LogicalPlan::Window(node));
    };
    let chosen = Window::try_new(values, Arc::clone(&node.input))?;
    with_values(LogicalPlan::Window(chosen), &node.schema, &keys)
}

/// A plan whose last columns are keys with their values in their stead, and the names that the columns had.
fn with_values(
    chosen: LogicalPlan,
    wanted: &DFSchemaRef,
    keys: &[Option<Key>],
) -> Result<LogicalPlan> {
    // The number of a grouping set is gone once `grouping` is told of it; nothing else asks for it.
    let shown = |columns: Vec<Column>| -> Vec<Column> {
        let columns = columns.into_iter();
        columns
            .filter(|column| column.name != Aggregate::INTERNAL_GROUPING_ID)
            .collect()
    };
    let given = shown(chosen.schema().columns());
    let first = given.len() - keys.len();
    let column = |(idx, (given, wanted)): (usize, (Column, Column))| {
        let key = idx
            .checked_sub(first)
            .and_then(|idx| keys.get(idx)?.as_ref());
        let given = Expr::Column(given);
        let value = key.and_then(|key| key.value_of(given.clone()));
        let value = value.unwrap_or(given);
        value.alias_qualified(wanted.relation, wanted.name)
    };
    let pairs = given.into_iter().zip(shown(wanted.columns()));
    let columns = pairs.enumerate().map(column).collect();
    let projection = Projection::try_new(columns, Arc::new(chosen))?;
    Ok(LogicalPlan::Projection(projection))
}
