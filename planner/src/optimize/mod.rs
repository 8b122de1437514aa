//! Rules of the optimizers that are ours, one a file; `failing` and `guarded_joins` are what they ask.

mod divide_scans;
mod failing;
mod guarded_joins;
mod guards;
mod projections;
mod sure_first;
mod waiting_calls;
mod wide_projections;

pub(crate) use divide_scans::DivideScans;
pub(crate) use guards::with_guards;
pub(crate) use projections::with_projections_above_filters;
pub(crate) use sure_first::with_sure_first;
pub(crate) use waiting_calls::with_waiting_calls;
pub(crate) use wide_projections::with_wide_projections;
