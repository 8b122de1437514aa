//! `OPTIONS (…)` and `WITH (…)`: names and values, and literals of the expression tree as values.
//!
//! In: the tokens inside the brackets, or an expression; out: `ModelOption`, `OptionValue`. Never knows which
//! options exist.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, Interval, UnaryOperator, Value, ValueWithSpan};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{bare_word, is_word, span_of, string_value};
use crate::limits::RECURSION_LIMIT;
use crate::parser::cursor::Cursor;
use crate::reference::{any_word, read_name};
use crate::statement::{ModelOption, OptionValue, Span, Word};

/// `name = value, …` up to the end of the group.
pub(super) fn options(mut cursor: Cursor<'_>) -> Result<Vec<ModelOption>, ParseError> {
    let mut options = Vec::new();
    let mut seen = BTreeSet::new();
    while !cursor.is_empty() {
        let name = option_name(&mut cursor)?;
        if !seen.insert(name.value.clone()) {
            let kind = ParseErrorKind::RepeatedOption(name.value);
            return Err(ParseError::new(kind, Some(name.span.start)));
        }
        cursor.expect_token(&Token::Eq, "= and a value")?;
        let (value, value_span) = spanned_value(&mut cursor)?;
        options.push(ModelOption {
            name,
            value,
            value_span,
        });
        comma(&mut cursor, "a comma or )")?;
    }
    Ok(options)
}

/// `name [=] value` or just `name`, as in `EXPLAIN (ANALYZE, FORMAT json)`.
pub(super) fn explain_options(mut cursor: Cursor<'_>) -> Result<Vec<ModelOption>, ParseError> {
    let mut options = Vec::new();
    while !cursor.is_empty() {
        let name = option_name(&mut cursor)?;
        let has_value = cursor.eat_token(&Token::Eq) || !cursor.at_token(0, &Token::Comma);
        let (value, value_span) = if has_value && !cursor.is_empty() {
            spanned_value(&mut cursor)?
        } else {
            (OptionValue::Bool(true), name.span)
        };
        options.push(ModelOption {
            name,
            value,
            value_span,
        });
        comma(&mut cursor, "a comma or )")?;
    }
    Ok(options)
}

fn option_name(cursor: &mut Cursor<'_>) -> Result<Word, ParseError> {
    // In double quotes it is a string by now, as all else in OPTIONS.
    let quoted = cursor.peek(0).and_then(|token| {
        let value = string_value(&token.token)?.to_owned();
        Some(Word {
            value,
            span: span_of(token.span),
        })
    });
    let mut name = match quoted {
        Some(name) => {
            cursor.advance(1);
            name
        }
        None => cursor.any_word("an option's name")?,
    };
    name.value.make_ascii_lowercase();
    Ok(name)
}

/// Takes a comma if something follows; the end needs none.
fn comma(cursor: &mut Cursor<'_>, what: &str) -> Result<(), ParseError> {
    if cursor.is_empty() {
        return Ok(());
    }
    cursor.expect_token(&Token::Comma, what)?;
    if cursor.is_empty() {
        Err(cursor.unexpected("another one behind the comma"))
    } else {
        Ok(())
    }
}

fn spanned_value(cursor: &mut Cursor<'_>) -> Result<(OptionValue, Span), ParseError> {
    let start = cursor.start();
    let value = value(cursor, 0)?;
    Ok((
        value,
        Span {
            start,
            end: cursor.last_end(),
        },
    ))
}

fn value(cursor: &mut Cursor<'_>, depth: usize) -> Result<OptionValue, ParseError> {
    if depth > RECURSION_LIMIT {
        return Err(ParseError::new(
            ParseErrorKind::TooDeep,
            Some(cursor.start()),
        ));
    }
    let Some(token) = cursor.peek(0) else {
        return Err(cursor.unexpected("a value"));
    };
    if let Some(text) = string_value(&token.token) {
        let text = text.to_owned();
        cursor.advance(1);
        return Ok(OptionValue::String(text));
    }
    match &token.token {
        Token::Number(..) | Token::Minus | Token::Plus => number(cursor),
        Token::LBracket => array(cursor, depth).map(OptionValue::Array),
        Token::LParen => {
            let group = cursor.group("values")?;
            fields(group, depth).map(OptionValue::Struct)
        }
        Token::Word(word) if word.quote_style.is_some() => {
            let text = word.value.clone();
            cursor.advance(1);
            Ok(OptionValue::String(text))
        }
        Token::Word(word) => {
            let keyword = word.value.to_ascii_uppercase();
            word_value(cursor, &keyword, depth)
        }
        _ => Err(cursor.unexpected("a value")),
    }
}

