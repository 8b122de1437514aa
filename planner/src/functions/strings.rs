//! Texts: patterns as PostgreSQL takes them, and arrays of pieces.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use regex::{Regex, RegexBuilder};

use super::call::{Call, Function, failure, function};
use super::of_bytes::part_of;
use super::regexps::{regexp_match, regexp_replace, translated};
use super::text_input;
use crate::memory::ask_for;

/// The last character of Unicode.
const MAX_CHARACTER: i64 = 0x10_ffff;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let texts = list_of(DataType::Utf8);
    vec![
        function(
            "regexp_matches",
            &[2, 3],
            list_of(texts.clone()),
            regexp_matches,
        ),
        function(
            "regexp_split_to_array",
            &[2, 3],
            texts.clone(),
            regexp_split,
        ),
        function(
            "regexp_split_to_table",
            &[2, 3],
            texts.clone(),
            regexp_split,
        ),
        function(
            "regexp_substr",
            &[2, 3, 4, 5, 6],
            DataType::Utf8,
            regexp_substr,
        ),
        part_of("regexp_substring", &[2], regexp_substring),
        function(
            "regexp_replace",
            &[3, 4, 5, 6],
            DataType::Utf8,
            regexp_replace,
        ),
        function("regexp_match", &[2, 3], texts.clone(), regexp_match),
        function("string_to_table", &[2, 3], texts, string_to_table),
        function("convert_from", &[2], DataType::Utf8, convert_from),
        function("convert_to", &[2], DataType::Binary, convert_to),
        function("chr", &[1], DataType::Utf8, chr),
        function("base64_lines", &[1], DataType::Utf8, |call| {
            let texts = call.texts(0)?;
            let lines = texts.iter().map(|digits| digits.map(base64_lines));
            Ok(Arc::new(lines.collect::<StringArray>()))
        }),
        function("base64_digits", &[1], DataType::Utf8, |call| {
            let texts = call.texts(0)?;
            let digits = |text: &str| text.replace([' ', '\t', '\n', '\r'], "");
            let digits = texts.iter().map(|text| text.map(digits));
            Ok(Arc::new(digits.collect::<StringArray>()))
        }),
        digits("to_bin", |number| format!("{number:b}")),
        digits("to_oct", |number| format!("{number:o}")),
    ]
}

/// Base64 in lines of 76 characters, as mail has it and PostgreSQL.
fn base64_lines(digits: &str) -> String {
    let mut lines = String::with_capacity(digits.len() + digits.len() / 76);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 76 == 0 {
            lines.push('\n');
        }
        lines.push(digit);
    }
    lines
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn digits(name: &'static str, of: fn(i64) -> String) -> Function {
    function(name, &[1], DataType::Utf8, move |call| {
        let numbers: Int64Array = call.integers(0)?;
        let texts = numbers
            .iter()
            .map(|number| number.map(of))
            .collect::<StringArray>();
        Ok(Arc::new(texts))
    })
}

/// Patterns that were compiled: most columns have one.
#[derive(Default)]
pub(super) struct Patterns(HashMap<(String, String), Regex>);

impl Patterns {
    pub(super) fn get(&mut self, pattern: &str, flags: &str) -> Result<&Regex> {
        let key = (pattern.to_owned(), flags.to_owned());
        if !self.0.contains_key(&key) {
            let compiled = compiled(pattern, flags)?;
            self.0.insert(key.clone(), compiled);
        }
        Ok(&self.0[&key])
    }
}

fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(&translated(pattern));
    // PostgreSQL's dot matches a new line.
    builder.dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'c' => builder.case_insensitive(false),
            'x' => builder.ignore_whitespace(true),
            'n' | 'm' => builder.multi_line(true).dot_matches_new_line(false),
            's' | 'g' => &mut builder,
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(failure("22023", message));
            }
        };
    }
    builder.build().map_err(|error| malformed(&error))
}

/// The error of a regular expression that is none.
pub(super) fn malformed(error: &regex::Error) -> DataFusionError {
    let text = error.to_string();
    let cause = text.lines().last().unwrap_or_default().trim();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    failure("2201B", format!("invalid regular expression: {cause}"))
}

