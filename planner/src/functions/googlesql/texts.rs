//! Texts: `CONCAT`, `SUBSTR`, `SPLIT`, `INSTR`, `TO_HEX`, `CONTAINS_SUBSTR`.
//!
//! In: texts, positions in characters from 1; out: texts, positions, arrays. A position below zero counts from the end.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;

use super::super::call::{ANY, Call, Function, failure, function};
use super::casts;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    vec![
        function("googlesql.concat", ANY, DataType::Utf8, concat),
        // `substr` behind a dot is no name for the parser, which reads a printed view again.
        function("googlesql.characters", &[2, 3], DataType::Utf8, substr).alias("googlesql.substr"),
        function("googlesql.to_hex", &[1], DataType::Utf8, |call| {
            let bytes = call.converted(0, &DataType::Binary)?;
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let bytes = bytes.as_binary::<i32>().iter();
            let texts = bytes.map(|bytes| bytes.map(hex));
            Ok(Arc::new(texts.collect::<StringArray>()))
        }),
        function("split", &[1, 2], texts, split),
        function("googlesql.instr", &[2, 3, 4], DataType::Int64, instr),
        function("contains_substr", &[2], DataType::Boolean, |call| {
            let (texts, parts) = (call.texts(0)?, call.texts(1)?);
            let found = texts.iter().zip(parts.iter());
            let found = found
                .map(|(text, part)| Some(text?.to_lowercase().contains(&part?.to_lowercase())));
            Ok(Arc::new(found.collect::<BooleanArray>()))
        }),
    ]
}

/// All arguments in one, or NULL if one of them is.
fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<StringArray> = call.args.iter().map(casts::texts).collect::<Result<_>>()?;
    let of_row = |row: usize| {
        let value =
            |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        columns.iter().map(value).collect::<Option<String>>()
    };
    Ok(Arc::new(
        (0..call.n_rows).map(of_row).collect::<StringArray>(),
    ))
}

fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, positions) = (call.texts(0)?, call.integers(1)?);
    let lengths = (call.args.len() == 3)
        .then(|| call.integers(2))
        .transpose()?;
    let of_row = |row: usize| {
        let is_null = texts.is_null(row)
            || positions.is_null(row)
            || lengths.as_ref().is_some_and(|lengths| lengths.is_null(row));
        if is_null {
            return Ok(None);
        }
        let length = match &lengths {
            Some(lengths) => usize::try_from(lengths.value(row))
                .map_err(|_| failure("22011", "negative substring length not allowed"))?,
            None => usize::MAX,
        };
        let text = texts.value(row);
        let skipped = match positions.value(row) {
            // The first character, as 1 is.
            0 => 0,
            position if position > 0 => usize::try_from(position - 1).unwrap_or(usize::MAX),
            from_end => {
                let from_end = usize::try_from(from_end.unsigned_abs()).unwrap_or(usize::MAX);
                text.chars().count().saturating_sub(from_end)
            }
        };
        Ok(Some(
            text.chars().skip(skipped).take(length).collect::<String>(),
        ))
    };
    let parts: StringArray = (0..call.n_rows).map(of_row).collect::<Result<_>>()?;
    Ok(Arc::new(parts))
}

/// `SPLIT(text [, delimiter])`; an empty delimiter divides characters.
fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let delimiters = match call.args.len() {
        2 => Some(call.texts(1)?),
        _ => None,
    };
    let mut out = ListBuilder::new(StringBuilder::new());
    for row in 0..call.n_rows {
        let delimiter = match &delimiters {
            Some(delimiters) => delimiters.is_valid(row).then(|| delimiters.value(row)),
            None => Some(","),
        };
        let (Some(delimiter), true) = (delimiter, texts.is_valid(row)) else {
            out.append(false);
            continue;
        };
        let text = texts.value(row);
        if delimiter.is_empty() && !text.is_empty() {
            text.chars()
                .for_each(|c| out.values().append_value(c.to_string()));
        } else if delimiter.is_empty() {
            out.values().append_value("");
        } else {
            text.split(delimiter)
                .for_each(|part| out.values().append_value(part));
        }
        out.append(true);
    }
    Ok(Arc::new(out.finish()))
}

/// `INSTR(text, part [, position [, occurrence]])`: the place of a part, or 0.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, parts) = (call.texts(0)?, call.texts(1)?);
    let number = |idx: usize| match call.args.len() > idx {
        true => call.integers(idx).map(Some),
        false => Ok(None),
    };
    let (positions, occurrences) = (number(2)?, number(3)?);
    let of_row = |row: usize| {
        let at = |column: &Option<Int64Array>| match column {
            Some(column) => column.is_valid(row).then(|| column.value(row)),
            None => Some(1),
        };
        let (Some(position), Some(occurrence)) = (at(&positions), at(&occurrences)) else {
            return Ok(None);
        };
        if texts.is_null(row) || parts.is_null(row) {
            return Ok(None);
        }
        if position == 0 || occurrence < 1 {
            let message = "position and occurrence of INSTR must not be zero";
            return Err(failure("22023", message));
        }
        Ok(Some(place(
            texts.value(row),
            parts.value(row),
            position,
            occurrence,
        )))
    };
    let places: Int64Array = (0..call.n_rows).map(of_row).collect::<Result<_>>()?;
    Ok(Arc::new(places))
}

fn place(text: &str, part: &str, position: i64, occurrence: i64) -> i64 {
    let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
    if part.is_empty() || part.len() > text.len() {
        return 0;
    }
    let size = |number: i64| usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    let is_here = |at: &usize| text[*at..].starts_with(&part);
    let last = text.len() - part.len();
    let nth = size(occurrence) - 1;
    let found = match position > 0 {
        true => (size(position) - 1..=last).filter(is_here).nth(nth),
        false => {
            let Some(from) = text.len().checked_sub(size(position)) else {
                return 0;
            };
            (0..=from.min(last)).rev().filter(is_here).nth(nth)
        }
    };
    found.map_or(0, |at| at as i64 + 1)
}