/// A value that starts with an unquoted word.
fn word_value(
    cursor: &mut Cursor<'_>,
    keyword: &str,
    depth: usize,
) -> Result<OptionValue, ParseError> {
    let before_group = cursor.at_token(1, &Token::LParen);
    let before_type = cursor.at_token(1, &Token::Lt);
    let before_string = cursor
        .peek(1)
        .is_some_and(|token| string_value(&token.token).is_some());
    let simple = match keyword {
        "NULL" => Some(OptionValue::Null),
        "TRUE" => Some(OptionValue::Bool(true)),
        "FALSE" => Some(OptionValue::Bool(false)),
        "DEFAULT" => Some(OptionValue::Default),
        _ => None,
    };
    if let Some(simple) = simple {
        cursor.advance(1);
        return Ok(simple);
    }
    match keyword {
        "INTERVAL" => {
            cursor.advance(1);
            interval(cursor).map(OptionValue::Interval)
        }
        "HPARAM_RANGE" if before_group => {
            cursor.advance(1);
            range(cursor.group("two numbers")?)
        }
        "HPARAM_CANDIDATES" if before_group => {
            cursor.advance(1);
            let mut group = cursor.group("an array")?;
            let candidates = value(&mut group, depth + 1)?;
            group.finish()?;
            match candidates {
                OptionValue::Array(candidates) => Ok(OptionValue::Candidates(candidates)),
                other => Ok(OptionValue::Candidates(vec![other])),
            }
        }
        "STRUCT" if before_group || before_type => {
            skip_type(cursor, &Token::LParen);
            fields(cursor.group("values")?, depth).map(OptionValue::Struct)
        }
        "ARRAY" if before_type || cursor.at_token(1, &Token::LBracket) => {
            skip_type(cursor, &Token::LBracket);
            array(cursor, depth).map(OptionValue::Array)
        }
        // DATE '2024-01-01': the type follows from the option.
        _ if before_string => {
            cursor.advance(1);
            cursor.string("a string").map(OptionValue::String)
        }
        _ => match read_name(cursor.rest(), 0) {
            Some((name, length)) => {
                cursor.advance(length);
                if cursor.at_token(0, &Token::LParen) {
                    return Err(cursor.unexpected("a literal").with_hint(
                        "An option's value is a literal, a name, an array, a struct, HPARAM_RANGE(…) \
                         or HPARAM_CANDIDATES([…]).",
                    ));
                }
                Ok(OptionValue::Name(name.parts.join(".")))
            }
            None => Err(cursor.unexpected("a value")),
        },
    }
}

/// Passes over `STRUCT<…>` or `ARRAY<…>` to the bracket that opens the values.
fn skip_type(cursor: &mut Cursor<'_>, open: &Token) {
    while !cursor.is_empty() && !cursor.at_token(0, open) {
        cursor.advance(1);
    }
}

fn number(cursor: &mut Cursor<'_>) -> Result<OptionValue, ParseError> {
    let negative = cursor.eat_token(&Token::Minus);
    if !negative {
        cursor.eat_token(&Token::Plus);
    }
    let Some(Token::Number(digits, _)) = cursor.peek(0).map(|token| &token.token) else {
        return Err(cursor.unexpected("a number"));
    };
    match number_value(digits, negative) {
        Some(value) => {
            cursor.advance(1);
            Ok(value)
        }
        None => Err(cursor.out_of_range(digits, "a number of 64 bits")),
    }
}

fn number_value(digits: &str, negative: bool) -> Option<OptionValue> {
    let sign = if negative { "-" } else { "" };
    let text = format!("{sign}{}", digits.replace('_', ""));
    if let Ok(integer) = text.parse::<i64>() {
        return Some(OptionValue::Integer(integer));
    }
    text.parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())
        .map(OptionValue::Float)
}

fn range(mut group: Cursor<'_>) -> Result<OptionValue, ParseError> {
    let low = bound(&mut group)?;
    group.expect_token(&Token::Comma, "a comma and the greatest value")?;
    let high = bound(&mut group)?;
    group.finish()?;
    Ok(OptionValue::Range(low, high))
}

fn bound(group: &mut Cursor<'_>) -> Result<f64, ParseError> {
    match number(group)? {
        OptionValue::Integer(integer) => Ok(integer as f64),
        OptionValue::Float(float) => Ok(float),
        _ => Err(group.unexpected("a number")),
    }
}

/// `[a, b]`
fn array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Vec<OptionValue>, ParseError> {
    cursor.expect_token(&Token::LBracket, "[")?;
    let mut items = Vec::new();
    while !cursor.eat_token(&Token::RBracket) {
        if !items.is_empty() {
            cursor.expect_token(&Token::Comma, "a comma or ]")?;
        }
        items.push(value(cursor, depth + 1)?);
    }
    Ok(items)
}

