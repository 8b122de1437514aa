//! The driver's entry points, as far as the project's host code calls them.
//!
//! In: calls by the C interface of the CUDA driver; out: its codes. Streams run at once, so that what a
//! real device does later has been done when a call returns; a fault of a kernel still shows only at
//! the next call that waits, and then at every call until the context is released, as on a
//! device. `pool` counts what memory of streams had to be mapped. `order` watches who touches memory of the device and page-locked memory, since a device does it later and runs streams
//! beside each other. `state` is what there is behind the handles, `codes` the driver's numbers.
//!
//! Beyond CUDA there are `auspexSimConfigure`, `auspexSimReport` and `auspexSimCounters`, for tests, and `auspexSimIsSimulated`,
//! which the host code asks.

mod codes;
mod context;
mod control;
mod host_memory;
mod modules;
mod order;
mod pool;
mod pools;
mod state;
mod streams;
mod transfer;
