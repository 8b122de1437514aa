//! Objects made of arrays of texts, and changes of values at a path.
//!
//! In: texts and json; out: json.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::value::{Json, Layout, index};
use super::{json_function, paths, set, values};
use crate::error::Error;
use crate::functions::call::{Call, Function, failure};
use crate::functions::dimensions::parts;
use crate::functions::{ArrayItem, split_array};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        json_function("json_object", &[1, 2], |call| object(call, false)),
        json_function("jsonb_object", &[1, 2], |call| object(call, true)),
        json_function("jsonb_insert", &[3, 4], jsonb_insert),
        json_function("jsonb_set_lax", &[3, 4, 5], jsonb_set_lax),
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
        let texts = call.texts(idx)?;
        let texts = texts.iter();
        return texts.map(|text| text.map(texts_of).transpose()).collect();
    };
    let list = |list: Option<ArrayRef>| {
        let Some(list) = list else {
            return Ok(None);
        };
        let list = rows_of_pairs(list)?;
        let texts = cast(&list, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>().iter();
        Ok(Some(
            texts.map(|text| text.map(ToOwned::to_owned)).collect(),
        ))
    };
    lists.iter().map(list).collect()
}

fn too_many_dimensions() -> DataFusionError {
    failure("2202E", "wrong number of array subscripts")
}

fn no_pair() -> DataFusionError {
    failure("2202E", "array must have two columns")
}

/// The text of an element, which is no array.
fn value_of(item: ArrayItem) -> Option<String> {
    match item {
        ArrayItem::Null => None,
        ArrayItem::Value(text) | ArrayItem::Array(text) => Some(text),
    }
}

/// The elements of the text of an array, or of its pairs.
fn texts_of(text: &str) -> Result<Vec<Option<String>>> {
    let split = |text: &str| {
        let message = || format!("malformed array literal: \"{text}\"");
        split_array(text).ok_or_else(|| failure("22P02", message()))
    };
    let mut texts = Vec::new();
    for item in split(text)? {
        let items = match item {
            ArrayItem::Array(pair) => split(&pair)?,
            item => {
                texts.push(value_of(item));
                continue;
            }
        };
        if items.iter().any(|item| matches!(item, ArrayItem::Array(_))) {
            return Err(too_many_dimensions());
        }
        if items.len() != 2 {
            return Err(no_pair());
        }
        texts.extend(items.into_iter().map(value_of));
    }
    Ok(texts)
}

/// The elements of `{{a, 1}, {b, 2}}` in order, and of any other array those that it has.
fn rows_of_pairs(list: ArrayRef) -> Result<ArrayRef> {
    let (_, n_dimensions) = parts(list.data_type());
    let Some(pairs) = list.as_list_opt::<i32>() else {
        return Ok(list);
    };
    let is_pair = |row: usize| pairs.is_valid(row) && pairs.value_length(row) == 2;
    if n_dimensions > 1 {
        return Err(too_many_dimensions());
    }
    if !(0..pairs.len()).all(is_pair) {
        return Err(no_pair());
    }
    let (first, last) = (pairs.value_offsets().first(), pairs.value_offsets().last());
    let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
    let length = usize::try_from(last - first).unwrap_or_default();
    Ok(pairs
        .values()
        .slice(usize::try_from(first).unwrap_or_default(), length))
}

/// `json_object('{a, 1, b, 2}')`, `json_object('{{a, 1}, {b, 2}}')` and `json_object(keys, values)`.
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

/// What `jsonb_set_lax` does where the value is NULL.
#[derive(Clone, Copy)]
enum OfNull {
    JsonNull,
    DeleteKey,
    ReturnTarget,
    Fail,
}

impl OfNull {
    fn read(text: Option<&str>) -> Result<OfNull> {
        match text {
            Some("use_json_null") => Ok(OfNull::JsonNull),
            Some("delete_key") => Ok(OfNull::DeleteKey),
            Some("return_target") => Ok(OfNull::ReturnTarget),
            Some("raise_exception") => Ok(OfNull::Fail),
            _ => {
                let message = "null_value_treatment must be \"delete_key\", \"return_target\", \
                    \"use_json_null\", or \"raise_exception\"";
                Err(failure("22023", message))
            }
        }
    }
}

/// `jsonb_set_lax(target, path, value, create_if_missing, null_value_treatment)`.
fn jsonb_set_lax(call: &Call<'_>) -> Result<ArrayRef> {
    let creates = match call.args.len() {
        3 => BooleanArray::from(vec![true; call.n_rows]),
        _ => cast(call.arg(3)?, &DataType::Boolean)?.as_boolean().clone(),
    };
    let treatments = match call.args.len() {
        5 => call.texts(4)?,
        _ => StringArray::from(vec!["use_json_null"; call.n_rows]),
    };
    let rows = values(call, 0)?.into_iter().zip(paths(call, 1)?);
    let rows = rows.zip(values(call, 2)?).zip(creates.iter());
    let rows = rows.zip(treatments.iter());
    let texts = rows.map(|((((target, path), value), creates), treatment)| {
        let (Some(mut target), Some(path), Some(creates)) = (target, path, creates) else {
            return Ok(None);
        };
        let of_null = OfNull::read(treatment)?;
        match (value, of_null) {
            (Some(value), _) => set(&mut target, &path, value, creates),
            (None, OfNull::JsonNull) => set(&mut target, &path, Json::Null, creates),
            (None, OfNull::DeleteKey) => remove(&mut target, &path),
            (None, OfNull::ReturnTarget) => {}
            (None, OfNull::Fail) => {
                let hint = "To avoid, either change the null_value_treatment argument or ensure \
                    that an SQL NULL is not passed.";
                let message = "JSON value must not be null";
                return Err(Error::invalid("22004", message, Some(hint)).into());
            }
        }
        Ok(Some(target.normalized().write(Layout::Spaced)))
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
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
