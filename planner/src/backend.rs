//! `pg_cancel_backend(pid)`: ends what another session, or a training in the background, runs.
//!
//! In: process numbers, as `pg_stat_progress_train` shows them; out: whether there is such a process.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::engine::Engine;

/// The function, for one engine.
#[derive(Debug)]
pub(crate) struct CancelBackend {
    engine: Weak<Engine>,
    signature: Signature,
}

impl CancelBackend {
    pub(crate) fn function(engine: &Arc<Engine>) -> ScalarUDF {
        ScalarUDF::from(CancelBackend {
            engine: Arc::downgrade(engine),
            signature: Signature::exact(vec![DataType::Int64], Volatility::Volatile),
        })
    }
}

impl PartialEq for CancelBackend {
    fn eq(&self, other: &CancelBackend) -> bool {
        self.engine.ptr_eq(&other.engine)
    }
}

impl Eq for CancelBackend {}

impl std::hash::Hash for CancelBackend {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for CancelBackend {
    fn name(&self) -> &str {
        "pg_cancel_backend"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let numbers = ColumnarValue::values_to_arrays(&args.args)?;
        let engine = self.engine.upgrade();
        let cancel = |number: Option<i64>| {
            let process = i32::try_from(number?).ok();
            Some(
                process
                    .zip(engine.as_ref())
                    .is_some_and(|(id, engine)| engine.cancel(id)),
            )
        };
        let numbers = numbers[0].as_primitive::<Int64Type>().iter();
        let known: BooleanArray = numbers.map(cancel).collect();
        Ok(ColumnarValue::Array(Arc::new(known)))
    }
}
