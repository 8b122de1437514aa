//! Runs the sqllogictest files of `slt/`: the executable manual of the SQL surface.
//!
//! Each file has a server and a warehouse of its own and speaks through the wire. With
//! `AUSPEX_WRITE_SLT=1` the files are rewritten with the results of this build, for review.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::path::PathBuf;

use async_trait::async_trait;
use auspex_tests::{TestServer, describe, root};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio_postgres::{Client, SimpleQueryMessage};

struct Wire {
    client: Client,
}

/// A failed statement as psql prints it.
#[derive(Debug)]
struct Failure {
    text: String,
    sqlstate: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.text)
    }
}

impl std::error::Error for Failure {}

#[async_trait]
impl AsyncDB for Wire {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|error| Failure {
                text: describe(&error),
                sqlstate: error.code().map(|code| code.code().to_owned()),
            })?;
        let mut n_columns = None;
        let mut rows = Vec::new();
        let mut count = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => n_columns = Some(columns.len()),
                SimpleQueryMessage::Row(row) => {
                    let cell = |idx| match row.get(idx) {
                        None => "NULL".to_owned(),
                        Some("") => "(empty)".to_owned(),
                        Some(text) => text.to_owned(),
                    };
                    rows.push((0..row.len()).map(cell).collect());
                }
                SimpleQueryMessage::CommandComplete(n_rows) => count = n_rows,
                _ => {}
            }
        }
        Ok(match n_columns {
            Some(n) => DBOutput::Rows {
                types: vec![DefaultColumnType::Any; n],
                rows,
            },
            None => DBOutput::StatementComplete(count),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "auspex"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.sqlstate.clone()
    }
}

fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("tests/slt")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

async fn run(file: PathBuf) -> Result<(), String> {
    let server = TestServer::start().await;
    let connect = || async {
        Ok(Wire {
            client: server.client().await,
        })
    };
    let mut runner = Runner::new(connect);
    let name = file.display().to_string();
    if std::env::var("AUSPEX_WRITE_SLT").is_ok() {
        let updated = runner
            .update_test_file(
                &file,
                " ",
                sqllogictest::default_validator,
                sqllogictest::default_normalizer,
                sqllogictest::default_column_validator,
            )
            .await;
        return updated.map_err(|error| format!("{name}: {error}"));
    }
    runner
        .run_file_async(&file)
        .await
        .map_err(|error| format!("{name}: {}", error.display(false)))
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_files_give_what_they_say() {
    let only = std::env::var("AUSPEX_SLT").unwrap_or_default();
    let mut failures = Vec::new();
    let mut n_files = 0;
    for file in files() {
        if !file.to_string_lossy().contains(&only) {
            continue;
        }
        n_files += 1;
        if let Err(failure) = run(file).await {
            failures.push(failure);
        }
    }
    assert!(n_files > 0, "no file matches \"{only}\"");
    assert!(
        failures.is_empty(),
        "{} of {n_files} files fail:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}
