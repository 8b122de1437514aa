//! DISTINCT ON with subqueries among its columns, its keys or its order: `SELECT DISTINCT ON (a) a, (SELECT max(x) FROM u WHERE
//! u.id = t.id) FROM t`.
//!
//! In: such a node; out: one that chooses among rows which have the values of the subqueries as columns.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, LogicalPlan};

use super::{Numbers, has_left, is_left, plain, project, valued};

/// The node over such columns, if it asks a subquery that the planner's rules leave.
pub(super) fn over_columns(
    on: DistinctOn,
    numbers: &Numbers,
    state: &SessionState,
) -> Result<Transformed<LogicalPlan>> {
    let node = LogicalPlan::Distinct(Distinct::On(on.clone()));
    if !has_left(&node, state) {
        return Ok(Transformed::no(node));
    }
    let asks = |expr: &Expr| {
        let exists = expr.exists(|expr| Ok(is_left(&node, expr, state)));
        exists.unwrap_or(false)
    };
    let mut added: Vec<(Expr, Column)> = Vec::new();
    let mut column = |expr: Expr| {
        if !asks(&expr) {
            return expr;
        }
        let known = added.iter().find(|(known, _)| *known == expr);
        if let Some((_, column)) = known {
            return Expr::Column(column.clone());
        }
        let column = numbers.column("chosen");
        added.push((expr, column.clone()));
        Expr::Column(column)
    };
    let keys: Vec<Expr> = on.on_expr.into_iter().map(&mut column).collect();
    let mut selected = Vec::with_capacity(on.select_expr.len());
    for expr in on.select_expr {
        selected.push(match asks(&expr) {
            true => {
                let (relation, name) = expr.qualified_name();
                column(expr.unalias()).alias_qualified(relation, name)
            }
            false => expr,
        });
    }
    let order = on.sort_expr.map(|order| {
        let keys = order.into_iter();
        let keys = keys.map(|key| key.with_expr(column(key.expr.clone())));
        keys.collect()
    });
    let columns = plain(on.input.schema().columns());
    let added = added.into_iter();
    let columns = columns.chain(added.map(|(expr, column)| expr.alias(column.name)));
    let columns = columns.collect();
    let rows = project(Arc::unwrap_or_clone(on.input), columns)?;
    let rows = Arc::new(valued(rows, numbers, state)?.data);
    let on = DistinctOn::try_new(keys, selected, order, rows)?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
}
