//! Operators, literals and forms that the planner knows under another name; `calls` has those of functions.
//!
//! In and out: one expression whose parts were rewritten before.

use std::borrow::Cow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, DateTimeField, Expr, TypedString,
    UnaryOperator, Value,
};

use super::{
    array_literals, arrays, call, calls, cast_to, casts, function_name, googlesql, is_parameter,
    literal, number, parameters, plain_arguments, subqueries, text,
};
use crate::commands::check_collation;
use crate::error::Result;
use crate::functions::addresses::{address_of_type, reader_of};
use crate::functions::enums::enum_of_type;
use crate::functions::{
    READ_BITS, READ_ENUM, READ_UUID, interval, moment_parts, pattern_lists, precision, regexps,
};

/// Rewrites one expression.
///
/// `zone` is the client's, if its clock is not that of Greenwich.
pub(super) fn rewrite(expr: &mut Expr, zone: Option<&str>) -> Result<()> {
    array_literals::check(expr)?;
    parameters::type_arguments(expr);
    parameters::type_operands(expr);
    let found = match form(expr)?.or_else(|| arrays::form(expr)) {
        Some(found) => Some(found),
        None => replacement(expr, zone)?,
    };
    if let Some(found) = found {
        *expr = found;
    }
    if let Some(fitted) = casts::fitted(expr, zone)? {
        *expr = fitted;
    }
    Ok(())
}

/// Forms that the planner lacks altogether.
fn form(expr: &Expr) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::Interval(found) => googlesql::interval(found)?,
        Expr::CompoundFieldAccess { root, access_chain } => {
            googlesql::field_access(root, access_chain)
        }
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => symmetric(expr, low, high, *negated),
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => pattern_list(left, compare_op, right, false),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => pattern_list(left, compare_op, right, true),
        Expr::InUnnest {
            expr,
            array_expr,
            negated,
        } => Some(googlesql::in_unnest(expr, array_expr, *negated)),
        Expr::Collate { expr, collation } => {
            check_collation(collation)?;
            Some(expr.as_ref().clone())
        }
        _ => None,
    })
}

/// `x ~ ANY (patterns)` over an array, whose elements the planner compares by `=` and its like alone.
fn pattern_list(left: &Expr, op: &BinaryOperator, right: &Expr, is_all: bool) -> Option<Expr> {
    use BinaryOperator as B;
    let patterns = [
        B::PGRegexMatch,
        B::PGRegexIMatch,
        B::PGRegexNotMatch,
        B::PGRegexNotIMatch,
        B::PGLikeMatch,
        B::PGILikeMatch,
        B::PGNotLikeMatch,
        B::PGNotILikeMatch,
    ];
    if !patterns.contains(op) || matches!(right, Expr::Subquery(_)) {
        return None;
    }
    let typed = |operand: &Expr, data_type: DataType| match is_parameter(operand) {
        true => cast_to(operand.clone(), data_type),
        false => operand.clone(),
    };
    let mut bare = right;
    while let Expr::Nested(inner) = bare {
        bare = inner;
    }
    let element = ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None);
    let patterns = DataType::Array(element);
    let left = typed(left, DataType::Text);
    // Other texts are one pattern, as GoogleSQL has them.
    let is_array = |text: &str| text.trim_start().starts_with('{');
    let right = match literal(bare).is_some_and(is_array) {
        true => cast_to(bare.clone(), patterns),
        false => typed(right, patterns),
    };
    let is_all = Expr::Value(Value::Boolean(is_all).with_empty_span());
    let args = vec![left, right, text(op.to_string()), is_all];
    Some(call(pattern_lists::NAME, args))
}

