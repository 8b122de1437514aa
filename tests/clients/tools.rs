//! Where the clients are: what `tests/clients/install` put into the folder that `AUSPEX_TEST_CLIENTS` names.
//!
//! Without the variable a test says so and counts as skipped.

use std::path::PathBuf;
use std::process::Command;

use auspex_tests::{TestServer, given, root};

/// The folder of the clients; `None`, with a word on why, where there is none.
pub(crate) fn clients() -> Option<PathBuf> {
    given(
        "AUSPEX_TEST_CLIENTS",
        "a folder made by tests/clients/install",
    )
}

/// The folder of the clients' scripts.
pub(crate) fn scripts() -> PathBuf {
    root().join("tests/clients/scripts")
}

/// A Python of the clients' packages.
pub(crate) fn python(folder: &std::path::Path) -> Command {
    let mut command = Command::new(folder.join("python/bin/python"));
    // JupySQL asks the network for news otherwise.
    command
        .env("PLOOMBER_STATS_ENABLED", "false")
        .env("PLOOMBER_VERSION_CHECK_DISABLED", "true");
    command
}

/// Runs a client to its end; its output, and a failed test if it failed.
pub(crate) async fn run(mut command: Command) -> String {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = output.unwrap_or_else(|error| panic!("{shown} does not start: {error}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{shown}\n{text}");
    text
}

/// Runs a Python script of `scripts/` against a server that holds what the scripts expect.
pub(crate) async fn run_script(script: &str, arguments: &[&str]) {
    let Some(folder) = clients() else { return };
    let server = filled().await;
    let mut command = python(&folder);
    command
        .arg(scripts().join(script))
        .arg(server.port().to_string())
        .args(arguments);
    println!("{}", run(command).await);
}

/// What the scripts expect: a table of many types with a default, a check and a comment; a view, a schema, files, a model.
const SETUP: &str = "
    CREATE TABLE readings (id BIGINT NOT NULL, value DOUBLE PRECISION, name TEXT DEFAULT 'nobody',
        price NUMERIC(10,2) CONSTRAINT positive CHECK (price > 0), at TIMESTAMP, tz TIMESTAMPTZ, day DATE, ok BOOLEAN, tags TEXT[]);
    INSERT INTO readings VALUES
        (1, 1.5, 'one', 10.25, '2026-01-01 10:00:00', '2026-01-01 10:00:00Z', '2026-01-01', true, ARRAY['a', 'b']),
        (2, 0.5, 'two', 20.5, NULL, NULL, NULL, false, NULL), (3, NULL, 'three', 30, NULL, NULL, NULL, NULL, NULL);
    CREATE VIEW high AS SELECT * FROM readings WHERE value > 1;
    CREATE SCHEMA lab;
    CREATE TABLE lab.notes (id INT NOT NULL, note TEXT);
    COMMENT ON TABLE readings IS 'what was measured';
    CREATE EXTERNAL TABLE penguins STORED AS PARQUET LOCATION 'penguins.parquet';
    CREATE MODEL mass PREDICT body_mass_g USING linear_reg AS SELECT * FROM penguins WHERE body_mass_g IS NOT NULL";

/// A server that holds it.
pub(crate) async fn filled() -> TestServer {
    let server = TestServer::start().await;
    server.client().await.batch_execute(SETUP).await.unwrap();
    server
}
