//! Rules of the physical optimizer that are ours, one a file.

mod divide_scans;

pub(crate) use divide_scans::DivideScans;