fn replacement(expr: &Expr, zone: Option<&str>) -> Result<Option<Expr>> {
    let part = |expr: &Expr| expr.clone();
    Ok(match expr {
        Expr::UnaryOp { op, expr } => unary(*op, expr),
        Expr::Value(value) => written(expr, &value.value)?,
        Expr::Interval(found)
            if found.leading_field.is_none() && literal(&found.value).is_some() =>
        {
            literal(&found.value).map(interval_literal).transpose()?
        }
        Expr::Cast {
            expr, data_type, ..
        } => cast(expr, data_type)?,
        Expr::TypedString(typed) => typed_text(typed, zone)?,
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => Some(call("timezone", vec![part(time_zone), part(timestamp)])),
        Expr::Extract { field, expr, .. } => {
            let own =
                extracted(field).map(|name| call(moment_parts::NAME, vec![text(name), part(expr)]));
            own.or_else(|| googlesql::extracted(field, expr))
                .or_else(|| casts::extract_on_clock(field, expr, zone?))
        }
        Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::SimilarTo { .. } => compared(expr)?,
        Expr::IsNotDistinctFrom(..) | Expr::IsDistinctFrom(..) => compared(expr)?,
        Expr::Substring {
            expr,
            substring_from: Some(from),
            substring_for: None,
            shorthand,
            ..
        } if literal(from).is_some() || !shorthand && parameters::is_open(from) => {
            Some(call("regexp_substring", vec![part(expr), part(from)]))
        }
        Expr::Substring {
            expr,
            substring_from: Some(pattern),
            substring_for: Some(escape),
            shorthand,
            ..
        } if calls::is_text(pattern)
            || calls::is_text(escape)
            || !shorthand && parameters::is_open(pattern) && parameters::is_open(escape) =>
        {
            let args = vec![part(expr), part(pattern), part(escape)];
            Some(call("similar_substring", args))
        }
        Expr::Like { .. } | Expr::ILike { .. } => like_several(expr),
        Expr::BinaryOp { left, op, right }
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) =>
        {
            truths(left, op, right)
        }
        Expr::BinaryOp { left, op, right } if is_pattern_match(op) => matching(left, op, right),
        Expr::BinaryOp { left, op, right } if *op == BinaryOperator::Overlaps => {
            overlaps(left, right)
        }
        Expr::Function(function) => match googlesql::called(function)? {
            Some(found) => Some(found),
            None => calls::called(function, zone)?,
        },
        _ => None,
    })
}

/// `LIKE` and `ILIKE` of several patterns.
fn like_several(like: &Expr) -> Option<Expr> {
    let (is_any, is_negated, expr, pattern, escape) = match like {
        Expr::Like {
            any,
            negated,
            expr,
            pattern,
            escape_char,
        }
        | Expr::ILike {
            any,
            negated,
            expr,
            pattern,
            escape_char,
        } => (*any, *negated, expr, pattern, escape_char),
        _ => return None,
    };
    let ignores_case = matches!(like, Expr::ILike { .. });
    match (is_any, escape) {
        (true, _) => like_any(expr, pattern, is_negated, ignores_case),
        (false, None) => like_all(expr, pattern, is_negated, ignores_case),
        (false, Some(_)) => None,
    }
}

fn is_pattern_match(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
    )
}

/// A comparison with a pattern that the planner would read otherwise.
fn matching(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    Some(Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: op.clone(),
        right: Box::new(over_lines(right).or_else(|| pattern(right))?),
    })
}

/// A pattern that is written out with a dot, which in PostgreSQL matches a new line, too.
fn over_lines(expr: &Expr) -> Option<Expr> {
    const OVER_LINES: &str = "(?s)";
    let pattern = regexps::translated(literal(expr)?);
    let is_told = pattern.starts_with(OVER_LINES) || !regexps::has_dot(&pattern);
    (!is_told).then(|| text(format!("{OVER_LINES}{pattern}")))
}

/// A pattern that is written out, if the planner's own functions would read it otherwise.
pub(super) fn pattern(expr: &Expr) -> Option<Expr> {
    match regexps::translated(literal(expr)?) {
        Cow::Borrowed(_) => None,
        Cow::Owned(pattern) => Some(text(pattern)),
    }
}

/// `'true' AND x`: a text beside AND and OR is a truth value.
fn truths(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (is_left, is_right) = (truth(left), truth(right));
    (is_left.is_some() || is_right.is_some()).then(|| Expr::BinaryOp {
        left: Box::new(is_left.unwrap_or_else(|| left.clone())),
        op: op.clone(),
        right: Box::new(is_right.unwrap_or_else(|| right.clone())),
    })
}