/// `a AS x, b` up to the end of the group.
fn fields(
    mut group: Cursor<'_>,
    depth: usize,
) -> Result<Vec<(Option<String>, OptionValue)>, ParseError> {
    let mut fields = Vec::new();
    while !group.is_empty() {
        let field = value(&mut group, depth + 1)?;
        let named = group.eat_word("AS");
        let name = if named {
            Some(group.any_word("a field's name")?.value)
        } else {
            None
        };
        fields.push((name, field));
        comma(&mut group, "a comma or )")?;
    }
    Ok(fields)
}

/// What stands behind `INTERVAL`, as one text: `'1' DAY`, `1 DAY` and `'1 day'` are all `1 day`.
pub(super) fn interval(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    let negative = cursor.eat_token(&Token::Minus);
    let amount = match cursor.peek(0).map(|token| &token.token) {
        Some(Token::Number(digits, _)) => digits.clone(),
        Some(token) => match string_value(token) {
            Some(text) => text.to_owned(),
            None => return Err(cursor.unexpected("an interval")),
        },
        None => return Err(cursor.unexpected("an interval")),
    };
    cursor.advance(1);
    let mut text = if negative {
        format!("-{amount}")
    } else {
        amount
    };
    if let Some(unit) = bare_word(cursor.peek(0)).filter(|word| is_unit(&word.value)) {
        text = format!("{text} {}", unit.value.to_ascii_lowercase());
        cursor.advance(1);
        if is_word(cursor.peek(0), "TO")
            && let Some(last) = cursor
                .peek(1)
                .and_then(any_word)
                .filter(|w| is_unit(&w.value))
        {
            text = format!("{text} to {}", last.value.to_ascii_lowercase());
            cursor.advance(2);
        }
    }
    Ok(text)
}

fn is_unit(word: &str) -> bool {
    const UNITS: [&str; 10] = [
        "MICROSECOND",
        "MILLISECOND",
        "SECOND",
        "MINUTE",
        "HOUR",
        "DAY",
        "WEEK",
        "MONTH",
        "QUARTER",
        "YEAR",
    ];
    let word = word.to_ascii_uppercase();
    UNITS.contains(&word.strip_suffix('S').unwrap_or(&word))
}

/// The value of a literal expression, for `STRUCT` arguments; `None` if the expression is not a literal.
pub fn literal_option(expr: &Expr) -> Option<OptionValue> {
    match expr {
        Expr::Value(value) => value_option(value, false),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) => value_option(value, true),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => match literal_option(expr)? {
            number @ (OptionValue::Integer(_) | OptionValue::Float(_)) => Some(number),
            _ => None,
        },
        Expr::Nested(inner) => literal_option(inner),
        Expr::TypedString(typed) => value_option(&typed.value, false),
        Expr::Array(array) => array
            .elem
            .iter()
            .map(literal_option)
            .collect::<Option<_>>()
            .map(OptionValue::Array),
        Expr::Tuple(values) => literal_fields(values),
        Expr::Struct { values, .. } => literal_fields(values),
        Expr::Interval(interval) => interval_text(interval).map(OptionValue::Interval),
        _ => None,
    }
}

fn literal_fields(values: &[Expr]) -> Option<OptionValue> {
    let field = |expr: &Expr| match expr {
        Expr::Named { expr, name } => {
            Some((Some(name.value.to_ascii_lowercase()), literal_option(expr)?))
        }
        other => Some((None, literal_option(other)?)),
    };
    values
        .iter()
        .map(field)
        .collect::<Option<_>>()
        .map(OptionValue::Struct)
}

fn value_option(value: &ValueWithSpan, negative: bool) -> Option<OptionValue> {
    match (&value.value, negative) {
        (Value::Number(digits, _), _) => number_value(&digits.to_string(), negative),
        (_, true) => None,
        (Value::Null, _) => Some(OptionValue::Null),
        (Value::Boolean(value), _) => Some(OptionValue::Bool(*value)),
        (value, _) => value.clone().into_string().map(OptionValue::String),
    }
}

fn interval_text(interval: &Interval) -> Option<String> {
    let amount = match literal_option(&interval.value)? {
        OptionValue::String(text) => text,
        OptionValue::Integer(number) => number.to_string(),
        OptionValue::Float(number) => number.to_string(),
        _ => return None,
    };
    let unit = interval
        .leading_field
        .as_ref()
        .map(|unit| format!(" {unit}").to_lowercase());
    let last = interval
        .last_field
        .as_ref()
        .map(|unit| format!(" to {unit}").to_lowercase());
    Some(format!(
        "{amount}{}{}",
        unit.unwrap_or_default(),
        last.unwrap_or_default()
    ))
}
