//! Sorts what an operator asks to be sorted where it is not any more: `WITH w AS (SELECT 1 AS one, grouping(b) AS g FROM t GROUP BY
//! ROLLUP (b) HAVING count(*) > 1) SELECT q.n FROM w JOIN (SELECT row_number() OVER (ORDER BY g) AS n FROM w WHERE one = g) AS q
//! ON true`.
//!
//! In: a physical plan; out: the same in which such inputs are sorted. DataFusion leaves out a sort by what a condition makes
//! constant, looking below a projection; above that projection it does not find the constant again, and refused the plan.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_expr::{LexRequirement, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};

use super::PhysicalRule;
use super::node_rule::{NodeRule, with_inputs};

type Plan = Arc<dyn ExecutionPlan>;

/// The rules with this one before the one that refuses such plans.
pub(super) fn with_asked_orders(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    let refusing = SanityCheckPlan::new();
    let place = rules.iter().position(|rule| rule.name() == refusing.name());
    let rule = NodeRule {
        name: "AskedOrders",
        rewrite: with_sorted_inputs,
    };
    rules.insert(place.unwrap_or(rules.len()), Arc::new(rule));
    rules
}

fn with_sorted_inputs(node: &Plan) -> Result<Option<Plan>> {
    let orders = node.required_input_ordering();
    let mut inputs = Vec::with_capacity(orders.len());
    let mut is_changed = false;
    for (input, order) in node.children().into_iter().zip(orders) {
        let missing = missing_order(input, order)?;
        is_changed |= missing.is_some();
        inputs.push(match missing {
            Some(order) => sorted(input, order),
            None => Arc::clone(input),
        });
    }
    match is_changed {
        true => with_inputs(node, inputs).map(Some),
        false => Ok(None),
    }
}

/// The order that is asked of an input, where it is not known to have it.
fn missing_order(
    input: &Plan,
    order: Option<OrderingRequirements>,
) -> Result<Option<LexRequirement>> {
    let Some(order) = order.map(OrderingRequirements::into_single) else {
        return Ok(None);
    };
    let known = input.equivalence_properties();
    let is_there = known.ordering_satisfy_requirement(order.clone())?;
    Ok((!is_there).then_some(order))
}

/// Each partition by itself: how many there are is asked apart from their order.
fn sorted(input: &Plan, order: LexRequirement) -> Plan {
    let sort = SortExec::new(order.into(), Arc::clone(input));
    Arc::new(sort.with_preserve_partitioning(true))
}