/// A text that stands for a truth value, as one; `None` for anything else.
pub(super) fn truth(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Nested(inner) => truth(inner),
        expr => literal(expr).map(|_| cast_to(expr.clone(), DataType::Boolean)),
    }
}

/// A literal that the planner does not read, or reads otherwise.
fn written(expr: &Expr, value: &Value) -> Result<Option<Expr>> {
    Ok(match value {
        Value::UnicodeStringLiteral(content) | Value::NationalStringLiteral(content) => {
            Some(text(content.as_str()))
        }
        Value::SingleQuotedByteStringLiteral(digits) => Some(bits(format!("b{digits}"))),
        Value::HexStringLiteral(digits) => Some(bits(format!("x{digits}"))),
        Value::Number(..) => {
            casts::refuse_infinite(expr, &DataType::DoublePrecision)?;
            None
        }
        _ => None,
    })
}

/// A bit string of as many digits as are written.
fn bits(digits: impl Into<String>) -> Expr {
    call(READ_BITS, vec![text(digits), number("0")])
}

/// A text with the type before it.
fn typed_text(typed: &TypedString, zone: Option<&str>) -> Result<Option<Expr>> {
    let Value::SingleQuotedString(content) = &typed.value.value else {
        return Ok(None);
    };
    if typed.data_type == DataType::Bit(None) {
        return Ok(Some(bits(content.as_str())));
    }
    let content = text(content.as_str());
    casts::refuse_infinite_text(&content, &typed.data_type)?;
    Ok(match cast(&content, &typed.data_type)? {
        None if zone.is_some() => Some(cast_to(content, typed.data_type.clone())),
        cast => cast,
    })
}

/// `(a, b) OVERLAPS (c, d)`.
fn overlaps(left: &Expr, right: &Expr) -> Option<Expr> {
    match (left, right) {
        (Expr::Tuple(first), Expr::Tuple(second)) if first.len() == 2 && second.len() == 2 => {
            let args = first.iter().chain(second).cloned();
            Some(call("overlaps", args.collect()))
        }
        _ => None,
    }
}

/// `x IS NOT DISTINCT FROM y` as an operator, so that a text without a type is read as it is beside `=`.
fn alike(left: &Expr, right: &Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left.clone()),
        op: BinaryOperator::Spaceship,
        right: Box::new(right.clone()),
    }))
}

/// Comparisons with all rows of a query, those that take NULL for a value, and patterns of SQL as regular expressions.
fn compared(expr: &Expr) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::IsNotDistinctFrom(left, right) => Some(alike(left, right)),
        Expr::IsDistinctFrom(left, right) => Some(Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(alike(left, right)),
        }),
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => subqueries::quantified(left, compare_op, right, false)?,
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => subqueries::quantified(left, compare_op, right, true)?,
        Expr::SimilarTo {
            negated,
            expr,
            pattern,
            escape_char,
        } => {
            let escape = escape_char.clone().map(Expr::Value);
            let args = std::iter::once(pattern.as_ref().clone()).chain(escape);
            Some(Expr::Nested(Box::new(Expr::BinaryOp {
                left: expr.clone(),
                op: match negated {
                    true => BinaryOperator::PGRegexNotMatch,
                    false => BinaryOperator::PGRegexMatch,
                },
                right: Box::new(call("similar_to_regex", args.collect())),
            })))
        }
        _ => None,
    })
}

fn unary(operator: UnaryOperator, operand: &Expr) -> Option<Expr> {
    if operator == UnaryOperator::BitwiseNot {
        return Some(Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(operand.clone()),
            op: BinaryOperator::PGBitwiseXor,
            // Narrow, so that the result has the operand's type.
            right: Box::new(cast_to(number("-1"), DataType::SmallInt(None))),
        })));
    }
    let name = match operator {
        // The digits of a number are read with their sign, and a parameter has no type yet.
        UnaryOperator::Minus if !matches!(operand, Expr::Value(_)) => "negated",
        UnaryOperator::PGSquareRoot => "sqrt",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::PGPostfixFactorial | UnaryOperator::PGPrefixFactorial => "factorial",
        _ => return None,
    };
    Some(call(name, vec![operand.clone()]))
}

