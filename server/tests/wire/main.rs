//! The server through its wire: each test starts one in process and talks to it over TCP.
//!
//! In: a temporary warehouse; out: what `tokio-postgres` and psql see. One binary, since linking it
//! takes seconds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod audit;
mod bad_input;
mod catalogs;
mod command_line;
mod constraints;
mod copy;
mod cursors;
mod declared_types;
mod encodings;
mod fast_path;
mod held_roles;
mod listen;
mod locations;
mod long_statements;
mod messages;
mod parameters;
mod result_types;
mod security;
mod sessions;
mod statements;
mod told_types;
mod transactions;
mod values;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;

use auspex_planner::{Engine, EngineConfig};
use auspex_server::{Listener, PgCatalog, Server, ServerHandle, ServerOptions};
use futures::{StreamExt, stream};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};

/// A server with a warehouse of its own.
struct Fixture {
    engine: Arc<Engine>,
    server: ServerHandle,
    folder: TempDir,
}

/// The examples' folder, which holds the penguins; tests run in the folder of their package.
fn examples() -> PathBuf {
    std::path::absolute("../examples").unwrap()
}

impl Fixture {
    async fn start() -> Fixture {
        Fixture::start_with(ServerOptions::default()).await
    }

    async fn start_with(options: ServerOptions) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let config = EngineConfig {
            warehouse: folder.path().join("warehouse").display().to_string(),
            allow_locations: vec![examples().display().to_string()],
            extension: Some(Arc::new(PgCatalog::default())),
            audit_log: Some(folder.path().join("audit.ndjson")),
            ..EngineConfig::default()
        };
        let engine = Box::pin(Engine::open(config)).await.unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(Arc::clone(&engine), listener, options).unwrap();
        Fixture {
            engine,
            server: server.start(),
            folder,
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.server.address().port());
        config.user("postgres").dbname("postgres");
        config
    }

    async fn connect(&self) -> Client {
        self.connect_as(&self.config()).await.0
    }

    /// A client and the notices that it gets.
    async fn connect_as(&self, config: &Config) -> (Client, UnboundedReceiver<DbError>) {
        let (client, mut connection) = config.connect(NoTls).await.unwrap();
        let (notices_in, notices) = unbounded_channel();
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message {
                    let _ = notices_in.send(notice);
                }
            }
        });
        (client, notices)
    }
}

/// The rows of a simple query, NULL as `∅`, columns joined by `|`.
async fn rows(client: &Client, text: &str) -> Vec<String> {
    let messages = client
        .simple_query(text)
        .await
        .unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells: Vec<&str> = (0..row.len())
                .map(|idx| row.get(idx).unwrap_or("∅"))
                .collect();
            Some(cells.join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The error that a statement ends with.
async fn error_of(client: &Client, text: &str) -> DbError {
    let error = client.simple_query(text).await.expect_err(text);
    error
        .as_db_error()
        .unwrap_or_else(|| panic!("{text}: {error:?}"))
        .clone()
}
