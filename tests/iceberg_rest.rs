//! Iceberg tables by a REST catalog: namespaces, snapshots, tokens, and a service that is not well.
//!
//! The service is `tests/python/iceberg_rest.py` over pyiceberg's SQL catalog, run by the Python that `AUSPEX_TEST_PYTHON` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use auspex_tests::{ServerProcess, describe, python, root, rows, run_python};
use serde_json::Value;
use tokio_postgres::Client;

const TOKEN: &str = "token = 'hush-token-of-tests'";
const CREDENTIAL: &str = "credential = 'reader:hush-secret-of-tests'";

/// A running REST catalog and the tables that it names.
struct RestCatalog {
    child: Child,
    uri: String,
    folder: PathBuf,
    /// The ids of snapshots.
    found: Value,
}

impl Drop for RestCatalog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RestCatalog {
    /// Makes tables in a folder and a service that names them; `None` where there is no Python to do it.
    fn start(folder: &Path) -> Option<RestCatalog> {
        let python = python()?;
        let made = run_python(&python, "iceberg_tables.py", &[folder.to_str().unwrap()]);
        let mut child = Command::new(python)
            .arg(root().join("tests/python/iceberg_rest.py"))
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        Some(RestCatalog {
            child,
            uri: format!("http://{}", address.trim()),
            folder: folder.to_owned(),
            found: serde_json::from_str(&made).unwrap(),
        })
    }

    fn create(&self, name: &str, options: &str) -> String {
        let uri = &self.uri;
        format!(
            "CREATE OR REPLACE CATALOG {name} TYPE iceberg WITH (type = 'rest', uri = '{uri}', {options})"
        )
    }

    /// What goes wrong from now on; `None` heals.
    fn set_fault(&self, fault: Option<&str>) {
        let file = self.folder.join("fault");
        match fault {
            Some(fault) => std::fs::write(file, fault).unwrap(),
            None => std::fs::remove_file(file).unwrap(),
        }
    }

    fn requests(&self) -> String {
        std::fs::read_to_string(self.folder.join("requests")).unwrap_or_default()
    }
}

async fn one(client: &Client, sql: &str) -> String {
    let found = rows(client, sql).await;
    let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let found: Vec<String> = found.iter().map(|row| row.join(" ")).collect();
    found.join("; ")
}

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

async fn error(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => panic!("{sql} must fail"),
        Err(error) => describe(&error),
    }
}

/// A folder with a server that may read it, and the catalog of its tables.
struct Fixture {
    _folder: tempfile::TempDir,
    rest: RestCatalog,
    server: ServerProcess,
    /// The server's audit log.
    audit: PathBuf,
}

