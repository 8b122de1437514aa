//! Objects of columns as text, wherever a plan casts them: `a::text` of a file of JSON.
//!
//! In: a cast of a struct or a map to text; out: the cast of the json text of it, as clients get it without the cast.
//! Other casts stay as they are.

use std::sync::Arc;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::convert::to_json;
use super::value::{Json, Layout};

/// Puts texts of json in the place of objects that are cast to text.
#[derive(Debug)]
pub(in crate::functions) struct WriteObjects;

impl FunctionRewrite for WriteObjects {
    fn name(&self) -> &str {
        "write_objects"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::Cast(cast) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let is_object =
            |data_type: DataType| matches!(data_type, DataType::Struct(_) | DataType::Map(..));
        if !cast.field.data_type().is_string() || !cast.expr.get_type(schema).is_ok_and(is_object) {
            return Ok(Transformed::no(expr));
        }
        let mut cast = cast.clone();
        let function = ScalarUDF::from(ObjectText {
            signature: Signature::any(1, Volatility::Immutable),
        });
        cast.expr = Box::new(function.call(vec![*cast.expr]));
        Ok(Transformed::yes(Expr::Cast(cast)))
    }
}

/// The json text of an object.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ObjectText {
    signature: Signature,
}

impl ScalarUDFImpl for ObjectText {
    fn name(&self) -> &str {
        "object_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (Some(object), Some(field)) = (args.args.first(), args.arg_fields.first()) else {
            return Err(super::failure("42883", "a text of no object"));
        };
        let objects = object.clone().into_array(args.number_rows)?;
        let values = to_json(&objects, field)?;
        let text = |value: &Json| match value {
            Json::Null => None,
            value => Some(value.write(Layout::Compact)),
        };
        let texts: StringArray = values.iter().map(text).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}
