//! `string_agg` with an order of its own: each call sorts what it gathers, with DISTINCT by itself.
//!
//! In: the planner's own aggregate, which wants its input sorted and so has one order in a query; out: the same without this
//! wish, so that `string_agg(x, ',' ORDER BY a), string_agg(x, ',' ORDER BY b)` have two.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};

use super::array_agg::{order_of, state_of};
use super::sliding;

/// The function of this family.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(Sorting {
        inner: string_agg_udaf(),
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sorting {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Sorting {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
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
        let order = order_of(&args);
        self.inner.accumulator(AccumulatorArgs {
            order_bys: &order,
            ..args
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let own = self.clone();
        let of_rows = move |args: AccumulatorArgs<'_>| own.accumulator(args);
        Ok(sliding::of_frame(&args, Box::new(of_rows)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
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
