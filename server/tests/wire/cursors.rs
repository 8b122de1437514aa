//! `PREPARE` and cursors, as clients without the extended protocol use them, and what they share with it.

use std::process::{Command, Stdio};

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use crate::{Fixture, error_of, rows};

#[tokio::test]
async fn statements_are_prepared_by_name() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "PREPARE add (int, int) AS SELECT $1 + $2 AS sum, $1 AS one";
    client.simple_query(text).await.unwrap();
    assert_eq!(
        rows(&client, "EXECUTE add(1, 2); EXECUTE add('3', 2 + 2)").await,
        ["3|1", "7|3"]
    );
    assert_eq!(error_of(&client, text).await.code().code(), "42P05");
    let error = error_of(&client, "EXECUTE add(1)").await;
    assert_eq!(error.code().code(), "42601");
    assert_eq!(error.detail(), Some("Expected 2 parameters but got 1."));
    assert_eq!(
        error_of(&client, "EXECUTE add('x', 1)").await.code().code(),
        "22P02"
    );
    assert_eq!(
        error_of(&client, "EXECUTE nothing").await.code().code(),
        "26000"
    );
    // The extended protocol describes and runs what it names.
    let row = client.query_one("EXECUTE add(20, 22)", &[]).await.unwrap();
    assert_eq!(row.columns()[0].name(), "sum");
    client.simple_query("DEALLOCATE add").await.unwrap();
    assert_eq!(
        error_of(&client, "EXECUTE add(1, 2)").await.code().code(),
        "26000"
    );
    assert_eq!(
        error_of(&client, "DEALLOCATE PREPARE add")
            .await
            .code()
            .code(),
        "26000"
    );
    // Types that are not written are inferred; changes take parameters too.
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT, name TEXT);
             PREPARE put AS INSERT INTO t VALUES ($1, $2);
             EXECUTE put(1, 'a'); EXECUTE put(2, NULL); DEALLOCATE ALL",
        )
        .await
        .unwrap();
    assert_eq!(
        rows(&client, "SELECT * FROM t ORDER BY id").await,
        ["1|a", "2|∅"]
    );
    client
        .batch_execute("PREPARE put AS SELECT 1; DISCARD ALL")
        .await
        .unwrap();
    assert_eq!(
        error_of(&client, "EXECUTE put").await.code().code(),
        "26000"
    );
}

#[tokio::test]
async fn a_cursor_is_read_in_parts() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let declare = "DECLARE c NO SCROLL CURSOR FOR SELECT value FROM generate_series(1, 20000) \
                   ORDER BY value";
    assert_eq!(error_of(&client, declare).await.code().code(), "25P01");
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute(declare).await.unwrap();
    assert_eq!(rows(&client, "FETCH c").await, ["1"]);
    assert_eq!(
        rows(&client, "FETCH 2 FROM c; FETCH NEXT FROM c").await,
        ["2", "3", "4"]
    );
    let messages = client.simple_query("MOVE FORWARD 9990 IN c").await.unwrap();
    assert!(matches!(
        messages.as_slice(),
        [SimpleQueryMessage::CommandComplete(9990)]
    ));
    assert_eq!(rows(&client, "FETCH FORWARD 2 c").await, ["9995", "9996"]);
    // Another statement in between, and the binary form for the same cursor.
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    let fetched = client.query("FETCH FORWARD 3 FROM c", &[]).await.unwrap();
    let fetched: Vec<i32> = fetched.iter().map(|row| row.get(0)).collect();
    assert_eq!(fetched, [9997, 9998, 9999]);
    assert_eq!(rows(&client, "FETCH ALL c").await.len(), 10_001);
    assert!(rows(&client, "FETCH ALL c").await.is_empty());
    let error = error_of(&client, "FETCH PRIOR FROM c").await;
    assert_eq!(error.code().code(), "55000");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(error_of(&client, "FETCH c").await.code().code(), "34000");
    client
        .batch_execute("ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT 1")
        .await
        .unwrap();
    assert_eq!(
        error_of(&client, "DECLARE c CURSOR FOR SELECT 2")
            .await
            .code()
            .code(),
        "42P03"
    );
    client
        .batch_execute("ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT 1; CLOSE c")
        .await
        .unwrap();
    assert_eq!(error_of(&client, "CLOSE c").await.code().code(), "34000");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_cursor_sees_what_was_there_when_it_was_declared() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1), (2);
             BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id;
             INSERT INTO t VALUES (3)",
        )
        .await
        .unwrap();
    assert_eq!(rows(&client, "FETCH held").await, ["1"]);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        rows(&client, "FETCH ALL held; SELECT count(*) FROM t").await,
        ["2", "3"]
    );
    client.batch_execute("CLOSE ALL").await.unwrap();
    assert_eq!(error_of(&client, "FETCH held").await.code().code(), "34000");
}

