//! GoogleSQL's forms that PostgreSQL leaves free, as calls that the planner knows; any statement may use them.
//!
//! In and out: one expression. Units (`DAY`, `WEEK(MONDAY)`) become texts, `INTERVAL n DAY` as an argument becomes `n`
//! and its unit, names that only differ are replaced. What GoogleSQL means otherwise than PostgreSQL was qualified
//! with `googlesql.` when the statement was read.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CaseWhen, DataType, DateTimeField, DuplicateTreatment, Expr, Function,
    FunctionArgumentClause, FunctionArguments, Ident, Interval, NullTreatment, ObjectName,
    UnaryOperator,
};

use super::calls::with_arguments;
use super::casts::number_text;
use super::{call, cast_to, function_name, literal, number, plain_arguments, text};
use crate::error::{Error, Result};

/// What an interval of GoogleSQL counts, and a calendar is cut by.
const UNITS: [&str; 13] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "dayofweek",
    "week",
    "isoweek",
    "month",
    "quarter",
    "year",
    "isoyear",
];

/// Rewrites what must be seen before its parts are rewritten: intervals as arguments.
pub(super) fn before(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = &*expr else {
        return Ok(());
    };
    let is_safe = is_safe(function);
    let name = match is_safe {
        true => function.name.0.last().and_then(|part| part.as_ident()),
        false => function.name.0.first().and_then(|part| part.as_ident()),
    };
    let (Some(name), Some(args)) = (name, plain_arguments(function)) else {
        return Ok(());
    };
    let name = name.value.to_ascii_lowercase();
    let space = if is_safe { "safe" } else { "googlesql" };
    let replacement = match (name.as_str(), args.as_slice()) {
        ("generate_date_array" | "generate_timestamp_array", [from, to, Expr::Interval(step)]) => {
            let (count, unit) = parts(step)?;
            let args = vec![from.clone(), to.clone(), count, text(unit)];
            Some(call(&name, args))
        }
        (_, [moment, Expr::Interval(step)]) => match name.rsplit_once('_') {
            Some((kind @ ("date" | "datetime" | "timestamp" | "time"), verb @ ("add" | "sub"))) => {
                let (count, unit) = parts(step)?;
                let count = match verb {
                    "sub" => negative(count),
                    _ => count,
                };
                let args = vec![moment.clone(), count, text(unit)];
                Some(call(&format!("{space}.{kind}_add"), args))
            }
            _ => None,
        },
        _ => None,
    };
    if let Some(replacement) = replacement {
        *expr = replacement;
    }
    Ok(())
}

fn negative(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr: Box::new(Expr::Nested(Box::new(expr))),
    }
}

/// The count and the unit of `INTERVAL 3 DAY`.
fn parts(interval: &Interval) -> Result<(Expr, String)> {
    if let Some(unit) = &interval.leading_field {
        let unit = unit.to_string().to_ascii_lowercase();
        let count = match literal(&interval.value) {
            Some(digits) => number(digits.trim()),
            None => interval.value.as_ref().clone(),
        };
        return Ok((count, known_unit(unit)?));
    }
    let written = literal(&interval.value).unwrap_or_default();
    match written.split_whitespace().collect::<Vec<_>>().as_slice() {
        [digits, unit] if digits.parse::<i64>().is_ok() => {
            Ok((number(digits), known_unit(unit.to_ascii_lowercase())?))
        }
        _ => {
            let message = format!("{interval} is not an interval of one unit");
            Err(Error::invalid(
                "22007",
                message,
                Some("Write INTERVAL 3 DAY."),
            ))
        }
    }
}

/// A unit in the singular.
fn known_unit(unit: String) -> Result<String> {
    let single = unit.strip_suffix('s').unwrap_or(&unit);
    match UNITS.contains(&single) {
        true => Ok(single.to_owned()),
        false => {
            let message = format!("unit \"{unit}\" not recognized");
            Err(Error::invalid("22023", message, None))
        }
    }
}

/// `INTERVAL 3 DAY` and `INTERVAL x DAY`, of which the planner knows texts alone.
pub(super) fn interval(interval: &Interval) -> Result<Option<Expr>> {
    if interval.leading_field.is_none()
        || interval.last_field.is_some()
        || literal(&interval.value).is_some()
    {
        return Ok(None);
    }
    let (count, unit) = parts(interval)?;
    let times = |factor: &str| Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(count.clone()))),
        op: datafusion::sql::sqlparser::ast::BinaryOperator::Multiply,
        right: Box::new(number(factor)),
    };
    let (place, value) = match unit.as_str() {
        "year" => (0, count.clone()),
        "quarter" => (1, times("3")),
        "month" => (1, count.clone()),
        "week" => (2, count.clone()),
        "day" => (3, count.clone()),
        "hour" => (4, count.clone()),
        "minute" => (5, count.clone()),
        "second" => (6, count.clone()),
        "millisecond" => (6, times("0.001")),
        _ => (6, times("0.000001")),
    };
    let mut args = vec![number("0"); 7];
    args[place] = value;
    Ok(Some(call("make_interval", args)))
}

