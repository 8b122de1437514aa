//! Orders and joins rows by floats of which -0 and 0 are equal: `ORDER BY x * -1, id`, `rank() OVER (ORDER BY -x)`, `DISTINCT ON (-x)`,
//! `x IN (SELECT -y FROM …)`.
//!
//! In: a logical plan; out: the same in which keys of sorts, windows and orders of aggregates that may be -0 are keys of one
//! zero. DataFusion tells groups apart so, but sorts by the bits of floats: rows with -0 would come before those with 0,
//! whatever the next key says, and be no peers of theirs. Joins compare keys as numbers, but tell the scan of their other side
//! bounds of them, which go by the bits again. The last key of a sort is left as it is, since the order of equal rows is open,
//! and so are columns of tables that are stored with one zero, computed of nothing but numbers that have one.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Sort as Item;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable as _, Join, LogicalPlan, TableScan};

use super::last_rule::LastRule;
use super::renamed::rewritten;
use crate::functions::{FLOAT_KEY, float_key};

/// The rule, which runs before the one that makes columns of keys.
pub(super) const FLOAT_KEYS: LastRule = LastRule {
    name: "float_keys",
    rewrite: with_keys,
};

fn with_keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(mut sort) => {
            let input = Arc::clone(&sort.input);
            let is_changed = before_others(&mut sort.expr, input.schema(), &input);
            let sort = LogicalPlan::Sort(sort);
            Ok(Transformed::new_transformed(sort, is_changed))
        }
        LogicalPlan::Window(window) => {
            let input = Arc::clone(&window.input);
            let plan = LogicalPlan::Window(window);
            rewritten(plan, |expr, schema| Ok(of_window(expr, schema, &input)))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let input = Arc::clone(&aggregate.input);
            let plan = LogicalPlan::Aggregate(aggregate);
            rewritten(plan, |expr, schema| Ok(of_aggregate(expr, schema, &input)))
        }
        LogicalPlan::Join(join) => Ok(of_join(join)),
        plan => Ok(Transformed::no(plan)),
    }
}

/// Joins that keep the rows of both sides tell no bounds.
fn of_join(mut join: Join) -> Transformed<LogicalPlan> {
    let tells_bounds = join.join_type != JoinType::Full;
    let mut is_changed = false;
    for (left, right) in join.on.iter_mut().filter(|_| tells_bounds) {
        is_changed |= by_one_zero(left, join.left.schema(), &join.left);
        is_changed |= by_one_zero(right, join.right.schema(), &join.right);
    }
    Transformed::new_transformed(LogicalPlan::Join(join), is_changed)
}

/// By all keys of a window rows are told apart.
fn of_window(expr: Expr, schema: &DFSchema, input: &LogicalPlan) -> Transformed<Expr> {
    let Expr::WindowFunction(mut function) = expr else {
        return Transformed::no(expr);
    };
    let mut is_changed = false;
    for key in &mut function.params.partition_by {
        is_changed |= by_one_zero(key, schema, input);
    }
    for item in &mut function.params.order_by {
        is_changed |= by_one_zero(&mut item.expr, schema, input);
    }
    let found = Expr::WindowFunction(function);
    Transformed::new(found, is_changed, TreeNodeRecursion::Jump)
}

fn of_aggregate(expr: Expr, schema: &DFSchema, input: &LogicalPlan) -> Transformed<Expr> {
    let Expr::AggregateFunction(mut function) = expr else {
        return Transformed::no(expr);
    };
    // With DISTINCT, the planner takes no other order than that of the argument itself.
    let is_plain = !function.params.distinct;
    let is_changed = is_plain && before_others(&mut function.params.order_by, schema, input);
    let found = Expr::AggregateFunction(function);
    Transformed::new(found, is_changed, TreeNodeRecursion::Jump)
}

/// Changes the keys that others follow; whether there are such.
fn before_others(order: &mut [Item], schema: &DFSchema, input: &LogicalPlan) -> bool {
    let n_before = order.len().saturating_sub(1);
    let mut is_changed = false;
    for item in order.iter_mut().take(n_before) {
        is_changed |= by_one_zero(&mut item.expr, schema, input);
    }
    is_changed
}

/// Puts what has one zero in the place of a float that may be -0.
fn by_one_zero(key: &mut Expr, schema: &DFSchema, input: &LogicalPlan) -> bool {
    let is_float = key.get_type(schema).is_ok_and(|found| found.is_floating());
    let is_changed = is_float && may_be_negative_zero(key, input);
    if is_changed {
        let value = std::mem::take(key);
        *key = float_key(value);
    }
    is_changed
}

