//! Rules of the optimizers that are ours, one a file; `failing` and `guarded_joins` are what they ask.

mod asked_orders;
mod computed_keys;
mod decide_devices;
mod divide_scans;
mod empty_frames;
mod failing;
mod fenced;
mod filtered_arguments;
mod flat_filters;
mod float_keys;
mod float_tops;
mod group_filters;
mod guarded_joins;
mod guards;
mod independent_columns;
mod kept_keys;
mod kept_order;
mod last_rule;
mod limited_rows;
mod lone_laterals;
mod missing_groups;
mod named_filters;
mod named_inputs;
mod node_rule;
mod ordered_once;
mod projections;
mod renamed;
mod replaced;
mod set_keys;
mod single_inputs;
mod small_constants;
mod sorted_distincts;
mod sure_first;
mod unsure_constants;
mod waiting_calls;
mod waiting_groups;
mod whole_keys;
mod wide_projections;

use std::sync::Arc;

use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

pub(crate) use decide_devices::with_partitions;
pub(crate) use divide_scans::DivideScans;

use asked_orders::with_asked_orders;
use computed_keys::COMPUTED_KEYS;
use decide_devices::with_decided_devices;
use empty_frames::EMPTY_FRAMES;
use filtered_arguments::with_filtered_arguments;
use flat_filters::with_flat_filters;
use float_keys::FLOAT_KEYS;
use float_tops::with_float_tops;
use group_filters::with_group_filters;
use guards::with_guards;
use independent_columns::with_independent_columns;
use kept_keys::with_kept_keys;
use kept_order::with_kept_order;
use limited_rows::with_limited_rows;
use lone_laterals::with_lone_laterals;
use missing_groups::MISSING_GROUPS;
use named_filters::with_named_filters;
use named_inputs::with_named_inputs;
use ordered_once::ORDERED_ONCE;
use projections::with_projections_above_filters;
use set_keys::{SET_KEYS, with_computed_set_keys};
use single_inputs::with_single_inputs;
use small_constants::with_small_constants;
use sorted_distincts::with_sorted_distincts;
use sure_first::with_sure_first;
use unsure_constants::with_unsure_constants;
use waiting_calls::WAITING_CALLS;
use waiting_groups::WAITING_GROUPS;
use whole_keys::with_whole_keys;
use wide_projections::with_wide_projections;

type LogicalRule = Arc<dyn OptimizerRule + Send + Sync>;
type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules of logical plans: DataFusion's with ours among them.
pub(crate) fn logical_rules() -> Vec<LogicalRule> {
    let rules = with_single_inputs(with_small_constants(Optimizer::new().rules));
    let rules = with_independent_columns(with_group_filters(with_kept_keys(rules)));
    let rules = with_named_inputs(rules);
    let rules = with_filtered_arguments(with_sorted_distincts(with_sure_first(rules)));
    let mut rules = with_computed_set_keys(with_lone_laterals(rules));
    for last in [
        MISSING_GROUPS,
        FLOAT_KEYS,
        COMPUTED_KEYS,
        WAITING_CALLS,
        WAITING_GROUPS,
        SET_KEYS,
        ORDERED_ONCE,
        EMPTY_FRAMES,
    ] {
        rules.push(Arc::new(last));
    }
    rules
}

/// The rules of physical plans: DataFusion's with ours among them.
pub(crate) fn physical_rules() -> Vec<PhysicalRule> {
    let rules = with_limited_rows(PhysicalOptimizer::new().rules);
    let rules = with_named_filters(with_flat_filters(with_unsure_constants(rules)));
    let rules = with_projections_above_filters(rules);
    let rules = with_wide_projections(with_guards(rules));
    let rules = with_asked_orders(with_float_tops(with_whole_keys(rules)));
    with_decided_devices(with_kept_order(rules))
}
