//! Documents of which a part is assigned: `UPDATE t SET j['a'][0] = x`.
//!
//! In: `jsonb`, the new value, and the keys and places that lead to it; out: `jsonb` with it there. Unlike `jsonb_set`, what
//! is missing on the way is made, and a place behind the end of an array has nulls before it.

use std::sync::Arc;

use auspex_storage::type_name;
use datafusion::arrow::array::{Array as _, ArrayRef, StringArray};
use datafusion::error::{DataFusionError, Result};

use super::value::{Json, Layout, index};
use super::{json_function, values};
use crate::error::Error;
use crate::functions::call::{ANY, Call, Function, failure};

/// The name of the function.
pub(crate) const JSONB_WITH_PART: &str = "jsonb_with_part";

/// How many elements an array has at most that is filled up to a place.
const MAX_LENGTH: usize = 1 << 26;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![json_function(JSONB_WITH_PART, ANY, with_part)]
}

fn with_part(call: &Call<'_>) -> Result<ArrayRef> {
    let mut steps: Vec<StringArray> = Vec::new();
    for idx in 2..call.args.len() {
        let found = call.arg(idx)?.data_type();
        if !(found.is_integer() || found.is_string() || found.is_null()) {
            let message = format!("subscript type {} is not supported", type_name(found));
            let hint = "jsonb subscript must be coercible to either integer or text.";
            return Err(Error::invalid("42804", message, Some(hint)).into());
        }
        steps.push(call.texts(idx)?);
    }
    let begins_array = call.arg(2)?.data_type().is_integer();
    let rows = values(call, 0)?.into_iter().zip(values(call, 1)?);
    let texts = rows.enumerate().map(|(row, (target, value))| {
        let mut path = Vec::with_capacity(steps.len());
        for step in &steps {
            if step.is_null(row) {
                let message = "jsonb subscript in assignment must not be null";
                return Err(failure("22004", message));
            }
            path.push(step.value(row));
        }
        let mut target = target.unwrap_or(match begins_array {
            true => Json::Array(Vec::new()),
            false => Json::Object(Vec::new()),
        });
        put(&mut target, &path, 1, value.unwrap_or(Json::Null))?;
        Ok(Some(target.normalized().write(Layout::Spaced)))
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// Puts a value at the end of a path, whose first step is the `nth` of all.
fn put(target: &mut Json, path: &[&str], nth: usize, new: Json) -> Result<()> {
    let Some((step, rest)) = path.split_first() else {
        *target = new;
        return Ok(());
    };
    match target {
        Json::Object(members) => {
            match members.iter_mut().rev().find(|(name, _)| name == step) {
                Some((_, value)) => put(value, rest, nth + 1, new)?,
                None => members.push(((*step).to_owned(), made(rest, new)?)),
            }
            Ok(())
        }
        Json::Array(items) => {
            let Ok(place) = step.parse::<i64>() else {
                let message =
                    format!("path element at position {nth} is not an integer: \"{step}\"");
                return Err(failure("22P02", message));
            };
            let Some(at) = index(place, items.len()) else {
                let message = format!("path element at position {nth} is out of range: {place}");
                return Err(failure("22023", message));
            };
            match items.get_mut(at) {
                Some(value) => put(value, rest, nth + 1, new),
                None => {
                    fill(items, at)?;
                    items.push(made(rest, new)?);
                    Ok(())
                }
            }
        }
        _ => Err(no_composite()),
    }
}

/// A value at the end of a path of which nothing is there: whole numbers are places of arrays.
fn made(path: &[&str], new: Json) -> Result<Json> {
    let mut value = new;
    for step in path.iter().rev() {
        value = match step.parse::<i64>() {
            Ok(at) => {
                let mut items = Vec::new();
                fill(&mut items, usize::try_from(at).unwrap_or(0))?;
                items.push(value);
                Json::Array(items)
            }
            Err(_) => Json::Object(vec![((*step).to_owned(), value)]),
        };
    }
    Ok(value)
}

/// Lets an array have so many elements at least.
fn fill(items: &mut Vec<Json>, length: usize) -> Result<()> {
    if length > MAX_LENGTH {
        return Err(failure("54000", "array size exceeds the maximum allowed"));
    }
    crate::memory::ask_for(length.saturating_mul(size_of::<Json>()))?;
    items.resize(length, Json::Null);
    Ok(())
}

fn no_composite() -> DataFusionError {
    let message = "cannot replace existing key";
    let hint = "The path assumes key is a composite object, but it is a scalar value.";
    Error::invalid("22023", message, Some(hint)).into()
}
