//! Tables that workers write: the rows, checks and errors of one machine, one commit, and nothing of a write that failed.

use std::time::Duration;

use auspex_tests::rows;
use tokio_postgres::Client;

use crate::machines::{Machines, SAMPLES, free_port};
use crate::watching::get;

/// A table of several files, so that several machines read it.
const PARTS: &str = "CREATE TABLE parts AS SELECT * FROM samples WHERE k = 'k0'; \
    INSERT INTO parts SELECT * FROM samples WHERE k = 'k1'; \
    INSERT INTO parts SELECT * FROM samples WHERE k = 'k2'; \
    INSERT INTO parts SELECT * FROM samples WHERE k IN ('k3', 'k4')";
const DIGEST: &str = "count(*), count(x2), round(sum(x1)::numeric, 3), min(y), max(x3), count(DISTINCT k), sum(c::int)";

async fn digest(client: &Client, table: &str) -> Vec<Vec<String>> {
    let query = format!("SELECT {DIGEST} FROM {table}");
    rows(client, &query).await.unwrap()
}

async fn place_of(client: &Client, insert: &str) -> String {
    let plan = rows(client, &format!("EXPLAIN {insert}")).await.unwrap();
    let plan = plan.concat().join("\n");
    let (_, place) = plan.split_once("place:").unwrap();
    place.to_owned()
}

