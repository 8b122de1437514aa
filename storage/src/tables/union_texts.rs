//! Unions of Avro and Arrow files, whose values are of several types: they are shown as the json that a value is.
//!
//! A column of files flows in, and whether it is such a union flows out; the values of one flow in, and texts of json flow
//! out, which are NULL where the branch of the value is. A union of one type and null is no union here, but that type.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::tables::json_mark::JsonKind;
use crate::tables::one_column::of_column;

/// Whether a column of files holds values of several types.
pub(crate) fn is_union(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Union(..))
}

/// The column as it is shown.
pub(crate) fn shown_union(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(JsonKind::Json.marks())
}

/// The function that makes json of the values of a union.
pub(crate) fn json_of_union() -> ScalarUDF {
    ScalarUDF::from(OfUnion {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfUnion {
    signature: Signature,
}

impl ScalarUDFImpl for OfUnion {
    fn name(&self) -> &str {
        "json_of_union"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(shown_union(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, texts_of_union)
    }
}

fn unexpected() -> DataFusionError {
    DataFusionError::Internal("json_of_union takes one union".to_owned())
}

/// The json of the values of a union.
pub(crate) fn texts_of_union(array: &ArrayRef) -> Result<ArrayRef> {
    let (Some(union), DataType::Union(branches, _)) = (array.as_union_opt(), array.data_type())
    else {
        return Err(unexpected());
    };
    let options = EncoderOptions::default();
    let mut encoders = BTreeMap::new();
    for (id, field) in branches.iter() {
        if *field.data_type() != DataType::Null {
            let values = union.child(id).as_ref();
            encoders.insert(id, make_encoder(field, values, &options)?);
        }
    }
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..union.len() {
        let at = union.value_offset(row);
        let encoder = encoders.get_mut(&union.type_id(row));
        let Some(encoder) = encoder.filter(|encoder| !encoder.is_null(at)) else {
            texts.append_null();
            continue;
        };
        text.clear();
        encoder.encode(at, &mut text);
        let text = std::str::from_utf8(&text);
        texts.append_value(text.map_err(|error| DataFusionError::External(Box::new(error)))?);
    }
    Ok(Arc::new(texts.finish()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, NullArray, StringArray, UnionArray};
    use datafusion::arrow::buffer::ScalarBuffer;
    use datafusion::arrow::datatypes::UnionFields;

    use super::*;

    #[test]
    fn values_are_the_json_of_their_branch() {
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        let fields: UnionFields = [
            (0, field("null", DataType::Null)),
            (1, field("int", DataType::Int32)),
            (2, field("double", DataType::Float64)),
            (3, field("string", DataType::Utf8)),
        ]
        .into_iter()
        .collect();
        let values: Vec<ArrayRef> = vec![
            Arc::new(NullArray::new(1)),
            Arc::new(Int32Array::from(vec![Some(5), None])),
            Arc::new(Float64Array::from(vec![2.5])),
            Arc::new(StringArray::from(vec!["a \"b\""])),
        ];
        let ids = ScalarBuffer::from(vec![1_i8, 3, 0, 2, 1]);
        let offsets = ScalarBuffer::from(vec![0, 0, 0, 0, 1]);
        let union = UnionArray::try_new(fields, ids, Some(offsets), values).unwrap();
        let union: ArrayRef = Arc::new(union);
        assert!(is_union(&Field::new("u", union.data_type().clone(), true)));
        let found = texts_of_union(&union).unwrap();
        let expected = vec![Some("5"), Some("\"a \\\"b\\\"\""), None, Some("2.5"), None];
        assert_eq!(found.as_string::<i32>(), &StringArray::from(expected));
        assert!(JsonKind::of(&shown_union("u")).is_some());
    }
}
