//! A stand-in CUDA driver over a PTX interpreter, so that the CUDA path runs where there is no GPU.
//!
//! Built as a shared library it answers to the name `libcuda.so.1` and to the entry points that the
//! project's host code calls; it names its devices "PTX interpreter (no GPU)". Kernels run one thread after
//! another in an order that the test chooses, and every access is checked: bounds, alignment, memory
//! that was never written, races between threads in shared memory and between blocks in global memory, and works of
//! two streams on the same bytes that no event and no wait of the host orders.
//! Far slower than any device: it proves what a kernel computes, never how fast.
//!
//! Code map, in reading order: `ptx` turns text into a [`Module`]; `memory` holds allocations and the
//! record of who touched which byte; `exec` runs a [`Kernel`]; `driver` has the entry points;
//! `settings` is what a test may choose.

mod driver;
mod exec;
mod memory;
mod ptx;
mod settings;

pub use exec::{Fault, Launch, Order, Statistics, launch};
pub use memory::{Memory, MemoryFault};
pub use ptx::{Kernel, Module, ParseError};
pub use settings::Settings;

#[cfg(test)]
mod tests;
