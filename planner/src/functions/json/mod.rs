//! `json` and `jsonb`: text with a mark that tells clients its type.
//!
//! In: text that is json; out: text with Arrow's mark of json, or plain text. What makes json of other values is the server's.
//! `value` is the value itself, `order` its place among all, `objects` makes it of arrays; `items` looks at members and elements, `parts` puts values into it; `scalars` casts it; `sql_path` follows paths of SQL/JSON.

mod exact;
mod items;
mod json_path;
mod kept;
mod objects;
mod order;
mod parts;
mod path_text;
mod row;
mod scalars;
mod sql_path;
mod value;

use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder,
    StructBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ReturnFieldArgs};

use super::call::{ANY, Call, Function, failure, function};
use super::dimensions::{map_texts, texts_in_place_of};
pub(super) use items::{JSONB_ITEM, JSONB_ITEM_TEXT};
pub(crate) use kept::{MarkedArrays, read_marked, reads_texts, remarked, stands_for};
pub(super) use kept::{keeping, kept, with_marks};
pub(super) use order::key_function;
pub(crate) use parts::JSONB_WITH_PART;
pub use row::ROW_TYPE_KEY;
pub(crate) use row::{TYPED_ROW, WHOLE_ROW};
pub(super) use row::{typed_row, whole_row};
pub(super) use scalars::read_scalars;
use value::{Json, Layout};

/// The text of a json value in the one form that `jsonb` has.
pub fn jsonb_text(json: &str) -> Result<String> {
    let value = Json::read(json)?;
    // Beside the escape this may be what it looks like, behind a backslash.
    if json.contains("\\u0000") && value.has_zero() {
        return Err(zero_in_text());
    }
    Ok(value.normalized().write(Layout::Spaced))
}

/// The error that an escape is of no character that a text has.
fn zero_in_text() -> DataFusionError {
    failure(
        "22P05",
        "unsupported Unicode escape sequence: \\u0000 cannot be converted to text",
    )
}

/// Texts that stood in json.
fn out_of_json(texts: ArrayRef) -> Result<ArrayRef> {
    let found = texts.as_string_opt::<i32>();
    let mut found = found.into_iter().flatten().flatten();
    match found.any(|text| text.contains('\0')) {
        true => Err(zero_in_text()),
        false => Ok(texts),
    }
}

/// The field of json.
fn json_field(name: &str, kind: JsonKind) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(kind.marks())
}

