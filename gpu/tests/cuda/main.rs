//! The CUDA device against the CPU: the shipped PTX runs through the real host code on the stand-in driver of
//! `gpu/sim`. It proves results, never speed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

mod driver;
mod faults;
mod kernels;
