//! Keys of ROLLUP, CUBE and GROUPING SETS are columns: `GROUP BY ROLLUP (day + 7)`.
//!
//! In: a plan; out: the same whose grouping sets hold columns of a projection below that have the names of the expressions. What
//! rewrites the expressions later keeps the names of a projection, but not those within a set, by which the result knows them.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::error::Result;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};

/// Rewrites a plan.
pub(super) fn projected(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => in_aggregate(aggregate),
        node => Ok(Transformed::no(node)),
    })?;
    Ok(done.data)
}

fn in_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut keys: Vec<Expr> = Vec::new();
    for group in &aggregate.group_expr {
        if let Expr::GroupingSet(set) = group {
            for key in set.distinct_expr() {
                if !matches!(key, Expr::Column(_)) && !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
    }
    if keys.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let columns = aggregate.input.schema().columns().into_iter();
    let named = keys.iter().map(|key| key.clone().alias(name_of(key)));
    let exprs = columns.map(Expr::Column).chain(named).collect();
    let input = Projection::try_new(exprs, Arc::clone(&aggregate.input))?;
    let by_name = |expr: Expr| -> Result<Expr> {
        let changed = expr.transform_down(|expr| {
            Ok(match keys.contains(&expr) {
                true => {
                    let column = Expr::Column(Column::from_name(name_of(&expr)));
                    Transformed::new(column, true, TreeNodeRecursion::Jump)
                }
                false => Transformed::no(expr),
            })
        });
        changed.data()
    };
    // A plain key is among the sets' only where the planner wrote them out, and `grouping(key)` names one.
    let groups = aggregate.group_expr.into_iter().map(by_name);
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let values = aggregate.aggr_expr.into_iter().map(|expr| match &expr {
        Expr::AggregateFunction(function) if function.func.name() == "grouping" => by_name(expr),
        _ => Ok(expr),
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let input = Arc::new(LogicalPlan::Projection(input));
    let aggregate = Aggregate::try_new(input, groups, values)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn name_of(key: &Expr) -> String {
    key.schema_name().to_string()
}
