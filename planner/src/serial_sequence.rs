//! `pg_get_serial_sequence(table, column)` of values that are known when the statement runs: parameters and columns.
//!
//! In: names; out: the sequence that the column's numbers come from, NULL where it has none. Names that are written out are
//! settled when the statement is bound (`bind::sequences`). For others the tables' logs are read then
//! (`catalog::table_relations`), so that catalogs are joined by it, which waits for nothing.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::{AsArray as _, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::bind::{SERIAL, known_sequence_of_column};
use crate::session::Session;

/// The function.
pub(crate) fn function(session: &Arc<Session>) -> ScalarUDF {
    ScalarUDF::from(SerialSequence {
        session: Arc::downgrade(session),
        // Parameters without a type are texts.
        signature: Signature::exact(vec![DataType::Utf8; 2], Volatility::Stable),
    })
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
        SERIAL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ended = || DataFusionError::Internal("the session has ended".to_owned());
        let session = self.session.upgrade().ok_or_else(ended)?;
        let text = |idx: usize| cast(&args.args[idx].to_array(args.number_rows)?, &DataType::Utf8);
        let (tables, columns) = (text(0)?, text(1)?);
        let (tables, columns) = (tables.as_string::<i32>(), columns.as_string::<i32>());
        let name = |(table, column): (Option<&str>, Option<&str>)| match (table, column) {
            (Some(table), Some(column)) => known_sequence_of_column(&session, table, column),
            _ => Ok(None),
        };
        let names = tables.iter().zip(columns.iter()).map(name);
        let names = names.collect::<crate::error::Result<StringArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(names)))
    }
}