/// Whether a float may be -0, or a NaN with a sign.
fn may_be_negative_zero(expr: &Expr, input: &LogicalPlan) -> bool {
    match expr {
        Expr::Alias(alias) => may_be_negative_zero(&alias.expr, input),
        Expr::Column(column) => match input.schema().maybe_index_of_column(column) {
            Some(place) => column_may_be(place, input),
            None => true,
        },
        Expr::Cast(cast) => match cast.expr.get_type(input.schema()) {
            Ok(from) if from.is_floating() => may_be_negative_zero(&cast.expr, input),
            Ok(from) => !from.is_integer() && !from.is_decimal(),
            Err(_) => true,
        },
        Expr::ScalarFunction(call) => call.func.name() != FLOAT_KEY,
        _ => true,
    }
}

/// The same of a column of a plan.
fn column_may_be(place: usize, plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => match node.expr.get(place) {
            Some(expr) => may_be_negative_zero(expr, &node.input),
            None => true,
        },
        LogicalPlan::Aggregate(node) => match node.group_expr.get(place) {
            None | Some(Expr::GroupingSet(_)) => true,
            Some(expr) => may_be_negative_zero(expr, &node.input),
        },
        LogicalPlan::Filter(node) => column_may_be(place, &node.input),
        LogicalPlan::Sort(node) => column_may_be(place, &node.input),
        LogicalPlan::Limit(node) => column_may_be(place, &node.input),
        LogicalPlan::SubqueryAlias(node) => column_may_be(place, &node.input),
        LogicalPlan::Distinct(Distinct::All(input)) => column_may_be(place, input),
        LogicalPlan::Window(node) => {
            let is_of_input = place < node.input.schema().fields().len();
            !is_of_input || column_may_be(place, &node.input)
        }
        LogicalPlan::Join(node) => match node.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                match place.checked_sub(node.left.schema().fields().len()) {
                    Some(place) => column_may_be(place, &node.right),
                    None => column_may_be(place, &node.left),
                }
            }
            JoinType::LeftSemi | JoinType::LeftAnti => column_may_be(place, &node.left),
            JoinType::RightSemi | JoinType::RightAnti => column_may_be(place, &node.right),
            _ => true,
        },
        LogicalPlan::TableScan(scan) => !has_one_zero(scan),
        _ => true,
    }
}

fn has_one_zero(scan: &TableScan) -> bool {
    let table = source_as_provider(&scan.source);
    table.is_ok_and(|table| auspex_storage::has_one_zero(table.as_ref()))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{JoinType, LogicalPlanBuilder, cast, col, lit};

    use super::*;

    fn sorted(keys: Vec<Item>) -> LogicalPlan {
        let rows = LogicalPlanBuilder::values(vec![vec![lit(-0.0), lit(1), lit(2.0)]]);
        let sorted = rows.and_then(|rows| rows.sort(keys));
        sorted.and_then(LogicalPlanBuilder::build).unwrap()
    }

    #[test]
    fn floats_before_other_keys_have_one_zero() {
        let key = |name: &str| col(name).sort(true, false);
        let alone = with_keys(sorted(vec![key("column2"), key("column1")])).unwrap();
        assert!(!alone.transformed);
        let before = with_keys(sorted(vec![key("column1"), key("column3")])).unwrap();
        assert!(before.transformed);
        let LogicalPlan::Sort(sort) = &before.data else {
            unreachable!("a sort stays one");
        };
        assert_eq!(sort.expr[0].expr, float_key(col("column1")));
        assert_eq!(sort.expr[1].expr, col("column3"));
        assert!(!with_keys(before.data).unwrap().transformed);
        let whole = cast(
            col("column2"),
            datafusion::arrow::datatypes::DataType::Float64,
        );
        let whole = vec![whole.sort(true, false), key("column1")];
        assert!(!with_keys(sorted(whole)).unwrap().transformed);
    }

    #[test]
    fn keys_of_joins_have_one_zero_where_they_may_have_two() {
        let side = |name: &str, values: Vec<Vec<Expr>>| {
            let rows = LogicalPlanBuilder::values(values);
            rows.and_then(|rows| rows.alias(name)).unwrap()
        };
        let joined = |join_type, on: &str| {
            let left = side("l", vec![vec![lit(-0.0), lit(1)]]);
            let right = side("r", vec![vec![lit(0.0), lit(1)]]).build().unwrap();
            let on = (vec![format!("l.{on}")], vec![format!("r.{on}")]);
            let plan = left.join(right, join_type, on, None);
            with_keys(plan.and_then(LogicalPlanBuilder::build).unwrap()).unwrap()
        };
        assert!(!joined(JoinType::Inner, "column2").transformed);
        assert!(!joined(JoinType::Full, "column1").transformed);
        let found = joined(JoinType::LeftSemi, "column1");
        let LogicalPlan::Join(join) = &found.data else {
            unreachable!("a join stays one");
        };
        let key = |name: &str| float_key(col(name));
        assert_eq!(join.on, [(key("l.column1"), key("r.column1"))]);
        assert!(!with_keys(found.data).unwrap().transformed);
    }
}