/// The fields of `EXTRACT` that PostgreSQL lacks.
pub(super) fn extracted(field: &DateTimeField, from: &Expr) -> Option<Expr> {
    let name = field.to_string().to_ascii_lowercase();
    let of = |name: &str| Some(call(name, vec![from.clone()]));
    match name.as_str() {
        "date" | "datetime" | "time" => of(&name),
        "dayofweek" | "dayofyear" | "isoweek" => {
            Some(call("googlesql.extract", vec![text(name), from.clone()]))
        }
        week if week.starts_with("week_") => {
            Some(call("googlesql.extract", vec![text(name), from.clone()]))
        }
        _ => None,
    }
}

/// `a[1].b`: the planner knows fields of columns alone.
pub(super) fn field_access(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let is_field = |access: &AccessExpr| matches!(access, AccessExpr::Dot(Expr::Identifier(_)));
    if !chain.iter().any(is_field) {
        return None;
    }
    let mut value = root.clone();
    for access in chain {
        value = match access {
            AccessExpr::Dot(Expr::Identifier(name)) => {
                call("get_field", vec![value, text(name.value.as_str())])
            }
            AccessExpr::Dot(_) => return None,
            AccessExpr::Subscript(_) => Expr::CompoundFieldAccess {
                root: Box::new(value),
                access_chain: vec![access.clone()],
            },
        };
    }
    Some(value)
}

/// `x IN UNNEST(array)`.
pub(super) fn in_unnest(expr: &Expr, array: &Expr, negated: bool) -> Expr {
    let found = call("in_array", vec![expr.clone(), array.clone()]);
    match negated {
        false => found,
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(found),
        },
    }
}

