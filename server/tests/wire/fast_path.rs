//! Prepared predictions: planned once, and planned again when what they name has changed.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::{Fixture, rows};

async fn run(client: &Client, text: &str) {
    client
        .batch_execute(text)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error:?}"));
}

/// A table of y = 2 a + b, and a model of it.
async fn model(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    run(
        &client,
        "CREATE TABLE t AS SELECT value AS id, value % 7 * 1.0 AS a, value % 5 * 1.0 AS b,
             2.0 * (value % 7) + value % 5 AS y FROM generate_series(1, 200)",
    )
    .await;
    run(
        &client,
        "CREATE MODEL m USING linear_reg PREDICT y WITH (data_split_method = 'NO_SPLIT')
             AS SELECT a, b, y FROM t",
    )
    .await;
    client
}

fn is_near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 1e-6
}

#[tokio::test]
async fn a_prepared_prediction_answers_as_the_plain_one() {
    let fixture = Fixture::start().await;
    let client = model(&fixture).await;
    let types = [Type::FLOAT8, Type::FLOAT8];
    let one = client
        .prepare_typed("SELECT PREDICT(m USING $1, $2)", &types)
        .await
        .unwrap();
    let named = client
        .prepare_typed(
            "SELECT $1 + 1 AS a1, PREDICT(m USING $2 AS b, $1 AS a) AS p",
            &types,
        )
        .await
        .unwrap();
    let several = client
        .prepare_typed(
            "SELECT PREDICT(m USING a, b) AS p, a FROM (VALUES ($1, $2), ($2, $1), (1.5, 2)) v(a, b)",
            &types,
        )
        .await
        .unwrap();
    for (a, b) in [(1.0, 2.0), (3.5, -1.0), (0.0, 0.0)] {
        let row = client.query_one(&one, &[&a, &b]).await.unwrap();
        assert!(is_near(row.get(0), 2.0 * a + b));
        let row = client.query_one(&named, &[&a, &b]).await.unwrap();
        assert!(is_near(row.get("a1"), a + 1.0));
        assert!(is_near(row.get("p"), 2.0 * a + b));
        let rows = client.query(&several, &[&a, &b]).await.unwrap();
        let found: Vec<f64> = rows.iter().map(|row| row.get(0)).collect();
        let wanted = [2.0 * a + b, 2.0 * b + a, 5.0];
        assert!(
            found.iter().zip(wanted).all(|(f, w)| is_near(*f, w)),
            "{found:?}"
        );
        assert_eq!(rows.len(), 3);
    }
    // NULL is what the model makes of it, and told as ever.
    let none: Option<f64> = None;
    let row = client.query_one(&one, &[&none, &1.0]).await.unwrap();
    let plain = rows(&client, "SELECT PREDICT(m USING NULL, 1)").await;
    assert_eq!(row.get::<_, f64>(0).to_string(), plain[0]);
    let by_key = client
        .prepare("SELECT id, PREDICT(m USING *) FROM t WHERE id = $1")
        .await
        .unwrap();
    for id in [7_i32, 8, 199] {
        let row = client.query_one(&by_key, &[&id]).await.unwrap();
        let (a, b) = ((id % 7) as f64, (id % 5) as f64);
        assert!(is_near(row.get(1), 2.0 * a + b));
    }
}

