//! Members and elements of a json: `value -> key`, `value ->> place`.
//!
//! In: json, and a key or a place a row; out: what is there, as json or as text; NULL where there is nothing.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::value::{Json, Layout};
use super::{json_function, out_of_json, values};
use crate::functions::call::{Call, Function, function};

/// `->` of `jsonb` and a place.
pub(in crate::functions) const JSONB_ITEM: &str = "jsonb_item";
/// `->>` of `jsonb` and a place.
pub(in crate::functions) const JSONB_ITEM_TEXT: &str = "jsonb_item_text";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let json = |value: &Json| Some(value.write(Layout::Spaced));
    vec![
        json_function("json_get", &[2], move |call| got(call, Json::element, json)),
        function("json_get_text", &[2], DataType::Utf8, |call| {
            out_of_json(got(call, Json::element, Json::plain)?)
        }),
        json_function(JSONB_ITEM, &[2], move |call| got(call, Json::item, json)),
        function(JSONB_ITEM_TEXT, &[2], DataType::Utf8, |call| {
            out_of_json(got(call, Json::item, Json::plain)?)
        }),
    ]
}

/// `value -> key` and `value -> place`.
fn got(
    call: &Call<'_>,
    element: fn(&Json, i64) -> Option<&Json>,
    show: impl Fn(&Json) -> Option<String>,
) -> Result<ArrayRef> {
    let found = |row: Option<(Json, Step<'_>)>| {
        let (value, step) = row?;
        let found = match step {
            Step::Key(key) => value.member(key),
            Step::Place(place) => element(&value, place),
        };
        found.and_then(&show)
    };
    let values = values(call, 0)?.into_iter();
    let texts: StringArray = if call.arg(1)?.data_type().is_integer() {
        let places = call.integers(1)?;
        let rows = values.zip(places.iter());
        rows.map(|(value, place)| found(Some((value?, Step::Place(place?)))))
            .collect()
    } else {
        let keys = call.texts(1)?;
        let rows = values.zip(keys.iter());
        rows.map(|(value, key)| found(Some((value?, Step::Key(key?)))))
            .collect()
    };
    Ok(Arc::new(texts))
}

enum Step<'a> {
    Key(&'a str),
    Place(i64),
}
