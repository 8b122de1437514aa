//! Keys of ROLLUP, CUBE and GROUPING SETS as columns of which nothing is known: `WHERE k = 1 GROUP BY CUBE (k, id)`.
//!
//! In: a logical plan; out: the same, in which a projection below such an aggregate has its keys. DataFusion takes what it knows
//! of a key among the rows that are grouped (it is constant, sorted, or the same as another) to hold among the groups, where the
//! totals have NULL in its place: groups were told twice, and rows came in another order than that of the query.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};

use super::LogicalRule;
use super::last_rule::LastRule;
use crate::functions::set_key;

/// What the names of such columns begin with.
const PREFIX: &str = "\u{1e}set key ";

/// The rule, which runs where keys are not spelled anew any more.
pub(super) const SET_KEYS: LastRule = LastRule {
    name: "set_keys",
    rewrite: with_columns,
};

/// The rules with the same one before all others for keys that are computed. Below the aggregate, such a key is a column that is
/// called as what it is computed of, `t.day` of no relation for `t.day::timestamp`: DataFusion's rule for what expressions have
/// in common takes it for `day` of `t`, and loses it.
pub(super) fn with_computed_set_keys(mut rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    let first = LastRule {
        name: "computed_set_keys",
        rewrite: with_computed,
    };
    rules.insert(0, Arc::new(first));
    rules
}

fn with_computed(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Aggregate(node) if has_computed_keys(node) => with_columns(plan),
        _ => Ok(Transformed::no(plan)),
    }
}

fn has_computed_keys(node: &Aggregate) -> bool {
    let is_of_table = |column: &Column| column.relation.is_some();
    let is_known = |column: &Column| is_of_table(column) || column.name.starts_with(PREFIX);
    let is_computed = |key: &&Expr| !matches!(key, Expr::Column(column) if is_known(column));
    node.group_expr.iter().any(|group| match group {
        Expr::GroupingSet(set) => set.distinct_expr().iter().any(is_computed),
        _ => false,
    })
}

fn with_columns(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(node) if has_known_keys(&node) => {
            Ok(Transformed::yes(over_columns(node)?))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

fn has_known_keys(node: &Aggregate) -> bool {
    let is_column =
        |key: &&Expr| matches!(key, Expr::Column(column) if column.name.starts_with(PREFIX));
    node.group_expr.iter().any(|group| match group {
        Expr::GroupingSet(set) => !set.distinct_expr().iter().all(is_column),
        _ => false,
    })
}

/// The aggregate over the columns of its keys, which have their own names above it.
fn over_columns(node: Aggregate) -> Result<LogicalPlan> {
    let wanted = node.schema.columns();
    let mut keys: Vec<Expr> = Vec::new();
    let groups = node.group_expr.into_iter();
    let groups: Vec<Expr> = groups
        .map(|group| {
            let columns = group.map_children(|key| Ok(Transformed::yes(column(key, &mut keys))))?;
            Ok(columns.data)
        })
        .collect::<Result<_>>()?;
    let own = node.input.schema().columns().into_iter().map(Expr::Column);
    let columns = (0..).zip(keys);
    let columns = columns.map(|(place, key)| set_key(key, place).alias(name(place)));
    let input = Projection::try_new(own.chain(columns).collect(), node.input)?;
    let input = Arc::new(LogicalPlan::Projection(input));
    let aggregate = Aggregate::try_new(input, groups, node.aggr_expr)?;
    let given = aggregate.schema.columns();
    let shown = given
        .into_iter()
        .zip(wanted)
        .map(|(given, wanted)| match given == wanted {
            true => Expr::Column(given),
            false => Expr::Column(given).alias_qualified(wanted.relation, wanted.name),
        });
    let aggregate = Arc::new(LogicalPlan::Aggregate(aggregate));
    let shown = Projection::try_new(shown.collect(), aggregate)?;
    Ok(LogicalPlan::Projection(shown))
}

/// The column that stands for a key; equal keys have one.
fn column(key: Expr, keys: &mut Vec<Expr>) -> Expr {
    let place = keys.iter().position(|known| *known == key);
    let place = place.unwrap_or_else(|| {
        keys.push(key);
        keys.len() - 1
    });
    Expr::Column(Column::from_name(name(place)))
}

fn name(place: impl std::fmt::Display) -> String {
    format!("{PREFIX}{place}")
}

#[cfg(test)]
mod tests {
    use datafusion::functions_aggregate::expr_fn::count;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, cube, lit};

    use super::*;

    #[test]
    fn keys_become_columns_once() {
        let rows = LogicalPlanBuilder::values(vec![vec![lit(1), lit("a")]]);
        let plan = rows
            .and_then(|rows| {
                let keys = cube(vec![col("column1"), lit(1)]);
                rows.aggregate([keys], [count(col("column2"))])
            })
            .and_then(LogicalPlanBuilder::build)
            .unwrap();
        let names = plan.schema().field_names();
        let once = with_columns(plan).unwrap();
        assert!(once.transformed);
        assert_eq!(once.data.schema().field_names(), names);
        let aggregate = once.data.inputs()[0].clone();
        assert!(!with_columns(aggregate).unwrap().transformed);
    }
}
