//! Rules of the physical optimizer that are ours, one a file.

mod divide_scans;
mod projections;

pub(crate) use divide_scans::DivideScans;
pub(crate) use projections::with_projections_above_filters;
