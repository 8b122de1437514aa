//! Statements: several in one text, errors and their places, notices, cancelling, portals.

use std::time::{Duration, Instant};

use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::{Fixture, error_of, examples, rows};

/// Runs for minutes, giving no rows meanwhile.
const SLOW: &str = "SELECT count(*) FROM generate_series(1, 1000000000000) WHERE value % 7 = 3";

#[tokio::test]
async fn a_text_of_several_statements_stops_at_the_first_error() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    assert_eq!(
        rows(&client, "SELECT 1; SELECT 'two', 2 ;").await,
        ["1", "two|2"]
    );
    client
        .simple_query("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let text = "INSERT INTO t VALUES (2); SELECT missing FROM t; INSERT INTO t VALUES (3)";
    let error = error_of(&client, text).await;
    assert_eq!(error.code().code(), "42703");
    // Its changes are of one table, so that none of them stays.
    assert_eq!(rows(&client, "SELECT a FROM t").await, ["1"]);
    // A text that cannot be parsed runs not at all.
    assert_eq!(
        error_of(&client, "INSERT INTO t VALUES (4); SELEC 1")
            .await
            .code()
            .code(),
        "42601"
    );
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["1"]);
}

#[tokio::test]
async fn an_empty_text_is_answered() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for text in ["", ";", "-- nothing\n"] {
        assert!(rows(&client, text).await.is_empty());
    }
    assert!(client.query("", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_error_tells_its_place_in_characters() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "SELECT 'ä'; SELECT 1 FRM";
    let error = error_of(&client, "SELECT 'ä';\nSELEC 1").await;
    assert_eq!(error.code().code(), "42601");
    let position = error.position().expect("a position");
    assert_eq!(
        *position,
        tokio_postgres::error::ErrorPosition::Original(13),
        "{text}"
    );
    assert!(!error.message().ends_with('.'));
    assert_eq!(error.severity(), "ERROR");
    // What is found out later counts from the beginning of the text as well.
    let text = "SELECT 'ä';\nSELECT wrong FROM (SELECT 1 AS y) AS t";
    let error = error_of(&client, text).await;
    assert_eq!(error.code().code(), "42703");
    let place = text.chars().position(|c| c == 'w').unwrap() + 1;
    let place = tokio_postgres::error::ErrorPosition::Original(place as u32);
    assert_eq!(error.position(), Some(&place));
    client
        .batch_execute("CREATE TABLE placed (id INT, n INT)")
        .await
        .unwrap();
    for (text, code, place) in [
        ("SELECT 1 + foo(1)", "42883", 12),
        ("INSERT INTO placed (id, nope) SELECT 1, 2", "42703", 25),
        ("INSERT INTO placed (id, id) VALUES (1, 2)", "42701", 25),
        ("INSERT INTO placed (id, n) VALUES (1, 2, 3)", "42601", 42),
        ("INSERT INTO placed (id, n) VALUES (1)", "42601", 25),
        (
            "INSERT INTO placed (id, id) SELECT 1, 2 ON CONFLICT DO NOTHING",
            "42701",
            25,
        ),
        ("SELECT DISTINCT ON (9) id FROM placed", "42P10", 21),
    ] {
        let error = error_of(&client, text).await;
        assert_eq!(error.code().code(), code, "{text}");
        let place = tokio_postgres::error::ErrorPosition::Original(place);
        assert_eq!(error.position(), Some(&place), "{text}");
    }
}

#[tokio::test]
async fn columns_have_the_names_of_postgresql() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for (text, expected) in [
        (
            "SELECT 1, 1, count(*), max(2) AS m, max(2) AS m",
            ["?column?", "?column?", "count", "m", "m"].as_slice(),
        ),
        // Tools set a person's query in one of their own.
        (
            "SELECT * FROM (SELECT i + 1, -i, count(*), max(2), max(3), NOT true FROM (SELECT 1 AS i) AS a GROUP BY i) AS t",
            &["?column?", "?column?", "count", "max", "max", "?column?"],
        ),
        (
            "WITH x AS (SELECT *, 2, 3 FROM (SELECT 1, 2) AS y) SELECT * FROM x LIMIT 1000",
            &["?column?", "?column?", "?column?", "?column?"],
        ),
        (
            "SELECT \"?column?\" + 1 AS next FROM (SELECT DISTINCT i + 1 FROM (SELECT 1 AS i) AS a ORDER BY i + 1) AS t",
            &["next"],
        ),
    ] {
        let messages = client.simple_query(text).await;
        let SimpleQueryMessage::RowDescription(columns) = &messages.unwrap()[0] else {
            panic!("no row description");
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
        assert_eq!(names, expected, "{text}");
    }
}

#[tokio::test]
async fn a_cancel_request_is_answered_within_200_ms() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let cancel = client.cancel_token();
    let canceller = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        cancel.cancel_query(NoTls).await.unwrap();
        asked
    };
    let (error, asked) = tokio::join!(error_of(&client, SLOW), canceller);
    assert!(
        asked.elapsed() < Duration::from_millis(400),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(error.code().code(), "57014");
    assert_eq!(error.message(), "canceling statement due to user request");
    // The connection goes on, and a cancel request between statements means nothing.
    client.cancel_token().cancel_query(NoTls).await.unwrap();
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_statement_timeout_ends_a_statement() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .simple_query("SET statement_timeout = '100ms'")
        .await
        .unwrap();
    let error = error_of(&client, SLOW).await;
    assert_eq!(error.code().code(), "57014");
    assert_eq!(
        error.message(),
        "canceling statement due to statement timeout"
    );
}