/// A function whose result is json: `jsonb` if its name or its first argument says so.
fn json_function(
    name: &'static str,
    arities: &'static [usize],
    body: impl Fn(&Call<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Function {
    let returns = move |args: &ReturnFieldArgs| {
        let given = args
            .arg_fields
            .first()
            .and_then(|field| JsonKind::of(field));
        let kind = match name.starts_with("jsonb") || name == AS_JSONB {
            true => JsonKind::Jsonb,
            false if IS_JSON.contains(&name) => JsonKind::Json,
            false => given.unwrap_or(JsonKind::Json),
        };
        Ok(json_field("json", kind))
    };
    function(name, arities, DataType::Utf8, body).returning(returns)
}

/// Functions whose result is `json` whatever they are given.
const IS_JSON: [&str; 1] = [AS_JSON];
/// Functions that say of a text that it is json already.
const AS_JSON: &str = "as_json";
const AS_JSONB: &str = "as_jsonb";

/// A value as a column of json takes it: checked, and for `jsonb` in its one form.
pub(super) fn read_as(kind: JsonKind, value: Expr) -> Expr {
    let name = match kind {
        JsonKind::Json => "json_in",
        JsonKind::Jsonb => "jsonb_in",
    };
    let found = readers().into_iter().map(Function::build);
    match found.into_iter().find(|function| function.name() == name) {
        Some(function) => function.call(vec![value]),
        None => value,
    }
}

/// A member or an element of a json, NULL where there is none.
fn member(value: Expr, key: Expr) -> Expr {
    let mut found = items::functions().into_iter().map(Function::build);
    match found.find(|function| function.name() == "json_get") {
        Some(function) => function.call(vec![value, key]),
        None => value,
    }
}

/// A text that is json, marked as such.
pub(super) fn marked(kind: JsonKind, value: Expr) -> Expr {
    marker(kind).build().call(vec![value])
}

fn marker(kind: JsonKind) -> Function {
    let name = match kind {
        JsonKind::Json => AS_JSON,
        JsonKind::Jsonb => AS_JSONB,
    };
    json_function(name, &[1], |call| Ok(Arc::new(call.texts(0)?)))
}

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let mut functions = Vec::new();
    functions.extend(readers());
    functions.extend(items::functions());
    functions.extend(spreaders());
    functions.extend(changers());
    functions.extend(json_path::functions());
    functions.extend(objects::functions());
    functions.extend(parts::functions());
    functions.extend(scalars::functions());
    functions.extend(sql_path::functions());
    functions.extend([JsonKind::Json, JsonKind::Jsonb].map(marker));
    functions.push(key_function());
    functions
}

/// A function that reads a text, or each text of an array.
fn reader(name: &'static str, kind: JsonKind, read: fn(&str) -> Result<String>) -> Function {
    function(name, &[1], DataType::Utf8, move |call| {
        map_texts(call.arg(0)?, &read)
    })
    .returning(move |args| {
        let data_type = texts_in_place_of(args.arg_fields[0].data_type());
        Ok(Field::new(name, data_type, true).with_metadata(kind.marks()))
    })
}

/// Functions that look into a value.
fn readers() -> Vec<Function> {
    vec![
        // The text stays as it was written.
        reader("json_in", JsonKind::Json, |text| {
            Json::read(text).map(|_| text.to_owned())
        }),
        reader("jsonb_in", JsonKind::Jsonb, jsonb_text),
        json_function("json_path", &[2], |call| {
            followed(call, |value| Some(value.write(Layout::Spaced)))
        }),
        function("json_path_text", &[2], DataType::Utf8, |call| {
            out_of_json(followed(call, Json::plain)?)
        }),
        function("json_contains", &[2], DataType::Boolean, |call| {
            let parts = values(call, 1)?;
            let found = values(call, 0)?.into_iter().zip(parts);
            let found = found.map(|(value, part)| Some(value?.contains(&part?)));
            Ok(Arc::new(found.collect::<BooleanArray>()))
        }),
        function("json_has", &[2], DataType::Boolean, |call| {
            let keys = call.texts(1)?;
            let found = values(call, 0)?.into_iter().zip(keys.iter());
            let found = found.map(|(value, key)| Some(value?.has(key?)));
            Ok(Arc::new(found.collect::<BooleanArray>()))
        }),
        function("json_has_any", &[2], DataType::Boolean, |call| {
            has_keys(call, false)
        }),
        function("json_has_all", &[2], DataType::Boolean, |call| {
            has_keys(call, true)
        }),
    ]
}

/// Functions that spread a value into several, or measure it.
fn spreaders() -> Vec<Function> {
    let mut functions = Vec::new();
    let list = || DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    for (length, kind, elements, elements_text, keys, each, each_text) in [
        (
            "json_array_length",
            "json_typeof",
            "json_array_elements",
            "json_array_elements_text",
            "json_object_keys",
            "json_each",
            "json_each_text",
        ),
        (
            "jsonb_array_length",
            "jsonb_typeof",
            "jsonb_array_elements",
            "jsonb_array_elements_text",
            "jsonb_object_keys",
            "jsonb_each",
            "jsonb_each_text",
        ),
    ] {
        functions.extend([
            function(length, &[1], DataType::Int32, array_length),
            function(kind, &[1], DataType::Utf8, |call| {
                mapped(call, |value| Ok(Some(value.type_name().to_owned())))
            }),
            function(elements, &[1], list(), |call| {
                array_elements(call, |value| Some(value.write(Layout::Spaced)))
            }),
            function(elements_text, &[1], list(), |call| {
                array_elements(call, Json::plain)
            }),
            function(keys, &[1], list(), object_keys),
            function(each, &[1], each_type(), |call| {
                each_member(call, |value| Some(value.write(Layout::Spaced)))
            }),
            function(each_text, &[1], each_type(), |call| {
                each_member(call, Json::plain)
            }),
        ]);
    }
    functions
}

/// Functions that change a value.
fn changers() -> Vec<Function> {
    let strip = |call: &Call<'_>| {
        mapped(call, |value| {
            Ok(Some(without_nulls(value.clone()).write(Layout::Spaced)))
        })
    };
    vec![
        json_function("json_strip_nulls", &[1], strip),
        json_function("jsonb_strip_nulls", &[1], strip),
        function("jsonb_pretty", &[1], DataType::Utf8, |call| {
            mapped(call, |value| {
                Ok(Some(value.clone().normalized().write(Layout::Pretty)))
            })
        }),
        json_function("jsonb_set", &[3, 4], jsonb_set),
        json_function("json_merged", &[2], |call| {
            let pairs = values(call, 0)?.into_iter().zip(values(call, 1)?);
            let merged =
                pairs.map(|(a, b)| Some(merged(a?, b?).normalized().write(Layout::Spaced)));
            Ok(Arc::new(merged.collect::<StringArray>()))
        }),
        json_function("json_without", &[2], json_without),
        json_function("json_extract_path", ANY, |call| {
            extract_path(call, |value| Some(value.write(Layout::Spaced)))
        }),
        json_function("jsonb_extract_path", ANY, |call| {
            extract_path(call, |value| Some(value.write(Layout::Spaced)))
        }),
        function("json_extract_path_text", ANY, DataType::Utf8, |call| {
            out_of_json(extract_path(call, Json::plain)?)
        }),
        function("jsonb_extract_path_text", ANY, DataType::Utf8, |call| {
            out_of_json(extract_path(call, Json::plain)?)
        }),
    ]
}

