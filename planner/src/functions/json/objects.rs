//! Objects made of arrays of texts, and changes of values at a path.
//!
//! In: texts and json; out: json.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, BooleanArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::value::{Json, Layout, index};
use super::{json_function, paths, values};
use crate::functions::call::{Call, Function, failure};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        json_function("json_object", &[1, 2], |call| object(call, false)),
        json_function("jsonb_object", &[1, 2], |call| object(call, true)),
        json_function("jsonb_insert", &[3, 4], jsonb_insert),
        json_function("json_without_path", &[2], |call| {
            let rows = values(call, 0)?.into_iter().zip(paths(call, 1)?);
            let texts = rows.map(|(value, path)| {
                let (mut value, path) = (value?, path?);
                remove(&mut value, &path);
                Some(value.normalized().write(Layout::Spaced))
            });
            Ok(Arc::new(texts.collect::<StringArray>()))
        }),
    ]
}

/// An argument as lists of texts, which may be NULL.
fn lists(call: &Call<'_>, idx: usize) -> Result<Vec<Option<Vec<Option<String>>>>> {
    let array = call.arg(idx)?;
    let Some(lists) = array.as_list_opt::<i32>() else {
        let plain = |path: Vec<String>| path.into_iter().map(Some).collect();
        return Ok(paths(call, idx)?
            .into_iter()
            .map(|path| path.map(plain))
            .collect());
    };
    let list = |list: Option<ArrayRef>| {
        let Some(list) = list else {
            return Ok(None);
        };
        let texts = cast(&list, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>().iter();
        Ok(Some(
            texts.map(|text| text.map(ToOwned::to_owned)).collect(),
        ))
    };
    lists.iter().map(list).collect()
}

/// `json_object('{a, 1, b, 2}')` and `json_object(keys, values)`.
fn object(call: &Call<'_>, is_binary: bool) -> Result<ArrayRef> {
    let first = lists(call, 0)?;
    let second = match call.args.len() {
        2 => Some(lists(call, 1)?),
        _ => None,
    };
    let of = |(row, texts): (usize, Option<Vec<Option<String>>>)| {
        let Some(texts) = texts else {
            return Ok(None);
        };
        let pairs: Vec<(Option<String>, Option<String>)> = match &second {
            None if texts.len() % 2 == 1 => {
                return Err(failure("2202E", "array must have even number of elements"));
            }
            None => {
                let pairs = texts.chunks_exact(2);
                pairs
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect()
            }
            Some(values) => {
                let Some(values) = values.get(row).cloned().flatten() else {
                    return Ok(None);
                };
                if values.len() != texts.len() {
                    return Err(failure("2202E", "mismatched array dimensions"));
                }
                texts.into_iter().zip(values).collect()
            }
        };
        let members = pairs.into_iter().map(|(key, value)| match key {
            Some(key) => Ok((key, value.map_or(Json::Null, Json::Text))),
            None => Err(failure("22004", "null value not allowed for object key")),
        });
        let object = Json::Object(members.collect::<Result<_>>()?);
        Ok(Some(match is_binary {
            true => object.normalized().write(Layout::Spaced),
            false => object.write(Layout::Spaced),
        }))
    };
    let texts = first.into_iter().enumerate().map(of);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// `value - keys`: without the members of these names, or the elements that are these texts.
pub(super) fn without_all(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = values(call, 0)?.into_iter().zip(lists(call, 1)?);
    let texts = rows.map(|(value, keys)| {
        let (mut value, keys) = (value?, keys?);
        let is_key = |text: &String| keys.iter().flatten().any(|key| key == text);
        match &mut value {
            Json::Object(members) => members.retain(|(name, _)| !is_key(name)),
            Json::Array(items) => {
                items.retain(|item| !matches!(item, Json::Text(text) if is_key(text)));
            }
            _ => {}
        }
        Some(value.normalized().write(Layout::Spaced))
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// Takes out what stands at the end of a path.
fn remove(target: &mut Json, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match target {
        Json::Object(members) if rest.is_empty() => members.retain(|(name, _)| name != step),
        Json::Object(members) => {
            if let Some((_, value)) = members.iter_mut().rev().find(|(name, _)| name == step) {
                remove(value, rest);
            }
        }
        Json::Array(items) => {
            let place = step.parse().ok();
            let place = place.and_then(|place| index(place, items.len()));
            let Some(place) = place.filter(|place| *place < items.len()) else {
                return;
            };
            if rest.is_empty() {
                items.remove(place);
            } else if let Some(value) = items.get_mut(place) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

/// `jsonb_insert(target, path, value, insert_after)`.
fn jsonb_insert(call: &Call<'_>) -> Result<ArrayRef> {
    let after = match call.args.len() {
        4 => cast(call.arg(3)?, &DataType::Boolean)?.as_boolean().clone(),
        _ => BooleanArray::from(vec![false; call.n_rows]),
    };
    let rows = values(call, 0)?.into_iter().zip(paths(call, 1)?);
    let rows = rows.zip(values(call, 2)?).zip(after.iter());
    let texts = rows.map(|(((target, path), value), after)| {
        let (Some(mut target), Some(path), Some(value), Some(after)) = (target, path, value, after)
        else {
            return Ok(None);
        };
        insert(&mut target, &path, value, after)?;
        Ok(Some(target.normalized().write(Layout::Spaced)))
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn insert(target: &mut Json, path: &[String], new: Json, after: bool) -> Result<()> {
    let Some((step, rest)) = path.split_first() else {
        return Ok(());
    };
    match target {
        Json::Object(members) => match members.iter_mut().rev().find(|(name, _)| name == step) {
            Some(_) if rest.is_empty() => {
                return Err(failure("22023", "cannot replace existing key"));
            }
            Some((_, value)) => insert(value, rest, new, after)?,
            None if rest.is_empty() => members.push((step.clone(), new)),
            None => {}
        },
        Json::Array(items) => {
            let Ok(place) = step.parse::<i64>() else {
                let message = format!("path element is not an integer: \"{step}\"");
                return Err(failure("22P02", message));
            };
            let at = index(place, items.len());
            match at.and_then(|at| items.get_mut(at)) {
                Some(value) if !rest.is_empty() => insert(value, rest, new, after)?,
                None if !rest.is_empty() => {}
                None if place < 0 => items.insert(0, new),
                None => items.push(new),
                Some(_) => items.insert(at.unwrap_or(0) + usize::from(after), new),
            }
        }
        _ => {}
    }
    Ok(())
}
