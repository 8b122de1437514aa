//! Calls whose arguments the planner takes in another shape, or whose function it knows under another name.
//!
//! In and out: one call whose arguments were rewritten before.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CaseWhen, DataType, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Spanned as _, Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::expressions::pattern;
use super::hypothetical;
use super::{call, cast_to, casts, function_name, literal, number, plain_arguments, text};
use crate::error::{Error, Result};
use crate::functions::{moment_parts, precision, scales, truncation};

/// Calls with arguments of another shape.
pub(super) fn called(function: &Function, zone: Option<&str>) -> Result<Option<Expr>> {
    let Some(name) = function_name(function) else {
        return Ok(None);
    };
    Ok(match name.as_str() {
        "substring" => substring(function),
        "regexp_like" => searching(&name, function),
        "regexp_count" | "regexp_instr" | "array_positions" | "regr_count" => {
            Some(counted(&name, function))
        }
        "mod" => remainder(function),
        "scale" | "min_scale" => written_scale(&name, function),
        "nullif" => null_if(function),
        "make_interval" => named_parts(function)?,
        "random" => match plain_arguments(function).as_deref() {
            Some([low, high]) => {
                let args = vec![call("random", Vec::new()), low.clone(), high.clone()];
                Some(call("random_between", args))
            }
            _ => None,
        },
        // Cut on the clock of a zone, and set back.
        "date_trunc" => match plain_arguments(function).as_deref() {
            Some([unit, moment, zone]) => {
                let there = call("timezone", vec![zone.clone(), moment.clone()]);
                let cut = call("date_trunc", vec![unit.clone(), there]);
                Some(call("timezone", vec![zone.clone(), cut]))
            }
            Some([unit, value]) if is_cut_far(unit, value) => {
                Some(call(truncation::NAME, vec![unit.clone(), value.clone()]))
            }
            Some([unit, moment]) => zone.map(|zone| {
                let there = casts::in_zone(moment, zone);
                let cut = call("date_trunc", vec![unit.clone(), there]);
                call("in_zone", vec![cut, text("UTC")])
            }),
            _ => None,
        },
        "count" if plain_arguments(function).is_some_and(|args| args.is_empty()) => {
            let message = "count(*) must be used to call a parameterless aggregate function";
            let place = function.name.0.first().map(|part| part.span());
            return Err(Error::invalid("42809", message, None).at(place.unwrap_or(Span::empty())));
        }
        "mode" if function.within_group.len() == 1 => {
            let mut function = function.clone();
            let order = function.within_group.pop();
            let args = order.map(|order| vec![order.expr]).unwrap_or_default();
            with_arguments(&mut function, args);
            Some(Expr::Function(function))
        }
        "rank" | "dense_rank" | "percent_rank" | "cume_dist" => {
            hypothetical::check(&name, function)?;
            hypothetical::counted(&name, function)
        }
        "percentile_disc" => percentile_disc(function),
        "percentile_cont" => percentiles(function, |one| Some(Expr::Function(one.clone()))),
        "date_part" => match plain_arguments(function).as_deref() {
            Some([field, moment]) => date_part(field, moment, zone),
            _ => None,
        },
        // The planner's own take no number of digits, or pass over it.
        "current_timestamp" | "localtimestamp" => of_digits(&name, precision::NAME, function),
        "current_time" | "localtime" => of_digits(&name, "time_rounded", function),
        "setseed" => {
            return Err(Error::unsupported("setseed"));
        }
        _ => None,
    })
}

/// A clock whose seconds have so many digits.
fn of_digits(clock: &str, rounder: &str, function: &Function) -> Option<Expr> {
    match plain_arguments(function)?.as_slice() {
        [digits] if casts::number_text(digits).is_some() => {
            Some(call(rounder, vec![call(clock, Vec::new()), digits.clone()]))
        }
        _ => None,
    }
}

/// How many digits a number has that is written out.
fn written_scale(name: &str, function: &Function) -> Option<Expr> {
    match plain_arguments(function)?.as_slice() {
        [written] => {
            let count = scales::of_written(name, written)?;
            Some(cast_to(number(&count.to_string()), DataType::Integer(None)))
        }
        _ => None,
    }
}

/// `substring(text, pattern)` and `substring(text, pattern, escape)`.
fn substring(function: &Function) -> Option<Expr> {
    let args = plain_arguments(function)?;
    match args.as_slice() {
        [_, pattern] if literal(pattern).is_some() => Some(call("regexp_substring", args)),
        [_, pattern, escape] if is_text(pattern) || is_text(escape) => {
            Some(call("similar_substring", args))
        }
        _ => None,
    }
}

/// Whether an expression is a text that is no number.
pub(super) fn is_text(expr: &Expr) -> bool {
    literal(expr).is_some_and(|text| text.trim().parse::<i64>().is_err())
}

/// A call whose second argument is a pattern that the planner would read otherwise.
fn searching(name: &str, function: &Function) -> Option<Expr> {
    let mut args = plain_arguments(function)?;
    let written = args.get_mut(1)?;
    *written = pattern(written)?;
    Some(call(name, args))
}

/// A call that counts, with PostgreSQL's type of its number.
fn counted(name: &str, function: &Function) -> Expr {
    let integer = DataType::Integer(None);
    let data_type = match name {
        "regr_count" => DataType::BigInt(None),
        "array_positions" => {
            DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(integer), None))
        }
        _ => integer,
    };
    let found = searching(name, function).filter(|_| name.starts_with("regexp_"));
    let found = found.unwrap_or_else(|| Expr::Function(function.clone()));
    cast_to(found, data_type)
}

