//! Positions of result columns within `ROLLUP`, `CUBE` and `GROUPING SETS`, `GROUP BY ROLLUP(1, 2)`, and columns with subqueries
//! that rows are grouped by, `SELECT x IN (SELECT …), count(*) … GROUP BY x IN (SELECT …)`.
//!
//! In and out: a SELECT. The planner knows positions only where they stand for themselves, and such columns only by these, since
//! it gives two subqueries of one text names of their own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, Value, Visit as _, Visitor,
};

use super::number;

/// Puts the expressions of the columns in the place of their positions, and positions in that of columns with subqueries.
pub(super) fn resolve(select: &mut Select) {
    let Select {
        group_by,
        projection,
        ..
    } = select;
    let GroupByExpr::Expressions(keys, _) = group_by else {
        return;
    };
    for key in keys.iter_mut().filter(|key| has_query(key)) {
        if let Some(place) = place_of(key, projection) {
            *key = number(&(place + 1).to_string());
        }
    }
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

/// The place of an expression among the columns that are told one by one.
fn place_of(key: &Expr, items: &[SelectItem]) -> Option<usize> {
    let key = without_brackets(key).to_string();
    let mut exprs = items.iter().map_while(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    exprs.position(|expr| without_brackets(expr).to_string() == key)
}

fn without_brackets(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_brackets(inner),
        expr => expr,
    }
}

fn has_query(expr: &Expr) -> bool {
    expr.visit(&mut Queries).is_break()
}

/// Stops at the first query.
struct Queries;

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
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