#[tokio::test]
async fn a_prepared_prediction_follows_its_model() {
    let fixture = Fixture::start().await;
    let client = model(&fixture).await;
    let other = fixture.connect().await;
    let types = [Type::FLOAT8, Type::FLOAT8];
    let one = client
        .prepare_typed("SELECT PREDICT(m USING $1, $2)", &types)
        .await
        .unwrap();
    let ask = async || -> f64 { client.query_one(&one, &[&1.0, &1.0]).await.unwrap().get(0) };
    assert!(is_near(ask().await, 3.0));
    // A change of something else changes nothing.
    run(&other, "CREATE TABLE unrelated (x INT)").await;
    assert!(is_near(ask().await, 3.0));
    run(
        &other,
        "CREATE OR REPLACE MODEL m USING linear_reg PREDICT y WITH (data_split_method = 'NO_SPLIT')
             AS SELECT a, b, 10 * y AS y FROM t",
    )
    .await;
    assert!(is_near(ask().await, 30.0));
    assert!(is_near(ask().await, 30.0));
    run(&other, "DROP MODEL m").await;
    let error = client.query_one(&one, &[&1.0, &1.0]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42704");
    // Another model of the same name that answers with another type is refused, as PostgreSQL refuses it.
    run(
        &other,
        "CREATE MODEL m USING logistic_reg PREDICT y WITH (data_split_method = 'NO_SPLIT')
             AS SELECT a, b, CASE WHEN y > 7 THEN 'high' ELSE 'low' END AS y FROM t",
    )
    .await;
    let error = client.query_one(&one, &[&1.0, &1.0]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.message(), "cached plan must not change result type");
    // By these drivers know that they can prepare the statement again.
    assert_eq!(error.code().code(), "0A000");
    assert_eq!(error.routine(), Some("RevalidateCachedQuery"));
    assert_eq!(error.file(), Some("plancache.c"));
}

#[tokio::test]
async fn prepared_queries_follow_their_tables() {
    let fixture = Fixture::start().await;
    let client = model(&fixture).await;
    let other = fixture.connect().await;
    let query = client
        .prepare("SELECT a FROM t WHERE id = $1")
        .await
        .unwrap();
    let ask = async |id: i32| client.query(&query, &[&id]).await;
    assert_eq!(ask(7).await.unwrap().len(), 1);
    run(&other, "INSERT INTO t (id, a) VALUES (1000, 0.5)").await;
    assert_eq!(ask(1000).await.unwrap()[0].get::<_, f64>(0), 0.5);
    run(&other, "ALTER TABLE t ADD COLUMN c TEXT").await;
    assert_eq!(ask(7).await.unwrap().len(), 1);
    run(&other, "ALTER TABLE t RENAME COLUMN a TO renamed").await;
    assert_eq!(ask(7).await.unwrap_err().code().unwrap().code(), "42703");
    run(&other, "DROP TABLE t").await;
    assert_eq!(ask(7).await.unwrap_err().code().unwrap().code(), "42P01");
    run(
        &other,
        "CREATE TABLE t AS SELECT 7::int AS id, 9.5::float8 AS a",
    )
    .await;
    assert_eq!(ask(7).await.unwrap()[0].get::<_, f64>(0), 9.5);
}

#[tokio::test]
async fn what_may_change_is_computed_each_time() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let random = client.prepare("SELECT random(), $1::int").await.unwrap();
    let mut found: Vec<f64> = Vec::new();
    for _ in 0..3 {
        found.push(client.query_one(&random, &[&1_i32]).await.unwrap().get(0));
    }
    found.dedup();
    assert_eq!(found.len(), 3);
    let zero = client.prepare("SELECT 1 / $1::int").await.unwrap();
    let one: i32 = client.query_one(&zero, &[&1_i32]).await.unwrap().get(0);
    assert_eq!(one, 1);
    let error = client.query_one(&zero, &[&0_i32]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22012");
    let one: i32 = client.query_one(&zero, &[&1_i32]).await.unwrap().get(0);
    assert_eq!(one, 1);
}

#[tokio::test]
async fn prepared_queries_follow_search_path() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE SCHEMA s; CREATE TABLE t (a INT); CREATE TABLE s.t (a INT); \
             INSERT INTO t VALUES (1); INSERT INTO s.t VALUES (2)",
        )
        .await
        .unwrap();
    let query = client.prepare("SELECT a FROM t").await.unwrap();
    let read = async || {
        let row = client.query_one(&query, &[]).await.unwrap();
        row.get::<_, i32>(0)
    };
    assert_eq!(read().await, 1);
    client.batch_execute("SET search_path = s").await.unwrap();
    assert_eq!(read().await, 2);
    client.batch_execute("RESET search_path").await.unwrap();
    assert_eq!(read().await, 1);
}
