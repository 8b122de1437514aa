//! Keeps aggregates of which a few groups are wanted (`GROUP BY f ORDER BY f LIMIT 2`) from looking for these alone where they
//! have floats for keys or values.
//!
//! In: a physical plan; out: the same in which such aggregates make all groups. DataFusion's table of the first groups does not
//! find a NaN again, which is equal to no number, so that it panicked or gave NaN in the place of a number.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_optimizer::topk_aggregation::TopKAggregation;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use super::PhysicalRule;
use super::node_rule::NodeRule;

/// The rules with this one behind the one that sets such limits.
pub(super) fn with_float_tops(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    let setting = TopKAggregation::new();
    let place = rules.iter().position(|rule| rule.name() == setting.name());
    let place = place.map_or(rules.len(), |place| place + 1);
    let rule = NodeRule {
        name: "FloatTops",
        rewrite: without_limit,
    };
    rules.insert(place, Arc::new(rule));
    rules
}

fn without_limit(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let aggregate = node.downcast_ref::<AggregateExec>();
    let aggregate = aggregate.filter(|aggregate| looks_for_floats(aggregate));
    Ok(aggregate.map(|aggregate| Arc::new(aggregate.with_new_limit_options(None)) as _))
}

/// Whether an aggregate looks for the first groups in an order, and has floats.
fn looks_for_floats(aggregate: &AggregateExec) -> bool {
    let limit = aggregate.limit_options();
    let is_float = |data_type: &DataType| data_type.is_floating();
    let schema = aggregate.schema();
    limit.is_some_and(|limit| limit.descending().is_some())
        && schema
            .fields()
            .iter()
            .any(|field| is_float(field.data_type()))
}
