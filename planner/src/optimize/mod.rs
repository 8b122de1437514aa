//! Rules of the optimizers that are ours, one a file; `failing` and `guarded_joins` are what they ask.

mod decide_devices;
mod divide_scans;
mod failing;
mod flat_filters;
mod guarded_joins;
mod guards;
mod kept_order;
mod projections;
mod sorted_distincts;
mod sure_first;
mod waiting_calls;
mod wide_projections;

pub(crate) use decide_devices::with_decided_devices;
pub(crate) use divide_scans::DivideScans;
pub(crate) use flat_filters::with_flat_filters;
pub(crate) use guards::with_guards;
pub(crate) use kept_order::with_kept_order;
pub(crate) use projections::with_projections_above_filters;
pub(crate) use sorted_distincts::with_sorted_distincts;
pub(crate) use sure_first::with_sure_first;
pub(crate) use waiting_calls::with_waiting_calls;
pub(crate) use wide_projections::with_wide_projections;