async fn start() -> (Machines, Client) {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    client.batch_execute(PARTS).await.unwrap();
    (machines, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_write_tables_and_one_commit_shows_them() {
    let (_machines, client) = start().await;
    let expected = digest(&client, "samples").await;
    let create = "CREATE TABLE copied AS SELECT * FROM parts";
    client.batch_execute(create).await.unwrap();
    assert_eq!(digest(&client, "copied").await, expected);
    // It was created, and filled.
    let history = rows(&client, "DESCRIBE HISTORY copied").await.unwrap();
    assert_eq!(history.len(), 2, "{history:?}");

    let insert = "INSERT INTO filled (id, x) SELECT row_number() OVER (PARTITION BY k ORDER BY x3), x1 FROM parts";
    let declare = "CREATE TABLE filled (id bigint NOT NULL, x float8 CHECK (x < 100), \
                   word text DEFAULT 'none', twice float8 GENERATED ALWAYS AS (x * 2) STORED)";
    client.batch_execute(declare).await.unwrap();
    let place = place_of(&client, insert).await;
    assert!(place.contains("Stage 1"), "{place}");
    let (_, stages) = place.split_once("Stage").unwrap();
    let in_stage = stages.contains("WriteFilesExec: table=public.filled");
    assert!(in_stage, "{place}");
    client.batch_execute(insert).await.unwrap();
    let check = "SELECT count(*), count(DISTINCT word), bool_and(twice = x * 2), count(DISTINCT id) = max(id) FROM filled";
    let found = rows(&client, check).await.unwrap();
    assert_eq!(found, [["300000", "1", "t", "t"]]);
    let history = rows(&client, "DESCRIBE HISTORY filled").await.unwrap();
    assert_eq!(history.len(), 2, "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_refuses_is_refused_in_the_same_words() {
    let (_machines, client) = start().await;
    let declare = "CREATE TABLE strict (x2 float8 NOT NULL, x3 float8 CONSTRAINT small CHECK (x3 < 1008), \
                   word varchar(2), key float8 UNIQUE)";
    client.batch_execute(declare).await.unwrap();
    let inserts = [
        "INSERT INTO strict SELECT x2, 1, 'a', NULL FROM parts",
        "INSERT INTO strict SELECT 1, x3, 'a', NULL FROM parts",
        "INSERT INTO strict SELECT 1, 1, k || x1, NULL FROM parts",
        "INSERT INTO strict SELECT 1, 1, 'a', x3 FROM parts",
        "INSERT INTO strict SELECT 1, 1 / (x3 - x3)::int, 'a', NULL FROM parts",
    ];
    let told = |error: tokio_postgres::Error| {
        let error = error.as_db_error().unwrap().clone();
        let places = [error.table(), error.column(), error.constraint()];
        let places = places.map(|place| place.map(ToOwned::to_owned));
        (error.code().code().to_owned(), places)
    };
    let mut found = Vec::new();
    for insert in inserts {
        found.push(told(client.batch_execute(insert).await.unwrap_err()));
    }
    let left = rows(&client, "SELECT count(*) FROM strict").await.unwrap();
    assert_eq!(left, [["0"]]);
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    for (insert, found) in inserts.into_iter().zip(found) {
        let expected = told(client.batch_execute(insert).await.unwrap_err());
        assert_eq!(found, expected, "{insert}");
    }
    let failing = "CREATE TABLE never AS SELECT 1 / (x3 - x3)::int AS x FROM parts";
    let anywhere = "RESET min_distributed_size";
    client.batch_execute(anywhere).await.unwrap();
    client.batch_execute(failing).await.unwrap_err();
    client.batch_execute("TABLE never").await.unwrap_err();
}

/// What passes the coordinator: rows of a block, numbers of identity columns, `RETURNING`.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_must_pass_the_coordinator_do() {
    let (_machines, client) = start().await;
    let declare = "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY, x float8); \
                   CREATE TABLE plain (x float8)";
    client.batch_execute(declare).await.unwrap();
    let numbered = "INSERT INTO numbered (x) SELECT x1 FROM parts";
    let place = place_of(&client, numbered).await;
    assert!(place.contains("identity columns"), "{place}");
    client.batch_execute(numbered).await.unwrap();
    let check = "SELECT count(DISTINCT id), min(id), max(id) FROM numbered";
    let found = rows(&client, check).await.unwrap();
    assert_eq!(found, [["300000", "1", "300000"]]);
    let plain = "INSERT INTO plain SELECT x1 FROM parts";
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(plain).await.unwrap();
    client.batch_execute("ROLLBACK").await.unwrap();
    let found = rows(&client, "SELECT count(*) FROM plain").await.unwrap();
    assert_eq!(found, [["0"]]);
    let returning = format!("{plain} RETURNING x");
    let place = place_of(&client, &returning).await;
    assert!(place.contains("RETURNING"), "{place}");
}

/// A worker that is killed leaves files that no log names: the rows are there once, all of them.
#[tokio::test(flavor = "multi_thread")]
async fn killed_writers_leave_no_rows() {
    let (mut machines, client) = start().await;
    let expected = digest(&client, "samples").await;
    for round in 0..3_u64 {
        let other = machines.client().await;
        let create = format!(
            "CREATE TABLE round{round} AS SELECT a.* FROM parts a JOIN (SELECT DISTINCT k FROM parts) b ON a.k = b.k"
        );
        let running = tokio::spawn(async move { other.batch_execute(&create).await });
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        let victim = machines.n_started() - 1 - (round % 2) as usize;
        machines.worker(victim).kill().unwrap();
        let done = running.await.unwrap();
        done.unwrap_or_else(|error| panic!("round {round}: {error}; {}", machines.logs()));
        assert_eq!(digest(&client, &format!("round{round}")).await, expected);
        machines.replace_worker(victim);
        machines.wait_for_workers(&client, 2).await;
    }
}

async fn n_files(client: &Client, table: &str) -> u32 {
    let query = format!("SELECT num_files FROM table_detail('{table}')");
    let found = rows(client, &query).await.unwrap();
    found[0][0].parse().unwrap()
}

/// Materialized views, also when they are filled anew, and a file that is loaded: each machine writes files.
#[tokio::test(flavor = "multi_thread")]
async fn workers_write_views_and_load_files() {
    let (machines, client) = start().await;
    let expected = digest(&client, "samples").await;
    let path = machines.files().join("words.csv");
    let word = "word ".repeat(20);
    let lines = (0..100_000).map(|id| format!("{id},{word}{},2026-01-1{}\n", id % 13, id % 9));
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    let load = format!("COPY loaded FROM '{}' (FORMAT csv)", path.display());
    let declare = "CREATE TABLE loaded (id bigint NOT NULL, word text, day date); \
                   CREATE MATERIALIZED VIEW seen AS SELECT * FROM parts WHERE k <> 'k9'";
    client.batch_execute(declare).await.unwrap();
    assert_eq!(digest(&client, "seen").await, expected);
    let loaded = "SELECT count(*), sum(id), count(DISTINCT word), max(day) FROM loaded";
    let mut found = Vec::new();
    for size in ["'1TB'", "'0'"] {
        let place = format!("SET min_distributed_size = {size}");
        client.batch_execute(&place).await.unwrap();
        client.batch_execute("TRUNCATE loaded").await.unwrap();
        client.batch_execute(&load).await.unwrap();
        let sums = rows(&client, loaded).await.unwrap();
        assert_eq!(sums, [["100000", "4999950000", "13", "2026-01-18"]]);
        let refresh = "REFRESH MATERIALIZED VIEW seen";
        client.batch_execute(refresh).await.unwrap();
        assert_eq!(digest(&client, "seen").await, expected);
        found.push([
            n_files(&client, "loaded").await,
            n_files(&client, "seen").await,
        ]);
    }
    assert!(found[1][0] > found[0][0], "{found:?}");
    assert!(found[1][1] > found[0][1], "{found:?}");
    // The rows of before stay until the new ones are there.
    let emptied = "UPDATE parts SET k = 'k9'";
    client.batch_execute(emptied).await.unwrap();
    assert_eq!(digest(&client, "seen").await, expected);
    let refresh = "REFRESH MATERIALIZED VIEW seen";
    client.batch_execute(refresh).await.unwrap();
    let left = rows(&client, "SELECT count(*) FROM seen").await.unwrap();
    assert_eq!(left, [["0"]]);
}

/// Rows of a table in four files that take more than the files that are rewritten by one machine.
fn fill(table: &str) -> String {
    let declare = format!("CREATE TABLE {table} (id bigint, a text, b text, g bigint, l bigint[])");
    let inserts = (0..4).map(|part| {
        let (first, last) = (part * 80_000 + 1, (part + 1) * 80_000);
        format!(
            "INSERT INTO {table} SELECT value, md5(value::text), md5((value * 7)::text), value % 97, \
             ARRAY[value, value % 5] \
             FROM generate_series({first}, {last})"
        )
    });
    let statements = std::iter::once(declare).chain(inserts);
    statements.collect::<Vec<_>>().join("; ")
}

/// What stays of files whose rows change is copied by workers.
#[tokio::test(flavor = "multi_thread")]
async fn workers_copy_the_rows_that_stay() {
    let mut machines = Machines::start(1).await;
    let client = machines.client().await;
    let port = free_port();
    machines.add_worker_with(&["--http", &format!("127.0.0.1:{port}")]);
    machines.wait_for_workers(&client, 2).await;
    let n_tasks = || {
        let metrics = get(port, "/metrics");
        let name = "\nauspex_worker_tasks_started_total ";
        let (_, value) = metrics.split_once(name).unwrap();
        let value = value.lines().next().unwrap();
        value.parse::<u64>().unwrap()
    };
    let changes = |table: &str| {
        [
            format!("UPDATE {table} SET a = 'changed' WHERE id % 1000 = 7"),
            format!("DELETE FROM {table} WHERE g = 5 AND id % 3 = 0"),
            format!(
                "MERGE INTO {table} t USING (SELECT value AS k FROM generate_series(11, 400000, 4999)) s \
                 ON t.id = s.k WHEN MATCHED THEN UPDATE SET b = 'merged' \
                 WHEN NOT MATCHED THEN INSERT (id, a, b, g) VALUES (s.k, 'new', 'new', 0)"
            ),
        ]
    };
    let mut found = Vec::new();
    for (table, size) in [("near", "'1TB'"), ("far", "'0'")] {
        client.batch_execute(&fill(table)).await.unwrap();
        let place = format!("SET min_distributed_size = {size}");
        let mut sums = Vec::new();
        for change in changes(table) {
            client.batch_execute(&place).await.unwrap();
            let before = n_tasks();
            client.batch_execute(&change).await.unwrap();
            assert_eq!(n_tasks() > before, table == "far", "{change}");
            let query = format!(
                "SELECT count(*), count(DISTINCT a), count(DISTINCT b), sum(id), sum(g), min(a), max(b), \
                 sum(l[1] * g), sum(cardinality(l)) FROM {table}"
            );
            sums.push(rows(&client, &query).await.unwrap());
        }
        found.push(sums);
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[1][0][0][0], "320000");
}
