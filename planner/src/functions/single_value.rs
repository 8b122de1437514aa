//! The one value that there may be: what a subquery gives that stands for a value.
//!
//! In: the values of a group, of any type; out: the value, NULL for none, an error for more than one row.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::call::failure;

/// The function.
pub(crate) fn single_value() -> Arc<AggregateUDF> {
    static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
        Arc::new(AggregateUDF::from(SingleValue {
            signature: Signature::any(1, Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "__auspex_single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args
            .return_field
            .as_ref()
            .clone()
            .with_name("value")
            .with_nullable(true);
        let rows = Field::new("rows", DataType::UInt64, false);
        Ok(vec![Arc::new(value), Arc::new(rows)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Found {
            value: ScalarValue::try_from(args.return_field.data_type())?,
            n_rows: 0,
        }))
    }
}

#[derive(Debug)]
struct Found {
    value: ScalarValue,
    n_rows: u64,
}

impl Found {
    fn take(&mut self, values: &ArrayRef, row: usize, n_rows: u64) -> Result<()> {
        if n_rows > 0 {
            self.value = ScalarValue::try_from_array(values, row)?;
            self.n_rows += n_rows;
        }
        Ok(())
    }
}

impl Accumulator for Found {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let n_rows = values[0].len() as u64;
        self.take(&values[0], 0, n_rows)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let counts = states[1].as_primitive::<UInt64Type>();
        for (row, n_rows) in counts.values().iter().enumerate() {
            self.take(&states[0], row, *n_rows)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            self.value.clone(),
            ScalarValue::UInt64(Some(self.n_rows)),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.n_rows {
            0 | 1 => Ok(self.value.clone()),
            _ => Err(failure(
                "21000",
                "more than one row returned by a subquery used as an expression",
            )),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}
