//! A value of a column as json, as `to_json` writes it.
//!
//! In: an array and whether its texts are json already; out: one json value a row.

use auspex_storage::JsonKind;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;

use super::value::{Json, Layout};

/// The rows of an array as json.
pub(super) fn to_json(array: &ArrayRef, field: &Field) -> Result<Vec<Json>> {
    let nulls = array.logical_nulls();
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let rows = 0..array.len();
    let present = |of: &dyn Fn(usize) -> Result<Json>| -> Result<Vec<Json>> {
        let value = |row: usize| {
            if is_null(row) {
                Ok(Json::Null)
            } else {
                of(row)
            }
        };
        rows.clone().map(value).collect()
    };
    let data_type = array.data_type();
    if let Some(list) = array.as_list_opt::<i32>() {
        let DataType::List(item) = data_type else {
            return Ok(Vec::new());
        };
        return present(&|row| Ok(Json::Array(to_json(&list.value(row), item)?)));
    }
    if let (Some(value), DataType::Struct(fields)) = (array.as_struct_opt(), data_type) {
        let columns = value.columns().iter().zip(fields);
        let columns: Vec<(String, Vec<Json>)> = columns
            .map(|(column, field)| Ok((field.name().clone(), to_json(column, field)?)))
            .collect::<Result<_>>()?;
        return present(&|row| {
            let member = |(name, values): &(String, Vec<Json>)| (name.clone(), values[row].clone());
            Ok(Json::Object(columns.iter().map(member).collect()))
        });
    }
    if let Some(map) = array.as_map_opt() {
        let (key, value) = map.entries_fields();
        let (keys, values) = (to_json(map.keys(), key)?, to_json(map.values(), value)?);
        let member = |entry: usize| {
            let name = match &keys[entry] {
                Json::Text(name) => name.clone(),
                key => key.write(Layout::Compact),
            };
            (name, values[entry].clone())
        };
        let offsets = map.value_offsets();
        return present(&|row| {
            let entries = offsets[row] as usize..offsets[row + 1] as usize;
            Ok(Json::Object(entries.map(member).collect()))
        });
    }
    if let Some(value) = array.as_boolean_opt() {
        return present(&|row| Ok(Json::Bool(value.value(row))));
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let is_json = JsonKind::of(field).is_some();
    let is_number = data_type.is_numeric();
    present(&|row| {
        let text = formatter.value(row).to_string();
        Ok(match () {
            () if is_json => Json::read(&text)?,
            // Json has no NaN and no infinity: those become strings.
            () if is_number && !text.ends_with(|c: char| c.is_alphabetic()) => {
                Json::Number(text.strip_suffix(".0").unwrap_or(&text).to_owned())
            }
            () => Json::Text(text),
        })
    })
}
