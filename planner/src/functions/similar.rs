//! Patterns of `SIMILAR TO`, and `substring(text SIMILAR pattern ESCAPE escape)`.
//!
//! In: texts, patterns in which `%` is any text and `_` any character, and escape characters; out: regular expressions, and parts
//! of the texts.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use regex::Regex;

use super::call::{Call, Function, failure, function};
use super::of_bytes::part_of;
use super::regexps::class;
use super::strings::malformed;
use crate::error::Error;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("similar_to_regex", &[1, 2], DataType::Utf8, patterns),
        part_of("similar_substring", &[3], substrings),
    ]
}

/// The regular expressions of patterns; the second argument is the escape character.
fn patterns(call: &Call<'_>) -> Result<ArrayRef> {
    let patterns = call.texts(0)?;
    let escape = match call.args.len() {
        1 => Some('\\'),
        _ => call
            .texts(1)?
            .iter()
            .next()
            .flatten()
            .and_then(|text| text.chars().next()),
    };
    let found = patterns
        .iter()
        .map(|pattern| pattern.map(|pattern| format!("(?s)^(?:{})$", regex_of(pattern, escape))));
    Ok(Arc::new(found.collect::<StringArray>()))
}

/// `|`, `*`, `+`, `?`, `{m,n}` and brackets mean what they do in regular expressions.
fn regex_of(pattern: &str, escape: Option<char>) -> String {
    let mut regex = String::new();
    let mut chars = pattern.chars();
    let mut in_class = false;
    // Whether a minus within brackets stands between the ends of a range.
    let mut is_range = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let escaped = chars.next().map(String::from).unwrap_or_default();
                regex.push_str(&regex::escape(&escaped));
                is_range = true;
            }
            ']' => {
                in_class = false;
                regex.push(c);
            }
            '[' if in_class => match class(chars.as_str()) {
                Some((class, rest)) => {
                    regex.push_str(class);
                    chars = rest.chars();
                    is_range = true;
                }
                None => is_range = push_member(&mut regex, c, is_range),
            },
            '[' => {
                (in_class, is_range) = (true, false);
                regex.push(c);
            }
            c if in_class => is_range = push_member(&mut regex, c, is_range),
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '.' | '^' | '$' | '\\' => {
                regex.push('\\');
                regex.push(c);
            }
            c => regex.push(c),
        }
    }
    regex
}

/// Adds a character within brackets, where the engine takes `[`, `&&`, `--` and `~~` for operations on sets; whether a minus
/// behind it stands for a range.
fn push_member(regex: &mut String, c: char, is_range: bool) -> bool {
    let begins = !is_range && c == '^' && regex.ends_with('[');
    let is_plain = match c {
        '-' => is_range,
        c => !matches!(c, '[' | '&' | '~' | '\\'),
    };
    if !is_plain {
        regex.push('\\');
    }
    regex.push(c);
    !(begins || c == '-' && is_plain)
}

/// The parts of texts that are like the part of a pattern between `#"` and `#"`, where `#` is the escape character.
fn substrings(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, escapes) = (call.texts(0)?, call.texts(1)?, call.texts(2)?);
    // Most columns have one pattern.
    let mut known: Option<((&str, &str), Regex)> = None;
    let mut found = Vec::with_capacity(call.n_rows);
    for row in 0..call.n_rows {
        if texts.is_null(row) || patterns.is_null(row) || escapes.is_null(row) {
            found.push(None);
            continue;
        }
        let key = (patterns.value(row), escapes.value(row));
        let regex = match known.take() {
            Some((of, regex)) if of == key => regex,
            _ => regex_of_part(key.0, key.1)?,
        };
        let part = regex.captures(texts.value(row));
        let part = part.and_then(|captures| captures.name("part"));
        found.push(part.map(|part| part.as_str().to_owned()));
        known = Some((key, regex));
    }
    Ok(Arc::new(StringArray::from(found)))
}

/// The regular expression of a pattern, whose group `part` is what is wanted: what stands before it takes as little as it can.
fn regex_of_part(pattern: &str, escape: &str) -> Result<Regex> {
    let mut letters = escape.chars();
    let (escape, more) = (letters.next(), letters.next());
    if more.is_some() {
        return Err(no_escape());
    }
    let parts = parts(pattern, escape);
    let regexes: Vec<String> = parts.iter().map(|part| regex_of(part, escape)).collect();
    let regex = match regexes.as_slice() {
        [all] => format!("(?s)^(?P<part>{all})$"),
        [before, part] => format!("(?s)^(?U:{before})(?P<part>{part})$"),
        [before, part, behind] => format!("(?s)^(?U:{before})(?P<part>{part})(?:{behind})$"),
        _ => {
            let message = "SQL regular expression may not contain more than two \
                escape-double-quote separators";
            return Err(failure("2200C", message));
        }
    };
    Regex::new(&regex).map_err(|error| malformed(&error))
}

/// What stands between the separators of a pattern.
fn parts(pattern: &str, escape: Option<char>) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let next = match Some(c) == escape {
            true => chars.next(),
            false => None,
        };
        match (next, parts.last_mut()) {
            (Some('"'), _) => parts.push(String::new()),
            (next, Some(part)) => part.extend(std::iter::once(c).chain(next)),
            (_, None) => {}
        }
    }
    parts
}

fn no_escape() -> DataFusionError {
    let hint = "Escape string must be empty or one character.";
    Error::invalid("22025", "invalid escape string", Some(hint)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_hold_characters_alone() {
        for (pattern, regex) in [
            ("[a&&b]", r"[a\&\&b]"),
            ("[^~~[]", r"[^\~\~\[]"),
            ("[+--]", r"[+-\-]"),
            ("[--a]", r"[\--a]"),
            ("[^-a]", r"[^\-a]"),
            ("[a-c]-%", r"[a-c]-.*"),
            (r"[\]", r"[\\]"),
        ] {
            assert_eq!(regex_of(pattern, Some('#')), regex, "{pattern}");
            assert!(Regex::new(regex).is_ok(), "{regex}");
        }
        assert_eq!(regex_of("[a#-c]", Some('#')), r"[a\-c]");
    }
}
