//! The same SQL and the same models on a cluster, also when workers are lost.
//!
//! A coordinator and its workers are processes of their own on loopback addresses. What is lost at which moment comes
//! from a seed. Beside it: the files that start a cluster elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod checkpoints;
mod coordinators;
mod cut;
mod deploy;
mod faults;
mod joins;
mod machines;
mod many;
mod plans;
mod short;
mod signs;
mod sql;
mod text_files;
mod trust;
mod versions;
mod watching;
mod writes;