fn fixture() -> Option<Fixture> {
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    std::fs::create_dir(&lake).unwrap();
    let rest = RestCatalog::start(&lake)?;
    let audit = folder.path().join("audit.json");
    let warehouse = folder.path().join("house");
    let flags = [
        "--allow-location",
        lake.to_str().unwrap(),
        "--audit-log",
        audit.to_str().unwrap(),
    ];
    let server = ServerProcess::start(warehouse.to_str().unwrap(), &flags, &[]);
    Some(Fixture {
        _folder: folder,
        rest,
        server,
        audit,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rest_catalog_names_its_tables() {
    let Some(f) = fixture() else { return };
    let client = f.server.client().await;
    let options = format!("warehouse = 'main', {TOKEN}");
    run(&client, &f.rest.create("lake", &options)).await;
    for (sql, expected) in [
        ("SELECT count(*), sum(id) FROM lake.sales.plain", "6 15"),
        ("SELECT sum(id) FROM lake.\"sales.eu\".orders", "6"),
        (
            "SELECT a, label FROM lake.sales.evolved WHERE a > 2",
            "3000000000 z",
        ),
        (
            "SELECT count(*) FROM lake.sales.deleted WHERE id < 100",
            "12",
        ),
        (
            "SELECT count(*) FROM lake.sales.plain TIMESTAMP AS OF now()",
            "6",
        ),
        (
            "SELECT count(*) FROM lake.sales.plain p JOIN lake.\"sales.eu\".orders o USING (id)",
            "3",
        ),
    ] {
        assert_eq!(one(&client, sql).await, expected, "{sql}");
    }
    for (k, count) in [(0, 2), (1, 4)] {
        let id = &f.rest.found[format!("plain_{k}")];
        let sql = format!("SELECT count(*) FROM lake.sales.plain VERSION AS OF {id}");
        assert_eq!(one(&client, &sql).await, count.to_string());
    }
    for absent in [
        "lake.sales.nothing",
        "lake.nowhere.plain",
        "lake.\"sales.us\".orders",
    ] {
        let absent = error(&client, &format!("SELECT * FROM {absent}")).await;
        assert!(absent.contains("ERROR 42P01"), "{absent}");
    }
    let past = "SELECT * FROM lake.sales.plain TIMESTAMP AS OF now() - interval '1 year'";
    assert!(error(&client, past).await.contains("ERROR 42704"));
    // What another engine commits is seen by the next statement; the prefix of the paths is the service's.
    let train =
        "CREATE MODEL m PREDICT price USING linear AS SELECT id, price FROM lake.sales.plain";
    run(&client, train).await;
    assert!(
        one(&client, "SELECT * FROM ml.lineage('m')")
            .await
            .contains("iceberg")
    );
    let path = "GET /v1/lakes/main/namespaces/sales%1Feu/tables/orders";
    assert!(f.rest.requests().contains(path), "{}", f.rest.requests());
    // The files lie within the locations of the engine, whatever the service says of them.
    let folder = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(folder.path().join("house").to_str().unwrap(), &[], &[]);
    let client = server.client().await;
    run(&client, &f.rest.create("lake", &options)).await;
    let refused = error(&client, "SELECT * FROM lake.sales.plain").await;
    assert!(
        refused.contains("ERROR 42501") && refused.contains("--allow-location"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rest_catalog_knows_who_asks() {
    let Some(f) = fixture() else { return };
    let client = f.server.client().await;
    let select = "SELECT count(*) FROM lake.sales.plain";
    for wrong in [
        "token = 'hush-wrong'",
        "credential = 'reader:hush-wrong'",
        "prefix = 'x'",
    ] {
        run(&client, &f.rest.create("lake", wrong)).await;
        let denied = error(&client, select).await;
        assert!(
            denied.contains("ERROR 42501") && denied.contains("\"lake\""),
            "{denied}"
        );
        assert!(
            denied.contains("401 Unauthorized") || denied.contains("no such client"),
            "{denied}"
        );
        assert!(denied.contains("CREATE OR REPLACE CATALOG"), "{denied}");
    }
    run(&client, &f.rest.create("lake", CREDENTIAL)).await;
    assert_eq!(one(&client, select).await, "6");
    // A token that came to its end is followed by another one.
    let n_given = || f.rest.requests().matches("POST /v1/oauth/tokens").count();
    let before = n_given();
    for _ in 0..2 {
        f.rest.set_fault(Some("expired"));
        assert_eq!(one(&client, select).await, "6");
    }
    assert_eq!(n_given(), before + 2);
    let other = format!("warehouse = 'other', {TOKEN}");
    run(&client, &f.rest.create("lake", &other)).await;
    let unknown = error(&client, select).await;
    assert!(
        unknown.contains("ERROR 58030") && unknown.contains("no warehouse other"),
        "{unknown}"
    );

    // Secrets are nowhere, neither ours nor those that the service hands out.
    let shown = one(&client, "SHOW CATALOGS").await;
    let audit = std::fs::read_to_string(&f.audit).unwrap();
    assert!(
        !shown.contains("hush") && !audit.contains("hush"),
        "{shown}\n{audit}"
    );
    assert!(audit.contains("***"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rest_catalog_that_is_not_well_is_told() {
    let Some(f) = fixture() else { return };
    let client = f.server.client().await;
    run(&client, &f.rest.create("lake", TOKEN)).await;
    let select = "SELECT count(*) FROM lake.sales.plain";
    // Before its configuration was read, and after.
    for _ in 0..2 {
        for (fault, said) in [
            ("500", "500 Internal Server Error"),
            ("503", "503 Service Unavailable"),
            ("half", ""),
            ("garbage", ""),
        ] {
            f.rest.set_fault(Some(fault));
            let failed = error(&client, select).await;
            assert!(failed.contains("ERROR 58030"), "{fault}: {failed}");
            assert!(
                failed.contains("\"lake\"") && failed.contains(said),
                "{fault}: {failed}"
            );
            assert!(!failed.contains("hush"), "{failed}");
            assert_eq!(one(&client, "SELECT 1").await, "1");
        }
        // Who waits for a service that never answers can stop waiting.
        f.rest.set_fault(Some("hangs"));
        run(&client, "SET statement_timeout = '300ms'").await;
        let stopped = error(&client, select).await;
        assert!(stopped.contains("ERROR 57014"), "{stopped}");
        run(&client, "RESET statement_timeout").await;
        f.rest.set_fault(None);
        assert_eq!(one(&client, select).await, "6");
    }
    // The port of a server that is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let create = f.rest.create("down", TOKEN);
    let create = create.replace(&f.rest.uri, &format!("http://{address}"));
    run(&client, &create).await;
    let down = error(&client, "SELECT * FROM down.sales.plain").await;
    assert!(
        down.contains("ERROR 58030") && down.contains("\"down\""),
        "{down}"
    );
    assert!(
        down.contains("onnection refused") && !down.contains("hush"),
        "{down}"
    );
}
