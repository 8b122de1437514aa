//! Waiting.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::call::failure;

/// `pg_sleep(seconds)`.
pub(super) fn pg_sleep() -> ScalarUDF {
    let sleep = Sleep {
        signature: Signature::any(1, Volatility::Volatile),
    };
    AsyncScalarUDF::new(Arc::new(sleep)).into_scalar_udf()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sleep {
    signature: Signature,
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(
            "pg_sleep was called without waiting".to_owned(),
        ))
    }
}

/// The longest that one call waits: a day.
const MAX_SECONDS: f64 = 86_400.0;

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    /// Dropping the future, which cancelling does, ends the wait.
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let seconds = args.args[0].clone().into_array(args.number_rows)?;
        let seconds = cast(&seconds, &DataType::Float64)?;
        for seconds in seconds.as_primitive::<Float64Type>().iter().flatten() {
            if seconds > MAX_SECONDS {
                let message =
                    format!("pg_sleep waits at most {MAX_SECONDS} seconds, got {seconds}");
                return Err(failure("22023", message));
            }
            tokio::time::sleep(Duration::from_secs_f64(seconds.max(0.0))).await;
        }
        // PostgreSQL's type void is shown as an empty text.
        let nothing = ScalarValue::from("").to_array_of_size(seconds.len())?;
        Ok(ColumnarValue::Array(nothing))
    }
}
