//! `current_setting` and `set_config`: what SHOW and SET do, as functions.
//!
//! In: names and values; out: values as they now stand. Reads and writes the session's settings.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::super::objects::Objects;
use super::super::server_tables::preset;
use super::scalar::{Call, function};

/// The functions of a session.
pub(super) fn functions(objects: &Objects) -> Vec<ScalarUDF> {
    let (reads, writes, asked) = (objects.clone(), objects.clone(), objects.clone());
    vec![
        function(
            "pg_client_encoding",
            &[0],
            DataType::Utf8,
            move |call: &Call| {
                let name = current(&asked, "client_encoding", false)?;
                ScalarValue::Utf8(name).to_array_of_size(call.n_rows)
            },
        ),
        function("current_setting", &[1, 2], DataType::Utf8, move |call| {
            let may_miss = call.args.get(1).and_then(|array| array.as_boolean_opt());
            let value = |(row, name): (usize, Option<&str>)| {
                let Some(name) = name else { return Ok(None) };
                let may_miss =
                    may_miss.is_some_and(|flags| !flags.is_null(row) && flags.value(row));
                current(&reads, name, may_miss)
            };
            texts(call.texts(0)?.iter().enumerate().map(value))
        }),
        function("set_config", &[3], DataType::Utf8, move |call: &Call| {
            let (names, values) = (call.texts(0)?, call.texts(1)?);
            let local = call.args.get(2).and_then(|array| array.as_boolean_opt());
            let set = |(row, (name, value)): (usize, (Option<&str>, Option<&str>))| match name {
                None => Ok(None),
                Some(name) => {
                    let value = value.unwrap_or_default();
                    let is_local =
                        local.is_some_and(|local| local.is_valid(row) && local.value(row));
                    let set = writes.facts().set_setting(name, value, is_local);
                    set.map(Some).map_err(DataFusionError::from)
                }
            };
            texts(names.iter().zip(values.iter()).enumerate().map(set))
        }),
    ]
}

fn current(objects: &Objects, name: &str, may_miss: bool) -> Result<Option<String>> {
    let facts = objects.facts();
    let found = facts.setting(name).map_err(DataFusionError::from)?;
    match found.or_else(|| preset(&name.to_lowercase()).map(ToOwned::to_owned)) {
        None if !may_miss => facts
            .required_setting(name)
            .map(Some)
            .map_err(DataFusionError::from),
        found => Ok(found),
    }
}

fn texts(values: impl Iterator<Item = Result<Option<String>>>) -> Result<ArrayRef> {
    let texts = values.collect::<Result<StringArray>>()?;
    Ok(Arc::new(texts))
}
