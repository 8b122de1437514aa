//! Real clients against a real server, each doing what people do with it; other systems read our tables.
//!
//! `install` fetches the clients, `scripts/` holds what they run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod dbt;
mod drivers;
mod dumps;
mod lakes;
mod pgbench;
mod psql;
mod readme;
mod tools;
