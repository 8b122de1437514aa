//! Waiting, and the names of types in messages.

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

/// The name of a type as PostgreSQL writes it out.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "numeric",
        DataType::Null => "unknown",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", type_name(item.data_type()));
        }
        DataType::Struct(_) => "record",
        DataType::Dictionary(_, values) => return type_name(values),
        data_type if data_type.is_binary() => "bytea",
        _ => "json",
    };
    name.to_owned()
}

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
