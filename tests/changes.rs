//! Changes of rows from several clients and servers at once, with parameters, over restarts.

use auspex_tests::{TestServer, describe, rows};
use tokio_postgres::Client;

async fn one(client: &Client, sql: &str) -> String {
    rows(client, sql).await.unwrap()[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_take_parameters() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let create = "CREATE TABLE t (id BIGINT NOT NULL, name TEXT, price DOUBLE DEFAULT 1, day DATE)";
    client.batch_execute(create).await.unwrap();
    let insert = client
        .prepare("INSERT INTO t (id, name) VALUES ($1, $2)")
        .await
        .unwrap();
    let select = client.prepare("SELECT count(*) FROM t").await.unwrap();
    for id in 0..5_i64 {
        let name = format!("n{id}");
        assert_eq!(client.execute(&insert, &[&id, &name]).await.unwrap(), 1);
        // A prepared query sees the rows of now.
        let counted: i64 = client.query_one(&select, &[]).await.unwrap().get(0);
        assert_eq!(counted, id + 1);
    }
    let update = "UPDATE t SET price = price + $1, name = $2 WHERE id >= $3";
    let changed = client
        .execute(update, &[&2.5_f64, &"x", &3_i64])
        .await
        .unwrap();
    assert_eq!(changed, 2);
    assert_eq!(
        one(&client, "SELECT sum(price) FROM t WHERE name = 'x'").await,
        "7"
    );
    let deleted = client
        .execute("DELETE FROM t WHERE id = $1", &[&0_i64])
        .await
        .unwrap();
    assert_eq!(deleted, 1);
    let merge = "MERGE INTO t USING (SELECT $1::bigint AS id, $2::text AS name) s ON t.id = s.id \
                 WHEN MATCHED THEN UPDATE SET name = s.name \
                 WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)";
    for (id, name) in [(1_i64, "merged"), (9, "added")] {
        assert_eq!(client.execute(merge, &[&id, &name]).await.unwrap(), 1);
    }
    assert_eq!(
        one(&client, "SELECT name FROM t WHERE id = 1").await,
        "merged"
    );
    assert_eq!(one(&client, "SELECT count(*) FROM t").await, "5");
    // A definition that changed since a statement was prepared.
    client
        .batch_execute("ALTER TABLE t ADD COLUMN more INT DEFAULT 4")
        .await
        .unwrap();
    assert_eq!(
        client.execute(&insert, &[&10_i64, &"late"]).await.unwrap(),
        1
    );
    assert_eq!(one(&client, "SELECT more FROM t WHERE id = 10").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_many_clients_lose_no_step() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let create = "CREATE TABLE counter (n BIGINT); INSERT INTO counter VALUES (0); \
                  CREATE TABLE log (who BIGINT)";
    client.batch_execute(create).await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for who in 0..4 {
        let client = server.client().await;
        clients.spawn(async move {
            for _ in 0..5 {
                let step = format!("UPDATE counter SET n = n + 1; INSERT INTO log VALUES ({who})");
                client
                    .batch_execute(&step)
                    .await
                    .map_err(|error| describe(&error))?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(one(&client, "SELECT n FROM counter").await, "20");
    assert_eq!(one(&client, "SELECT count(*) FROM log").await, "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_and_versions_survive_a_restart() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let create = "CREATE TABLE t (id BIGINT NOT NULL, age INT DEFAULT 7 CHECK (age > 0), \
                  twice INT GENERATED ALWAYS AS (age * 2) STORED) PARTITIONED BY (id); \
                  INSERT INTO t (id) VALUES (1), (2); UPDATE t SET age = 3 WHERE id = 1; \
                  ALTER TABLE t RENAME COLUMN age TO years";
    client.batch_execute(create).await.unwrap();
    drop(client);
    let server = server.restart().await;
    let client = server.client().await;
    let shown = rows(&client, "SELECT id, years, twice FROM t ORDER BY id")
        .await
        .unwrap();
    assert_eq!(shown, [["1", "3", "6"], ["2", "7", "14"]]);
    let old = rows(&client, "SELECT age FROM t VERSION AS OF 1 ORDER BY age")
        .await
        .unwrap();
    assert_eq!(old, [["7"], ["7"]]);
    let error = rows(&client, "INSERT INTO t (id, years) VALUES (3, -1)")
        .await
        .unwrap_err();
    assert!(error.contains("23514"), "{error}");
    client
        .batch_execute("INSERT INTO t (id) VALUES (3)")
        .await
        .unwrap();
    assert_eq!(one(&client, "SELECT twice FROM t WHERE id = 3").await, "14");
}

/// A row of literals for all columns but the last.
fn literals(n: usize) -> String {
    if n.is_multiple_of(10) {
        return format!(
            "({n}, NULL, -{n}, '{n}.5', '-{n}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
        );
    }
    let (day, second, is_odd) = (n % 28 + 1, n % 60, !n.is_multiple_of(2));
    format!(
        "({n}, -{n}, '{n}', {n}e-3, 0.{n}, -{n}.5, 'it''s {n}', E'a\\t   ', '2026-01-{day:02}', \
         '2026-01-31 12:00:{second:02}.{n}', {is_odd}, '{{\"a\": {n}}}', \
         '0000000A-0000-0000-0000-{n:012}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_literals_mean_what_few_do() {
    let server = TestServer::start().await;
    let client = server.client().await;
    for table in ["many", "few"] {
        let create = format!(
            "CREATE TABLE {table} (id BIGINT, n INT, s SMALLINT, f DOUBLE PRECISION, r REAL, d NUMERIC(8, 2), t TEXT, \
             v VARCHAR(3), day DATE, at TIMESTAMP, b BOOLEAN, j JSONB, u UUID, e INT DEFAULT 7)"
        );
        client.batch_execute(&create).await.unwrap();
    }
    let all: Vec<String> = (1..=150).map(literals).collect();
    for (table, n_rows) in [("many", all.len()), ("few", 30)] {
        for some in all.chunks(n_rows) {
            let columns = "id, n, s, f, r, d, t, v, day, at, b, j, u";
            let insert = format!("INSERT INTO {table} ({columns}) VALUES {}", some.join(", "));
            client.batch_execute(&insert).await.unwrap();
        }
    }
    let of = |table: &str| format!("SELECT * FROM {table} ORDER BY id");
    let few = rows(&client, &of("few")).await.unwrap();
    assert_eq!(rows(&client, &of("many")).await.unwrap(), few);
    for (column, value) in [
        ("n", "3000000000"),
        ("s", "'x'"),
        ("d", "1234567"),
        ("v", "'abcd'"),
        ("day", "'2026-02-30'"),
        ("j", "'{'"),
        ("u", "'x'"),
        ("b", "5"),
    ] {
        let row = |n: usize| match n {
            60 => format!("({n}, {value})"),
            n => format!("({n}, NULL)"),
        };
        let many: Vec<String> = (1..=120).map(row).collect();
        let many = format!("INSERT INTO many (id, {column}) VALUES {}", many.join(", "));
        let few = format!("INSERT INTO few (id, {column}) VALUES (60, {value})");
        let many = rows(&client, &many).await.unwrap_err();
        let few = rows(&client, &few).await.unwrap_err();
        assert_eq!(many, few, "{column} {value}");
    }
    assert_eq!(one(&client, "SELECT count(*) FROM many").await, "150");
}
