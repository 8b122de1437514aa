//! Functions that make json of values.
//!
//! In: columns of any type; out: json texts, in the forms in which structs travel. The text is compact, as that of
//! PostgreSQL's `row_to_json`; where PostgreSQL puts spaces (`json_build_object`), so does this.

use std::sync::Arc;

use auspex_planner::{JsonKind, jsonb_text};
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
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
    for name in ["to_json", "row_to_json"] {
        functions.push(variadic(name, field(name, JsonKind::Json), one));
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
