//! The rank that a value would have among the rows of a group: `rank(5) WITHIN GROUP (ORDER BY x)` and its like.
//!
//! In: a call over one key; out: counts of the rows before the value, which mean the same.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DuplicateTreatment, Expr, Function, FunctionArguments, OrderByExpr,
};

use super::{call, cast_to, number, plain_arguments};

/// The call as counts; `None` for one of several keys, and for the function of windows.
pub(super) fn counted(name: &str, function: &Function) -> Option<Expr> {
    let (args, order) = (plain_arguments(function)?, function.within_group.as_slice());
    let ([value], [order], None) = (args.as_slice(), order, &function.over) else {
        return None;
    };
    let filter = function.filter.as_deref();
    let (sooner, nulls) = before(order, value);
    let key = &order.expr;
    let is_before = join(sooner.clone(), BinaryOperator::Or, nulls.clone());
    let n_before = count(None, Some(is_before.clone()), filter);
    let n_rows = count(None, None, filter);
    Some(match name {
        "rank" => plus(n_before, number("1")),
        // All NULLs before the value are one of its kind, which is no distinct value.
        "dense_rank" => {
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
            let (key, value) = (Box::new(key.clone()), Box::new(value.clone()));
            let is_peer = Expr::IsNotDistinctFrom(key, value);
            let not_behind = join(is_before, BinaryOperator::Or, is_peer);
            let n_rows = plus(n_rows, number("1"));
            let n_not_behind = plus(count(None, Some(not_behind), filter), number("1"));
            join(double(n_not_behind), BinaryOperator::Divide, n_rows)
        }
        _ => return None,
    })
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
