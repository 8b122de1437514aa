//! What a crash or a race leaves: the old state or the new, never half of one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod disk_full;
mod names;
mod tables;
mod trainings;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auspex_tests::{binary, free_port};
use tokio_postgres::{Client, NoTls};

/// A server process over a warehouse.
fn serve(warehouse: &Path, port: u16) -> Child {
    serve_with(warehouse, port, &[])
}

/// The same with further flags.
fn serve_with(warehouse: &Path, port: u16, flags: &[&str]) -> Child {
    Command::new(binary())
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--warehouse",
        ])
        .arg(warehouse)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A client of a server that may still be starting.
async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    for _ in 0..3_000 {
        if let Ok((client, connection)) = tokio_postgres::connect(&config, NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server on port {port} never answered");
}