/// Calls `of` on each row's text and pattern; the flags are argument `flags_idx`, if there is one.
pub(super) fn matched<T>(
    call: &Call<'_>,
    flags_idx: usize,
    mut of: impl FnMut(usize, &str, &Regex, &str) -> Result<T>,
) -> Result<Vec<Option<T>>> {
    let (texts, patterns) = (call.texts(0)?, call.texts(1)?);
    let flags = match call.args.len() > flags_idx {
        true => Some(call.texts(flags_idx)?),
        false => None,
    };
    let mut known = Patterns::default();
    let of_row = |row: usize| {
        let flags_null = flags.as_ref().is_some_and(|flags| flags.is_null(row));
        if texts.is_null(row) || patterns.is_null(row) || flags_null {
            return Ok(None);
        }
        let flags = flags.as_ref().map_or("", |flags| flags.value(row));
        let regex = known.get(patterns.value(row), flags)?;
        of(row, texts.value(row), regex, flags).map(Some)
    };
    (0..call.n_rows).map(of_row).collect()
}

/// The groups of a match, or all of it where there are none.
pub(super) fn groups(captures: &regex::Captures<'_>) -> Vec<Option<String>> {
    let text = |found: Option<regex::Match<'_>>| found.map(|found| found.as_str().to_owned());
    match captures.len() {
        1 => vec![text(captures.get(0))],
        n => (1..n).map(|idx| text(captures.get(idx))).collect(),
    }
}

fn regexp_matches(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = matched(call, 2, |_, text, regex, flags| {
        let n = if flags.contains('g') { usize::MAX } else { 1 };
        let all = regex.captures_iter(text).take(n);
        Ok(all.map(|captures| groups(&captures)).collect::<Vec<_>>())
    })?;
    let mut builder = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for row in rows {
        let is_valid = row.is_some();
        for found in row.into_iter().flatten() {
            for group in found {
                builder.values().values().append_option(group);
            }
            builder.values().append(true);
        }
        builder.append(is_valid);
    }
    Ok(Arc::new(builder.finish()))
}

/// Lists of texts.
pub(super) fn pieces(rows: impl Iterator<Item = Option<Vec<Option<String>>>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        let is_valid = row.is_some();
        for piece in row.into_iter().flatten() {
            builder.values().append_option(piece);
        }
        builder.append(is_valid);
    }
    Arc::new(builder.finish())
}

fn regexp_split(call: &Call<'_>) -> Result<ArrayRef> {
    let count = PieceCount::default();
    let rows = matched(call, 2, |_, text, regex, _| {
        let mut out = Vec::new();
        let mut start = 0;
        for found in regex.find_iter(text) {
            count.add()?;
            // An empty match at either end divides nothing.
            if found.is_empty() && (found.start() == 0 || found.end() == text.len()) {
                continue;
            }
            out.push(Some(text[start..found.start()].to_owned()));
            start = found.end();
        }
        out.push(Some(text[start..].to_owned()));
        Ok(out)
    })?;
    Ok(pieces(rows.into_iter()))
}

/// Asks for the room of pieces of texts while they are cut: a text may have as many as bytes.
#[derive(Default)]
struct PieceCount(Cell<usize>);

impl PieceCount {
    /// The bytes of a piece beside its text.
    const BYTES: usize = 64;
    /// So many pieces need no room of their own.
    const FEW: usize = 1 << 16;

    /// One piece more. Errors: 53200.
    fn add(&self) -> Result<()> {
        let n_pieces = self.0.get() + 1;
        self.0.set(n_pieces);
        match n_pieces >= Self::FEW && n_pieces.is_power_of_two() {
            true => ask_for(n_pieces.saturating_mul(Self::BYTES)),
            false => Ok(()),
        }
    }
}

/// `regexp_substr(text, pattern, start, n, flags, group)`.
fn regexp_substr(call: &Call<'_>) -> Result<ArrayRef> {
    let number = |idx: usize| match call.args.len() > idx {
        true => call.integers(idx).map(Some),
        false => Ok(None),
    };
    let (starts, nths, group_idx) = (number(2)?, number(3)?, number(5)?);
    let rows = matched(call, 4, |row, text, regex, _| {
        let at = |column: &Option<Int64Array>, default: i64| {
            column.as_ref().map_or(Some(default), |column| {
                column.is_valid(row).then(|| column.value(row))
            })
        };
        let (Some(start), Some(nth), Some(group)) =
            (at(&starts, 1), at(&nths, 1), at(&group_idx, 0))
        else {
            return Ok(None);
        };
        if start < 1 || nth < 1 || group < 0 {
            let message =
                "the start, the number and the group of regexp_substr must not be negative";
            return Err(failure("22023", message));
        }
        let offset = text.char_indices().nth(start as usize - 1);
        let rest = offset.map_or("", |(at, _)| &text[at..]);
        let found = regex.captures_iter(rest).nth(nth as usize - 1);
        let found = found.and_then(|captures| captures.get(group as usize));
        Ok(found.map(|found| found.as_str().to_owned()))
    })?;
    Ok(Arc::new(
        rows.into_iter()
            .map(Option::flatten)
            .collect::<StringArray>(),
    ))
}

