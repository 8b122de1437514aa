//! `array_agg` of json is an array of json, that of uuids one of uuids, that of names in the catalogs one of names.
//!
//! In: the planner's own aggregate; out: the same with the mark of its argument kept. With DISTINCT, the values come sorted.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    Signature,
};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};

use super::json::with_marks;

/// The mark of a column of the catalogs that tells its type of PostgreSQL.
pub const TYPE_KEY: &str = "pg.type";

/// The function of this family.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(Gathered {
        inner: array_agg_udaf(),
    })
}

/// Whether an aggregate stands in the place of the planner's own `array_agg`.
pub(crate) fn gathers_for(function: &AggregateUDF, inner: &AggregateUDF) -> bool {
    let gathered = function.inner().downcast_ref::<Gathered>();
    gathered.is_some_and(|gathered| gathered.inner.as_ref() == inner)
}

/// The order in which an aggregate gathers: that of its call, without what it repeats, or with DISTINCT that of its values,
/// since PostgreSQL finds what is distinct by sorting.
pub(super) fn order_of(args: &AccumulatorArgs) -> Vec<PhysicalSortExpr> {
    let sorts = args.is_distinct && args.order_bys.is_empty();
    match args.exprs.first().filter(|_| sorts) {
        Some(value) => {
            let ascending = SortOptions::new(false, false);
            vec![PhysicalSortExpr::new(Arc::clone(value), ascending)]
        }
        None => match LexOrdering::new(args.order_bys.to_vec()) {
            Some(order) => order.into(),
            None => Vec::new(),
        },
    }
}

/// The fields of a state, in which each value of the order stands once, as accumulators keep it.
pub(super) fn state_of(inner: &AggregateUDF, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
    let mut order: Vec<FieldRef> = Vec::with_capacity(args.ordering_fields.len());
    for field in args.ordering_fields {
        if order.iter().all(|known| known.name() != field.name()) {
            order.push(Arc::clone(field));
        }
    }
    inner.state_fields(StateFieldsArgs {
        ordering_fields: &order,
        ..args
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathered {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Gathered {
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

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let field = with_marks(fields, self.inner.return_field(fields)?);
        let of_catalog = fields.first().and_then(|arg| arg.metadata().get(TYPE_KEY));
        Ok(match of_catalog {
            // What drivers read as a text, since they do not know its type.
            Some(name) if name == "name" => {
                let mark = HashMap::from([(TYPE_KEY.to_owned(), "_name".to_owned())]);
                Arc::new(field.as_ref().clone().with_metadata(mark))
            }
            _ => field,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        state_of(&self.inner, args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    // Whether the input is sorted or not: where it has the opposite order, the planner says that it has this one.
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

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    /// Rows that come in the opposite order would be gathered so: a window's sort must not serve another one's.
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
