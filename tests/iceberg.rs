//! Iceberg tables that another engine wrote: their deletes, evolution, partitions and snapshots, as files and by a catalog.
//!
//! The tables are made by pyiceberg (`tests/python/iceberg_tables.py`), run by the Python that `AUSPEX_TEST_PYTHON` names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::path::Path;

use auspex_tests::{TestServer, describe, python, rows, run_python};
use serde_json::Value;
use tokio_postgres::Client;

/// Makes the tables in a folder; `None` where there is no Python to do it.
fn tables(folder: &Path) -> Option<Value> {
    let folder = folder.to_string_lossy();
    let made = run_python(&python()?, "iceberg_tables.py", &[&folder]);
    Some(serde_json::from_str(&made).unwrap())
}

async fn one(client: &Client, sql: &str) -> String {
    let found = rows(client, sql).await;
    let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
    found
        .iter()
        .map(|row| row.join(" "))
        .collect::<Vec<_>>()
        .join("; ")
}

async fn error(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => panic!("{sql} must fail"),
        Err(error) => describe(&error),
    }
}

#[allow(clippy::too_many_lines, reason = "one walk over what the tables hold")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_of_another_engine_are_read() {
    let server = TestServer::start().await;
    let Some(found) = tables(&server.files()) else {
        return;
    };
    let client = server.client().await;
    let table = |name: &str| format!("read_iceberg('house/sales/{name}')");
    let id = |name: &str| found[name].as_i64().unwrap();

    // As files: by the function, by the folder's name, and by an external table.
    let sums =
        "SELECT count(*), sum(id), round(sum(price) * 10), count(name), max(day), max(\"at\")";
    let all = "6 15 75 3 2026-01-03 2026-01-01 02:00:00";
    assert_eq!(
        one(&client, &format!("{sums} FROM {}", table("plain"))).await,
        all
    );
    assert_eq!(
        one(&client, &format!("{sums} FROM 'house/sales/plain'")).await,
        all
    );
    let create = "CREATE EXTERNAL TABLE plain STORED AS ICEBERG LOCATION 'house/sales/plain'";
    client.batch_execute(create).await.unwrap();
    assert_eq!(one(&client, &format!("{sums} FROM plain")).await, all);
    assert_eq!(one(&client, "SELECT count(*) FROM plain").await, "6");
    assert_eq!(
        one(&client, "SELECT name FROM plain WHERE id = 4").await,
        "a2"
    );

    // Time travel, also to a table that had no rows yet.
    for (k, count) in [(0, 2), (1, 4), (2, 6)] {
        let id = id(&format!("plain_{k}"));
        let sql =
            format!("SELECT count(*) FROM read_iceberg('house/sales/plain', snapshot_id => {id})");
        assert_eq!(one(&client, &sql).await, count.to_string());
    }
    let metadata = found["empty_metadata"].as_str().unwrap();
    assert_eq!(
        one(
            &client,
            &format!("SELECT count(*) FROM read_iceberg('{metadata}')")
        )
        .await,
        "0"
    );
    let future =
        "SELECT count(*) FROM read_iceberg('house/sales/plain', timestamp => '2200-01-01')";
    assert_eq!(one(&client, future).await, "6");
    let past = "SELECT count(*) FROM read_iceberg('house/sales/plain', timestamp => '2001-01-01')";
    assert!(error(&client, past).await.contains("42704"));
    let unknown = "SELECT count(*) FROM read_iceberg('house/sales/plain', snapshot_id => 1)";
    let text = error(&client, unknown).await;
    assert!(
        text.contains("snapshot 1 of the table") && text.contains(&id("plain_2").to_string()),
        "{text}"
    );

    // Hidden partitions, whose specification changed.
    let sql = format!(
        "SELECT count(*), sum(id) FROM {} WHERE region = 'north' AND \"at\" < '2026-01-02'",
        table("partitioned")
    );
    assert_eq!(one(&client, &sql).await, "4 48");

    // Of a column that was dropped since.
    for (filter, found) in [
        ("id > 2", "3 12"),
        ("id = 1", "1 1"),
        ("id IS NULL", "0 NULL"),
    ] {
        let from = table("departed");
        let sql = format!("SELECT count(*), sum(id) FROM {from} WHERE {filter}");
        assert_eq!(one(&client, &sql).await, found, "{filter}");
    }

    // Partitions whose values have a meaning in URLs.
    let sql = format!("SELECT count(*), sum(id), min(s) FROM {}", table("strange"));
    assert_eq!(one(&client, &sql).await, "9 36 100%");
    let sql = format!("SELECT id FROM {} WHERE s = 'a/b'", table("strange"));
    assert_eq!(one(&client, &sql).await, "1");

    // An external table has versions, a history and a state.
    let (old, newest) = (id("plain_0"), id("plain_2"));
    let sql = format!("SELECT count(*) FROM plain VERSION AS OF {old}");
    assert_eq!(one(&client, &sql).await, "2");
    let sql = "SELECT count(*) FROM plain TIMESTAMP AS OF '2200-01-01'";
    assert_eq!(one(&client, sql).await, "6");
    let unknown = error(&client, "SELECT * FROM plain VERSION AS OF 1").await;
    assert!(unknown.contains("42704"), "{unknown}");
    let sql = "SELECT count(*), min(operation), sum(files_added) FROM table_history('plain')";
    assert_eq!(one(&client, sql).await, "3 APPEND 3");
    let sql = "SELECT format, version, num_rows, num_files FROM table_detail('plain')";
    assert_eq!(one(&client, sql).await, format!("iceberg {newest} 6 3"));
    let changes = error(&client, "SELECT * FROM table_changes('plain', 1)").await;
    assert!(changes.contains("42809"), "{changes}");

    // Columns are known by their ids: renamed, widened, dropped and made again under the name of another.
    let sql = format!("SELECT a, label, c, b FROM {} ORDER BY a", table("evolved"));
    assert_eq!(
        one(&client, &sql).await,
        "1 x NULL NULL; 2 y NULL NULL; 3000000000 z 0.5 new"
    );
    let sql = format!("SELECT label FROM {} WHERE c > 0.1", table("evolved"));
    assert_eq!(one(&client, &sql).await, "z");
    // The bounds of a file that was written before a column was widened are of the narrower type.
    for (filter, expected) in [("a < 3", "x; y"), ("a >= 2", "y; z"), ("a IN (1)", "x")] {
        let sql = format!(
            "SELECT label FROM {} WHERE {filter} ORDER BY a",
            table("evolved")
        );
        assert_eq!(one(&client, &sql).await, expected, "{filter}");
    }
    let sql = format!(
        "SELECT a, b, c FROM read_iceberg('house/sales/evolved', snapshot_id => {}) ORDER BY a",
        id("evolved_0")
    );
    assert_eq!(one(&client, &sql).await, "1 x old; 2 y old");
    let metadata = found["evolved_metadata"].as_str().unwrap();
    let sql = format!("SELECT a, label, c, b FROM read_iceberg('{metadata}') WHERE a > 1");
    assert_eq!(one(&client, &sql).await, "2 y NULL NULL");
    // A snapshot that is named has its own columns, though it be the newest.
    let sql = format!(
        "SELECT a, b, c FROM read_iceberg('{metadata}', snapshot_id => {}) ORDER BY a",
        id("evolved_0")
    );
    assert_eq!(one(&client, &sql).await, "1 x old; 2 y old");
    let sql = format!("SELECT a, extra FROM {} ORDER BY a", table("widened"));
    assert_eq!(one(&client, &sql).await, "1 NULL; 2 NULL; 3 e");

    // Deletes by position and by value.
    let count = |id: i64| {
        format!(
            "SELECT count(*), sum(id) FROM read_iceberg('house/sales/deleted', snapshot_id => {id})"
        )
    };
    assert_eq!(one(&client, &count(id("deleted_0"))).await, "20 190");
    assert_eq!(one(&client, &count(id("deleted_1"))).await, "18 186");
    let sql = format!("SELECT id FROM {} ORDER BY id", table("deleted"));
    let expected: Vec<String> = (0..20)
        .filter(|i| ![0, 4].contains(i) && i % 3 != 1)
        .chain([100])
        .map(|i| i.to_string())
        .collect();
    assert_eq!(one(&client, &sql).await, expected.join("; "));
    let sql = format!("SELECT count(*) FROM {}", table("deleted"));
    assert_eq!(one(&client, &sql).await, expected.len().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equality_deletes_know_null() {
    let server = TestServer::start().await;
    let Some(found) = tables(&server.files()) else {
        return;
    };
    let client = server.client().await;
    // By `k = a`, by `k = NULL`, by pairs of values of which one is NULL, by either zero, and by NaN.
    for (name, left) in [
        ("nulls_a", [1, 2, 4, 5].as_slice()),
        ("nulls_null", &[0, 1, 3, 4]),
        ("nulls_both", &[0, 1, 2, 3]),
        ("nulls_zero", &[2, 3, 4, 5]),
        ("nulls_nan", &[0, 1, 3, 4, 5]),
    ] {
        let id = found[name].as_i64().unwrap();
        let table = format!("read_iceberg('house/sales/nulls', snapshot_id => {id})");
        let shown: Vec<String> = left.iter().map(ToString::to_string).collect();
        let sql = format!("SELECT id FROM {table} ORDER BY id");
        assert_eq!(one(&client, &sql).await, shown.join("; "), "{name}");
        // Columns by which rows are deleted need not be asked for, nor any column.
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(one(&client, &sql).await, left.len().to_string(), "{name}");
        let sql = format!("SELECT old, k, id FROM {table} WHERE id = 1");
        let expected = if left.contains(&1) { "o b 1" } else { "" };
        assert_eq!(one(&client, &sql).await, expected, "{name}");
    }
    let table = format!(
        "read_iceberg('house/sales/nulls', snapshot_id => {})",
        found["nulls_a"].as_i64().unwrap()
    );
    for (filter, left) in [
        ("k IS NULL", "2; 5"),
        ("k <> 'a'", "1; 4"),
        ("k = 'a'", ""),
        ("x >= 2", "2; 5"),
        ("x = 0", "1"),
    ] {
        let sql = format!("SELECT id FROM {table} WHERE {filter} ORDER BY id");
        assert_eq!(one(&client, &sql).await, left, "{filter}");
    }
    // A column by which rows were deleted, and which was dropped then.
    let sql = "SELECT * FROM read_iceberg('house/sales/nulls') ORDER BY id";
    let left = "0 a 0; 1 b -0; 2 NULL NaN; 3 a 1; 4 b NULL";
    assert_eq!(one(&client, sql).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fields_within_columns_are_known_by_their_ids() {
    let server = TestServer::start().await;
    if tables(&server.files()).is_none() {
        return;
    }
    let client = server.client().await;
    let fields = |x: &str| {
        format!("id, s['{x}'], s['y'], l[1]['{x}'], l[1]['y'], m['k']['{x}'], m['k']['y']")
    };
    // Fields were added: without a delete, so that only the map needs the library.
    let sql = format!(
        "SELECT {} FROM read_iceberg('house/sales/grown') ORDER BY id",
        fields("x")
    );
    let rows = "1 10 NULL 11 NULL 12 NULL; 2 NULL NULL NULL NULL NULL NULL; \
                3 20 a 21 b 22 c; 4 NULL NULL NULL NULL NULL NULL";
    assert_eq!(one(&client, &sql).await, rows);
    let sql = "SELECT id FROM read_iceberg('house/sales/grown') WHERE s IS NULL ORDER BY id";
    assert_eq!(one(&client, sql).await, "2; 4");
    // They were renamed and widened too, there is a new list, and a row was deleted.
    let sql = format!(
        "SELECT {}, tags[1] FROM read_iceberg('house/sales/nested') ORDER BY id",
        fields("xx")
    );
    let rows = "1 10 NULL 11 NULL 12 NULL NULL; 2 NULL NULL NULL NULL NULL NULL NULL; \
                3 20 a 21 b 22 c t";
    assert_eq!(one(&client, &sql).await, rows);
    let sql = "SELECT count(*), sum(cardinality(l)), sum(cardinality(m)) \
               FROM read_iceberg('house/sales/nested')";
    assert_eq!(one(&client, sql).await, "3 3 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_are_bytes_whoever_reads_the_file() {
    let server = TestServer::start().await;
    if tables(&server.files()).is_none() {
        return;
    }
    let client = server.client().await;
    let from = "FROM read_iceberg('house/sales/raw')";
    let sql = format!("SELECT id, b, f, name, l[1], late, late_f, late_t {from} ORDER BY id");
    let rows = "1 \\xa2f5 \\x616263 x \\x01 NULL NULL NULL; 2 NULL NULL y NULL NULL NULL NULL; \
                3 \\xa2f5 \\x616263 x \\x01 \\x6e6577 \\x0708 10:00:00; 4 NULL NULL y NULL NULL NULL NULL";
    assert_eq!(one(&client, &sql).await, rows);
    for (filter, ids) in [
        ("b = '\\xa2f5'", "1; 3"),
        ("f >= '\\x61'", "1; 3"),
        ("late = '\\x6e6577'", "3"),
        ("late IS NULL", "1; 2; 4"),
        ("late_f IS NOT NULL", "3"),
        ("late_t = '10:00'", "3"),
    ] {
        let sql = format!("SELECT id {from} WHERE {filter} ORDER BY id");
        assert_eq!(one(&client, &sql).await, ids, "{filter}");
    }
    // Columns of which a file has none alone, and no column at all.
    let sql = format!("SELECT count(late), count(*) {from}");
    assert_eq!(one(&client, &sql).await, "1 4");
    assert_eq!(one(&client, &format!("SELECT count(*) {from}")).await, "4");
    assert_eq!(
        one(&client, &format!("SELECT late {from} WHERE id < 3")).await,
        "NULL; NULL"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_that_files_spell_otherwise_are_read() {
    let server = TestServer::start().await;
    if tables(&server.files()).is_none() {
        return;
    }
    let client = server.client().await;
    let columns = "\"sp ace\", \"a-b\", \"a.b\", \"1st\", \"größe\", \"数\"";
    let from = "FROM read_iceberg('house/sales/spelled')";
    let sql = format!("SELECT {columns}, s['x y'] {from} ORDER BY 1");
    assert_eq!(
        one(&client, &sql).await,
        "0 10 20 30 40 50 7; 1 11 21 31 41 51 NULL"
    );
    for (i, column) in columns.split(", ").enumerate() {
        let sql = format!("SELECT count(*), max({column}) {from} WHERE {column} = {i}1");
        assert_eq!(
            one(&client, &sql).await,
            format!("1 {}", 10 * i + 1),
            "{column}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_catalog_names_its_tables() {
    let server = TestServer::start().await;
    let Some(found) = tables(&server.files()) else {
        return;
    };
    let client = server.client().await;
    let database = server.files().join("catalog.db");
    let create = |uri: &str| {
        format!(
            "CREATE OR REPLACE CATALOG lake TYPE iceberg WITH (type = 'sql', uri = 'sqlite://{uri}')"
        )
    };
    client
        .batch_execute(&create(database.to_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        one(&client, "SELECT count(*) FROM lake.sales.plain").await,
        "6"
    );
    for (k, count) in [(0, 2), (1, 4)] {
        let id = found[format!("plain_{k}")].as_i64().unwrap();
        let sql = format!("SELECT count(*) FROM lake.sales.plain VERSION AS OF {id}");
        assert_eq!(one(&client, &sql).await, count.to_string());
    }
    // Its history tells the ids.
    let sql = "SELECT version, operation FROM table_history('lake.sales.plain') ORDER BY timestamp";
    let ids = [0, 1, 2].map(|k| format!("{} APPEND", found[format!("plain_{k}")]));
    assert_eq!(one(&client, sql).await, ids.join("; "));
    let described = one(&client, "DESCRIBE HISTORY lake.sales.plain").await;
    assert_eq!(described.split("; ").count(), 3, "{described}");
    let sql = "SELECT name, format, num_rows FROM table_detail('lake.sales.plain')";
    assert_eq!(one(&client, sql).await, "lake.sales.plain iceberg 6");
    let absent = error(&client, "DESCRIBE HISTORY lake.sales.nothing").await;
    assert!(absent.contains("42P01"), "{absent}");
    let sql = "SELECT count(*) FROM lake.sales.plain TIMESTAMP AS OF now()";
    assert_eq!(one(&client, sql).await, "6");
    let past = "SELECT count(*) FROM lake.sales.plain TIMESTAMP AS OF now() - interval '1 year'";
    let past = error(&client, past).await;
    assert!(past.contains("42704"), "{past}");
    let join = "SELECT count(*) FROM lake.sales.plain p JOIN lake.sales.deleted d ON p.id = d.id";
    assert_eq!(one(&client, join).await, "3");
    let absent = error(&client, "SELECT * FROM lake.sales.nothing").await;
    assert!(absent.contains("42P01"), "{absent}");
    let train =
        "CREATE MODEL m PREDICT price USING linear AS SELECT id, price FROM lake.sales.plain";
    client.batch_execute(train).await.unwrap();
    let lineage = one(&client, "SELECT * FROM ml.lineage('m')").await;
    assert!(lineage.contains("iceberg"), "{lineage}");
    // The snapshot that it read is read again.
    let again = "TRAIN MODEL m ON SNAPSHOT OF m@1";
    client.batch_execute(again).await.unwrap();
    let read = "SELECT count(*), count(DISTINCT table_version) FROM ml.lineage('m')";
    assert_eq!(one(&client, read).await, "2 1");
    let described = one(&client, "DESCRIBE lake.sales.plain").await;
    assert!(described.starts_with("id bigint"), "{described}");
    // A database outside the locations is not opened, nor files that a table names outside.
    client.batch_execute(&create("/etc/passwd")).await.unwrap();
    let refused = error(&client, "SELECT * FROM lake.sales.plain").await;
    assert!(refused.contains("42501"), "{refused}");
    client.batch_execute("DROP CATALOG lake").await.unwrap();
    let gone = error(&client, "SELECT * FROM lake.sales.plain").await;
    assert!(gone.contains("42P01") || gone.contains("3F000"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn metadata_that_lies_leads_nowhere() {
    let server = TestServer::start().await;
    let Some(found) = tables(&server.files()) else {
        return;
    };
    let client = server.client().await;
    let metadata = found["evolved_metadata"].as_str().unwrap();
    let path = metadata.strip_prefix("file://").unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let folder = server.files().to_string_lossy().into_owned();
    let select = format!("SELECT * FROM read_iceberg('{metadata}')");
    std::fs::write(path, text.replace(&folder, "/etc/secret")).unwrap();
    let refused = error(&client, &select).await;
    assert!(refused.contains("42501"), "{refused}");
    std::fs::write(path, &text[..text.len() / 2]).unwrap();
    let torn = error(&client, &select).await;
    assert!(
        torn.contains("XX001") && torn.contains("Iceberg table"),
        "{torn}"
    );
    assert_eq!(one(&client, "SELECT 1").await, "1");
}
