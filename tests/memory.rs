//! Statements that want more memory than there is: they fail alone, or do with less, and the process stays small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop"
)]

use auspex_tests::{ServerOptions, TestServer, rows};
use tokio_postgres::Client;

const LIMIT_BYTES: usize = 100 << 20;
/// The program, its debugging build and the client are in the same process; without bounds, statements below take many times more.
const MOST_BYTES: usize = 1200 << 20;

/// The most memory that this process has had.
fn peak_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

/// 1,000 and more rows of 1 MB and a little, which no optimizer computes beforehand.
fn wide(n_rows: usize) -> String {
    format!("(SELECT repeat('x', 1000000 + value % 2) AS r FROM generate_series(1, {n_rows})) AS t")
}

async fn fails(client: &Client, sql: &str, sqlstate: &str) {
    let error = rows(client, sql).await.unwrap_err();
    let expected = format!("ERROR {sqlstate}");
    assert!(error.starts_with(&expected), "{sql}\n{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_stay_within_the_memory_or_fail_alone() {
    let server = TestServer::start_with(ServerOptions {
        memory_limit_bytes: Some(LIMIT_BYTES),
        threads: Some(2),
        ..ServerOptions::default()
    })
    .await;
    let (hungry, other) = (server.client().await, server.client().await);

    // 2 GB of texts, of which few are there at a time.
    let sql = "SELECT sum(length(repeat('x', 1000000 + value % 2))) FROM generate_series(1, 2000)";
    assert_eq!(rows(&hungry, sql).await.unwrap(), [["2000001000"]]);
    let sql = format!("SELECT sum(length(r)) FROM {} WHERE r LIKE '%x'", wide(500));
    assert_eq!(rows(&hungry, &sql).await.unwrap(), [["500000250"]]);

    // What must be there at once is refused before it is made, or soon after it has begun.
    let joined = format!("SELECT length(string_agg(r, ',')) FROM {}", wide(2000));
    fails(&hungry, &joined, "53200").await;
    fails(
        &hungry,
        "SELECT length(repeat('x', 500000000 + value)) FROM generate_series(1, 1) AS s",
        "53200",
    )
    .await;
    fails(
        &hungry,
        "SELECT length(repeat('x', 500000000)) FROM generate_series(1, 1)",
        "53200",
    )
    .await;

    // A constant is no part of the plan if it is large, and is made once.
    let sql = "SELECT length(repeat('x', 60000000))";
    assert_eq!(rows(&hungry, sql).await.unwrap(), [["60000000"]]);
    let columns = (0..40).map(|n| format!("repeat('x', {})", 50_000_000 + n));
    let columns = columns.collect::<Vec<_>>().join(", ");
    fails(&hungry, &format!("SELECT {columns}"), "53200").await;
    let numbered = format!(
        "SELECT max(s), max(length(r)) FROM (SELECT sum(length(r)) OVER () AS s, r FROM {}) AS u",
        wide(500)
    );
    fails(&hungry, &numbered, "53200").await;
    fails(
        &hungry,
        "SELECT array_length(array_repeat(value, 100000000), 1) FROM generate_series(1, 3)",
        "53200",
    )
    .await;

    // The others do not notice, and everything was given back.
    assert_eq!(rows(&other, "SELECT 1").await.unwrap(), [["1"]]);
    let sorted = "SELECT count(*) FROM (SELECT md5(value::text) AS x FROM generate_series(1, 200000) ORDER BY 1 OFFSET 1) AS t";
    for client in [&hungry, &other] {
        assert_eq!(rows(client, sorted).await.unwrap(), [["199999"]]);
    }
    if let Some(peak) = peak_bytes() {
        assert!(peak < MOST_BYTES, "{} MB", peak >> 20);
    }
}
