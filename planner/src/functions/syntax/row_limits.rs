//! `LIMIT (SELECT …)` and `OFFSET (SELECT …)`: conditions on the places of rows, since the planner counts rows up to constants
//! alone.
//!
//! In and out: a query's syntax tree, whose FETCH without ties is its LIMIT. The planner knows `QUALIFY`, which looks at places
//! where they are computed: behind grouping, and with the names of the result's columns.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, LimitClause, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SetExpr, Value, WindowSpec, WindowType,
};

use super::unnested_order::gives_several;
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

/// The parts of the order of a query whose rows have places; `what` is to be told of one whose rows have none.
pub(super) fn order(query: &Query, what: &str) -> Result<Vec<OrderByExpr>> {
    let unsupported = |of: &str| Error::Unsupported {
        what: format!("{what} of {of}"),
        hint: Some("Write the clause behind SELECT * FROM (query) AS q ORDER BY ....".to_owned()),
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(unsupported("a set operation"));
    };
    if select.distinct.is_some() || select.qualify.is_some() {
        return Err(unsupported("SELECT DISTINCT or QUALIFY"));
    }
    // Places are computed before such functions give their rows.
    if select.projection.iter().any(gives_several) {
        return Err(unsupported("a function of several rows"));
    }
    let order = match query.order_by.as_ref().map(|order| &order.kind) {
        None => Vec::new(),
        Some(OrderByKind::Expressions(order)) => order.clone(),
        Some(OrderByKind::All(_)) => return Err(unsupported("ORDER BY ALL")),
    };
    let is_behind_star = || unsupported("columns by position behind *");
    let order = order.into_iter();
    order
        .map(|by| by_values(by, select, &is_behind_star))
        .collect()
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

/// A part of an order in which a position, which a window would take for a number, is what stands there.
fn by_values(
    mut by: OrderByExpr,
    select: &Select,
    is_behind_star: &dyn Fn() -> Error,
) -> Result<OrderByExpr> {
    let Expr::Value(value) = &by.expr else {
        return Ok(by);
    };
    let Value::Number(digits, _) = &value.value else {
        return Ok(by);
    };
    let position = digits.parse::<usize>().ok();
    let idx = position.and_then(|position| position.checked_sub(1));
    let items = idx.and_then(|idx| select.projection.get(..=idx));
    match items.and_then(<[SelectItem]>::split_last) {
        Some((SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }, before))
            if before.iter().all(is_one_column) =>
        {
            by.expr = expr.clone();
        }
        None => {
            let message = format!("ORDER BY position {digits} is not in select list");
            return Err(Error::invalid("42P10", message, None));
        }
        Some(_) => return Err(is_behind_star()),
    }
    Ok(by)
}

fn is_one_column(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
    )
}
