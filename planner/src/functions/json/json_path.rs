//! GoogleSQL's look into json by a path: `JSON_VALUE(x, '$.a[0].b')` and its older name `JSON_EXTRACT_SCALAR`;
//! `JSON_QUERY` and `JSON_EXTRACT`, which also give objects and arrays.
//!
//! In: json and a path from `$`; out: text, NULL where the path leads nowhere or the text is no json.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::value::{Json, Layout};
use crate::functions::call::{Call, Function, failure, function};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let scalar = |name| function(name, &[1, 2], DataType::Utf8, |call| found(call, scalar_of));
    let any = |name| {
        function(name, &[1, 2], DataType::Utf8, |call| {
            found(call, |json| Some(json.write(Layout::Compact)))
        })
    };
    vec![
        scalar("json_value"),
        scalar("json_extract_scalar"),
        any("json_query"),
        any("json_extract"),
    ]
}

/// A value that is no object and no array, without quotes.
fn scalar_of(json: &Json) -> Option<String> {
    match json {
        Json::Object(_) | Json::Array(_) => None,
        plain => plain.plain(),
    }
}

fn found(call: &Call<'_>, text: impl Fn(&Json) -> Option<String>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let paths = match call.args.len() {
        2 => Some(call.texts(1)?),
        _ => None,
    };
    let of_row = |(row, json): (usize, Option<&str>)| {
        let path = match &paths {
            Some(paths) => paths.is_valid(row).then(|| paths.value(row)),
            None => Some("$"),
        };
        let (Some(json), Some(path)) = (json, path) else {
            return Ok(None);
        };
        let steps = steps(path)?;
        let Ok(json) = Json::read(json) else {
            return Ok(None);
        };
        Ok(json.at_path(&steps).and_then(&text))
    };
    let texts: StringArray = texts
        .iter()
        .enumerate()
        .map(of_row)
        .collect::<Result<_>>()?;
    Ok(Arc::new(texts))
}

/// `$.a['b c'][0]` is `a`, `b c`, `0`.
fn steps(path: &str) -> Result<Vec<String>> {
    let wrong = || failure("22023", format!("invalid json path \"{path}\""));
    let mut rest = path.strip_prefix('$').ok_or_else(wrong)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, behind) = if let Some(name) = rest.strip_prefix('.') {
            match name.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(wrong)?,
                None => name.split_at(name.find(['.', '[']).unwrap_or(name.len())),
            }
        } else {
            let inner = rest.strip_prefix('[').ok_or_else(wrong)?;
            match inner.chars().next().filter(|c| *c == '\'' || *c == '"') {
                Some(quote) => {
                    let (step, behind) = inner[1..].split_once(quote).ok_or_else(wrong)?;
                    (step, behind.strip_prefix(']').ok_or_else(wrong)?)
                }
                None => inner.split_once(']').ok_or_else(wrong)?,
            }
        };
        if step.is_empty() {
            return Err(wrong());
        }
        steps.push(step.to_owned());
        rest = behind;
    }
    Ok(steps)
}
