//! Functions that make json of values.
//!
//! In: columns of any type; out: json texts, in the forms in which structs travel. The text is compact, as that of
//! PostgreSQL's `row_to_json`; where PostgreSQL puts spaces (`json_build_object`), so does this.

use std::sync::Arc;

use auspex_planner::{Error, JsonKind, jsonb_text};
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, function, variadic};
use super::text::refused;
use crate::protocol::types::{json_texts, quoted};

/// A member of an object, of which an aggregate gathers those of its rows.
pub(in crate::pg_catalog) const MEMBER: &str = "json_member_of";

/// A value of which an aggregate gathers the json beside the value itself, by which it is told apart: `to_json` under a name
/// that a row which is written does not have.
pub(in crate::pg_catalog) const VALUE: &str = "json_value_of";

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = Vec::new();
    let families: [([&'static str; 2], Body); 4] = [
        (["json_build_object", "jsonb_build_object"], object),
        (["json_build_array", "jsonb_build_array"], array),
        (["json_agg_of", "jsonb_agg_of"], joined),
        (["json_object_agg_of", "jsonb_object_agg_of"], object_of),
    ];
    for ([json, jsonb], body) in families {
        functions.push(variadic(json, field(json, JsonKind::Json), body));
        functions.push(binary(jsonb, body));
    }
    let values: [(&'static str, Body); 4] = [
        ("to_json", one),
        (VALUE, one),
        ("row_to_json", in_lines),
        ("array_to_json", array_in_lines),
    ];
    for (name, body) in values {
        functions.push(variadic(name, field(name, JsonKind::Json), body));
    }
    functions.push(binary("to_jsonb", one));
    functions.push(function(MEMBER, &[2], DataType::Utf8, member));
    functions
}

/// Whether a function takes texts of json, whatever their fields say.
pub(super) fn takes_texts(name: &str) -> bool {
    [
        "json_agg_of",
        "json_object_agg_of",
        "jsonb_agg_of",
        "jsonb_object_agg_of",
    ]
    .contains(&name)
}

/// An array of json texts as one json array.
fn joined(call: &Call) -> Result<ArrayRef> {
    let Some(lists) = call
        .args
        .first()
        .and_then(|array| array.as_list_opt::<i32>())
    else {
        return new_null(call.n_rows);
    };
    let row = |row: usize| {
        lists.is_valid(row).then(|| {
            let items = gathered(lists.value(row));
            let texts = items.as_string_opt::<i32>();
            let items: Vec<&str> = texts
                .into_iter()
                .flat_map(|texts| texts.iter().map(|text| text.unwrap_or("null")))
                .collect();
            format!("[{}]", items.join(", "))
        })
    };
    Ok(Arc::new((0..call.n_rows).map(row).collect::<StringArray>()))
}

/// What was gathered: of rows what stands last in them, behind that which they are ordered by.
fn gathered(items: ArrayRef) -> ArrayRef {
    let last = items.as_struct_opt().and_then(|rows| rows.columns().last());
    last.cloned().unwrap_or(items)
}

/// An array of members, as [`member`] gives them, as one object.
fn object_of(call: &Call) -> Result<ArrayRef> {
    let lists = call.args.first();
    let Some(lists) = lists.and_then(|array| array.as_list_opt::<i32>()) else {
        return new_null(call.n_rows);
    };
    let row = |row: usize| {
        if lists.is_null(row) {
            return Ok(None);
        }
        let members = gathered(lists.value(row));
        let members = members.as_string_opt::<i32>().into_iter().flatten();
        let members: Option<Vec<&str>> = members.collect();
        match members {
            Some(members) => Ok(Some(format!("{{ {} }}", members.join(", ")))),
            None => Err(refused("22023", "field name must not be null")),
        }
    };
    let texts = (0..call.n_rows).map(row);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

fn new_null(n_rows: usize) -> Result<ArrayRef> {
    Ok(Arc::new(StringArray::new_null(n_rows)))
}

type Body = fn(&Call) -> Result<ArrayRef>;

/// A function whose result is `jsonb`: its values in their one form.
fn binary(name: &'static str, body: Body) -> ScalarUDF {
    variadic(name, field(name, JsonKind::Jsonb), move |call| {
        let texts = body(call)?;
        let texts = texts.as_string::<i32>().iter();
        let texts = texts.map(|text| text.map(jsonb_text).transpose());
        Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
    })
}

fn field(name: &str, kind: JsonKind) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(kind.marks())
}

fn column(call: &Call, idx: usize) -> Result<Vec<String>> {
    json_texts(&call.args[idx], &call.fields[idx], call.zone())
}

/// An argument as keys of objects, in quotes; `None`: it is NULL.
fn keys(call: &Call, idx: usize) -> Result<Vec<Option<String>>> {
    let (array, field) = (&call.args[idx], &call.fields[idx]);
    if array.data_type().is_nested() || JsonKind::of(field).is_some() {
        let message = "key value must be scalar, not array, composite, or json";
        return Err(refused("22023", message));
    }
    let nulls = array.logical_nulls();
    let texts = column(call, idx)?.into_iter().enumerate();
    let key = |(row, text): (usize, String)| {
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let is_quoted = text.starts_with('"');
        let key = if is_quoted {
            text
        } else {
            format!("\"{text}\"")
        };
        (!is_null).then_some(key)
    };
    Ok(texts.map(key).collect())
}

/// The text of a member of an object; without a key it is NULL.
fn member(call: &Call) -> Result<ArrayRef> {
    let members = keys(call, 0)?.into_iter().zip(column(call, 1)?);
    let member = |(key, value): (Option<String>, String)| Some(format!("{} : {value}", key?));
    Ok(Arc::new(members.map(member).collect::<StringArray>()))
}

/// NULL gives NULL, not json's null.
fn one(call: &Call) -> Result<ArrayRef> {
    let [value] = call.args.as_slice() else {
        let message = "to_json takes one argument".to_owned();
        return Err(DataFusionError::Plan(message));
    };
    let texts = column(call, 0)?.into_iter().enumerate();
    let texts: StringArray = texts
        .map(|(row, text)| (!value.is_null(row)).then_some(text))
        .collect();
    Ok(Arc::new(texts))
}

/// `row_to_json(value, pretty)`: with a line for each member or element, if that is asked for.
fn in_lines(call: &Call) -> Result<ArrayRef> {
    let [value, pretty] = call.args.as_slice() else {
        return one(call);
    };
    let pretty = cast(pretty, &DataType::Boolean)?;
    let texts = column(call, 0)?.into_iter().zip(pretty.as_boolean());
    let text = |(row, (text, pretty)): (usize, (String, Option<bool>))| match pretty {
        _ if value.is_null(row) => Ok(None),
        None => Ok(None),
        Some(false) => Ok(Some(text)),
        Some(true) => lines(call, value, row).map(|lines| Some(lines.unwrap_or(text))),
    };
    let texts = texts.enumerate().map(text);
    Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
}

/// The same of arrays alone.
fn array_in_lines(call: &Call) -> Result<ArrayRef> {
    let is_array = |value: &ArrayRef| value.as_list_opt::<i32>().is_some();
    let is_taken = |value: &ArrayRef| is_array(value) || value.data_type().is_null();
    match call.args.first().is_some_and(is_taken) {
        true => in_lines(call),
        false => Err(DataFusionError::Plan(
            "array_to_json takes an array".to_owned(),
        )),
    }
}

/// A row or an array with a line for each of its parts; `None`: it is neither.
fn lines(call: &Call, value: &ArrayRef, row: usize) -> Result<Option<String>> {
    let (field, zone) = (&call.fields[0], call.zone());
    if let Some(lists) = value.as_list_opt::<i32>() {
        let items = lists.value(row);
        // An array of json has the mark of its elements itself.
        let item = Field::new("", items.data_type().clone(), true);
        let item = item.with_metadata(field.metadata().clone());
        let items = json_texts(&items, &item, zone)?;
        return Ok(Some(format!("[{}]", items.join(",\n "))));
    }
    let (Some(object), DataType::Struct(fields)) = (value.as_struct_opt(), value.data_type())
    else {
        return Ok(None);
    };
    let member = |(column, field): (&ArrayRef, &FieldRef)| {
        let name = quoted(field.name());
        let value = json_texts(&column.slice(row, 1), field, zone)?;
        Ok(format!("{name}:{}", value.concat()))
    };
    let members = object.columns().iter().zip(fields).map(member);
    let members = members.collect::<Result<Vec<String>>>()?;
    Ok(Some(format!("{{{}}}", members.join(",\n "))))
}

fn array(call: &Call) -> Result<ArrayRef> {
    let columns = (0..call.args.len()).map(|idx| column(call, idx));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let row = |row: usize| {
        let items: Vec<&str> = columns.iter().map(|column| column[row].as_str()).collect();
        Some(format!("[{}]", items.join(", ")))
    };
    Ok(Arc::new((0..call.n_rows).map(row).collect::<StringArray>()))
}

/// The keys and values of a member in each row.
type Member = (Vec<Option<String>>, Vec<String>);

fn object(call: &Call) -> Result<ArrayRef> {
    if !call.args.len().is_multiple_of(2) {
        let message = "argument list must have even number of elements";
        let hint = "The arguments must consist of alternating keys and values.";
        return Err(wrong_member(message, hint));
    }
    let mut members: Vec<Member> = Vec::new();
    for idx in (0..call.args.len()).step_by(2) {
        members.push((keys(call, idx)?, column(call, idx + 1)?));
    }
    let row = |row: usize| {
        let member = |(place, (keys, values)): (usize, &Member)| match &keys[row] {
            Some(key) => Ok(format!("{key} : {}", values[row])),
            None => {
                let message = format!("argument {} cannot be null", 2 * place + 1);
                Err(wrong_member(message, "Object keys should be text."))
            }
        };
        let members = members.iter().enumerate().map(member);
        let members = members.collect::<Result<Vec<_>>>()?;
        Ok(Some(format!("{{{}}}", members.join(", "))))
    };
    let rows = (0..call.n_rows).map(row);
    Ok(Arc::new(rows.collect::<Result<StringArray>>()?))
}

fn wrong_member(message: impl Into<String>, hint: &str) -> DataFusionError {
    let error = Error::Invalid {
        sqlstate: "22023",
        message: message.into(),
        hint: Some(hint.to_owned()),
        position: None,
    };
    error.into()
}
