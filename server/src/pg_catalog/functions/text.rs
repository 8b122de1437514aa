//! Text functions of PostgreSQL that clients call: `format`, the quoting functions, `like_escape`, and what a cast to `"char"`
//! becomes.
//!
//! In: columns of any type; out: texts, with PostgreSQL's treatment of NULL.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_planner::Error;
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::as_text::shown;
use super::names::quoted;
use super::scalar::{Call, function, returning, variadic};
use crate::protocol::types::TYPE_KEY;

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        variadic("format", Field::new("format", DataType::Utf8, true), format),
        function("format_of", &[2], DataType::Utf8, format_of),
        first_character(),
        each("quote_ident", |text| text.map(quoted)),
        each("quote_literal", |text| text.map(literal)),
        each("quote_nullable", |text| {
            Some(text.map_or_else(|| "NULL".to_owned(), literal))
        }),
        function("like_escape", &[2], DataType::Utf8, |call| {
            let (patterns, escapes) = (call.texts(0)?, call.texts(1)?);
            let pairs = patterns.iter().zip(escapes.iter());
            let texts: StringArray = pairs
                .map(|(pattern, escape)| Some(with_backslashes(pattern?, escape?)))
                .collect();
            Ok(Arc::new(texts) as ArrayRef)
        }),
    ]
}

fn each(name: &'static str, text: fn(Option<&str>) -> Option<String>) -> ScalarUDF {
    function(name, &[1], DataType::Utf8, move |call| {
        let texts: StringArray = call.texts(0)?.iter().map(text).collect();
        Ok(Arc::new(texts) as ArrayRef)
    })
}

/// `x::"char"`: the first character of a text, or that of a number, in the type that columns of the catalogs have.
fn first_character() -> ScalarUDF {
    let mark = HashMap::from([(TYPE_KEY.to_owned(), "char".to_owned())]);
    let field = Field::new("charin", DataType::Utf8, true).with_metadata(mark);
    returning("charin", &[1], field, |call| {
        let is_number = call.args.first().map(|arg| arg.data_type().is_integer());
        let characters: StringArray = match is_number {
            Some(true) => {
                let codes = call.bigints(0)?;
                let characters = codes.iter().map(|code| code.map(character_of).transpose());
                characters.collect::<Result<_>>()?
            }
            _ => {
                let first = |text: &str| text.chars().take(1).collect::<String>();
                let texts = call.texts(0)?;
                texts.iter().map(|text| text.map(first)).collect()
            }
        };
        Ok(Arc::new(characters) as ArrayRef)
    })
}

/// The character that a number stands for, as PostgreSQL writes it: a byte that is none of ASCII in octal digits, and none for 0.
fn character_of(code: i64) -> Result<String> {
    let byte = i8::try_from(code).map_err(|_| refused("22003", "\"char\" out of range"))?;
    let [byte] = byte.to_be_bytes();
    Ok(match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:o}"),
    })
}

/// A text as a literal of SQL; one with backslashes says so, as PostgreSQL does.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// A pattern of LIKE whose escape character is the backslash, as the planner's is.
fn with_backslashes(pattern: &str, escape: &str) -> String {
    let escape = escape.chars().next();
    let mut plain = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            character if Some(character) == escape => {
                plain.push('\\');
                plain.extend(characters.next());
            }
            '\\' => plain.push_str("\\\\"),
            character => plain.push(character),
        }
    }
    plain
}