/// An argument as json values.
fn values(call: &Call<'_>, idx: usize) -> Result<Vec<Option<Json>>> {
    let texts = call.texts(idx)?;
    texts
        .iter()
        .map(|text| text.map(Json::read).transpose())
        .collect()
}

fn mapped(call: &Call<'_>, of: impl Fn(&Json) -> Result<Option<String>>) -> Result<ArrayRef> {
    let texts = values(call, 0)?.into_iter().map(|value| match value {
        Some(value) => of(&value),
        None => Ok(None),
    });
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// A path a row: an array of texts, or its text `{a,b,0}`.
fn paths(call: &Call<'_>, idx: usize) -> Result<Vec<Option<Vec<String>>>> {
    let array = call.arg(idx)?;
    if let Some(lists) = array.as_list_opt::<i32>() {
        let path = |row: usize| -> Result<Option<Vec<String>>> {
            if lists.is_null(row) {
                return Ok(None);
            }
            let steps = cast(&lists.value(row), &DataType::Utf8)?;
            let steps = steps.as_string::<i32>();
            Ok(steps
                .iter()
                .map(|step| step.map(ToOwned::to_owned))
                .collect())
        };
        return (0..call.n_rows).map(path).collect();
    }
    let read = |text: &str| {
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let Some(inner) = inner else {
            return Err(failure(
                "22P02",
                format!("malformed array literal: \"{text}\""),
            ));
        };
        let steps = inner.split(',').filter(|_| !inner.trim().is_empty());
        Ok(steps
            .map(|step| step.trim().trim_matches('"').to_owned())
            .collect())
    };
    let texts = call.texts(idx)?;
    texts
        .iter()
        .map(|text| text.map(read).transpose())
        .collect()
}

fn followed(call: &Call<'_>, show: impl Fn(&Json) -> Option<String>) -> Result<ArrayRef> {
    let rows = values(call, 0)?.into_iter().zip(paths(call, 1)?);
    let texts = rows.map(|(value, path)| value?.at_path(&path?).and_then(&show));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn extract_path(call: &Call<'_>, show: impl Fn(&Json) -> Option<String>) -> Result<ArrayRef> {
    let steps: Vec<StringArray> = (1..call.args.len())
        .map(|idx| call.texts(idx))
        .collect::<Result<_>>()?;
    let of = |(row, value): (usize, Option<Json>)| {
        let step = |steps: &StringArray| steps.is_valid(row).then(|| steps.value(row).to_owned());
        let path: Vec<String> = steps.iter().map(step).collect::<Option<_>>()?;
        value?.at_path(&path).and_then(&show)
    };
    let texts = values(call, 0)?.into_iter().enumerate().map(of);
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn has_keys(call: &Call<'_>, all: bool) -> Result<ArrayRef> {
    let rows = values(call, 0)?.into_iter().zip(paths(call, 1)?);
    let found = rows.map(|(value, keys)| {
        let (value, keys) = (value?, keys?);
        let mut has = keys.iter().map(|key| value.has(key));
        Some(if all {
            has.all(|has| has)
        } else {
            has.any(|has| has)
        })
    });
    Ok(Arc::new(found.collect::<BooleanArray>()))
}

fn array_length(call: &Call<'_>) -> Result<ArrayRef> {
    let of = |value: Option<Json>| match value {
        None => Ok(None),
        Some(Json::Array(items)) => Ok(i32::try_from(items.len()).ok()),
        Some(Json::Object(_)) => Err(failure("22023", "cannot get array length of a non-array")),
        Some(_) => Err(failure("22023", "cannot get array length of a scalar")),
    };
    let lengths: Result<Int32Array> = values(call, 0)?.into_iter().map(of).collect();
    Ok(Arc::new(lengths?))
}

fn array_elements(call: &Call<'_>, show: impl Fn(&Json) -> Option<String>) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for value in values(call, 0)? {
        match value {
            None => builder.append(false),
            Some(Json::Array(items)) => {
                items
                    .iter()
                    .for_each(|item| builder.values().append_option(show(item)));
                builder.append(true);
            }
            Some(Json::Object(_)) => {
                return Err(failure("22023", "cannot extract elements from an object"));
            }
            Some(_) => return Err(failure("22023", "cannot extract elements from a scalar")),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn members(value: Json) -> Result<Vec<(String, Json)>> {
    match value {
        Json::Object(members) => Ok(members),
        Json::Array(_) => Err(failure("22023", "cannot deconstruct an array as an object")),
        _ => Err(failure("22023", "cannot deconstruct a scalar")),
    }
}

fn object_keys(call: &Call<'_>) -> Result<ArrayRef> {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for value in values(call, 0)? {
        let is_valid = value.is_some();
        for (key, _) in value.map(members).transpose()?.unwrap_or_default() {
            builder.values().append_value(key);
        }
        builder.append(is_valid);
    }
    Ok(Arc::new(builder.finish()))
}

fn each_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
    ])
}

fn each_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(
        DataType::Struct(each_fields()),
        true,
    )))
}

