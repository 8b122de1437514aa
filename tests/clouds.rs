//! Azure Blob Storage and Google Cloud Storage: a warehouse, two servers at once, files and credentials on their emulators.
//!
//! Azure's is Azurite; Google's is this repository's own stand-in of the XML API (`tests/python/gcs_server.py`), since the
//! emulators that can be had do not speak it. What S3 does is in `stores.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use auspex_tests::{Emulator, ServerProcess, describe, rows};
use tokio_postgres::Client;

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

/// Tables, models, versions and files of a warehouse that lies in the store, and what is left of them for the next server.
async fn walk_a_warehouse(cloud: &Emulator, warehouse: &str) {
    let server = ServerProcess::start(warehouse, &[], &cloud.environment);
    let client = server.client().await;
    for sql in [
        "CREATE TABLE t (x double precision, y double precision)",
        "INSERT INTO t SELECT value, value * 2.0 FROM generate_series(1, 1000)",
        "CREATE MODEL m PREDICT y USING linear AS SELECT x, y FROM t",
        "UPDATE t SET y = 0 WHERE x > 500",
        "DELETE FROM t WHERE x > 900",
        "CREATE TABLE parts (a int, k text) PARTITIONED BY (k)",
        "INSERT INTO parts VALUES (1, 'a b'), (2, 'ü/x'), (3, '100%')",
        "CREATE TABLE large AS SELECT value AS i, md5(value::text) AS s \
         FROM generate_series(1, 400000)",
        "CREATE TABLE gone (a int)",
        "DROP TABLE gone",
    ] {
        run(&client, sql).await;
    }
    // More commits than a checkpoint waits for, so that logs are listed from the middle.
    for i in 0..25 {
        run(&client, &format!("INSERT INTO parts VALUES ({i}, 'many')")).await;
    }
    run(&client, "DELETE FROM parts WHERE a = 7").await;
    run(&client, "OPTIMIZE parts").await;
    for (format, options) in [("parquet", ""), ("csv", ", HEADER")] {
        let file = format!("{warehouse}/out.{format}");
        let sql = format!("COPY t TO '{file}' (FORMAT {format}{options})");
        run(&client, &sql).await;
        let sql = format!("SELECT count(*), sum(x) FROM '{file}'");
        assert_eq!(one(&client, &sql).await, "900 405450");
        run(
            &client,
            &format!("CREATE TABLE from_{format} (x double precision, y double precision)"),
        )
        .await;
        let sql = format!("COPY from_{format} FROM '{file}' (FORMAT {format}{options})");
        run(&client, &sql).await;
    }
    let file = format!("{warehouse}/large.csv");
    run(
        &client,
        &format!("COPY large TO '{file}' (FORMAT csv, HEADER)"),
    )
    .await;
    let sql =
        format!("CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{warehouse}/out.parquet'");
    run(&client, &sql).await;
    drop(client);
    drop(server);
    find_a_warehouse(cloud, warehouse).await;
}

/// What the server before left.
async fn find_a_warehouse(cloud: &Emulator, warehouse: &str) {
    let server = ServerProcess::start(warehouse, &[], &cloud.environment);
    let client = server.client().await;
    for (sql, expected) in [
        ("SELECT count(*), sum(y) FROM t", "900 250500"),
        (
            "SELECT count(*), sum(y) FROM t VERSION AS OF 1",
            "1000 1001000",
        ),
        ("SELECT round(max(PREDICT(m USING x))) FROM t", "1800"),
        (
            "SELECT count(*), count(DISTINCT s) FROM large",
            "400000 400000",
        ),
        ("SELECT count(*), sum(a) FROM parts", "27 299"),
        ("SELECT a FROM parts WHERE k = 'ü/x'", "2"),
        ("SELECT count(*) FROM parts VERSION AS OF 1", "3"),
        (
            "SELECT count(*) FROM from_csv NATURAL JOIN from_parquet",
            "900",
        ),
        ("SELECT count(*) FROM e WHERE x > 899", "1"),
    ] {
        assert_eq!(one(&client, sql).await, expected, "{sql}");
    }
    let sql = format!("SELECT count(*), count(DISTINCT s) FROM '{warehouse}/large.csv'");
    assert_eq!(one(&client, &sql).await, "400000 400000");
    let missing = error(&client, &format!("SELECT * FROM '{warehouse}/none.csv'")).await;
    assert!(
        missing.contains("58P01") && missing.contains("none.csv"),
        "{missing}"
    );
}

