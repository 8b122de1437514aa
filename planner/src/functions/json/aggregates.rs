//! `json_agg` and `json_object_agg`, and the same for `jsonb`.
//!
//! In: the rows of a group; out: one json text. What was gathered so far is kept as json texts.

use std::sync::Arc;

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
use super::convert::to_json;
use super::value::{Json, Layout};
use super::{json_field, written};

/// The functions of this family.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let aggregate = |name, n_args, is_binary| {
        AggregateUDF::from(JsonAggregate {
            name,
            is_binary,
            signature: Signature::any(n_args, Volatility::Immutable),
        })
    };
    vec![
        aggregate("json_agg", 1, false),
        aggregate("jsonb_agg", 1, true),
        aggregate("json_object_agg", 2, false),
        aggregate("jsonb_object_agg", 2, true),
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
        Ok(Arc::new(json_field(self.name)))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let fields = args.expr_fields.to_vec();
        Ok(Box::new(Gathered {
            layout: if self.is_binary {
                Layout::Spaced
            } else {
                Layout::Compact
            },
            value: match fields.len() {
                1 => Json::Array(Vec::new()),
                _ => Json::Object(Vec::new()),
            },
            fields,
            n_bytes: 0,
            has_rows: false,
        }))
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
    layout: Layout,
    fields: Vec<FieldRef>,
    value: Json,
    n_bytes: usize,
    has_rows: bool,
}

impl Gathered {
    fn merge(&mut self, other: Json) {
        self.has_rows = true;
        match (&mut self.value, other) {
            (Json::Array(items), Json::Array(more)) => items.extend(more),
            (Json::Object(members), Json::Object(more)) => members.extend(more),
            _ => {}
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
        let first = to_json(&columns[0], &self.fields[0])?;
        let Some(second) = columns.get(1).filter(|_| self.fields.len() == 2) else {
            self.merge(Json::Array(first));
            return Ok(());
        };
        let second = to_json(second, &self.fields[1])?;
        let member = |(key, value): (Json, Json)| match key.plain() {
            Some(key) => Ok((key, value)),
            None => Err(failure("22004", "field name must not be null")),
        };
        let members: Result<Vec<_>> = first.into_iter().zip(second).map(member).collect();
        self.merge(Json::Object(members?));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let text = self.has_rows.then(|| match self.layout {
            // PostgreSQL puts a space behind the commas of an aggregate.
            Layout::Compact => match &self.value {
                Json::Array(items) => {
                    let items: Vec<_> = items
                        .iter()
                        .map(|item| item.write(Layout::Compact))
                        .collect();
                    format!("[{}]", items.join(", "))
                }
                value => value.write(Layout::Spaced),
            },
            layout => written(self.value.clone(), layout),
        });
        Ok(ScalarValue::Utf8(text))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.n_bytes
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let text = self.has_rows.then(|| self.value.write(Layout::Compact));
        Ok(vec![ScalarValue::Utf8(text)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let texts = cast(&states[0], &DataType::Utf8)?;
        for text in texts.as_string::<i32>().iter().flatten() {
            self.n_bytes += text.len();
            self.merge(Json::read(text)?);
        }
        Ok(())
    }
}
