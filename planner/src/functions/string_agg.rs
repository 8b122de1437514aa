//! `string_agg` with an order of its own: each call sorts what it gathers, with DISTINCT by itself.
//!
//! In: the planner's own aggregate, which wants its input sorted and so has one order in a query; out: the same without this
//! wish, so that `string_agg(x, ',' ORDER BY a), string_agg(x, ',' ORDER BY b)` have two. Bytes are gathered as the texts of
//! their hexadecimal digits, which have their order, and are bytes again in the end.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, GroupsAccumulator,
    ReversedUDAF, Signature,
};
use datafusion::physical_expr::expressions::lit;

use super::array_agg::{order_of, state_of};
use super::call::{failure, no_function};
use super::text_input::is_bytes;
use super::{sliding, text_input};

/// The function of this family.
pub(super) fn function() -> AggregateUDF {
    let inner = string_agg_udaf();
    AggregateUDF::from(Sorting {
        signature: Signature::user_defined(inner.signature().volatility),
        inner,
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sorting {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl Sorting {
    fn gathered(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let order = order_of(&args);
        self.inner.accumulator(AccumulatorArgs {
            order_bys: &order,
            ..args
        })
    }

    /// Gathers bytes.
    fn gathered_bytes(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let mut exprs = args.exprs.to_vec();
        if let Some(delimiter) = exprs.get_mut(1) {
            // A literal needs no row.
            let no_rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
            let found = match delimiter.evaluate(&no_rows) {
                Ok(ColumnarValue::Scalar(found)) => found,
                _ => {
                    let message = "string_agg of bytes takes a literal as its delimiter";
                    return Err(failure("0A000", message));
                }
            };
            let text = hexadecimal(&found.to_array()?)?;
            *delimiter = lit(ScalarValue::try_from_array(&text, 0)?);
        }
        let fields: Vec<FieldRef> = args.expr_fields.iter().map(of_texts).collect();
        let inner = self.gathered(AccumulatorArgs {
            exprs: &exprs,
            expr_fields: &fields,
            return_field: Arc::new(Field::new(args.name, DataType::LargeUtf8, true)),
            ..args
        })?;
        Ok(Box::new(Bytes { inner }))
    }
}

/// A field of bytes as one of texts.
fn of_texts(field: &FieldRef) -> FieldRef {
    match is_bytes(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        false => Arc::clone(field),
    }
}

/// The hexadecimal digits of bytes.
fn hexadecimal(bytes: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(bytes, &DataType::Binary)?;
    let digits = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let texts = bytes.as_binary::<i32>().iter();
    Ok(Arc::new(
        texts
            .map(|bytes| bytes.map(digits))
            .collect::<StringArray>(),
    ))
}

/// Bytes of one group.
#[derive(Debug)]
struct Bytes {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for Bytes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut values = values.to_vec();
        if let Some(bytes) = values.first_mut() {
            *bytes = hexadecimal(bytes)?;
        }
        self.inner.update_batch(&values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let gathered = self.inner.evaluate()?;
        let bytes = match gathered.try_as_str() {
            Some(Some(digits)) => Some(text_input::bytes(&format!("\\x{digits}"))?),
            _ => None,
        };
        Ok(ScalarValue::Binary(bytes))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
}

impl AggregateUDFImpl for Sorting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !types.first().is_some_and(is_bytes) {
            let field = |data_type: &DataType| -> FieldRef {
                Arc::new(Field::new("argument", data_type.clone(), true))
            };
            let fields: Vec<FieldRef> = types.iter().map(field).collect();
            let fields = fields_with_udf(&fields, self.inner.as_ref())?;
            let types = fields.iter().map(|field| field.data_type().clone());
            return Ok(types.collect());
        }
        // A text is a literal, which is read as what it stands for.
        match types {
            [_, delimiter]
                if is_bytes(delimiter) || delimiter.is_string() || delimiter.is_null() =>
            {
                Ok(vec![DataType::Binary; 2])
            }
            types => Err(no_function(self.name(), types)),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first().is_some_and(is_bytes) {
            true => Ok(DataType::Binary),
            false => self.inner.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let fields: Vec<FieldRef> = args.input_fields.iter().map(of_texts).collect();
        let args = StateFieldsArgs {
            input_fields: &fields,
            ..args
        };
        state_of(&self.inner, args)
    }

    // Its accumulators sort whatever they are given.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    // Whether the input is sorted or not.
    fn with_beneficial_ordering(
        self: Arc<Self>,
        _: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_bytes(args.expr_fields[0].data_type()) {
            true => self.gathered_bytes(args),
            false => self.gathered(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let own = self.clone();
        let of_rows = move |args: AccumulatorArgs<'_>| own.accumulator(args);
        Ok(sliding::of_frame(&args, Box::new(of_rows)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !is_bytes(args.expr_fields[0].data_type()) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
