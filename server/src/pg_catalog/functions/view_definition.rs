//! `pg_get_viewdef`: the text of a view.
//!
//! In: a view's number; out: its query, or NULL when there is no such view. Asynchronous, since a
//! view is looked up in the warehouse.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::super::objects::Objects;

/// The function, over a session's catalog.
pub(super) fn pg_get_viewdef(objects: &Objects) -> ScalarUDF {
    let arities = vec![TypeSignature::Any(1), TypeSignature::Any(2)];
    let signature = Signature::one_of(arities, Volatility::Volatile);
    let function = ViewDefinition {
        signature,
        objects: objects.clone(),
    };
    AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf()
}

#[derive(Debug)]
struct ViewDefinition {
    signature: Signature,
    objects: Objects,
}

// A session has one function of the name.
impl PartialEq for ViewDefinition {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for ViewDefinition {}

impl std::hash::Hash for ViewDefinition {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for ViewDefinition {
    fn name(&self) -> &str {
        "pg_get_viewdef"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(
            "pg_get_viewdef runs asynchronously".to_owned(),
        ))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for ViewDefinition {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(views) = args.args.first() else {
            return Err(DataFusionError::Internal(
                "pg_get_viewdef needs a view".to_owned(),
            ));
        };
        let oids = cast(&views.to_array(args.number_rows)?, &DataType::Int32)?;
        let mut texts = Vec::with_capacity(args.number_rows);
        for oid in oids.as_primitive::<Int32Type>() {
            texts.push(match oid {
                Some(oid) => self.objects.view_definition(oid).await?,
                None => None,
            });
        }
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        Ok(ColumnarValue::Array(texts))
    }
}