/// Two servers put their commits under the same names at the same time.
async fn race_two_servers(cloud: &Emulator, warehouse: &str) {
    let servers = [1, 2].map(|_| ServerProcess::start(warehouse, &[], &cloud.environment));
    let first = servers[0].client().await;
    run(&first, "CREATE TABLE t (i bigint)").await;
    let mut tasks = tokio::task::JoinSet::new();
    for (n, server) in servers.iter().enumerate() {
        let client = server.client().await;
        tasks.spawn(async move {
            let mut n_won = 0;
            for i in 0..8 {
                run(&client, &format!("INSERT INTO t VALUES ({})", n * 100 + i)).await;
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
        assert_eq!(one(&client, sql).await, "16 16");
    }
}

/// Credentials of every kind for a folder of the store, from a warehouse on this machine.
async fn use_credentials(cloud: &Emulator, root: &str, absent: &str) {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.json");
    let warehouse = folder.path().join("house");
    let flags = ["--audit-log", audit.to_str().unwrap()];
    let server = ServerProcess::start(warehouse.to_str().unwrap(), &flags, &[]);
    let client = server.client().await;
    let place = format!("lake FOR '{root}/raw'");
    run(&client, &cloud.credential(&place, &cloud.secret)).await;
    let sql = format!("CREATE EXTERNAL LOCATION lake URL '{root}/raw' WITH (CREDENTIAL lake)");
    run(&client, &sql).await;
    for year in [2025, 2026] {
        let sql = format!("COPY (SELECT {year} - 2000 AS i) TO '{root}/raw/year={year}/a.parquet'");
        run(&client, &sql).await;
    }
    let sql = format!("CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{root}/raw/'");
    run(&client, &sql).await;
    let sum = "SELECT year, sum(i) FROM e WHERE year > 2025 GROUP BY year";
    assert_eq!(one(&client, sum).await, "2026 26");
    let all = format!("SELECT sum(i) FROM read_parquet('{root}/raw/**/*.parquet')");
    assert_eq!(one(&client, &all).await, "51");

    // A secret that the store refuses, and one that may only read.
    let (wrong, hidden) = &cloud.wrong;
    run(&client, &cloud.credential(&place, wrong)).await;
    let file = format!("{root}/raw/year=2025/a.parquet");
    let denied = error(&client, &format!("SELECT * FROM '{file}'")).await;
    assert!(
        denied.contains("ERROR 42501") && denied.contains(&file),
        "{denied}"
    );
    assert!(
        denied.contains("CREATE CREDENTIAL") && !denied.contains(hidden),
        "{denied}"
    );
    if let Some(reader) = &cloud.reader {
        run(&client, &cloud.credential(&place, reader)).await;
        assert_eq!(one(&client, &all).await, "51");
        let denied = error(&client, &format!("COPY (SELECT 1) TO '{root}/raw/b.csv'")).await;
        assert!(denied.contains("ERROR 42501"), "{denied}");
        assert!(!denied.contains("sig="), "{denied}");
    }
    refuse_what_is_not_there(&client, cloud, absent).await;
    let written = std::fs::read_to_string(&audit).unwrap();
    let shown = one(&client, "SELECT * FROM ml.credentials").await;
    for secret in [&cloud.secret, wrong] {
        let value = secret.split('\'').nth(1).unwrap();
        let value = value.get(..60).unwrap_or(value);
        assert!(
            !shown.contains(value) && !written.contains(value),
            "{shown}"
        );
    }
    assert!(!written.contains(hidden) && written.contains("***"));
}

/// A bucket that is not there, and an endpoint without TLS that nothing allows.
async fn refuse_what_is_not_there(client: &Client, cloud: &Emulator, absent: &str) {
    run(
        client,
        &cloud.credential(&format!("n FOR '{absent}'"), &cloud.secret),
    )
    .await;
    run(
        client,
        &format!("CREATE EXTERNAL LOCATION n URL '{absent}'"),
    )
    .await;
    for sql in [
        format!("SELECT * FROM '{absent}/x.csv'"),
        format!("COPY (SELECT 1) TO '{absent}/x.csv'"),
    ] {
        let missing = error(client, &sql).await;
        assert!(
            missing.contains("ERROR 58P01") && missing.contains(absent),
            "{missing}"
        );
    }
    let open = cloud
        .credential("o", &cloud.secret)
        .replace("allow_http = true, ", "");
    let open = error(client, &open).await;
    assert!(
        open.contains("ERROR 22023") && open.contains("allow_http"),
        "{open}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warehouse_lives_in_azure_blob_storage() {
    let Some(azure) = Emulator::azure("lake") else {
        return;
    };
    walk_a_warehouse(&azure, "az://lake/house").await;
    let name = "abfss://lake@devstoreaccount1.dfs.core.windows.net/second";
    race_two_servers(&azure, name).await;
    race_two_servers(&azure, "azure://lake/third").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn azure_blob_storage_has_credentials() {
    let Some(azure) = Emulator::azure("lake") else {
        return;
    };
    use_credentials(&azure, "az://lake", "az://none").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warehouse_lives_in_google_cloud_storage() {
    let Some(google) = Emulator::google("lake", "public") else {
        return;
    };
    walk_a_warehouse(&google, "gs://lake/house").await;
    race_two_servers(&google, "gs://lake/second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn google_cloud_storage_has_credentials() {
    let Some(google) = Emulator::google("lake", "public") else {
        return;
    };
    use_credentials(&google, "gs://lake", "gs://none").await;

    // What everybody may read needs no secret, but is not written without one.
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().join("house");
    let server = ServerProcess::start(warehouse.to_str().unwrap(), &[], &[]);
    let client = server.client().await;
    run(&client, "CREATE EXTERNAL LOCATION p URL 'gs://public'").await;
    run(
        &client,
        &google.credential("p FOR 'gs://public'", &google.secret),
    )
    .await;
    run(
        &client,
        "COPY (SELECT 7 AS a) TO 'gs://public/a.csv' (HEADER)",
    )
    .await;
    run(
        &client,
        &google.credential("p FOR 'gs://public'", "anonymous = true"),
    )
    .await;
    assert_eq!(one(&client, "SELECT a FROM 'gs://public/a.csv'").await, "7");
    run(
        &client,
        &google.credential("p FOR 'gs://lake'", "anonymous = true"),
    )
    .await;
    run(&client, "CREATE EXTERNAL LOCATION l URL 'gs://lake'").await;
    let denied = error(&client, "SELECT a FROM 'gs://lake/a.csv'").await;
    assert!(denied.contains("ERROR 42501"), "{denied}");
}
