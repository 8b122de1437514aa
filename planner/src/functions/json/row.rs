//! A row as one value: what `row_to_json(d)` is given for the relation `d`.
//!
//! In: names and values in turn; out: a struct whose fields keep what is noted on the values, as that a text is json. A row of a
//! relation that catalogs know has a note of its type.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// The function's name, which no statement of a client has.
pub(crate) const WHOLE_ROW: &str = "whole_row";

/// Where the field of a row tells the type of its relation's rows: schema and name, in quotes where they must be.
pub const ROW_TYPE_KEY: &str = "auspex.row_type";
/// The function that notes that type, which no client can call.
pub(crate) const TYPED_ROW: &str = "\u{1e}typed row";

/// The function `(row, type)`.
pub(in crate::functions) fn typed_row() -> ScalarUDF {
    ScalarUDF::from(TypedRow {
        signature: Signature::any(2, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypedRow {
    signature: Signature,
}

impl ScalarUDFImpl for TypedRow {
    fn name(&self) -> &str {
        TYPED_ROW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let row = types.first().cloned();
        row.ok_or_else(|| internal("a row is wanted"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let row = self.return_type(&[args.arg_fields[0].data_type().clone()])?;
        let named = args.scalar_arguments.get(1).copied().flatten();
        let named = named.and_then(|name| name.try_as_str().flatten());
        let named = named.ok_or_else(|| internal("a row's type has a name"))?;
        let mark = HashMap::from([(ROW_TYPE_KEY.to_owned(), named.to_owned())]);
        let field = Field::new(TYPED_ROW, row, args.arg_fields[0].is_nullable());
        Ok(Arc::new(field.with_metadata(mark)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let row = args.args.into_iter().next();
        row.ok_or_else(|| internal("a row is wanted"))
    }
}

/// The function.
pub(in crate::functions) fn whole_row() -> ScalarUDF {
    ScalarUDF::from(WholeRow {
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WholeRow {
    signature: Signature,
}

impl ScalarUDFImpl for WholeRow {
    fn name(&self) -> &str {
        WHOLE_ROW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(internal("the result's field was not asked for"))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let pairs = args
            .arg_fields
            .chunks(2)
            .zip(args.scalar_arguments.chunks(2));
        let field = |(fields, scalars): (&[FieldRef], &[Option<&ScalarValue>])| {
            let name = scalars.first().copied().flatten();
            match (name.and_then(|name| name.try_as_str().flatten()), fields) {
                (Some(name), [_, value]) => {
                    Ok(value.as_ref().clone().with_name(name).with_nullable(true))
                }
                _ => Err(internal("a row takes names and values in turn")),
            }
        };
        let fields: Fields = pairs.map(field).collect::<Result<Vec<Field>>>()?.into();
        Ok(Arc::new(Field::new(
            WHOLE_ROW,
            DataType::Struct(fields),
            true,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return Err(internal("a row is a struct"));
        };
        let values = args.args.iter().skip(1).step_by(2);
        let columns: Vec<ArrayRef> = values
            .map(|value| value.clone().into_array(args.number_rows))
            .collect::<Result<_>>()?;
        let rows =
            StructArray::try_new_with_length(fields.clone(), columns, None, args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(rows)))
    }
}

fn internal(what: &str) -> DataFusionError {
    DataFusionError::Internal(what.to_owned())
}
