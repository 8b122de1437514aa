//! Aggregates that gather json: `json_agg(x)` joins `array_agg(to_json(x))`, and `json_object_agg(k, v)` members in the same way.
//!
//! In: a call; out: a call that means the same. What the aggregate is told of the order of its rows, and of which of them it takes,
//! stays with `array_agg`. With DISTINCT and ORDER BY this gathers rows of what the call is ordered by and the json, which stands
//! last and is alone taken: of json itself the order is that of its text.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByExpr,
};

use super::super::functions::JSON_MEMBER;
use super::parsed;
use super::postgres::{arguments_mut, call_of};

/// `json_agg` or `jsonb_agg`.
pub(super) fn array(name: &str, function: &Function) -> Option<Expr> {
    let value = |arguments: &[FunctionArg]| {
        let [value] = arguments else {
            return None;
        };
        call_of("to_json", gathered(value)?)
    };
    of_values(name, function, value)
}

/// `json_object_agg` or `jsonb_object_agg`.
pub(super) fn object(name: &str, function: &Function) -> Option<Expr> {
    let member = |arguments: &[FunctionArg]| {
        let [key, value] = arguments else {
            return None;
        };
        let values = [gathered(key)?, gathered(value)?];
        let mut member = parsed(&format!("{JSON_MEMBER}(NULL, NULL)"))?;
        if let Expr::Function(member) = &mut member {
            let arguments = arguments_mut(member).zip(values);
            arguments.for_each(|(argument, value)| *argument = value);
        }
        Some(member)
    };
    of_values(name, function, member)
}

/// What an aggregate makes of the array of the values that it gathers.
fn of_values(
    name: &str,
    function: &Function,
    value: impl Fn(&[FunctionArg]) -> Option<Expr>,
) -> Option<Expr> {
    let mut aggregate = function.clone();
    aggregate.name = ObjectName::from(vec![Ident::new("array_agg")]);
    let FunctionArguments::List(list) = &mut aggregate.args else {
        return None;
    };
    let mut value = value(&list.args)?;
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct)
        && let Some((row, order)) = distinct_rows(list, &value)
    {
        list.clauses = vec![FunctionArgumentClause::OrderBy(vec![order])];
        value = row;
    }
    list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    call_of(&format!("{name}_of"), Expr::Function(aggregate))
}

/// What an aggregate gathers: a value, or the row of `t.*`.
fn gathered(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(relation)) => {
            let relation = relation.0.last()?.as_ident()?;
            Some(Expr::Identifier(relation.clone()))
        }
        _ => None,
    }
}

/// The row that stands for a value, and its order, where a call with DISTINCT is ordered by its arguments: as in PostgreSQL, by
/// those that its ORDER BY leaves out in the end. `None`: it has no such order, or one of several directions.
fn distinct_rows(list: &FunctionArgumentList, value: &Expr) -> Option<(Expr, OrderByExpr)> {
    let [FunctionArgumentClause::OrderBy(order)] = list.clauses.as_slice() else {
        return None;
    };
    let args = list.args.iter().map(gathered);
    let args = args.collect::<Option<Vec<Expr>>>()?;
    let first = order.first()?;
    let is_descending = first.options.asc == Some(false);
    let fits = |by: &OrderByExpr| {
        let nulls_first = by.options.nulls_first.unwrap_or(is_descending);
        let is_descending_too = by.options.asc == Some(false);
        let is_one_way = is_descending_too == is_descending && nulls_first == is_descending;
        is_one_way && by.with_fill.is_none() && args.contains(&by.expr)
    };
    if !order.iter().all(fits) {
        return None;
    }
    let mut keys: Vec<Expr> = order.iter().map(|by| by.expr.clone()).collect();
    let others = args.into_iter().filter(|arg| !keys.contains(arg));
    let others: Vec<Expr> = others.collect();
    // Those left out come in the ascending order.
    if is_descending && !others.is_empty() {
        return None;
    }
    keys.extend(others);
    keys.push(value.clone());
    let mut row = parsed(&format!("ROW({})", vec!["NULL"; keys.len()].join(", ")))?;
    let Expr::Function(call) = &mut row else {
        return None;
    };
    let places = arguments_mut(call).zip(keys);
    places.for_each(|(place, key)| *place = key);
    let order = OrderByExpr {
        expr: row.clone(),
        ..first.clone()
    };
    Some((row, order))
}