#[tokio::test]
async fn a_scrollable_cursor_moves_backwards() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT value FROM generate_series(1, 20000) ORDER BY value",
        )
        .await
        .unwrap();
    for (fetch, expected) in [
        ("FETCH 3 FROM c", &["1", "2", "3"][..]),
        ("FETCH PRIOR FROM c", &["2"]),
        ("FETCH RELATIVE 0 FROM c", &["2"]),
        ("FETCH LAST FROM c", &["20000"]),
        ("FETCH NEXT FROM c", &[]),
        ("FETCH BACKWARD 2 FROM c", &["20000", "19999"]),
        ("FETCH ABSOLUTE 9000 FROM c", &["9000"]),
        ("FETCH RELATIVE -2 FROM c", &["8998"]),
        ("FETCH ABSOLUTE -2 IN c", &["19999"]),
        ("FETCH FIRST IN c", &["1"]),
        ("FETCH -1 FROM c", &[]),
        ("FETCH FORWARD 2 FROM c", &["1", "2"]),
        ("FETCH BACKWARD ALL FROM c", &["1"]),
        ("MOVE ABSOLUTE 4 FROM c; FETCH c", &["5"]),
    ] {
        assert_eq!(rows(&client, fetch).await, expected, "{fetch}");
    }
    let messages = client
        .simple_query("MOVE LAST IN c; MOVE BACKWARD ALL IN c")
        .await;
    let counts: Vec<u64> = messages
        .unwrap()
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(n) => Some(*n),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 19_999]);
    // Binary rows of the same cursor.
    let row = client.query_one("FETCH ABSOLUTE 7 FROM c", &[]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 7);
    // Without SCROLL a cursor can still pass rows over.
    client
        .batch_execute(
            "DECLARE d CURSOR FOR SELECT value FROM generate_series(1, 9) ORDER BY value",
        )
        .await
        .unwrap();
    assert_eq!(rows(&client, "FETCH RELATIVE 3 FROM d").await, ["3"]);
    let error = error_of(&client, "FETCH ABSOLUTE 1 FROM d").await;
    assert_eq!(error.code().code(), "55000");
    assert_eq!(
        error.hint(),
        Some("Declare it with SCROLL option to enable backward scan.")
    );
}

#[tokio::test]
async fn prepared_statements_of_the_protocol_are_listed() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "SELECT $1::int + $2::bigint";
    let sum = client.prepare(text).await.unwrap();
    client.query(&sum, &[&1_i32, &2_i64]).await.unwrap();
    client.query(&sum, &[&1_i32, &3_i64]).await.unwrap();
    let listed = "SELECT statement, parameter_types, from_sql, generic_plans, custom_plans \
                  FROM pg_prepared_statements WHERE statement LIKE '%bigint'";
    let expected = format!("{text}|{{integer,bigint}}|f|2|0");
    assert_eq!(rows(&client, listed).await, [expected]);
    // Nobody else has it.
    let other = fixture.connect().await;
    assert!(rows(&other, listed).await.is_empty());
    // One that lists them is among them, with the types that PostgreSQL has.
    let found = client.query(listed, &[]).await.unwrap();
    assert_eq!(found.len(), 1);
    let types: Vec<&Type> = found[0].columns().iter().map(|c| c.type_()).collect();
    let expected = [
        &Type::TEXT,
        &Type::REGTYPE_ARRAY,
        &Type::BOOL,
        &Type::INT8,
        &Type::INT8,
    ];
    assert_eq!(types, expected);
    let itself = "SELECT from_sql, generic_plans FROM pg_prepared_statements \
                  WHERE statement LIKE '%itself%'";
    let found = client.query_one(itself, &[]).await.unwrap();
    assert!(!found.get::<_, bool>(0));
    assert_eq!(found.get::<_, i64>(1), 1);
    drop(sum);
    assert!(rows(&client, listed).await.is_empty());
}

#[tokio::test]
async fn portals_are_listed_and_fetched_by_name() {
    let fixture = Fixture::start().await;
    let mut client = fixture.connect().await;
    let text = "SELECT value FROM generate_series(1, 9) ORDER BY value";
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind(text, &[]).await.unwrap();
    let part = transaction.query_portal(&portal, 2).await.unwrap();
    assert_eq!(part.len(), 2);
    let listed = "SELECT name, statement, is_holdable, is_binary, is_scrollable FROM pg_cursors \
                  ORDER BY name";
    let found = transaction.query(listed, &[]).await.unwrap();
    let is_any = |row: &tokio_postgres::Row| (2..5).any(|idx| row.get::<_, bool>(idx));
    assert!(!found.iter().any(is_any));
    let found: Vec<(String, String)> = found.iter().map(|r| (r.get(0), r.get(1))).collect();
    // The portal without a name is that of the question.
    let [(unnamed, asked), (name, statement)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((unnamed.as_str(), asked.as_str()), ("", listed));
    assert_eq!(statement, text);
    // Its rows were binary; these are what the simple protocol asks for, from where it stands.
    let fetch = format!("FETCH ABSOLUTE 4 FROM {name}; MOVE 0 IN {name}");
    let messages = transaction.simple_query(&fetch).await.unwrap();
    let told: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            SimpleQueryMessage::CommandComplete(n_rows) => Some(format!("{n_rows} told")),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["4", "1 told", "1 told"]);
    drop(portal);
    transaction.commit().await.unwrap();
    let left = rows(&client, "SELECT name FROM pg_cursors").await;
    assert!(left.is_empty(), "{left:?}");
}

/// psql reads by a cursor when it is told to, where psql is there.
#[tokio::test]
async fn psql_fetches_by_count() {
    let fixture = Fixture::start().await;
    let port = fixture.server.address().port().to_string();
    let arguments = [
        "-X",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-At",
        "postgres",
    ];
    let psql = Command::new("psql")
        .args(arguments)
        .args(["-v", "FETCH_COUNT=1000"])
        .args([
            "-c",
            "SELECT value FROM generate_series(1, 4500) ORDER BY value",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(psql) = psql else {
        println!("psql is not installed: skipped");
        return;
    };
    let output = tokio::task::spawn_blocking(move || psql.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let wanted = (1..=4500).map(|n: i32| n.to_string());
    assert!(
        lines.lines().map(ToOwned::to_owned).eq(wanted),
        "{:?}",
        output.stderr
    );
}