/// An interval that PostgreSQL reads, in a form that the planner reads as well.
fn interval_literal(written: &str) -> Result<Expr> {
    let value = interval::parse(written)?;
    Ok(Expr::Interval(datafusion::sql::sqlparser::ast::Interval {
        value: Box::new(text(interval::plain_text(value))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

/// Casts whose texts the planner reads otherwise, and names that stand for moments.
fn cast(inner: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    if let Some((name, n_letters)) = casts::letters(data_type) {
        let whole = cast_to(inner.clone(), DataType::Text);
        let length = number(&n_letters.to_string());
        return Ok(Some(call(name, vec![whole, length])));
    }
    if let Some(rounded) = of_digits(inner, data_type)? {
        return Ok(Some(rounded));
    }
    if let Some((name, n_digits)) = casts::digits_of_bits(data_type)? {
        let n_digits = number(&n_digits.to_string());
        return Ok(Some(call(name, vec![inner.clone(), n_digits])));
    }
    let word = literal(inner).map(str::trim);
    Ok(match (data_type, word) {
        (DataType::JSON, _) => Some(call("json_in", vec![inner.clone()])),
        (DataType::JSONB, _) => Some(call("jsonb_in", vec![inner.clone()])),
        (DataType::Uuid, _) => Some(call(READ_UUID, vec![inner.clone()])),
        (DataType::Custom(..), _) => match address_of_type(data_type) {
            Some(kind) => Some(call(reader_of(kind), vec![inner.clone()])),
            None => {
                let known = enum_of_type(data_type);
                known.map(|known| call(READ_ENUM, vec![inner.clone(), text(known.to_text())]))
            }
        },
        (DataType::Interval { .. }, Some(word)) => Some(interval_literal(word)?),
        (DataType::Interval { .. }, None) => match inner {
            Expr::Interval(_) => None,
            // A cast tells the parameter its type.
            inner if is_parameter(inner) => None,
            _ => Some(call("to_interval", vec![inner.clone()])),
        },
        (DataType::Array(_), _) => array_literals::cast(inner, data_type, &|item, data_type| {
            let read = cast(&item, data_type)?;
            Ok(read.unwrap_or_else(|| cast_to(item, data_type.clone())))
        })?,
        (DataType::Timestamp(..), Some(word)) if lacks_seconds(word) => Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(text(format!("{word}:00"))),
            data_type: data_type.clone(),
            array: false,
            format: None,
        }),
        (DataType::Date, Some(word)) => {
            let days = match word.to_lowercase().as_str() {
                "today" | "now" => "0",
                "tomorrow" => "1",
                "yesterday" => "-1",
                _ => return Ok(None),
            };
            Some(Expr::BinaryOp {
                left: Box::new(call("current_date", Vec::new())),
                op: BinaryOperator::Plus,
                right: Box::new(number(days)),
            })
        }
        (DataType::Timestamp(_, zone), Some(word)) if word.eq_ignore_ascii_case("now") => {
            use datafusion::sql::sqlparser::ast::TimezoneInfo;
            let name = match zone {
                TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => "now",
                _ => "localtimestamp",
            };
            Some(call(name, Vec::new()))
        }
        _ => None,
    })
}

/// A cast to a clock whose seconds have fewer digits than they may: `x::timestamp(3)`.
fn of_digits(inner: &Expr, data_type: &DataType) -> Result<Option<Expr>> {
    let (whole, digits, name) = match data_type {
        DataType::Time(Some(digits), zone) if *digits < 6 => {
            (DataType::Time(None, *zone), digits, "time_rounded")
        }
        DataType::Timestamp(Some(digits), zone) if *digits < 6 => {
            (DataType::Timestamp(None, *zone), digits, precision::NAME)
        }
        DataType::Interval {
            precision: Some(digits),
            ..
        } => {
            let whole = DataType::Interval {
                fields: None,
                precision: None,
            };
            (whole, digits, precision::OF_INTERVALS)
        }
        _ => return Ok(None),
    };
    let value = cast(inner, &whole)?.unwrap_or_else(|| cast_to(inner.clone(), whole));
    Ok(Some(call(name, vec![value, number(&digits.to_string())])))
}

/// `2020-01-01 10:00`, which the planner does not read.
fn lacks_seconds(word: &str) -> bool {
    word.is_ascii()
        && word.len() == 16
        && word.as_bytes()[13] == b':'
        && word.bytes().filter(|byte| *byte == b':').count() == 1
}

/// The fields of `extract` that the planner lacks.
fn extracted(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Second | DateTimeField::Seconds => "second",
        DateTimeField::Millisecond | DateTimeField::Milliseconds => "milliseconds",
        DateTimeField::Microsecond | DateTimeField::Microseconds => "microseconds",
        DateTimeField::Epoch => "epoch",
        DateTimeField::Century => "century",
        DateTimeField::Decade => "decade",
        DateTimeField::Millenium | DateTimeField::Millennium => "millennium",
        DateTimeField::Julian => "julian",
        DateTimeField::Timezone => "timezone",
        DateTimeField::TimezoneHour => "timezone_hour",
        DateTimeField::TimezoneMinute => "timezone_minute",
        _ => return None,
    })
}

/// `x BETWEEN SYMMETRIC a AND b`, whose lower bound was marked when it was read, takes its bounds in either order.
fn symmetric(expr: &Expr, low: &Expr, high: &Expr, negated: bool) -> Option<Expr> {
    let Expr::Function(function) = low else {
        return None;
    };
    if function_name(function).as_deref() != Some("between_symmetric") {
        return None;
    }
    let low = plain_arguments(function)?.pop()?;
    let between = |low: &Expr, high: &Expr| Expr::Between {
        expr: Box::new(expr.clone()),
        negated,
        low: Box::new(low.clone()),
        high: Box::new(high.clone()),
    };
    let op = match negated {
        true => BinaryOperator::And,
        false => BinaryOperator::Or,
    };
    Some(Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(between(&low, high)),
        op,
        right: Box::new(between(high, &low)),
    })))
}

