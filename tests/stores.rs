//! Object stores: a warehouse, files and secrets on a real S3 server, and what two servers over one bucket do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use auspex_tests::{
    KEY_ID, S3Server, SECRET, ServerOptions, ServerProcess, TestServer, describe, rows,
};
use tokio_postgres::Client;

/// Starts a server whose warehouse lies in a bucket.
fn serve(s3: &S3Server, warehouse: &str) -> ServerProcess {
    let environment = [
        ("AWS_ENDPOINT_URL", s3.endpoint()),
        ("AWS_ALLOW_HTTP", "true".into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", KEY_ID.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
    ];
    ServerProcess::start(warehouse, &[], &environment)
}

async fn error(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => panic!("{sql} must fail"),
        Err(error) => describe(&error),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warehouse_lives_in_a_bucket() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let warehouse = "s3://lake/house/one";
    {
        let server = serve(&s3, warehouse);
        let client = server.client().await;
        for sql in [
            "CREATE TABLE t (x double precision, y double precision)",
            "INSERT INTO t SELECT value, value * 2.0 FROM generate_series(1, 1000)",
            "CREATE MODEL m PREDICT y USING linear AS SELECT x, y FROM t",
            "CREATE TABLE u AS SELECT count(*) AS n FROM t",
            "CREATE TABLE gone (a int)",
            "DROP TABLE gone",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        let listed = rows(&client, "SHOW warehouse").await.unwrap();
        assert_eq!(listed, [[warehouse]]);
    }
    assert!(s3.bucket("lake").join("house/one/catalog").is_dir());
    let server = serve(&s3, warehouse);
    let client = server.client().await;
    let sql = "SELECT count(*), round(sum(y)), round(max(PREDICT(m USING x))) FROM t";
    assert_eq!(
        rows(&client, sql).await.unwrap(),
        [["1000", "1001000", "2000"]]
    );
    assert_eq!(rows(&client, "SELECT n FROM u").await.unwrap(), [["1000"]]);
    assert!(error(&client, "SELECT * FROM gone").await.contains("42P01"));
    // The engine's own files are as closed as those of a local warehouse.
    let own = error(
        &client,
        "SELECT * FROM 's3://lake/house/one/catalog/00000000000000000001.json'",
    );
    assert!(own.await.contains("42501"));
    let outside = error(&client, "SELECT * FROM 's3://lake/other.csv'").await;
    assert!(outside.contains("42501"), "{outside}");
    std::fs::write(s3.bucket("lake").join("house/one/a.csv"), "i\n1\n2\n").unwrap();
    for path in ["a.csv", "s3://lake/house/one/a.csv", "*.csv"] {
        let sql = format!("SELECT sum(i) FROM '{path}'");
        assert_eq!(rows(&client, &sql).await.unwrap(), [["3"]], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_over_one_bucket_lose_nothing() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let servers = [1, 2].map(|_| serve(&s3, "s3://lake/shared"));
    let first = servers[0].client().await;
    first
        .batch_execute("CREATE TABLE t (i bigint)")
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for (n, server) in servers.iter().enumerate() {
        let client = server.client().await;
        tasks.spawn(async move {
            let mut n_won = 0;
            for i in 0..8 {
                let insert = format!("INSERT INTO t VALUES ({})", n * 100 + i);
                client.batch_execute(&insert).await.unwrap();
                let create = format!("CREATE TABLE shared_{i} (a int)");
                match client.batch_execute(&create).await {
                    Ok(()) => n_won += 1,
                    Err(error) => assert_eq!(error.code().unwrap().code(), "42P07"),
                }
            }
            n_won
        });
    }
    let won: i32 = tasks.join_all().await.into_iter().sum();
    assert_eq!(won, 8, "one server wins each name");
    for server in &servers {
        let client = server.client().await;
        let sql = "SELECT count(*), count(DISTINCT i) FROM t";
        assert_eq!(rows(&client, sql).await.unwrap(), [["16", "16"]]);
    }
}

fn credential(s3: &S3Server, secret: &str) -> String {
    format!(
        "CREATE OR REPLACE CREDENTIAL lake FOR 's3://lake/raw' WITH (type = 's3', \
         key_id = '{KEY_ID}', secret = '{secret}', region = 'us-east-1', endpoint = '{}', \
         allow_http = true)",
        s3.endpoint()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_in_a_bucket_are_read_with_a_credential() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let server = TestServer::start_with(ServerOptions {
        allow_locations: vec!["s3://lake/raw".into()],
        ..ServerOptions::default()
    })
    .await;
    let client = server.client().await;
    let raw = s3.bucket("lake").join("raw");
    std::fs::create_dir_all(raw.join("year=2025")).unwrap();
    std::fs::create_dir_all(raw.join("year=2026")).unwrap();
    std::fs::write(raw.join("year=2025/a.csv"), "i\n1\n").unwrap();
    std::fs::write(raw.join("year=2026/b.csv"), "i\n2\n4\n").unwrap();
    client
        .batch_execute(&credential(&s3, "wrong"))
        .await
        .unwrap();
    let denied = error(&client, "SELECT * FROM 's3://lake/raw/year=2025/a.csv'").await;
    assert!(
        denied.contains("ERROR 42501") && denied.contains("s3://lake/raw/year=2025/a.csv"),
        "{denied}"
    );
    assert!(denied.contains("CREATE CREDENTIAL"), "{denied}");
    client
        .batch_execute(&credential(&s3, SECRET))
        .await
        .unwrap();
    for (from, expected) in [
        ("'s3://lake/raw/'", "7"),
        ("'s3://lake/raw/**/*.csv'", "7"),
        ("'s3://lake/raw/year=2026/b.csv'", "6"),
        ("read_csv('s3://lake/raw/*/b.csv')", "6"),
        (
            "read_csv(['s3://lake/raw/year=2025/a.csv', 's3://lake/raw/year=2026/b.csv'])",
            "7",
        ),
    ] {
        let found = rows(&client, &format!("SELECT sum(i) FROM {from}"))
            .await
            .unwrap();
        assert_eq!(found, [[expected]], "{from}");
    }
    let sql = "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION 's3://lake/raw/'";
    client.batch_execute(sql).await.unwrap();
    let sql = "SELECT year, sum(i) FROM e WHERE year > 2025 GROUP BY year";
    assert_eq!(rows(&client, sql).await.unwrap(), [["2026", "6"]]);
    // A changed file is read anew.
    std::fs::write(raw.join("year=2026/b.csv"), "i\n2\n40\n").unwrap();
    assert_eq!(rows(&client, sql).await.unwrap(), [["2026", "42"]]);
    let missing = error(&client, "SELECT * FROM 's3://lake/raw/none.csv'").await;
    assert!(
        missing.contains("58P01") && missing.contains("s3://lake/raw/none.csv"),
        "{missing}"
    );
    let outside = error(&client, "SELECT * FROM 's3://lake/x.csv'").await;
    assert!(
        outside.contains("42501") && outside.contains("--allow-location"),
        "{outside}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_location_opens_a_bucket_with_its_own_credential() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let server = TestServer::start().await;
    let client = server.client().await;
    std::fs::write(s3.bucket("lake").join("a.csv"), "i\n5\n").unwrap();
    let select = "SELECT i FROM 's3://lake/a.csv'";
    assert!(error(&client, select).await.contains("42501"));
    let create = credential(&s3, SECRET).replace("s3://lake/raw", "s3://elsewhere/");
    client.batch_execute(&create).await.unwrap();
    let location = "CREATE EXTERNAL LOCATION lake URL 's3://lake/' WITH (CREDENTIAL lake)";
    client.batch_execute(location).await.unwrap();
    assert_eq!(rows(&client, select).await.unwrap(), [["5"]]);
    let used = error(&client, "DROP CREDENTIAL lake").await;
    assert!(used.contains("2BP01"), "{used}");
    client
        .batch_execute("DROP EXTERNAL LOCATION lake")
        .await
        .unwrap();
    assert!(error(&client, select).await.contains("42501"));
    client.batch_execute("DROP CREDENTIAL lake").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_secret_is_nowhere_to_be_seen() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let server = TestServer::start().await;
    let client = server.client().await;
    client
        .batch_execute(&credential(&s3, SECRET))
        .await
        .unwrap();
    let shown = rows(&client, "SELECT * FROM ml.credentials").await.unwrap();
    assert!(
        shown[0].iter().all(|cell| !cell.contains("hush")),
        "{shown:?}"
    );
    for entry in std::fs::read_dir(server.warehouse().join("catalog")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("***"), "{text}");
    }
    for malformed in [
        "CREATE CREDENTIAL c WITH (type = 's3', secret 'hush')",
        "CREATE CREDENTIAL c WITH (type = 's3', secret = 'hush' 'hush')",
        "CREATE CREDENTIAL c WITH (type = 's3', secret = 'hush",
        "CREATE CREDENTIAL c WITH (type = 's3', sercet = 'hush')",
        "CREATE CREDENTIAL c WITH (type = 'gcs', service_account = 'hush') FOR 's3://b'",
    ] {
        let text = error(&client, malformed).await;
        assert!(!text.contains("hush"), "{text}");
    }
    // A server without the key reads the catalog, but not the secret.
    let keyless = TestServer::start_with(ServerOptions {
        has_no_credential_key: true,
        ..ServerOptions::default()
    })
    .await;
    let refused = error(&keyless.client().await, &credential(&s3, SECRET)).await;
    assert!(
        refused.contains("55000") && refused.contains("AUSPEX_CREDENTIAL_KEY"),
        "{refused}"
    );
}

/// The numbers of a table and how often each is there.
async fn counted(client: &Client, table: &str) -> Vec<Vec<String>> {
    let sql = format!("SELECT i, count(*) FROM {table} GROUP BY i ORDER BY i");
    rows(client, &sql).await.unwrap()
}

/// Refusals, cut connections, lost answers and half ones, one request in twelve.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_that_fails_loses_and_repeats_nothing() {
    let Some(s3) = S3Server::start_failing(&["lake"], 11, 80) else {
        return;
    };
    let server = serve(&s3, "s3://lake/house");
    let client = server.client().await;
    for sql in [
        "CREATE TABLE t (i bigint)",
        "CREATE TABLE u (i bigint, n bigint)",
        "INSERT INTO u SELECT value, 0 FROM generate_series(1, 10)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    for i in 0..12 {
        let insert = format!("INSERT INTO t VALUES ({i})");
        client.batch_execute(&insert).await.unwrap();
        // A commit whose answer got lost must not be made a second time.
        let update = "UPDATE u SET n = n + 1";
        client.batch_execute(update).await.unwrap();
        client
            .batch_execute(&format!("CREATE TABLE v{i} (a int)"))
            .await
            .unwrap();
    }
    client
        .batch_execute("CREATE MODEL m PREDICT n USING linear AS SELECT i, i * 2.0 AS n FROM u")
        .await
        .unwrap();
    let expected: Vec<Vec<String>> = (0..12).map(|i| vec![i.to_string(), "1".into()]).collect();
    assert_eq!(counted(&client, "t").await, expected);
    let sql = "SELECT count(*), min(n), max(n), round(max(PREDICT(m USING i))) FROM u";
    assert_eq!(
        rows(&client, sql).await.unwrap(),
        [["10", "12", "12", "20"]]
    );
    // Another server, and one that asks a bucket that never answers.
    drop(server);
    let server = serve(&s3, "s3://lake/house");
    let client = server.client().await;
    assert_eq!(counted(&client, "t").await, expected);
}
