//! Aggregates that gather json: `json_agg(x)` joins `array_agg(to_json(x))`, and `json_object_agg(k, v)` members in the same way.
//!
//! In: a call; out: a call that means the same. What the aggregate is told of the order of its rows, and of which of them it takes,
//! stays with `array_agg`. With DISTINCT this gathers rows of the arguments and the json, which stands last and is alone taken:
//! the arguments are what the rows are told apart and ordered by, of json itself there is but the text.

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName,
};

use super::super::functions::{JSON_MEMBER, JSON_VALUE};
use super::parsed;
use super::postgres::{arguments_mut, call_of};

/// `json_agg` or `jsonb_agg`.
pub(super) fn array(name: &str, function: &Function) -> Option<Expr> {
    let value = |arguments: &[FunctionArg]| {
        let [value] = arguments else {
            return None;
        };
        let name = match is_distinct(function) {
            true => JSON_VALUE,
            false => "to_json",
        };
        call_of(name, gathered(value)?)
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
    if is_distinct(function) {
        value = distinct_row(&list.args, value)?;
    }
    list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))];
    call_of(&format!("{name}_of"), Expr::Function(aggregate))
}

fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list)
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
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

/// The row of the arguments of a call, by which it is told apart, and of the value that is made of them.
fn distinct_row(arguments: &[FunctionArg], value: Expr) -> Option<Expr> {
    let parts = arguments.iter().map(gathered);
    let mut parts = parts.collect::<Option<Vec<Expr>>>()?;
    parts.push(value);
    let mut row = parsed(&format!("ROW({})", vec!["NULL"; parts.len()].join(", ")))?;
    if let Expr::Function(call) = &mut row {
        let places = arguments_mut(call).zip(parts);
        places.for_each(|(place, part)| *place = part);
    }
    Some(row)
}
