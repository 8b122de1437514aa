//! What a client is told of a broken rule beside the message, and what a text of several statements leaves behind.

use tokio_postgres::SimpleQueryMessage;

use crate::{Fixture, error_of, rows};

#[tokio::test]
async fn errors_name_the_table_column_and_constraint() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE t (id INT PRIMARY KEY, n INT NOT NULL CHECK (n > 0), s VARCHAR(3))";
    client.batch_execute(table).await.unwrap();
    client
        .batch_execute("INSERT INTO t VALUES (1, 1, 'abc')")
        .await
        .unwrap();
    type Fields<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    let cases: [(&str, Fields<'_>); 7] = [
        (
            "INSERT INTO t VALUES (1, 2, '')",
            ("23505", None, Some("t_pkey")),
        ),
        ("INSERT INTO t (id) SELECT 2", ("23502", Some("n"), None)),
        (
            "INSERT INTO t VALUES (2, NULL, '')",
            ("23502", Some("n"), None),
        ),
        ("UPDATE t SET n = NULL", ("23502", Some("n"), None)),
        (
            "INSERT INTO t VALUES (2, 0, '')",
            ("23514", None, Some("t_n_check")),
        ),
        ("UPDATE t SET n = -1", ("23514", None, Some("t_n_check"))),
        (
            "INSERT INTO t VALUES (2, 1, 'abcd')",
            ("22001", Some("s"), None),
        ),
    ];
    for (text, (code, column, constraint)) in cases {
        let error = error_of(&client, text).await;
        assert_eq!(error.code().code(), code, "{text}: {error}");
        assert_eq!(error.schema(), Some("public"), "{text}");
        assert_eq!(error.table(), Some("t"), "{text}");
        assert_eq!(error.column(), column, "{text}");
        assert_eq!(error.constraint(), constraint, "{text}");
    }
    // A NULL is told with its row, also one that is written.
    for (text, row) in [
        ("INSERT INTO t VALUES (2, NULL, '')", "(2, null, )"),
        (
            "INSERT INTO t (s, n, id) VALUES ('x', NULL, 3)",
            "(3, null, x)",
        ),
        ("INSERT INTO t (id) VALUES (4)", "(4, null, null)"),
        (
            "INSERT INTO t VALUES (1, NULL, '') ON CONFLICT (id) DO UPDATE SET n = 3",
            "(1, null, )",
        ),
        ("UPDATE t SET n = NULL", "(1, null, abc)"),
        (
            "MERGE INTO t USING (SELECT 1 AS k) s ON id = k WHEN MATCHED THEN UPDATE SET n = NULL",
            "(1, null, abc)",
        ),
    ] {
        let error = error_of(&client, text).await;
        let message = "null value in column \"n\" of relation \"t\" violates not-null constraint";
        assert_eq!(error.message(), message, "{text}");
        let detail = format!("Failing row contains {row}.");
        assert_eq!(error.detail(), Some(detail.as_str()), "{text}");
    }
    let long = error_of(&client, "INSERT INTO t VALUES (2, 1, 'abcd')").await;
    assert_eq!(long.datatype(), Some("character varying(3)"));
    let other = error_of(&client, "SELECT nothing").await;
    assert_eq!((other.table(), other.constraint()), (None, None));
}

#[tokio::test]
async fn the_statements_of_a_text_on_one_table_are_one() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE u (id INT)")
        .await
        .unwrap();
    let text = "INSERT INTO t VALUES (1); SELECT count(*) FROM t; INSERT INTO t VALUES (2)";
    let messages = client.simple_query(text).await.unwrap();
    let seen = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(seen, Some("1"));
    let failed = error_of(
        &client,
        "INSERT INTO t VALUES (3); INSERT INTO t VALUES (1)",
    )
    .await;
    assert_eq!(failed.code().code(), "23505");
    assert_eq!(
        rows(&client, "SELECT id FROM t ORDER BY id").await,
        ["1", "2"]
    );
    // Of two tables each statement stays by itself.
    let failed = error_of(
        &client,
        "INSERT INTO u VALUES (3); INSERT INTO t VALUES (1)",
    )
    .await;
    assert_eq!(failed.code().code(), "23505");
    assert_eq!(rows(&client, "SELECT id FROM u").await, ["3"]);
    // No block is left open.
    let commit = client.batch_execute("COMMIT").await;
    commit.unwrap();
    client
        .batch_execute("INSERT INTO t VALUES (4)")
        .await
        .unwrap();
    let other = fixture.connect().await;
    assert_eq!(rows(&other, "SELECT count(*) FROM t").await, ["3"]);
}

/// Rows of concurrent statements are compared with each other, whoever commits first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_rows_keep_to_a_key() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id INT PRIMARY KEY, who INT)")
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for who in 0..4 {
        let client = fixture.connect().await;
        tasks.push(tokio::spawn(async move {
            let mut n_added = 0_u64;
            for id in 0..8 {
                let text = format!("INSERT INTO t VALUES ({id}, {who})");
                match client.execute(text.as_str(), &[]).await {
                    Ok(n) => n_added += n,
                    Err(error) => assert_eq!(error.code().unwrap().code(), "23505", "{error}"),
                }
            }
            n_added
        }));
    }
    let mut n_added = 0;
    for task in tasks {
        n_added += task.await.unwrap();
    }
    assert_eq!(n_added, 8);
    let counts = rows(&client, "SELECT count(*), count(DISTINCT id) FROM t").await;
    assert_eq!(counts, ["8|8"]);
    // Two blocks that add the same key: the second one to commit is told.
    let other = fixture.connect().await;
    for client in [&client, &other] {
        client
            .batch_execute("BEGIN; INSERT INTO t VALUES (100, 0)")
            .await
            .unwrap();
    }
    client.batch_execute("COMMIT").await.unwrap();
    let lost = error_of(&other, "COMMIT").await;
    assert_eq!(lost.code().code(), "23505");
}
