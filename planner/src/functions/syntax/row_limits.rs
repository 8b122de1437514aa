//! `LIMIT (SELECT …)` and `OFFSET (SELECT …)`: conditions on the places of rows, since the planner counts rows up to constants
//! alone.
//!
//! In and out: a query's syntax tree, whose FETCH without ties is its LIMIT. The planner knows `QUALIFY`, which looks at places
//! where they are computed: behind grouping, and with the names of FROM before those of the result (`placed_results`).

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, LimitClause, OrderByExpr, OrderByKind, Query,
    SetExpr, Value, WindowSpec, WindowType,
};

use super::placed_results::{self, is_one_column, no_such_place, shown};
use super::{call, cast_to, is_parameter, text};
use crate::constants::holds_query;
use crate::error::{Error, Result};
use crate::functions::row_counts;

/// Puts conditions in the place of a limit and an offset one of which is computed by a query.
pub(super) fn settle(query: &mut Query) -> Result<()> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause else {
        return Ok(());
    };
    let offset = offset.as_ref().map(|offset| &offset.value);
    if !limit.iter().chain(offset).any(holds_query) {
        return Ok(());
    }
    let (limit, offset) = (limit.clone(), offset.cloned());
    let place = window(
        "row_number",
        order(query, "LIMIT and OFFSET with a subquery")?,
    );
    query.limit_clause = None;
    let first = limit.map(|n_rows| within(place.clone(), n_rows, row_counts::LIMIT, &offset));
    let behind = offset.map(|offset| behind(place, offset));
    let conditions = first.into_iter().chain(behind);
    if let Some(condition) =
        conditions.reduce(|left, right| binary(left, BinaryOperator::And, right))
    {
        qualify(query, condition);
    }
    Ok(())
}

/// The parts of the order of a query whose rows have places; `what` is to be told of one whose rows have none. A query whose places
/// are those of its result is put in FROM before.
pub(super) fn order(query: &mut Query, what: &str) -> Result<Vec<OrderByExpr>> {
    let unsupported = |of: &str| Error::Unsupported {
        what: format!("{what} of {of}"),
        hint: Some("Write the clause behind SELECT * FROM (query) AS q ORDER BY ....".to_owned()),
    };
    if let Some(OrderByKind::All(_)) = query.order_by.as_ref().map(|order| &order.kind) {
        return Err(unsupported("ORDER BY ALL"));
    }
    if placed_results::is_computed(query) && placed_results::put_in_from(query)?.is_none() {
        return Err(unsupported(
            "an order by what is no column of the result, or behind *",
        ));
    }
    let (SetExpr::Select(select), Some(order_by)) = (query.body.as_ref(), &query.order_by) else {
        return Ok(Vec::new());
    };
    let OrderByKind::Expressions(order) = &order_by.kind else {
        return Ok(Vec::new());
    };
    let by_values = |by: &OrderByExpr| {
        let mut by = by.clone();
        match shown(&by.expr, select) {
            Some(expr) => by.expr = expr.clone(),
            None if !is_number(&by.expr) => {}
            None if select.projection.iter().all(is_one_column) => {
                return Err(no_such_place(&by.expr));
            }
            None => return Err(unsupported("columns by position behind *")),
        }
        Ok(by)
    };
    order.iter().map(by_values).collect()
}

/// Whether a key of an order is a number, which is the position of a column.
fn is_number(key: &Expr) -> bool {
    matches!(key, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

/// Puts a condition on the rows of a query that has none on their places.
pub(super) fn qualify(query: &mut Query, condition: Expr) {
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.qualify = Some(condition);
    }
}

/// Whether a place is one of the first ones behind those that are left out.
pub(super) fn within(place: Expr, n_rows: Expr, clause: &str, offset: &Option<Expr>) -> Expr {
    let place = match offset {
        Some(offset) => {
            let left_out = counted(offset.clone(), row_counts::OFFSET);
            binary(place, BinaryOperator::Minus, left_out)
        }
        None => place,
    };
    binary(place, BinaryOperator::LtEq, counted(n_rows, clause))
}

/// Whether a place is behind those that are left out.
pub(super) fn behind(place: Expr, offset: Expr) -> Expr {
    let left_out = counted(offset, row_counts::OFFSET);
    binary(place, BinaryOperator::Gt, left_out)
}

/// A number of rows, as a clause counts them.
fn counted(n_rows: Expr, clause: &str) -> Expr {
    let n_rows = match is_parameter(&n_rows) {
        true => n_rows,
        false => cast_to(n_rows, DataType::BigInt(None)),
    };
    call(row_counts::NAME, vec![n_rows, text(clause)])
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::BinaryOp {
        left: nested(left),
        op,
        right: nested(right),
    }
}

/// `name() OVER (ORDER BY …)`.
pub(super) fn window(name: &str, order_by: Vec<OrderByExpr>) -> Expr {
    let spec = WindowSpec {
        window_name: None,
        partition_by: Vec::new(),
        order_by,
        window_frame: None,
    };
    match call(name, Vec::new()) {
        Expr::Function(function) => Expr::Function(Function {
            over: Some(WindowType::WindowSpec(spec)),
            ..function
        }),
        other => other,
    }
}
