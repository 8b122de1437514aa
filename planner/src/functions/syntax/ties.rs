//! `ORDER BY … FETCH FIRST n ROWS WITH TIES`: the rows whose rank by that order is at most n.
//!
//! In and out: a query's syntax tree. An offset stays, unless it is computed by a query (`row_limits`).

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, LimitClause, OrderByKind, Query, Value,
};

use super::as_bigint;
use super::row_limits::{behind, binary, order, qualify, window, within};
use crate::constants::holds_query;
use crate::error::{Error, Result};
use crate::functions::cast_keys::without_brackets;
use crate::functions::row_counts;

/// Puts a condition on ranks in the place of a number of rows.
pub(super) fn keep(query: &mut Query, mut n_rows: Expr) -> Result<()> {
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(order)) if !order.is_empty() => {}
        _ => {
            let message = "WITH TIES cannot be specified without ORDER BY clause";
            return Err(Error::invalid("42601", message, None));
        }
    }
    if matches!(without_brackets(&n_rows), Expr::Value(value) if matches!(value.value, Value::Null))
    {
        let message = "row count cannot be null in FETCH FIRST ... WITH TIES clause";
        return Err(Error::invalid("2201W", message, None));
    }
    as_bigint(&mut n_rows);
    let offset = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset: Some(offset),
            ..
        }) => Some(offset.value.clone()),
        Some(_) => {
            let message = "multiple LIMIT clauses not allowed";
            return Err(Error::invalid("42601", message, None));
        }
    };
    let order = order(query, "FETCH WITH TIES")?;
    let rank = window("rank", order.clone());
    let condition = within(rank, n_rows, row_counts::LIMIT, &offset);
    let condition = match offset.filter(holds_query) {
        Some(offset) => {
            query.limit_clause = None;
            let place = window("row_number", order);
            binary(condition, BinaryOperator::And, behind(place, offset))
        }
        None => condition,
    };
    qualify(query, condition);
    Ok(())
}
