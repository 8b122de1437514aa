//! Functions that make json of values.
//!
//! In: columns of any type; out: json texts, in the forms in which structs travel. The text is compact, as that of
//! PostgreSQL's `row_to_json`; where PostgreSQL puts spaces (`json_build_object`), so does this.

use std::sync::Arc;

use auspex_planner::{JsonKind, jsonb_text};
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, variadic};
use crate::protocol::types::json_texts;

/// The functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = Vec::new();
    let families: [([&'static str; 2], Body); 3] = [
        (["json_build_object", "jsonb_build_object"], object),
        (["json_build_array", "jsonb_build_array"], array),
        (["json_agg_of", "jsonb_agg_of"], joined),
    ];
    for ([json, jsonb], body) in families {
        functions.push(variadic(json, field(json, JsonKind::Json), body));
        functions.push(binary(jsonb, body));
    }
    let values: [(&'static str, Body); 3] = [
        ("to_json", one),
        ("row_to_json", in_lines),
        ("array_to_json", array_in_lines),
    ];
    for (name, body) in values {
        functions.push(variadic(name, field(name, JsonKind::Json), body));
    }
    functions.push(binary("to_jsonb", one));
    functions
}

/// Whether a function takes texts of json, whatever their fields say.
pub(super) fn takes_texts(name: &str) -> bool {
    ["json_agg_of", "jsonb_agg_of"].contains(&name)
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
            let items = lists.value(row);
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
    json_texts(&call.args[idx], &call.fields[idx])
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
        Some(true) => lines(value, &call.fields[0], row).map(|lines| Some(lines.unwrap_or(text))),
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
fn lines(value: &ArrayRef, field: &Field, row: usize) -> Result<Option<String>> {
    if let Some(lists) = value.as_list_opt::<i32>() {
        let items = lists.value(row);
        // An array of json has the mark of its elements itself.
        let item = Field::new("", items.data_type().clone(), true);
        let item = item.with_metadata(field.metadata().clone());
        let items = json_texts(&items, &item)?;
        return Ok(Some(format!("[{}]", items.join(",\n "))));
    }
    let (Some(object), DataType::Struct(fields)) = (value.as_struct_opt(), value.data_type())
    else {
        return Ok(None);
    };
    let member = |(column, field): (&ArrayRef, &FieldRef)| {
        let name: ArrayRef = Arc::new(StringArray::from(vec![field.name().as_str()]));
        let (name, value) = (
            json_texts(&name, &json_key())?,
            json_texts(&column.slice(row, 1), field)?,
        );
        Ok(format!("{}:{}", name.concat(), value.concat()))
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

fn object(call: &Call) -> Result<ArrayRef> {
    if !call.args.len().is_multiple_of(2) {
        let message = "argument list must have even number of elements".to_owned();
        return Err(DataFusionError::Execution(message));
    }
    let mut members = Vec::new();
    for idx in (0..call.args.len()).step_by(2) {
        members.push((call.texts(idx)?, column(call, idx + 1)?));
    }
    let row = |row: usize| {
        let member = |(keys, values): &(StringArray, Vec<String>)| {
            if keys.is_null(row) {
                let message = "null value not allowed for object key".to_owned();
                return Err(DataFusionError::Execution(message));
            }
            let key = json_texts(&(Arc::new(keys.slice(row, 1)) as ArrayRef), &json_key())?;
            Ok(format!("{} : {}", key.concat(), values[row]))
        };
        let members = members.iter().map(member).collect::<Result<Vec<_>>>()?;
        Ok(Some(format!("{{{}}}", members.join(", "))))
    };
    let rows = (0..call.n_rows).map(row);
    Ok(Arc::new(rows.collect::<Result<StringArray>>()?))
}

fn json_key() -> Field {
    Field::new("key", DataType::Utf8, false)
}
