//! The CUDA device against the CPU: the shipped PTX runs through the real host code on the stand-in driver of
//! `gpu/sim`. It proves results, never speed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::single_range_in_vec_init,
    reason = "a test that cannot go on must stop; one set of rows is a list of one range"
)]

mod dense;
mod driver;
mod faults;
mod kernels;
mod residency;
mod trees;
