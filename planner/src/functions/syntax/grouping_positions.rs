//! Positions of result columns within `ROLLUP`, `CUBE` and `GROUPING SETS`: `GROUP BY ROLLUP(1, 2)`.
//!
//! In and out: a SELECT. The planner knows positions only where they stand for themselves.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, SelectItem, Value};

/// Puts the expressions of the columns in the place of their positions.
pub(super) fn resolve(select: &mut Select) {
    let Select {
        group_by,
        projection,
        ..
    } = select;
    let GroupByExpr::Expressions(keys, _) = group_by else {
        return;
    };
    let sets = keys.iter_mut().filter_map(|key| match key {
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => Some(sets),
        _ => None,
    });
    for key in sets.flatten().flatten() {
        if let Some(column) = position(key).and_then(|place| column(projection, place)) {
            *key = column;
        }
    }
}

/// The place that a whole number means, from 0.
fn position(key: &Expr) -> Option<usize> {
    match key {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        Expr::Nested(inner) => position(inner),
        _ => None,
    }
}

fn column(items: &[SelectItem], place: usize) -> Option<Expr> {
    match items.get(place)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        _ => None,
    }
}