fn each_member(call: &Call<'_>, show: impl Fn(&Json) -> Option<String>) -> Result<ArrayRef> {
    let texts = || Box::new(StringBuilder::new());
    let pairs = StructBuilder::new(each_fields(), vec![texts(), texts()]);
    let mut builder = ListBuilder::new(pairs);
    for value in values(call, 0)? {
        let is_valid = value.is_some();
        for (key, value) in value.map(members).transpose()?.unwrap_or_default() {
            let pairs = builder.values();
            if let Some(keys) = pairs.field_builder::<StringBuilder>(0) {
                keys.append_value(key);
            }
            if let Some(values) = pairs.field_builder::<StringBuilder>(1) {
                values.append_option(show(&value));
            }
            pairs.append(true);
        }
        builder.append(is_valid);
    }
    Ok(Arc::new(builder.finish()))
}

fn without_nulls(value: Json) -> Json {
    match value {
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        Json::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(_, value)| *value != Json::Null);
            Json::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

/// `a || b`: members of both, or elements of both.
fn merged(a: Json, b: Json) -> Json {
    match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::Object(a)
        }
        (a, b) => {
            let items = |value: Json| match value {
                Json::Array(items) => items,
                other => vec![other],
            };
            let mut all = items(a);
            all.extend(items(b));
            Json::Array(all)
        }
    }
}

/// `value - key`, `value - keys` and `value - place`.
fn json_without(call: &Call<'_>) -> Result<ArrayRef> {
    if call.arg(1)?.data_type().is_list() {
        return objects::without_all(call);
    }
    let by_place = call.arg(1)?.data_type().is_integer();
    let keys = call.texts(1)?;
    let of = |(value, key): (Option<Json>, Option<&str>)| {
        let (mut value, key) = (value?, key?);
        match &mut value {
            Json::Object(members) => members.retain(|(name, _)| name != key),
            Json::Array(items) if by_place => {
                let place = key
                    .parse()
                    .ok()
                    .and_then(|place| value::index(place, items.len()));
                if let Some(place) = place.filter(|place| *place < items.len()) {
                    items.remove(place);
                }
            }
            Json::Array(items) => {
                items.retain(|item| !matches!(item, Json::Text(text) if text == key));
            }
            _ => {}
        }
        Some(value.normalized().write(Layout::Spaced))
    };
    let texts = values(call, 0)?.into_iter().zip(keys.iter()).map(of);
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// `jsonb_set(target, path, value, create_if_missing)`.
fn jsonb_set(call: &Call<'_>) -> Result<ArrayRef> {
    let creates = match call.args.len() {
        4 => cast(call.arg(3)?, &DataType::Boolean)?.as_boolean().clone(),
        _ => BooleanArray::from(vec![true; call.n_rows]),
    };
    let (targets, new_values, paths) = (values(call, 0)?, values(call, 2)?, paths(call, 1)?);
    let rows = targets.into_iter().zip(paths).zip(new_values).enumerate();
    let texts = rows.map(|(row, ((target, path), value))| {
        let (mut target, path, value) = (target?, path?, value?);
        creates.is_valid(row).then_some(())?;
        set(&mut target, &path, value, creates.value(row));
        Some(target.normalized().write(Layout::Spaced))
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn set(target: &mut Json, path: &[String], new: Json, creates: bool) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match target {
        Json::Object(members) => match members.iter_mut().rev().find(|(name, _)| name == step) {
            Some((_, value)) if rest.is_empty() => *value = new,
            Some((_, value)) => set(value, rest, new, creates),
            None if creates && rest.is_empty() => members.push((step.clone(), new)),
            None => {}
        },
        Json::Array(items) => {
            let Ok(place) = step.parse::<i64>() else {
                return;
            };
            let at = value::index(place, items.len());
            match at.and_then(|at| items.get_mut(at)) {
                Some(value) if rest.is_empty() => *value = new,
                Some(value) => set(value, rest, new, creates),
                None if creates && rest.is_empty() && place < 0 => items.insert(0, new),
                None if creates && rest.is_empty() => items.push(new),
                None => {}
            }
        }
        _ => {}
    }
}
