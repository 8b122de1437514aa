//! Real clients against a real server: psql runs the tour and its backslash commands; other systems read our tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod lakes;

use std::process::Command;

use auspex_tests::{TestServer, root};

/// Runs psql; its whole output.
async fn psql(server: &TestServer, args: &[&str]) -> (bool, String) {
    let port = server.port().to_string();
    let connection = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
    ];
    let mut command = Command::new("psql");
    command
        .args(connection)
        .args(args)
        .arg("postgres")
        .current_dir(root());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = output.expect("psql is needed: apt-get install postgresql-client");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_the_tour() {
    let server = TestServer::start().await;
    let (ok, output) = psql(&server, &["-f", "examples/penguins.sql"]).await;
    assert!(ok, "{output}");
    assert!(output.contains("CREATE MODEL"), "{output}");
    // It can be run again.
    let (ok, output) = psql(&server, &["-f", "examples/penguins.sql"]).await;
    assert!(ok, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_walks_the_lakehouse() {
    let server = TestServer::start().await;
    // Twice, since a tour is run again.
    for _ in 0..2 {
        let (ok, output) = psql(&server, &["-f", "examples/lakehouse.sql"]).await;
        assert!(ok, "{output}");
        assert!(output.contains("same_model"), "{output}");
    }
    let (ok, output) = psql(&server, &["-At", "-c", SAME_MODELS]).await;
    assert!(ok && output.contains("t|f"), "{output}");
}

/// Whether the model that was trained on the snapshot is the first one, and the one before is not.
const SAME_MODELS: &str = "SELECT \
    (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@3)), \
    (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@2))";

#[tokio::test(flavor = "multi_thread")]
async fn psql_browses_the_catalogs() {
    let server = TestServer::start().await;
    let setup = "CREATE TABLE readings (id BIGINT NOT NULL, value DOUBLE); CREATE VIEW high AS SELECT * FROM readings WHERE value > 1; CREATE SCHEMA lab";
    let (ok, output) = psql(&server, &["-c", setup]).await;
    assert!(ok, "{output}");
    let commands = [
        (r"\d", vec!["readings", "high"]),
        (r"\dt", vec!["readings"]),
        (r"\dv", vec!["high"]),
        (r"\dn", vec!["public", "lab"]),
        (r"\l", vec!["postgres"]),
        (r"\df", vec![]),
        (
            r"\df ml.*",
            vec![
                "predict",
                "evaluate",
                "SETOF record",
                "model text, query text",
            ],
        ),
        (r"\du", vec!["postgres"]),
        (
            r"\d readings",
            vec!["id", "bigint", "not null", "double precision"],
        ),
    ];
    for (command, expected) in commands {
        let (ok, output) = psql(&server, &["-c", command]).await;
        assert!(ok, "{command}: {output}");
        for word in expected {
            assert!(output.contains(word), "{command} lacks {word}: {output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_shows_where_an_error_is() {
    let server = TestServer::start().await;
    let (ok, output) = psql(&server, &["-c", "SELECT 1; SELECT foo FRM bar"]).await;
    assert!(!ok && output.contains("LINE 1"), "{output}");
    let (ok, output) = psql(
        &server,
        &["-c", "SELECT 1 AS one, oen FROM (SELECT 1 AS one) t"],
    )
    .await;
    assert!(
        !ok && output.contains("LINE 1: SELECT 1 AS one, oen"),
        "{output}"
    );
    let create = "CREATE MODEL m PREDICT y AS SELECT x, zz AS y FROM (SELECT 1 AS x) t";
    let (ok, output) = psql(&server, &["-c", create]).await;
    let caret = output
        .lines()
        .find(|line| line.trim() == "^")
        .unwrap_or_default();
    assert!(
        !ok && caret.len() == "LINE 1: ".len() + create.find("zz").unwrap() + 1,
        "{output}"
    );
    let (ok, output) = psql(&server, &["-c", "EVALUATE MODEL nothing"]).await;
    assert!(
        !ok && output.contains("model \"nothing\" does not exist"),
        "{output}"
    );
}