/// `substring(text from pattern)`: the first group, or the whole match.
fn regexp_substring(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = matched(call, 2, |_, text, regex, _| {
        let first = regex.captures(text).map(|captures| groups(&captures));
        Ok(first.and_then(|groups| groups.into_iter().next().flatten()))
    })?;
    Ok(Arc::new(
        rows.into_iter()
            .map(Option::flatten)
            .collect::<StringArray>(),
    ))
}

/// Fails unless all texts name the one encoding that there is.
fn check_encodings(call: &Call<'_>) -> Result<()> {
    let names = call.texts(1)?;
    let is_known =
        |name: &str| ["utf8", "utf-8", "unicode"].contains(&name.to_lowercase().as_str());
    match names.iter().flatten().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("encoding \"{name}\" is not supported");
            Err(failure("0A000", message))
        }
    }
}

/// `convert_from(bytes, 'UTF8')`.
fn convert_from(call: &Call<'_>) -> Result<ArrayRef> {
    check_encodings(call)?;
    let bytes = match call.arg(0)?.data_type().is_string() {
        // A literal, which has no type of its own.
        true => {
            let texts = call.texts(0)?;
            let bytes = texts
                .iter()
                .map(|text| text.map(text_input::bytes).transpose());
            Arc::new(bytes.collect::<Result<BinaryArray>>()?)
        }
        false => call.converted(0, &DataType::Binary)?,
    };
    let texts = bytes.as_binary::<i32>().iter().map(decoded);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn decoded(bytes: Option<&[u8]>) -> Result<Option<&str>> {
    let invalid = "invalid byte sequence for encoding \"UTF8\"";
    let text = bytes.map(std::str::from_utf8).transpose();
    let text = text.map_err(|_| failure("22021", invalid))?;
    match text.is_some_and(|text| text.contains('\0')) {
        true => Err(failure("22021", format!("{invalid}: 0x00"))),
        false => Ok(text),
    }
}

/// `chr(number)`: the character of a number of Unicode.
fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let character = |number: i64| {
        if number < 0 {
            return Err(failure("22023", "character number must be positive"));
        }
        let message = match number {
            0 => "null character not permitted".to_owned(),
            number => match u32::try_from(number).ok().map(char::from_u32) {
                Some(Some(character)) => return Ok(character.to_string()),
                Some(None) if number <= MAX_CHARACTER => {
                    format!("requested character not valid for encoding: {number}")
                }
                _ => format!("requested character too large for encoding: {number}"),
            },
        };
        Err(failure("54000", message))
    };
    let numbers = call.integers(0)?;
    let texts = numbers
        .iter()
        .map(|number| number.map(character).transpose());
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// `convert_to(text, 'UTF8')`.
fn convert_to(call: &Call<'_>) -> Result<ArrayRef> {
    check_encodings(call)?;
    call.converted(0, &DataType::Binary)
}

/// `string_to_table(text, separator, null_text)`; without a separator, characters.
fn string_to_table(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, separators) = (call.texts(0)?, call.texts(1)?);
    let nulls = match call.args.len() {
        3 => Some(call.texts(2)?),
        _ => None,
    };
    let count = PieceCount::default();
    let of = |row: usize| {
        if texts.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        let null = nulls
            .as_ref()
            .filter(|nulls| nulls.is_valid(row))
            .map(|n| n.value(row));
        let piece = |piece: &str| {
            count.add()?;
            Ok((Some(piece) != null).then(|| piece.to_owned()))
        };
        let found: Result<Vec<_>> = match (separators.is_valid(row), text.is_empty()) {
            (_, true) => Ok(Vec::new()),
            (false, _) => text.chars().map(|c| piece(&c.to_string())).collect(),
            (true, _) if separators.value(row).is_empty() => Ok(vec![piece(text)?]),
            (true, _) => text.split(separators.value(row)).map(piece).collect(),
        };
        found.map(Some)
    };
    let rows: Vec<_> = (0..call.n_rows).map(of).collect::<Result<_>>()?;
    Ok(pieces(rows.into_iter()))
}
