//! The driver's entry points, as far as the project's host code calls them.
//!
//! In: calls by the C interface of the CUDA driver; out: its codes. Streams run at once, so that what a
//! real device does later has been done when a call returns; a fault of a kernel still shows only at
//! the next call that waits, and then at every call until the context is released, as on a
//! device. Copies out of page-locked memory are watched by `host_memory`, since a device makes them later. `state` is what there is
//! behind the handles, `codes` the driver's numbers.
//!
//! Beyond CUDA there are `auspexSimConfigure`, `auspexSimReport` and `auspexSimCounters`, for tests.

mod codes;
mod context;
mod control;
mod host_memory;
mod modules;
mod state;
mod streams;
mod transfer;
