//! Aggregates over window frames that leave rows behind, where what was counted cannot be taken away again: a sum of doubles
//! keeps a NaN, and lacks the digits that a large number swallowed; a joined text has no parts.
//!
//! In: an aggregate of a group; out: the same of a frame, whose rows are kept and counted anew whenever it is asked, as
//! PostgreSQL does. A row costs as much as its frame. Sums of whole numbers and decimals, which are exact, stay the planner's.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::bit_and_or_xor::{bit_and_udaf, bit_or_udaf, bit_xor_udaf};
use datafusion::functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
use datafusion::functions_aggregate::correlation::corr_udaf;
use datafusion::functions_aggregate::covariance::{covar_pop_udaf, covar_samp_udaf};
use datafusion::functions_aggregate::regr;
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::one_nan;

/// The planner's aggregates that are counted anew.
pub(super) fn functions() -> Vec<AggregateUDF> {
    let planned = [
        renamed(&bool_and_udaf(), "every"),
        bool_or_udaf(),
        bit_and_udaf(),
        bit_or_udaf(),
        bit_xor_udaf(),
        renamed(&var_samp_udaf(), "variance"),
        var_pop_udaf(),
        stddev_udaf(),
        stddev_pop_udaf(),
        covar_samp_udaf(),
        covar_pop_udaf(),
        corr_udaf(),
        regr::regr_slope_udaf(),
        regr::regr_intercept_udaf(),
        regr::regr_r2_udaf(),
        regr::regr_avgx_udaf(),
        regr::regr_avgy_udaf(),
        regr::regr_sxx_udaf(),
        regr::regr_syy_udaf(),
        regr::regr_sxy_udaf(),
    ];
    let counted = |inner| AggregateUDF::from(CountedAnew { inner });
    planned.map(counted).into()
}

/// The same function, under one more name.
fn renamed(function: &Arc<AggregateUDF>, name: &'static str) -> Arc<AggregateUDF> {
    Arc::new(function.as_ref().clone().with_aliases([name]))
}

/// The aggregate of rows that come at once.
type OfRows = Box<dyn Fn(AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> + Send + Sync>;

/// The aggregate of a frame's rows, by that of rows that come at once.
pub(super) fn of_frame(args: &AccumulatorArgs<'_>, of_rows: OfRows) -> Box<dyn Accumulator> {
    Box::new(Frame {
        call: Call::of(args),
        of_rows,
        rows: Vec::new(),
    })
}

/// What an accumulator is made for.
struct Call {
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Call {
    fn of(args: &AccumulatorArgs<'_>) -> Call {
        Call {
            return_field: Arc::clone(&args.return_field),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }

    fn args(&self) -> AccumulatorArgs<'_> {
        AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        }
    }
}

/// The rows that are in the frame, one array for each argument.
struct Frame {
    call: Call,
    of_rows: OfRows,
    rows: Vec<ArrayRef>,
}

impl Debug for Frame {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("name", &self.call.name)
            .finish_non_exhaustive()
    }
}

impl Frame {
    fn counted(&self) -> Result<Box<dyn Accumulator>> {
        let mut counted = (self.of_rows)(self.call.args())?;
        if !self.rows.is_empty() {
            counted.update_batch(&self.rows)?;
        }
        Ok(counted)
    }
}

impl Accumulator for Frame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if self.rows.is_empty() {
            self.rows = values.to_vec();
            return Ok(());
        }
        for (kept, entered) in self.rows.iter_mut().zip(values) {
            *kept = concat(&[kept.as_ref(), entered.as_ref()])?;
        }
        Ok(())
    }

    /// Rows leave in the order in which they came.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for (kept, left) in self.rows.iter_mut().zip(values) {
            let n_left = left.len().min(kept.len());
            *kept = kept.slice(n_left, kept.len() - n_left);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.counted()?.evaluate()
    }

    fn size(&self) -> usize {
        let rows = self.rows.iter().map(|rows| rows.get_array_memory_size());
        size_of_val(self) + rows.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.counted()?.state()
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        let message = "frames of windows are not merged".to_owned();
        Err(DataFusionError::Internal(message))
    }
}

/// The planner's aggregate, which counts a frame's rows anew.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CountedAnew {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for CountedAnew {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type().clone();
        Ok(one_nan::of_rows(self.inner.accumulator(args)?, &data_type))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let inner = Arc::clone(&self.inner);
        let of_rows = move |args: AccumulatorArgs<'_>| inner.accumulator(args);
        let frame = of_frame(&args, Box::new(of_rows));
        Ok(one_nan::of_rows(frame, args.return_field.data_type()))
    }

    /// The planner's own for many groups at once may take each value as often as it comes, as that of `bit_xor` does.
    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type().clone();
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(one_nan::of_groups(inner, &data_type))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_udf()
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
