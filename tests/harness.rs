//! A server in this process with a temporary warehouse, for tests that speak through the wire.
//!
//! In: the folders that SQL may read; out: clients of a server that ends with the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod emulators;
mod needed;
mod ports;
mod process;
mod python;
mod s3;
mod sql_wire;

use std::path::PathBuf;
use std::sync::Arc;

use auspex_planner::{Engine, EngineConfig, SecretText};
use auspex_server::{PgCatalog, Server, ServerHandle};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

pub use emulators::Emulator;
pub use needed::{given, skip, test_data};
pub use ports::free_port;
pub use process::ServerProcess;
pub use python::{python, run_python};
pub use s3::{KEY_ID, S3Server, SECRET};
pub use sql_wire::{SqlFailure, SqlWire};

/// What the test servers seal secrets with.
pub const CREDENTIAL_KEY: &str = "a key of tests, which is long enough";

/// The repository's root folder: tests run in that of their package.
pub fn root() -> PathBuf {
    std::path::absolute("..").expect("a test has a current folder")
}

/// The folder of the data that ships with the repository.
pub fn examples() -> PathBuf {
    root()
        .join("examples")
        .canonicalize()
        .expect("examples/ is part of the repository")
}

/// A running server.
pub struct TestServer {
    /// Its engine, for what the wire cannot tell.
    pub engine: Arc<Engine>,
    handle: Option<ServerHandle>,
    folder: TempDir,
}

/// What a test wants of its server.
#[derive(Default)]
pub struct ServerOptions {
    /// Memory for queries and trainings.
    pub memory_limit_bytes: Option<usize>,
    /// Threads.
    pub threads: Option<usize>,
    /// URLs that SQL may read.
    pub allow_locations: Vec<String>,
    /// Whether it has no key for credentials.
    pub has_no_credential_key: bool,
}

impl TestServer {
    /// Starts a server on a free port with an empty warehouse; SQL may read `examples/` and `files()`.
    pub async fn start() -> TestServer {
        TestServer::start_with(ServerOptions::default()).await
    }

    /// Starts a server with options.
    pub async fn start_with(options: ServerOptions) -> TestServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder for files");
        TestServer::open(folder, options).await
    }

    async fn open(folder: TempDir, options: ServerOptions) -> TestServer {
        let files = folder.path().join("files");
        let config = EngineConfig {
            warehouse: folder
                .path()
                .join("warehouse")
                .to_string_lossy()
                .into_owned(),
            allow_locations: [examples(), root().join("tests/data"), files]
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .chain(options.allow_locations)
                .collect(),
            credential_key: (!options.has_no_credential_key)
                .then(|| SecretText(CREDENTIAL_KEY.to_owned())),
            memory_limit_bytes: options.memory_limit_bytes,
            threads: options.threads,
            extension: Some(Arc::new(PgCatalog::default())),
            ..EngineConfig::default()
        };
        let engine = Engine::open(config).await.expect("the warehouse opens");
        let server = Server::bind(Arc::clone(&engine), "127.0.0.1:0")
            .await
            .expect("a free port");
        TestServer {
            engine,
            handle: Some(server.start()),
            folder,
        }
    }

    /// Stops the server and starts another one over the same warehouse.
    pub async fn restart(mut self) -> TestServer {
        if let Some(handle) = self.handle.take() {
            handle.stop().await;
        }
        TestServer::open(self.folder, ServerOptions::default()).await
    }

    /// A folder that SQL may read, empty at the start.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// The warehouse's folder.
    pub fn warehouse(&self) -> PathBuf {
        self.folder.path().join("warehouse")
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.handle
            .as_ref()
            .expect("the server runs")
            .address()
            .port()
    }

    /// A new client.
    pub async fn client(&self) -> Client {
        let config = format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres",
            self.port()
        );
        let (client, connection) = tokio_postgres::connect(&config, NoTls)
            .await
            .expect("the server accepts");
        tokio::spawn(async move {
            // Ends with the client.
            let _ = connection.await;
        });
        client
    }
}

/// The server's binary, which lies beside the tests.
pub fn binary() -> PathBuf {
    let mut folder = std::env::current_exe().expect("tests run from a file");
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

/// The rows of a text of statements, as text; NULL is `NULL`.
pub async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, String> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|error| describe(&error))?;
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let cell = |idx| row.get(idx).unwrap_or("NULL").to_owned();
            rows.push((0..row.len()).map(cell).collect());
        }
    }
    Ok(rows)
}

/// An error as psql prints it, on several lines.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(error) = error.as_db_error() else {
        return error.to_string();
    };
    let mut text = format!("ERROR {}: {}", error.code().code(), error.message());
    if let Some(detail) = error.detail() {
        text.push_str(&format!("\nDETAIL: {detail}"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\nHINT: {hint}"));
    }
    text
}
