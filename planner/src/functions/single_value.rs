//! The one value that there may be: what a subquery gives that stands for a value.
//!
//! In: the values of a group, of any type; out: a struct of the value, NULL for none, and of the number of rows. `only_value`
//! takes the value out, with an error for more than one row, where the value is needed: a CASE may not need it. `maybe_value`
//! gives the value of a subquery as it is, and says that it may be NULL where the subquery's column never is: it may find no row.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, StructArray, UInt64Array};
use datafusion::arrow::compute::{is_null, nullif};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
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
        let value = Field::new(VALUE, types[0].clone(), true);
        Ok(DataType::Struct(fields_of(&value)))
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let fields = DataType::Struct(fields_of(&args[0]));
        Ok(Arc::new(Field::new(self.name(), fields, true)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(fields_of(&args.input_fields[0]).iter().cloned().collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return Err(no_struct());
        };
        Ok(Box::new(Found {
            value: ScalarValue::try_from(fields[0].data_type())?,
            n_rows: 0,
            fields: fields.clone(),
        }))
    }
}

const VALUE: &str = "value";

/// The fields of the struct: those of the state as well.
fn fields_of(value: &Field) -> Fields {
    let value = value.clone().with_name(VALUE).with_nullable(true);
    let rows = Field::new("rows", DataType::UInt64, true);
    Fields::from(vec![value, rows])
}

fn no_struct() -> DataFusionError {
    DataFusionError::Internal("a single value stands in a struct".to_owned())
}

#[derive(Debug)]
struct Found {
    value: ScalarValue,
    n_rows: u64,
    fields: Fields,
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
        let value = self.value.cast_to(self.fields[0].data_type())?;
        let columns: Vec<ArrayRef> = vec![
            value.to_array()?,
            Arc::new(UInt64Array::from(vec![self.n_rows])),
        ];
        let row = StructArray::try_new(self.fields.clone(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }
}

/// Takes the value out of the struct.
pub(crate) fn only_value() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(OnlyValue {
            signature: Signature::any(1, Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyValue {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyValue {
    fn name(&self) -> &str {
        "__auspex_only_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match &types[0] {
            DataType::Struct(fields) => Ok(fields[0].data_type().clone()),
            _ => Err(no_struct()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields[0].data_type() {
            DataType::Struct(fields) => Ok(Arc::clone(&fields[0])),
            _ => Err(no_struct()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let found = args.args[0].to_array(args.number_rows)?;
        let found = found.as_struct_opt().ok_or_else(no_struct)?;
        let counts = found.column(1).as_primitive::<UInt64Type>();
        let is_many =
            |row: &usize| found.is_valid(*row) && counts.is_valid(*row) && counts.value(*row) > 1;
        if (0..found.len()).any(|row| is_many(&row)) {
            return Err(failure(
                "21000",
                "more than one row returned by a subquery used as an expression",
            ));
        }
        let values = nullif(found.column(0), &is_null(found)?)?;
        Ok(ColumnarValue::Array(values))
    }
}

/// Gives a value that is NULL where there is none.
pub(crate) fn maybe_value() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(MaybeValue {
            signature: Signature::any(1, Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

/// The name of [`maybe_value`].
pub(crate) const MAYBE_VALUE: &str = "__auspex_maybe_value";

#[derive(Debug, PartialEq, Eq, Hash)]
struct MaybeValue {
    signature: Signature,
}

impl ScalarUDFImpl for MaybeValue {
    fn name(&self) -> &str {
        MAYBE_VALUE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(no_value)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let value = args.arg_fields.first().ok_or_else(no_value)?;
        Ok(Arc::new(value.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(no_value)
    }
}

fn no_value() -> DataFusionError {
    DataFusionError::Internal("a value that may be missing is an argument".to_owned())
}