/// `format(pattern, …)` with `%s`, `%I`, `%L`, `%%`, positions such as `%1$s` and widths such as `%5s` and `%*s`.
fn format(call: &Call) -> Result<ArrayRef> {
    let patterns = call.texts(0)?;
    let arguments = (1..call.args.len()).map(|idx| {
        let texts = shown(call, idx)?;
        Ok(texts.as_string::<i32>().clone())
    });
    let arguments: Vec<StringArray> = arguments.collect::<Result<_>>()?;
    let filled = |(row, pattern): (usize, Option<&str>)| {
        let Some(pattern) = pattern else {
            return Ok(None);
        };
        let argument = |idx: usize| {
            let column = arguments.get(idx).ok_or_else(too_few)?;
            Ok((!column.is_null(row)).then(|| column.value(row)))
        };
        fill(pattern, argument).map(Some)
    };
    let texts = patterns.iter().enumerate().map(filled);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// `format(pattern, VARIADIC array)`, of an array of texts.
fn format_of(call: &Call) -> Result<ArrayRef> {
    let patterns = call.texts(0)?;
    let lists = call.args.get(1);
    let lists = lists.and_then(|lists| lists.as_list_opt::<i32>());
    let filled = |(row, pattern): (usize, Option<&str>)| {
        let Some(pattern) = pattern else {
            return Ok(None);
        };
        let items = lists.filter(|lists| lists.is_valid(row));
        let items = items.map(|lists| lists.value(row));
        let texts = items.as_ref();
        let texts = texts.and_then(|items| items.as_string_opt::<i32>());
        let argument = |idx: usize| {
            let texts = texts.filter(|texts| idx < texts.len());
            let texts = texts.ok_or_else(too_few)?;
            Ok((!texts.is_null(idx)).then(|| texts.value(idx)))
        };
        fill(pattern, argument).map(Some)
    };
    let texts = patterns.iter().enumerate().map(filled);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn too_few() -> DataFusionError {
    refused("22023", "too few arguments for format()")
}

pub(super) fn refused(sqlstate: &'static str, message: impl Into<String>) -> DataFusionError {
    let error = Error::Invalid {
        sqlstate,
        message: message.into(),
        hint: None,
        position: None,
    };
    error.into()
}

/// The place of an argument by its number.
fn place(number: usize) -> Result<usize> {
    number.checked_sub(1).ok_or_else(|| {
        let message = "format specifies argument 0, but arguments are numbered from 1";
        refused("22023", message)
    })
}

fn fill<'a>(pattern: &str, argument: impl Fn(usize) -> Result<Option<&'a str>>) -> Result<String> {
    let mut text = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let n_digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let position = after[..n_digits].parse::<usize>().ok();
        let (told, after) = match (position, after[n_digits..].strip_prefix('$')) {
            (Some(position), Some(after)) => (Some(place(position)?), after),
            _ => (None, after),
        };
        let (width, after) = match Width::of_argument(after, next, &argument)? {
            // The value stands behind its width.
            Some((width, idx, after)) => {
                next = idx + 1;
                (width, after)
            }
            None => Width::read(after)?,
        };
        let idx = told.unwrap_or(next);
        let start = text.len();
        let mut characters = after.chars();
        match characters.next() {
            Some('%') => text.push('%'),
            Some('s') => text.push_str(argument(idx)?.unwrap_or_default()),
            Some('L') => {
                let value = argument(idx)?;
                text.push_str(&value.map_or_else(|| "NULL".to_owned(), literal));
            }
            Some('I') => {
                let value = argument(idx)?.ok_or_else(|| {
                    let message = "null values cannot be formatted as an SQL identifier";
                    refused("22004", message)
                })?;
                text.push_str(&quoted(value));
            }
            Some(found) => {
                let message = format!("unrecognized format() type specifier \"{found}\"");
                return Err(refused("22023", message));
            }
            None => return Err(refused("22023", "unterminated format() type specifier")),
        }
        if !after.starts_with('%') {
            width.fill(&mut text, start);
            next = idx + 1;
        }
        rest = characters.as_str();
    }
    text.push_str(rest);
    Ok(text)
}

/// How wide a value is written at least, as in `%-10s`.
struct Width {
    n_characters: usize,
    is_left: bool,
}

/// No text that a client can use is wider.
const MAX_WIDTH: usize = 1 << 20;

