//! Rules of the optimizers that are ours, one a file; `failing` is what two of them ask.

mod divide_scans;
mod failing;
mod guards;
mod projections;
mod sure_first;

pub(crate) use divide_scans::DivideScans;
pub(crate) use guards::with_guards;
pub(crate) use projections::with_projections_above_filters;
pub(crate) use sure_first::with_sure_first;