/// The operator that LIKE is.
fn like_operator(negated: bool, ignores_case: bool) -> BinaryOperator {
    match (negated, ignores_case) {
        (false, false) => BinaryOperator::PGLikeMatch,
        (false, true) => BinaryOperator::PGILikeMatch,
        (true, false) => BinaryOperator::PGNotLikeMatch,
        (true, true) => BinaryOperator::PGNotILikeMatch,
    }
}

/// `x LIKE ALL (patterns)`, which the parser takes for a function's call.
fn like_all(expr: &Expr, pattern: &Expr, negated: bool, ignores_case: bool) -> Option<Expr> {
    let Expr::Function(function) = pattern else {
        return None;
    };
    let is_all = function_name(function).as_deref() == Some("all");
    let args = plain_arguments(function).filter(|_| is_all)?;
    let [patterns] = args.as_slice() else {
        return None;
    };
    pattern_list(expr, &like_operator(negated, ignores_case), patterns, true)
}

/// `x LIKE ANY (ARRAY[a, b])` is `x LIKE a OR x LIKE b`.
fn like_any(expr: &Expr, pattern: &Expr, negated: bool, ignores_case: bool) -> Option<Expr> {
    let patterns = match pattern {
        Expr::Array(array) => array.elem.clone(),
        Expr::Tuple(elements) => elements.clone(),
        Expr::Nested(inner) => return like_any(expr, inner, negated, ignores_case),
        patterns => {
            let op = like_operator(negated, ignores_case);
            return pattern_list(expr, &op, patterns, false);
        }
    };
    let like = |pattern: Expr| {
        let (expr, pattern) = (Box::new(expr.clone()), Box::new(pattern));
        match ignores_case {
            true => Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            },
            false => Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            },
        }
    };
    let either = |left: Expr, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Or,
        right: Box::new(right),
    };
    let any = patterns.into_iter().map(like).reduce(either)?;
    Some(Expr::Nested(Box::new(any)))
}