impl Width {
    fn read(text: &str) -> Result<(Width, &str)> {
        let is_left = text.starts_with('-');
        let text = text.trim_start_matches('-');
        let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at(n_digits);
        let n_characters = match digits {
            "" => 0,
            digits => digits
                .parse::<i32>()
                .map_err(|_| refused("22003", "number is out of range"))?,
        };
        let n_characters = usize::try_from(n_characters).unwrap_or(0);
        let width = Width {
            n_characters: n_characters.min(MAX_WIDTH),
            is_left,
        };
        Ok((width, rest))
    }

    /// A width that is an argument, as in `%*s` and `%*2$s`, with the argument's place and what follows in the pattern.
    fn of_argument<'a, 'p>(
        text: &'p str,
        next: usize,
        argument: &impl Fn(usize) -> Result<Option<&'a str>>,
    ) -> Result<Option<(Width, usize, &'p str)>> {
        let Some(after) = text.trim_start_matches('-').strip_prefix('*') else {
            return Ok(None);
        };
        let n_digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let position = after[..n_digits].parse::<usize>().ok();
        let (idx, after) = match (position, after[n_digits..].strip_prefix('$')) {
            (Some(position), Some(after)) => (place(position)?, after),
            _ => (next, after),
        };
        let number = argument(idx)?.unwrap_or("0");
        let number: i32 = number.trim().parse().map_err(|_| {
            let message = format!("Cannot cast string '{number}' to value of Int32 type");
            DataFusionError::from(ArrowError::CastError(message))
        })?;
        let n_characters = usize::try_from(number.unsigned_abs()).unwrap_or(MAX_WIDTH);
        let width = Width {
            n_characters: n_characters.min(MAX_WIDTH),
            is_left: number < 0 || text.starts_with('-'),
        };
        Ok(Some((width, idx, after)))
    }

    /// Fills up what was written from `start` on.
    fn fill(&self, text: &mut String, start: usize) {
        let missing = self
            .n_characters
            .saturating_sub(text[start..].chars().count());
        let spaces = " ".repeat(missing);
        match self.is_left {
            true => text.push_str(&spaces),
            false => text.insert_str(start, &spaces),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_fills_in_texts_names_and_literals() {
        let values = [Some("A b"), None, Some("it's")];
        let argument = |idx: usize| values.get(idx).copied().ok_or_else(too_few);
        let filled = |pattern: &str| fill(pattern, argument).unwrap();
        assert_eq!(filled("%I.%L %s%%"), "\"A b\".NULL it's%");
        assert_eq!(filled("%3$L %1$s"), "'it''s' A b");
        assert_eq!(filled("[%-5s][%5s][%3$6s]"), "[A b  ][     ][  it's]");
        assert!(fill("%s %s %s %s", argument).is_err());
        assert!(fill("%d", argument).is_err());
        let values = ["5", "a", "-3", "b"];
        let argument = |idx: usize| values.get(idx).copied().map(Some).ok_or_else(too_few);
        let filled = |pattern: &str| fill(pattern, argument).unwrap();
        assert_eq!(filled("[%*s][%*s]"), "[    a][b  ]");
        assert_eq!(filled("[%-*s][%2$*1$s]"), "[a    ][    a]");
        assert!(fill("%2$*2$s", argument).is_err());
        assert!(fill("%*1$s%*s%s", argument).is_err());
    }

    #[test]
    fn escapes_become_backslashes() {
        assert_eq!(with_backslashes("pg/_%", "/"), "pg\\_%");
        assert_eq!(with_backslashes("a//b\\", "/"), "a\\/b\\\\");
        assert_eq!(with_backslashes("a/_", ""), "a/_");
    }

    #[test]
    fn numbers_stand_for_characters() {
        for (code, character) in [(97, "a"), (0, ""), (127, "\u{7f}"), (-1, "\\377")] {
            assert_eq!(character_of(code).unwrap(), character);
        }
        assert!(character_of(128).is_err());
        assert!(character_of(-129).is_err());
    }

    #[test]
    fn literals_are_quoted_as_postgresql_quotes_them() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }
}
