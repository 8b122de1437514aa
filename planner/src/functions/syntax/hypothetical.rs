//! The rank that a value would have among the rows of a group: `rank(5) WITHIN GROUP (ORDER BY x)` and its like.
//!
//! In: a call over keys; out: counts of the rows before the values, which mean the same.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DuplicateTreatment, Expr, Function, FunctionArguments, OrderByExpr,
};

use super::{call, cast_to, number, plain_arguments};
use crate::error::{Error, Result};

/// Fails where there are other numbers of values and of keys.
pub(super) fn check(name: &str, function: &Function) -> Result<()> {
    let (n_values, n_keys) = match plain_arguments(function) {
        Some(values) => (values.len(), function.within_group.len()),
        None => return Ok(()),
    };
    if n_keys == 0 || n_values == n_keys {
        return Ok(());
    }
    let hint = format!(
        "{name} takes as many values ({n_values}) as there are keys in ORDER BY ({n_keys})."
    );
    let message = format!("function {name} of {n_values} values over {n_keys} keys does not exist");
    Err(Error::invalid("42883", message, Some(&hint)))
}

/// The call as counts; `None` for `dense_rank` of several keys, and for the function of windows.
pub(super) fn counted(name: &str, function: &Function) -> Option<Expr> {
    let (values, order) = (plain_arguments(function)?, function.within_group.as_slice());
    if values.len() != order.len() || function.over.is_some() {
        return None;
    }
    let filter = function.filter.as_deref();
    let (is_before, is_peer) = places(order, &values)?;
    let n_before = count(None, Some(is_before.clone()), filter);
    let n_rows = count(None, None, filter);
    Some(match name {
        "rank" => plus(n_before, number("1")),
        // All NULLs before the value are one of its kind, which is no distinct value.
        "dense_rank" => {
            let ([value], [order]) = (values.as_slice(), order) else {
                return None;
            };
            let (sooner, nulls) = before(order, value);
            let key = &order.expr;
            let kinds = count(Some(key), Some(sooner), filter);
            let is_null = Expr::IsNull(Box::new(key.clone()));
            let nulls = join(nulls, BinaryOperator::And, is_null);
            let null = call("least", vec![count(None, Some(nulls), filter), number("1")]);
            plus(plus(kinds, null), number("1"))
        }
        "percent_rank" => {
            let n_rows = call("nullif", vec![n_rows, number("0")]);
            let share = join(double(n_before), BinaryOperator::Divide, n_rows);
            call("coalesce", vec![share, double(number("0"))])
        }
        "cume_dist" => {
            let not_behind = join(is_before, BinaryOperator::Or, is_peer);
            let n_rows = plus(n_rows, number("1"));
            let n_not_behind = plus(count(None, Some(not_behind), filter), number("1"));
            join(double(n_not_behind), BinaryOperator::Divide, n_rows)
        }
        _ => return None,
    })
}

/// Whether a row comes before the values, and whether it is like them.
fn places(order: &[OrderByExpr], values: &[Expr]) -> Option<(Expr, Expr)> {
    let mut pairs = order.iter().zip(values).rev().map(|(order, value)| {
        let (sooner, nulls) = before(order, value);
        let (key, value) = (order.expr.clone(), value.clone());
        let is_peer = Expr::IsNotDistinctFrom(Box::new(key), Box::new(value));
        (join(sooner, BinaryOperator::Or, nulls), is_peer)
    });
    let last = pairs.next()?;
    // The keys behind decide where those before are alike.
    Some(
        pairs.fold(last, |(is_before, are_peers), (is_sooner, is_peer)| {
            let undecided = join(is_peer.clone(), BinaryOperator::And, is_before);
            (
                join(is_sooner, BinaryOperator::Or, undecided),
                join(is_peer, BinaryOperator::And, are_peers),
            )
        }),
    )
}

/// Whether a key comes before the value: by what it is, and where one of the two is NULL.
fn before(order: &OrderByExpr, value: &Expr) -> (Expr, Expr) {
    let is_descending = order.options.asc == Some(false);
    let operator = match is_descending {
        true => BinaryOperator::Gt,
        false => BinaryOperator::Lt,
    };
    let (key, value) = (&order.expr, value);
    let (null, known) = match order.options.nulls_first.unwrap_or(is_descending) {
        true => (key, value),
        false => (value, key),
    };
    let is_null = Expr::IsNull(Box::new(null.clone()));
    let is_known = Expr::IsNotNull(Box::new(known.clone()));
    (
        join(key.clone(), operator, value.clone()),
        join(is_null, BinaryOperator::And, is_known),
    )
}

/// The rows, or the distinct values of a key, for which both conditions hold.
fn count(distinct: Option<&Expr>, condition: Option<Expr>, filter: Option<&Expr>) -> Expr {
    let counted = distinct.cloned().unwrap_or_else(|| number("1"));
    let mut counted = call("count", vec![counted]);
    if let Expr::Function(function) = &mut counted {
        if let (Some(_), FunctionArguments::List(list)) = (distinct, &mut function.args) {
            list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
        }
        let both = match (condition, filter.cloned()) {
            (Some(condition), Some(filter)) => Some(join(condition, BinaryOperator::And, filter)),
            (condition, filter) => condition.or(filter),
        };
        function.filter = both.map(Box::new);
    }
    counted
}

fn plus(left: Expr, right: Expr) -> Expr {
    join(left, BinaryOperator::Plus, right)
}

fn double(number: Expr) -> Expr {
    cast_to(number, DataType::DoublePrecision)
}

/// An operation in brackets.
fn join(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let nested = |operand: Expr| Box::new(Expr::Nested(Box::new(operand)));
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: nested(left),
        op,
        right: nested(right),
    }))
}
