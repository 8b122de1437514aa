//! What a crash leaves: the old state or the new, never half of one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use auspex_tests::rows;
use tokio_postgres::{Client, NoTls};

/// The server's binary, which lies beside the tests.
fn binary() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let path = folder.join("auspex");
    assert!(
        path.exists(),
        "{} is missing: cargo build --workspace",
        path.display()
    );
    path
}

fn serve(warehouse: &Path, port: u16) -> Child {
    Command::new(binary())
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--warehouse",
        ])
        .arg(warehouse)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_a_training_leaves_a_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut newest = 0;
    // The delays spread the kill over reading, training, publishing and the time after.
    for (round, delay_ms) in [0, 20, 60, 120, 200, 300, 450, 700].into_iter().enumerate() {
        let port = free_port();
        let mut server = serve(folder.path(), port);
        let client = connect(port).await;
        let versions = rows(&client, "SELECT current_version FROM ml.models")
            .await
            .unwrap();
        if let Some(row) = versions.first() {
            let version: u64 = row[0].parse().unwrap();
            assert!(
                version >= newest,
                "round {round} lost version {newest}: it is {version}"
            );
            newest = version;
            let answer = rows(&client, "SELECT round(PREDICT(m USING 10.0 AS x)) ")
                .await
                .unwrap();
            assert_eq!(answer, [["20"]], "round {round} left a damaged model");
        }
        let create = "CREATE OR REPLACE MODEL m PREDICT y USING linear AS \
             SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 300000)";
        let training = tokio::spawn(async move { client.batch_execute(create).await });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        server.kill().unwrap();
        server.wait().unwrap();
        if training.await.unwrap().is_ok() {
            newest += 1;
        }
    }
}
