//! `json_object_agg` and `jsonb_object_agg`; the server makes `json_agg` of an array.
//!
//! In: the rows of a group; out: one json text. What was gathered so far is kept as json texts.

use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::super::call::failure;
use super::super::sliding;
use super::convert::to_json;
use super::json_field;
use super::value::{Json, Layout};

/// The functions of this family.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let aggregate = |name, is_binary| {
        AggregateUDF::from(JsonAggregate {
            name,
            is_binary,
            signature: Signature::any(2, Volatility::Immutable),
        })
    };
    vec![
        aggregate("json_object_agg", false),
        aggregate("jsonb_object_agg", true),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonAggregate {
    name: &'static str,
    is_binary: bool,
    signature: Signature,
}

impl AggregateUDFImpl for JsonAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        let kind = match self.is_binary {
            true => JsonKind::Jsonb,
            false => JsonKind::Json,
        };
        Ok(Arc::new(json_field(self.name, kind)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Gathered::new(self.is_binary, &args)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let is_binary = self.is_binary;
        let of_rows = move |args: AccumulatorArgs<'_>| -> Result<Box<dyn Accumulator>> {
            Ok(Box::new(Gathered::new(is_binary, &args)))
        };
        Ok(sliding::of_frame(&args, Box::new(of_rows)))
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new("gathered", DataType::Utf8, true))])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::HardRequirement
    }
}

#[derive(Debug)]
struct Gathered {
    is_binary: bool,
    fields: Vec<FieldRef>,
    members: Vec<(String, Json)>,
    n_bytes: usize,
    has_rows: bool,
}

impl Gathered {
    fn new(is_binary: bool, args: &AccumulatorArgs<'_>) -> Gathered {
        Gathered {
            is_binary,
            members: Vec::new(),
            fields: args.expr_fields.to_vec(),
            n_bytes: 0,
            has_rows: false,
        }
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if columns[0].is_empty() {
            return Ok(());
        }
        self.n_bytes += columns
            .iter()
            .map(|column| column.get_array_memory_size())
            .sum::<usize>();
        let keys = to_json(&columns[0], &self.fields[0])?;
        let values = to_json(&columns[1], &self.fields[1])?;
        for (key, value) in keys.into_iter().zip(values) {
            let Some(key) = key.plain() else {
                return Err(failure("22004", "field name must not be null"));
            };
            self.members.push((key, value));
        }
        self.has_rows = true;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = Json::Object(self.members.clone());
        let text = self.has_rows.then(|| match self.is_binary {
            true => value.normalized().write(Layout::Spaced),
            false => value.write(Layout::Spaced),
        });
        Ok(ScalarValue::Utf8(text))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.n_bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = Json::Object(self.members.clone());
        let text = self.has_rows.then(|| value.write(Layout::Compact));
        Ok(vec![ScalarValue::Utf8(text)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let texts = cast(&states[0], &DataType::Utf8)?;
        for text in texts.as_string::<i32>().iter().flatten() {
            self.n_bytes += text.len();
            if let Json::Object(members) = Json::read(text)? {
                self.has_rows = true;
                self.members.extend(members);
            }
        }
        Ok(())
    }
}
