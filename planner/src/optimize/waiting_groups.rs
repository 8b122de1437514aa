//! Computes functions that wait below the aggregate that groups, filters or orders by them:
//! `SELECT pg_table_size('t'), count(*) FROM t GROUP BY 1`.
//!
//! In: a logical plan; out: the same, in which a projection below such an aggregate has their values. DataFusion makes room
//! for them below projections, filters and what aggregates gather, not below the rest of an aggregate.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};

use super::last_rule::LastRule;

/// What the columns of calls begin with.
const COLUMN: &str = "\u{1e}waits ";

/// The rule, which runs where calls do not come into aggregates any more.
pub(super) const WAITING_GROUPS: LastRule = LastRule {
    name: "waiting_groups",
    rewrite: with_values,
};

fn with_values(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(node) if asks(&node)? => {
            let node = over_values(node)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(node)))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

/// Whether an aggregate has such a call where DataFusion does not look for it.
fn asks(node: &Aggregate) -> Result<bool> {
    for group in &node.group_expr {
        if waits(group)? {
            return Ok(true);
        }
    }
    for gathered in &node.aggr_expr {
        let is_found = gathered.exists(|expr| match expr {
            Expr::AggregateFunction(call) => asks_beside_arguments(&call.params),
            _ => Ok(false),
        })?;
        if is_found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn asks_beside_arguments(params: &AggregateFunctionParams) -> Result<bool> {
    let filter = params.filter.iter().map(AsRef::as_ref);
    let order = params.order_by.iter().map(|sort| &sort.expr);
    for expr in filter.chain(order) {
        if waits(expr)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn waits(expr: &Expr) -> Result<bool> {
    expr.exists(|node| Ok(is_waiting_call(node)))
}

fn is_waiting_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.as_async().is_some())
}

/// The aggregate over a projection that has the values of its calls, beside all that it had.
fn over_values(node: Aggregate) -> Result<Aggregate> {
    let mut values = Vec::new();
    let groups = node.group_expr.into_iter();
    let groups: Vec<Expr> = groups
        .map(|group| with_own_value(group, &mut values))
        .collect::<Result<_>>()?;
    let gathered = node.aggr_expr.into_iter();
    let gathered: Vec<Expr> = gathered
        .map(|gathered| with_values_of_calls(gathered, &mut values))
        .collect::<Result<_>>()?;
    let columns = node.input.schema().iter().map(Expr::from);
    let columns = columns.chain(values).collect();
    let input = Projection::try_new(columns, node.input)?;
    let input = Arc::new(LogicalPlan::Projection(input));
    Aggregate::try_new_with_schema(input, groups, gathered, node.schema)
}

/// A group is computed as a whole and keeps its name, by which what is above finds it.
fn with_own_value(group: Expr, values: &mut Vec<Expr>) -> Result<Expr> {
    if let Expr::GroupingSet(_) = group {
        let sets = group.map_children(|group| {
            let column = with_own_value(group, values)?;
            Ok(Transformed::yes(column))
        })?;
        return Ok(sets.data);
    }
    if !waits(&group)? {
        return Ok(group);
    }
    let (relation, name) = group.qualified_name();
    if !values.contains(&group) {
        values.push(group);
    }
    Ok(Expr::Column(Column::new(relation, name)))
}

/// An aggregate function, whose name stays as well.
fn with_values_of_calls(gathered: Expr, values: &mut Vec<Expr>) -> Result<Expr> {
    let (relation, name) = gathered.qualified_name();
    let computed = gathered.transform_down(|node| {
        if !is_waiting_call(&node) {
            return Ok(Transformed::no(node));
        }
        let column = format!("{COLUMN}{}", values.len());
        values.push(node.alias(&column));
        Ok(Transformed::yes(Expr::Column(Column::from_name(column))))
    })?;
    Ok(match computed.transformed {
        true if !matches!(computed.data, Expr::Alias(_)) => {
            computed.data.alias_qualified(relation, name)
        }
        _ => computed.data,
    })
}
