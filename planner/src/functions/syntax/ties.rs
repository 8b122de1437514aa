//! `ORDER BY … FETCH FIRST n ROWS WITH TIES`: the rows whose rank by that order is at most n.
//!
//! In and out: a query's syntax tree. The planner knows `QUALIFY`, which looks at ranks where they are computed: behind
//! grouping, and with the names of the result's columns.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, LimitClause, OrderByExpr, OrderByKind, Query, Select,
    SelectItem, SetExpr, Value, WindowSpec, WindowType,
};

use super::call;
use crate::error::{Error, Result};

/// Puts a condition on ranks in the place of a number of rows.
pub(super) fn keep(query: &mut Query, n_rows: Expr) -> Result<()> {
    let order = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(order)) if !order.is_empty() => order.clone(),
        _ => {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            return Err(Error::invalid("42601", message, None));
        }
    };
    let last = match &query.limit_clause {
        None => n_rows,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset: Some(offset),
            ..
        }) => binary(n_rows, BinaryOperator::Plus, offset.value.clone()),
        Some(_) => {
            let message = "multiple LIMIT clauses not allowed";
            return Err(Error::invalid("42601", message, None));
        }
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(unsupported("a set operation"));
    };
    if select.distinct.is_some() || select.qualify.is_some() {
        return Err(unsupported("SELECT DISTINCT or QUALIFY"));
    }
    let order = order.into_iter().map(|by| by_values(by, select));
    let order = order.collect::<Result<Vec<OrderByExpr>>>()?;
    select.qualify = Some(binary(rank(order), BinaryOperator::LtEq, last));
    Ok(())
}

fn unsupported(of: &str) -> Error {
    Error::Unsupported {
        what: format!("FETCH WITH TIES of {of}"),
        hint: Some("Write SELECT * FROM (query) AS q ORDER BY ... FETCH ... WITH TIES.".to_owned()),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::BinaryOp {
        left: nested(left),
        op,
        right: nested(right),
    }
}

/// `rank() OVER (ORDER BY …)`.
fn rank(order_by: Vec<OrderByExpr>) -> Expr {
    let spec = WindowSpec {
        window_name: None,
        partition_by: Vec::new(),
        order_by,
        window_frame: None,
    };
    match call("rank", Vec::new()) {
        Expr::Function(function) => Expr::Function(Function {
            over: Some(WindowType::WindowSpec(spec)),
            ..function
        }),
        other => other,
    }
}

/// A part of an order in which a position, which a window would take for a number, is what stands there.
fn by_values(mut by: OrderByExpr, select: &Select) -> Result<OrderByExpr> {
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
            by.expr = expr.clone()
        }
        None => {
            let message = format!("ORDER BY position {digits} is not in select list");
            return Err(Error::invalid("42P10", message, None));
        }
        Some(_) => return Err(unsupported("columns by position behind *")),
    }
    Ok(by)
}

fn is_one_column(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
    )
}
