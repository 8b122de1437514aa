//! Regular expressions by RE2's rules: `REGEXP_CONTAINS`, `REGEXP_EXTRACT`, `REGEXP_EXTRACT_ALL`, `REGEXP_REPLACE`.
//!
//! In: a text and a pattern, whose dot matches no new line; out: whether, what, or the text with each match replaced.
//! A pattern has at most one group where a match is taken out.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use regex::{Captures, Regex};

use super::super::call::{Call, Function, failure, function};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    vec![
        function("regexp_contains", &[2], DataType::Boolean, |call| {
            let found = matched(call, |_, text, regex| Ok(Some(regex.is_match(text))))?;
            Ok(Arc::new(found.into_iter().collect::<BooleanArray>()))
        }),
        function("regexp_extract", &[2, 3, 4], DataType::Utf8, extract),
        function("regexp_extract_all", &[2], texts, extract_all),
        function("googlesql.regexp_replace", &[3], DataType::Utf8, replace),
    ]
}

/// Calls `of` with each row's text and pattern.
fn matched<T>(
    call: &Call<'_>,
    mut of: impl FnMut(usize, &str, &Regex) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    // Most columns have one pattern.
    let mut known: HashMap<String, Regex> = HashMap::new();
    let mut of_row = |row: usize| {
        if texts.is_null(row) || patterns.is_null(row) {
            return Ok(None);
        }
        let pattern = patterns.value(row);
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), compiled(pattern)?);
        }
        of(row, texts.value(row), &known[pattern])
    };
    (0..call.n_rows).map(&mut of_row).collect()
}

fn compiled(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let cause = text.lines().last().unwrap_or_default().trim();
        let cause = cause.strip_prefix("error: ").unwrap_or(cause);
        failure("2201B", format!("invalid regular expression: {cause}"))
    })
}

/// The group of a match, or all of it where there is none.
fn taken(captures: &Captures<'_>) -> Option<String> {
    let group = captures.get(captures.len() - 1)?;
    Some(group.as_str().to_owned())
}

fn at_most_one_group(regex: &Regex) -> Result<()> {
    match regex.captures_len() > 2 {
        true => {
            let message = "the regular expression has more than one capturing group";
            Err(failure("2201B", message))
        }
        false => Ok(()),
    }
}

/// `REGEXP_EXTRACT(value, pattern [, position [, occurrence]])`.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let number = |idx: usize| match call.args.len() > idx {
        true => call.integers(idx).map(Some),
        false => Ok(None),
    };
    let (positions, occurrences) = (number(2)?, number(3)?);
    let found = matched(call, |row, text, regex| {
        at_most_one_group(regex)?;
        let at = |column: &Option<Int64Array>| match column {
            Some(column) => column.is_valid(row).then(|| column.value(row)),
            None => Some(1),
        };
        let (Some(position), Some(occurrence)) = (at(&positions), at(&occurrences)) else {
            return Ok(None);
        };
        let (Some(position), Some(occurrence)) = (before(position), before(occurrence)) else {
            let message = "position and occurrence of REGEXP_EXTRACT must be positive";
            return Err(failure("22023", message));
        };
        let Some((start, _)) = text.char_indices().nth(position).or(match position {
            0 => Some((0, ' ')),
            _ => None,
        }) else {
            return Ok(None);
        };
        let captures = regex.captures_iter(&text[start..]).nth(occurrence);
        Ok(captures.and_then(|captures| taken(&captures)))
    })?;
    Ok(Arc::new(found.into_iter().collect::<StringArray>()))
}

/// The number before a positive one.
fn before(number: i64) -> Option<usize> {
    usize::try_from(number.checked_sub(1)?).ok()
}

fn extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = matched(call, |_, text, regex| {
        at_most_one_group(regex)?;
        let all = regex.captures_iter(text);
        Ok(Some(
            all.map(|captures| taken(&captures)).collect::<Vec<_>>(),
        ))
    })?;
    let mut out = ListBuilder::new(StringBuilder::new());
    for row in rows {
        let is_valid = row.is_some();
        for text in row.into_iter().flatten() {
            out.values().append_option(text);
        }
        out.append(is_valid);
    }
    Ok(Arc::new(out.finish()))
}

/// Each match replaced; `\1` to `\9` in the replacement are groups, `\0` the match.
fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let replacements = call.texts(2)?;
    let replaced = matched(call, |row, text, regex| {
        if replacements.is_null(row) {
            return Ok(None);
        }
        let parts = template(replacements.value(row), regex.captures_len())?;
        let with = |captures: &Captures<'_>| {
            let mut out = String::new();
            for part in &parts {
                match part {
                    Part::Text(text) => out.push_str(text),
                    Part::Group(idx) => {
                        out.push_str(captures.get(*idx).map_or("", |group| group.as_str()));
                    }
                }
            }
            out
        };
        Ok(Some(regex.replace_all(text, with).into_owned()))
    })?;
    Ok(Arc::new(replaced.into_iter().collect::<StringArray>()))
}

enum Part {
    Text(String),
    Group(usize),
}

fn template(text: &str, n_groups: usize) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('\\') => plain.push('\\'),
            Some(digit) if digit.is_ascii_digit() => {
                let idx = digit as usize - '0' as usize;
                if idx >= n_groups {
                    let message = format!("the regular expression has no group {idx}");
                    return Err(failure("2201B", message));
                }
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Group(idx));
            }
            _ => {
                let message = "invalid use of a backslash in a replacement";
                return Err(failure("2201B", message));
            }
        }
    }
    parts.push(Part::Text(plain));
    Ok(parts)
}
