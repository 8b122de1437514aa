//! `pg_get_serial_sequence(table, column)` of values that are known when the statement runs: parameters and columns.
//!
//! In: names; out: the sequence that the column's numbers come from, NULL where it has none. Names that are written out are
//! settled when the statement is bound (`bind::sequences`).

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{Array as _, AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::bind::sequence_of_column;
use crate::session::Session;

/// The function.
pub(crate) fn function(session: &Arc<Session>) -> ScalarUDF {
    let function = SerialSequence {
        session: Arc::downgrade(session),
        // Parameters without a type are texts.
        signature: Signature::exact(vec![DataType::Utf8; 2], Volatility::Volatile),
    };
    AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf()
}

#[derive(Debug)]
struct SerialSequence {
    session: Weak<Session>,
    signature: Signature,
}

// A session has one.
impl PartialEq for SerialSequence {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for SerialSequence {}

impl std::hash::Hash for SerialSequence {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for SerialSequence {
    fn name(&self) -> &str {
        "pg_get_serial_sequence"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for SerialSequence {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ended = || DataFusionError::Internal("the session has ended".to_owned());
        let session = self.session.upgrade().ok_or_else(ended)?;
        let text = |idx: usize| cast(&args.args[idx].to_array(args.number_rows)?, &DataType::Utf8);
        let (tables, columns) = (text(0)?, text(1)?);
        let (tables, columns) = (tables.as_string::<i32>(), columns.as_string::<i32>());
        let mut names = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            names.push(match tables.is_null(row) || columns.is_null(row) {
                true => None,
                false => {
                    sequence_of_column(&session, tables.value(row), columns.value(row)).await?
                }
            });
        }
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(names))))
    }
}