/// A unit as an argument: `DAY`, `WEEK(MONDAY)`.
fn unit(expr: &Expr) -> Option<String> {
    let known = |word: &Ident| {
        let word = word.value.to_ascii_lowercase();
        (UNITS.contains(&word.as_str())).then_some(word)
    };
    match expr {
        Expr::Identifier(word) if word.quote_style.is_none() => known(word),
        Expr::Function(function) if function_name(function).as_deref() == Some("week") => {
            match plain_arguments(function)?.as_slice() {
                [Expr::Identifier(day)] => Some(format!("week_{}", day.value.to_ascii_lowercase())),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The call that a function of GoogleSQL is.
pub(super) fn called(function: &Function) -> Result<Option<Expr>> {
    if let Some(safe) = safe(function)? {
        return Ok(Some(safe));
    }
    let Some(name) = function_name(function) else {
        return Ok(None);
    };
    if let Some(renamed) = renamed(&name) {
        return Ok(Some(with_name(function, renamed)));
    }
    if let Some(aggregate) = aggregate(&name, function)? {
        return Ok(Some(aggregate));
    }
    let Some(args) = plain_arguments(function) else {
        return Ok(None);
    };
    if let Some((kind, verb)) = name.rsplit_once('_')
        && ["date", "datetime", "timestamp", "time"].contains(&kind)
        && let Some(found) = calendar(kind, verb, &args)
    {
        return Ok(Some(found));
    }
    Ok(expression(&name, args))
}

/// Functions that have another name here.
fn renamed(name: &str) -> Option<&'static str> {
    Some(match name {
        "logical_and" => "bool_and",
        "logical_or" => "bool_or",
        "rand" => "random",
        // A text in GoogleSQL.
        "generate_uuid" => "uuid",
        "byte_length" => "octet_length",
        "ifnull" => "coalesce",
        "is_nan" => "isnan",
        "instr" => "googlesql.instr",
        _ => return None,
    })
}

fn with_name(function: &Function, name: &str) -> Expr {
    let mut function = function.clone();
    function.name = ObjectName::from(vec![Ident::new(name)]);
    Expr::Function(function)
}

/// `DATE_TRUNC(x, MONTH)`, `TIMESTAMP_DIFF(a, b, HOUR)`.
fn calendar(kind: &str, verb: &str, args: &[Expr]) -> Option<Expr> {
    match (verb, args) {
        ("diff", [a, b, last]) => {
            let unit = unit(last)?;
            let args = vec![a.clone(), b.clone(), text(unit)];
            Some(call(&format!("googlesql.{kind}_diff"), args))
        }
        // PostgreSQL's takes the unit first, as a text.
        ("trunc", [first, second, rest @ ..]) if rest.len() < 2 => {
            let is_unit = |word: &str| !word.contains(|c: char| c.is_ascii_digit());
            if literal(first).is_some_and(is_unit) {
                return None;
            }
            let unit = unit(second)?;
            let mut args = vec![first.clone(), text(unit)];
            args.extend_from_slice(rest);
            Some(call(&format!("googlesql.{kind}_trunc"), args))
        }
        _ => None,
    }
}

/// Calls that are another expression.
fn expression(name: &str, args: Vec<Expr>) -> Option<Expr> {
    Some(match (name, args.as_slice()) {
        ("if", [condition, yes, no]) => case(condition, yes, Some(no)),
        ("array_length", [array]) => call("googlesql.array_length", vec![array.clone()]),
        ("to_json_string", [value]) => {
            cast_to(call("to_json", vec![value.clone()]), DataType::Text)
        }
        ("to_base64", [value]) => call("encode", vec![value.clone(), text("base64pad")]),
        ("from_base64", [value]) => call("decode", vec![value.clone(), text("base64pad")]),
        ("from_hex", [value]) => call("decode", vec![value.clone(), text("hex")]),
        ("current_date", [zone]) => call("date", vec![call("now", Vec::new()), zone.clone()]),
        // PostgreSQL's takes a number of digits.
        ("current_time", [zone]) if number_text(zone).is_none() => {
            call("time", vec![call("now", Vec::new()), zone.clone()])
        }
        ("current_datetime", []) => call("datetime", vec![call("now", Vec::new())]),
        ("current_datetime", [zone]) => {
            call("datetime", vec![call("now", Vec::new()), zone.clone()])
        }
        ("last_day", [date, last]) => call("last_day", vec![date.clone(), text(unit(last)?)]),
        _ => return None,
    })
}

/// Aggregates of another shape.
fn aggregate(name: &str, function: &Function) -> Result<Option<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let args = plain_arguments(function);
    Ok(match (name, args.as_deref()) {
        // COUNT skips what is NULL: here, what is not true.
        ("countif", Some([condition])) => {
            let Expr::Function(mut count) = with_name(function, "count") else {
                return Ok(None);
            };
            let one = match list.duplicate_treatment {
                Some(DuplicateTreatment::Distinct) => condition.clone(),
                _ => number("1"),
            };
            with_arguments(&mut count, vec![case(condition, &one, None)]);
            Some(Expr::Function(count))
        }
        ("approx_count_distinct", Some([_])) => {
            let count = with_name(function, "approx_distinct");
            Some(cast_to(count, DataType::BigInt(None)))
        }
        ("string_agg", Some([value])) => {
            let mut function = function.clone();
            with_arguments(&mut function, vec![value.clone(), text(",")]);
            Some(match limited(&function) {
                Some(limited) => limited?,
                None => Expr::Function(function),
            })
        }
        ("string_agg" | "array_agg", Some(_)) => limited(function).transpose()?,
        _ => None,
    })
}

/// `ARRAY_AGG(x ORDER BY y LIMIT n)`: the first `n` of all that was gathered.
fn limited(function: &Function) -> Option<Result<Expr>> {
    let mut gathered = function.clone();
    let FunctionArguments::List(list) = &mut gathered.args else {
        return None;
    };
    let place = list
        .clauses
        .iter()
        .position(|clause| matches!(clause, FunctionArgumentClause::Limit(_)))?;
    let FunctionArgumentClause::Limit(n_rows) = list.clauses.remove(place) else {
        return None;
    };
    let is_text = function_name(function).as_deref() == Some("string_agg");
    if is_text {
        gathered.null_treatment = Some(NullTreatment::IgnoreNulls);
    }
    let mut args = plain_arguments(&gathered)?;
    let delimiter = match is_text {
        true => args.pop(),
        false => None,
    };
    with_arguments(&mut gathered, args);
    let array = with_name(&gathered, "array_agg");
    let first = call("array_slice", vec![array, number("1"), n_rows]);
    Some(Ok(match delimiter {
        Some(delimiter) => call("array_to_string", vec![first, delimiter]),
        None => first,
    }))
}

/// `SAFE.f(x)` is NULL where `f(x)` fails.
fn safe(function: &Function) -> Result<Option<Expr>> {
    let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
        return Ok(None);
    };
    if !is_safe(function) {
        return Ok(None);
    }
    let name = name.value.to_ascii_lowercase();
    let mut args = plain_arguments(function).unwrap_or_default();
    let mut wrapped = name.clone();
    // The forms with units are calls of one function each.
    if let Some((kind, verb)) = name.rsplit_once('_')
        && let Some(Expr::Function(found)) = calendar(kind, verb, &args)
    {
        wrapped = function_name(&found).unwrap_or_default();
        args = plain_arguments(&found).unwrap_or_default();
    }
    let short = wrapped.strip_prefix("googlesql.").unwrap_or(&wrapped);
    match crate::functions::googlesql::is_safe(short) {
        true => Ok(Some(call(&format!("safe.{short}"), args))),
        false => Err(Error::unsupported(format!("SAFE.{}", name.to_uppercase()))),
    }
}

fn is_safe(function: &Function) -> bool {
    match function.name.0.as_slice() {
        [prefix, _] => prefix
            .as_ident()
            .is_some_and(|prefix| prefix.value.eq_ignore_ascii_case("safe")),
        _ => false,
    }
}

fn case(condition: &Expr, yes: &Expr, no: Option<&Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: condition.clone(),
            result: yes.clone(),
        }],
        else_result: no.map(|no| Box::new(no.clone())),
    }
}
