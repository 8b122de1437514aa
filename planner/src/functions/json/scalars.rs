//! Casts of `jsonb` to numbers and truth values, wherever a plan makes them: `(doc->'price')::int`.
//!
//! In: a cast of `jsonb`; out: the cast of the plain text of its number or truth value, rounded where the type has whole
//! numbers alone. Other values are errors, as a number in quotes is in PostgreSQL.

use std::sync::Arc;

use auspex_storage::{JsonKind, type_name};
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, lit};

use super::value::Json;
use super::values;
use crate::functions::call::{Function, failure, function};
use crate::functions::cast_rules::cast_of;
use crate::functions::{read_text, whole_numbers};

/// The name of the function.
const NAME: &str = "jsonb_scalar";

/// Puts plain texts in the place of `jsonb` that is cast.
pub(in crate::functions) fn read_scalars(cast: &Cast, schema: &DFSchema) -> Result<Option<Expr>> {
    let target = cast.field.data_type();
    let found = cast.expr.to_field(schema);
    let is_jsonb = found.is_ok_and(|(_, found)| {
        found.data_type().is_string() && JsonKind::of(&found) == Some(JsonKind::Jsonb)
    });
    if !is_jsonb || !(target.is_numeric() || *target == DataType::Boolean) {
        return Ok(None);
    }
    let value = cast.expr.as_ref().clone();
    let text = scalar().build().call(vec![value, lit(type_name(target))]);
    Ok(Some(cast_of(text, cast)))
}

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![scalar()]
}

/// The text of a value for a type of this name.
fn scalar() -> Function {
    function(NAME, &[2], DataType::Utf8, |call| {
        let (values, names) = (values(call, 0)?, call.texts(1)?);
        let rows = values.into_iter().zip(names.iter());
        let texts = rows.map(|(value, name)| match (value, name) {
            (Some(value), Some(name)) => text_of(value, name).map(Some),
            _ => Ok(None),
        });
        Ok(Arc::new(texts.collect::<Result<StringArray>>()?))
    })
}

fn text_of(value: Json, name: &str) -> Result<String> {
    match (value, name) {
        (Json::Bool(value), "boolean") => Ok(value.to_string()),
        (Json::Number(digits), "smallint") => whole(&digits, name, &DataType::Int16),
        (Json::Number(digits), "integer") => whole(&digits, name, &DataType::Int32),
        (Json::Number(digits), "bigint") => whole(&digits, name, &DataType::Int64),
        (Json::Number(digits), name) if name != "boolean" => Ok(digits),
        (value, name) => {
            let found = match value {
                Json::Number(_) => "numeric",
                value => value.type_name(),
            };
            let message = format!("cannot cast jsonb {found} to type {name}");
            Err(failure("22023", message))
        }
    }
}

/// The whole number that is nearest to a numeric, halves away from zero.
fn whole(digits: &str, name: &str, data_type: &DataType) -> Result<String> {
    let (least, most) = whole_numbers(data_type).unwrap_or_default();
    let read = read_text(digits, &DataType::Decimal128(38, 0), "UTC");
    match read {
        Ok(ScalarValue::Decimal128(Some(number), ..)) if (least..=most).contains(&number) => {
            Ok(number.to_string())
        }
        _ => Err(failure("22003", format!("{name} out of range"))),
    }
}