/// `mod(x, y)` is `x % y`.
fn remainder(function: &Function) -> Option<Expr> {
    let args = plain_arguments(function)?;
    let [left, right] = args.as_slice() else {
        return None;
    };
    let nested = |operand: &Expr| Box::new(Expr::Nested(Box::new(operand.clone())));
    Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: nested(left),
        op: BinaryOperator::Modulo,
        right: nested(right),
    })))
}

/// `nullif(column, 'text')` compares as `column = 'text'` does: the text is read as a value of the column's type.
fn null_if(function: &Function) -> Option<Expr> {
    let args = plain_arguments(function)?;
    let [column, other] = args.as_slice() else {
        return None;
    };
    let is_column = matches!(column, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    (is_column && literal(other).is_some()).then(|| Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: Expr::BinaryOp {
                left: Box::new(column.clone()),
                op: BinaryOperator::Eq,
                right: Box::new(other.clone()),
            },
            result: Expr::Value(Value::Null.with_empty_span()),
        }],
        else_result: Some(Box::new(column.clone())),
    })
}

/// Whether `date_trunc` is of a unit or a type that the planner's own does not know.
fn is_cut_far(unit: &Expr, value: &Expr) -> bool {
    let unit = literal(unit).map(str::to_lowercase);
    let is_far = |unit: &str| truncation::YEARS.iter().any(|(name, _)| *name == unit);
    let is_interval = match value {
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => matches!(data_type, DataType::Interval { .. }),
        Expr::Function(function) => function_name(function).as_deref() == Some("to_interval"),
        _ => false,
    };
    is_interval || unit.is_some_and(|unit| is_far(&unit))
}

/// `date_part` of what the planner lacks or cuts off, of the client's clock, and of a part that only a row tells.
fn date_part(field: &Expr, moment: &Expr, zone: Option<&str>) -> Option<Expr> {
    // As a double it is told from EXTRACT of the same, which is a numeric.
    let told = |part: Expr| {
        let part = call(moment_parts::NAME, vec![part, moment.clone()]);
        Some(cast_to(part, DataType::DoublePrecision))
    };
    let Some(word) = literal(field).map(str::trim) else {
        return told(field.clone());
    };
    match moment_parts::part_of(word) {
        Some(part) if PLANNED_PARTS.contains(&part) => {
            let there = zone.map_or_else(|| moment.clone(), |zone| casts::in_zone(moment, zone));
            let is_other = there != *moment || word != part;
            is_other.then(|| call("date_part", vec![text(part), there]))
        }
        Some(part) => told(text(part)),
        None => told(text(word)),
    }
}

/// Parts of moments that the planner knows as PostgreSQL does, by which it also finds rows.
const PLANNED_PARTS: [&str; 11] = [
    "day", "dow", "doy", "hour", "isodow", "isoyear", "minute", "month", "quarter", "week", "year",
];

pub(super) fn with_arguments(function: &mut Function, args: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = args
            .into_iter()
            .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
            .collect();
    }
}

/// `make_interval(days => 1)`: each part by its place.
fn named_parts(function: &Function) -> Result<Option<Expr>> {
    const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    if plain_arguments(function).is_some() {
        return Ok(None);
    }
    let mut values = PARTS.map(|_| number("0"));
    for (idx, arg) in list.args.iter().enumerate() {
        let (place, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(idx), value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let same = |part: &str| part.eq_ignore_ascii_case(&name.value);
                (PARTS.iter().position(|part| same(part)), value)
            }
            _ => return Ok(None),
        };
        match place.and_then(|place| values.get_mut(place)) {
            Some(part) => *part = value.clone(),
            None => {
                let message = format!("function make_interval has no argument {arg}");
                let hint = format!("Its arguments are {}.", PARTS.join(", "));
                return Err(Error::invalid("42883", message, Some(&hint)));
            }
        }
    }
    Ok(Some(call("make_interval", values.to_vec())))
}

/// `percentile_disc(p) WITHIN GROUP (ORDER BY x)` is `percentile_disc(x, p, descending)`.
pub(super) fn percentile_disc(function: &Function) -> Option<Expr> {
    let [order] = function.within_group.as_slice() else {
        return None;
    };
    let args = plain_arguments(function)?;
    let [fraction] = args.as_slice() else {
        return None;
    };
    let is_descending = order.options.asc == Some(false);
    let descending = Expr::Value(Value::Boolean(is_descending).with_empty_span());
    let args = vec![order.expr.clone(), fraction.clone(), descending];
    let mut function = function.clone();
    function.within_group.clear();
    with_arguments(&mut function, args);
    Some(Expr::Function(function))
}

/// `percentile_cont(ARRAY[p, q])` is `ARRAY[percentile_cont(p), percentile_cont(q)]`, of no values NULL.
pub(super) fn percentiles(function: &Function, one: fn(&Function) -> Option<Expr>) -> Option<Expr> {
    let args = plain_arguments(function)?;
    let [Expr::Array(array)] = args.as_slice() else {
        return None;
    };
    let each = |fraction: &Expr| {
        let mut function = function.clone();
        with_arguments(&mut function, vec![fraction.clone()]);
        one(&function)
    };
    let elem: Vec<Expr> = array.elem.iter().map(each).collect::<Option<_>>()?;
    let is_null =
        |fraction: &Expr| matches!(fraction, Expr::Value(value) if value.value == Value::Null);
    let mut pairs = array.elem.iter().zip(&elem);
    let value = pairs.find(|(fraction, _)| !is_null(fraction));
    let value = value.map(|(_, value)| value.clone());
    let all = Expr::Array(datafusion::sql::sqlparser::ast::Array { elem, named: true });
    Some(match value {
        Some(value) => Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen {
                condition: Expr::IsNotNull(Box::new(value)),
                result: all,
            }],
            else_result: None,
        },
        None => all,
    })
}