#[tokio::test]
async fn notices_come_before_the_result_and_respect_the_level() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    client
        .simple_query("DROP TABLE IF EXISTS nothing")
        .await
        .unwrap();
    let notice = notices.recv().await.unwrap();
    assert_eq!(notice.severity(), "NOTICE");
    assert_eq!(
        notice.message(),
        "table \"nothing\" does not exist, skipping"
    );
    client
        .simple_query("SET client_min_messages = warning")
        .await
        .unwrap();
    client
        .simple_query("DROP TABLE IF EXISTS nothing")
        .await
        .unwrap();
    assert!(notices.try_recv().is_err());
}

#[tokio::test]
async fn a_portal_is_read_in_parts() {
    let fixture = Fixture::start().await;
    let mut client = fixture.connect().await;
    let transaction = client.transaction().await.unwrap();
    let query = "SELECT value FROM generate_series(1, 20000) ORDER BY value";
    let portal = transaction.bind(query, &[]).await.unwrap();
    let mut seen = Vec::new();
    for expected in [3, 12_000, 7_997, 0] {
        let rows = transaction
            .query_portal(&portal, 12_000.min(expected.max(1)))
            .await
            .unwrap();
        assert_eq!(rows.len(), usize::try_from(expected).unwrap());
        seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert!(seen.into_iter().eq(1..=20_000));
    // Another statement may run between the parts of a portal.
    let portal = transaction.bind(query, &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 1).await.unwrap().len(), 1);
    assert_eq!(
        transaction
            .query_one("SELECT 7", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        7
    );
    assert_eq!(
        transaction.query_portal(&portal, 1).await.unwrap()[0].get::<_, i32>(0),
        2
    );
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn after_an_error_a_transaction_only_ends() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client.simple_query("BEGIN").await.unwrap();
    assert_eq!(
        error_of(&client, "SELECT missing").await.code().code(),
        "42703"
    );
    assert_eq!(error_of(&client, "SELECT 1").await.code().code(), "25P02");
    client.simple_query("ROLLBACK").await.unwrap();
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn errors_of_the_extended_protocol_leave_the_connection_usable() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let code = |error: tokio_postgres::Error| error.as_db_error().unwrap().code().code().to_owned();
    assert_eq!(
        code(client.prepare("SELECT 1; SELECT 2").await.unwrap_err()),
        "42601"
    );
    assert_eq!(
        code(client.query("SELECT missing", &[]).await.unwrap_err()),
        "42703"
    );
    let zero = client
        .query("SELECT 1 / $1::int8", &[&0_i64])
        .await
        .unwrap_err();
    assert_eq!(code(zero), "22012");
    assert_eq!(
        client
            .query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
}

#[tokio::test]
async fn models_are_trained_and_used_through_the_wire() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    let text = format!(
        "CREATE EXTERNAL TABLE penguins STORED AS PARQUET LOCATION '{}/penguins.parquet';
         CREATE MODEL mass USING linear_reg PREDICT body_mass_g WITH (data_split_method = 'NO_SPLIT')
         AS SELECT * FROM penguins WHERE body_mass_g IS NOT NULL",
        examples().display()
    );
    client.simple_query(&text).await.unwrap();
    assert!(notices.recv().await.is_some());
    let error = rows(
        &client,
        "SELECT round(mean_absolute_error, 5) FROM ML.EVALUATE(MODEL mass, TABLE penguins)",
    );
    assert_eq!(error.await, ["227.01224"]);
    let predict = client
        .prepare("SELECT PREDICT(mass USING *) FROM penguins LIMIT 1")
        .await
        .unwrap();
    let row = client.query_one(&predict, &[]).await.unwrap();
    assert!(row.get::<_, f64>(0) > 2_000.0);
}

/// `EXPLAIN (FORMAT JSON)` is one value of json that PostgreSQL's tools can draw.
#[tokio::test]
async fn plans_are_told_as_json() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        )
        .await
        .unwrap();
    let query = "SELECT name, count(*) FROM t WHERE id > 1 GROUP BY name ORDER BY 1";
    for (text, is_measured) in [
        (format!("EXPLAIN (FORMAT JSON) {query}"), false),
        (format!("EXPLAIN (ANALYZE, FORMAT JSON) {query}"), true),
    ] {
        let statement = client.prepare(&text).await.unwrap();
        let column = &statement.columns()[0];
        assert_eq!(
            (column.name(), column.type_().name()),
            ("QUERY PLAN", "json")
        );
        let told = rows(&client, &text).await;
        assert_eq!(told.len(), 1, "{text}");
        let told: serde_json::Value = serde_json::from_str(&told[0]).unwrap();
        let mut node = &told[0]["Plan"];
        let mut names = Vec::new();
        let mut is_counted = false;
        while let Some(name) = node["Node Type"].as_str() {
            names.push(name.to_owned());
            is_counted |= node["Actual Rows"].is_u64();
            node = &node["Plans"][0];
        }
        assert_eq!(is_counted, is_measured, "{told}");
        assert!(names.iter().any(|name| name == "AggregateExec"), "{told}");
        assert_eq!(names.last().map(String::as_str), Some("DataSourceExec"));
    }
}

/// What a plan knows of the values of columns is of rows that a view hides from who reads the plan.
#[tokio::test]
async fn plans_show_no_values_of_rows() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE secret (id int, word text, owner text);
             INSERT INTO secret VALUES (1, 'topsecret1', 'ada'), (2, 'topsecret2', 'bob');
             CREATE VIEW own WITH (security_barrier) AS SELECT id, word FROM secret WHERE owner = current_user;
             CREATE ROLE ada; GRANT SELECT ON own TO ada; SET ROLE ada",
        )
        .await
        .unwrap();
    for text in [
        "EXPLAIN VERBOSE SELECT * FROM own",
        "EXPLAIN ANALYZE VERBOSE SELECT * FROM own",
        "EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM own",
        "EXPLAIN SELECT * FROM own",
    ] {
        let told = rows(&client, text).await.join("\n");
        assert!(
            told.contains("Scan") || told.contains("DataSourceExec"),
            "{text}: {told}"
        );
        for value in ["topsecret", "bob"] {
            assert!(!told.contains(value), "{text}: {told}");
        }
    }
}
