//! Tables are exchanged with other systems: what Auspex writes, they read, and the other way round.

use auspex_tests::{TestServer, python, rows, run_python};
use tokio_postgres::Client;

/// The folder of the only managed table.
fn table_folder(server: &TestServer) -> String {
    let mut tables = std::fs::read_dir(server.warehouse().join("tables")).unwrap();
    let folder = tables.next().unwrap().unwrap().path();
    assert!(tables.next().is_none(), "one table");
    folder.to_string_lossy().into_owned()
}

async fn explain(client: &Client, query: &str) -> String {
    let plan = rows(client, &format!("EXPLAIN {query}")).await.unwrap();
    plan.concat().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn deltalake_and_duckdb_read_managed_tables() {
    let Some(python) = python() else { return };
    let server = TestServer::start().await;
    let client = server.client().await;
    let statements = "CREATE TABLE t (id BIGINT NOT NULL, name TEXT, x REAL, day DATE, at TIMESTAMP);
         INSERT INTO t VALUES (1, 'one', 1.5, DATE '2026-01-01', TIMESTAMP '2026-01-01 10:00:00'), (2, NULL, NULL, NULL, NULL);
         INSERT INTO t SELECT value, 'n' || value, value, NULL, NULL FROM generate_series(3, 100) AS g(value)";
    client.batch_execute(statements).await.unwrap();
    let told = run_python(&python, "delta.py", &["read", &table_folder(&server)]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "deltalake 100 2 5050");
    assert!(
        lines[1].starts_with("columns id:int64,name:string,x:float,day:date32"),
        "{told}"
    );
    assert_eq!(lines[2], "duckdb 100 5050");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_deltalake_are_read() {
    let Some(python) = python() else { return };
    let server = TestServer::start().await;
    let client = server.client().await;
    let folder = server.files().join("theirs");
    let folder = folder.to_string_lossy();
    run_python(&python, "delta.py", &["write", &folder]);
    let create = format!("CREATE EXTERNAL TABLE theirs STORED AS DELTA LOCATION '{folder}'");
    client.batch_execute(&create).await.unwrap();
    for from in ["theirs".to_owned(), format!("read_delta('{folder}')")] {
        let query = format!("SELECT count(*), sum(id), count(amount) FROM {from}");
        assert_eq!(
            rows(&client, &query).await.unwrap(),
            [["90", "4005", "72"]],
            "{from}"
        );
    }
    let changed = "SELECT count(*) FROM theirs WHERE note = 'changed' AND region = 'north'";
    assert_eq!(rows(&client, changed).await.unwrap(), [["5"]]);
    for before in [
        format!("SELECT count(*) FROM read_delta('{folder}', version => 1)"),
        "SELECT count(*) FROM theirs VERSION AS OF 1".to_owned(),
    ] {
        assert_eq!(rows(&client, &before).await.unwrap(), [["100"]], "{before}");
    }
    let error = rows(&client, "SELECT * FROM theirs VERSION AS OF 9").await;
    let error = error.unwrap_err();
    assert!(
        error.contains("42704") && error.contains("Versions 0"),
        "{error}"
    );
    let error = rows(&client, "SELECT * FROM theirs TIMESTAMP AS OF '2001-01-01'").await;
    assert!(error.unwrap_err().contains("Versions 0"));
    // Planned as a managed table is: files are left out by partition and bounds, columns by name, and what the log
    // counts is not read.
    let plan = explain(
        &client,
        "SELECT id FROM theirs WHERE region = 'south' AND id > 60",
    );
    let plan = plan.await;
    assert!(plan.contains("file_type=parquet") && plan.contains("projection=[id]"));
    assert!(
        plan.contains("region=south") && !plan.contains("region=north"),
        "{plan}"
    );
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    let counted = "SELECT count(*), min(id), max(id) FROM theirs VERSION AS OF 1";
    let plan = explain(&client, counted).await;
    assert!(!plan.contains(".parquet"), "{plan}");
    assert_eq!(rows(&client, counted).await.unwrap(), [["100", "0", "99"]]);
}
