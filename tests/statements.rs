//! Long statements and their neighbours: progress, cancel, timeout, races, restart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

mod changes;
mod error_places;

use std::time::{Duration, Instant};

use auspex_tests::{ServerOptions, TestServer, describe, rows};
use tokio_postgres::NoTls;

/// A training that goes on for minutes unless it is ended: many passes over many rows.
const ENDLESS: &str = "CREATE MODEL endless USING kmeans WITH (num_clusters = 50, early_stop = FALSE, \
     max_iterations = 100000, kmeans_init_method = 'RANDOM') AS \
     SELECT sin(value * 1.7) AS a, cos(value * 0.3) AS b, sin(value * 2.9) AS c FROM generate_series(1, 2000000)";

/// How soon a statement must answer a cancel request; the rest of the bound is for a loaded machine.
const PROMPT: Duration = Duration::from_secs(5);

async fn until_training(server: &TestServer) -> Vec<String> {
    let observer = server.client().await;
    let query = "SELECT model, phase, rows FROM pg_stat_progress_train";
    for _ in 0..2_000 {
        if let Some(row) = rows(&observer, query).await.unwrap().pop() {
            return row;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the training never appeared in pg_stat_progress_train");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_ends_a_training() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let cancel = client.cancel_token();
    let training = tokio::spawn(async move { client.batch_execute(ENDLESS).await });
    assert_eq!(until_training(&server).await[0], "endless");
    let asked = Instant::now();
    cancel.cancel_query(NoTls).await.unwrap();
    let error = training.await.unwrap().unwrap_err();
    assert_eq!(
        error.code().unwrap().code(),
        "57014",
        "{}",
        describe(&error)
    );
    assert!(
        asked.elapsed() < PROMPT,
        "answered after {:?}",
        asked.elapsed()
    );
    let client = server.client().await;
    assert!(
        rows(&client, "SELECT * FROM ml.models")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_a_training() {
    let server = TestServer::start().await;
    let client = server.client().await;
    client
        .batch_execute("SET statement_timeout = '300ms'")
        .await
        .unwrap();
    let error = client.batch_execute(ENDLESS).await.unwrap_err();
    assert_eq!(
        describe(&error),
        "ERROR 57014: canceling statement due to statement timeout"
    );
    // The session lives on.
    assert_eq!(rows(&client, "SELECT 1").await.unwrap(), [["1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_chain_of_operators_ends_the_server() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let chain = |part: &str, link: &str, n: usize| format!("SELECT {}", vec![part; n].join(link));
    let sum = chain("1", "+", 4_900);
    assert_eq!(rows(&client, &sum).await.unwrap(), [["4900"]]);
    client
        .batch_execute("SET statement_timeout = '2s'")
        .await
        .unwrap();
    let long = [
        chain("'a'", "||", 1_500),
        chain("(1.5::numeric(5,2))", "+", 300),
        chain("NOT true", " OR ", 1_500),
        chain("1 AS a", " UNION ALL SELECT ", 1_000),
        format!(
            "{} FROM generate_series(1, 2) t",
            chain("value", "-", 4_900)
        ),
        format!("SELECT 1 FROM {}", vec!["pg_class"; 1_200].join(", ")),
    ];
    for query in long {
        let asked = Instant::now();
        if let Err(error) = client.simple_query(&query).await {
            let code = error.code().map(|code| code.code().to_owned());
            let known = code.filter(|code| ["57014", "54001"].contains(&code.as_str()));
            assert!(known.is_some(), "{}", describe(&error));
        }
        assert!(asked.elapsed() < PROMPT + PROMPT, "{:.40}", query);
    }
    // The session lives on, and the server.
    assert_eq!(rows(&client, "SELECT 1").await.unwrap(), [["1"]]);
    assert_eq!(
        rows(&server.client().await, "SELECT 1").await.unwrap(),
        [["1"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creators_of_one_model_one_wins() {
    let server = TestServer::start().await;
    let create = "CREATE MODEL m PREDICT y USING linear AS SELECT value AS x, value * 2.0 AS y FROM generate_series(1, 200000)";
    let (first, second) = (server.client().await, server.client().await);
    let (first, second) = tokio::join!(first.batch_execute(create), second.batch_execute(create));
    let failures: Vec<_> = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert_eq!(failures.len(), 1, "exactly one of the two must fail");
    let code = failures[0].code().unwrap().code();
    assert!(
        ["42P07", "40001"].contains(&code),
        "{}",
        describe(&failures[0])
    );
    let client = server.client().await;
    let models = rows(&client, "SELECT name, current_version FROM ml.models")
        .await
        .unwrap();
    assert_eq!(models, [["m", "1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_survive_a_restart() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let setup = "CREATE SCHEMA lab; \
         CREATE TABLE lab.t AS SELECT value AS x, value * 3.0 AS y FROM generate_series(1, 1000); \
         CREATE VIEW big AS SELECT * FROM lab.t WHERE x > 500; \
         CREATE EXTERNAL TABLE penguins STORED AS PARQUET LOCATION 'penguins.parquet'; \
         CREATE MODEL lab.m PREDICT y USING linear AS SELECT * FROM lab.t;";
    client.batch_execute(setup).await.unwrap();
    let question = "SELECT count(*), round(avg(PREDICT(lab.m USING *)), 6) FROM big";
    let before = rows(&client, question).await.unwrap();
    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(rows(&client, question).await.unwrap(), before);
    assert_eq!(
        rows(&client, "SELECT count(*) FROM penguins")
            .await
            .unwrap(),
        [["344"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_larger_than_the_memory_limit_spills() {
    let options = ServerOptions {
        memory_limit_bytes: Some(32 << 20),
        threads: Some(2),
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(options).await;
    let client = server.client().await;
    // 800,000 rows of 12 columns of 8 bytes: 77 MB against 32 MB.
    let columns: Vec<String> = (1..=12)
        .map(|k| format!("sin(value * {k}.3) AS x{k}"))
        .collect();
    let create = format!(
        "CREATE TABLE wide AS SELECT {}, value % 2 = 0 AS y FROM generate_series(1, 800000)",
        columns.join(", ")
    );
    client.batch_execute(&create).await.unwrap();
    let train = "CREATE MODEL m PREDICT y WITH (data_split_method = 'NO_SPLIT', max_iterations = 5) AS SELECT * FROM wide";
    client.batch_execute(train).await.unwrap();
    let trained = rows(&client, "SELECT training_rows FROM ml.model_versions")
        .await
        .unwrap();
    assert_eq!(trained, [["800000"]]);
    // What must be in one place is refused, with the number of rows that would fit.
    let gather = "CREATE MODEL d USING dbscan AS SELECT * EXCEPT (y) FROM wide";
    let error = describe(&client.batch_execute(gather).await.unwrap_err());
    assert!(
        error.starts_with("ERROR 53200") && error.contains("rows"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_predictions_take_parameters_and_see_new_versions() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let train = |factor: f64| {
        format!(
            "CREATE OR REPLACE MODEL m PREDICT y USING linear AS SELECT value AS x, value * {factor:.1} AS y FROM generate_series(1, 100)"
        )
    };
    client.batch_execute(&train(2.0)).await.unwrap();
    let statement = client
        .prepare("SELECT PREDICT(m USING $1::float8 AS x)")
        .await
        .unwrap();
    let predict =
        async |x: f64| -> f64 { client.query_one(&statement, &[&x]).await.unwrap().get(0) };
    assert!((predict(10.0).await - 20.0).abs() < 1e-6);
    client.batch_execute(&train(5.0)).await.unwrap();
    assert!((predict(10.0).await - 50.0).abs() < 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_columns_train() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let columns: Vec<String> = (0..10_000)
        .map(|k| format!("value + {k} AS x{k}"))
        .collect();
    let sql = format!(
        "CREATE MODEL m USING linear OPTIONS (input_label_cols = ['y'], max_iterations = 2) AS \
         SELECT value * 1.5 AS y, {} FROM generate_series(1, 20)",
        columns.join(", ")
    );
    client.batch_execute(&sql).await.unwrap();
    let features = rows(&client, "SELECT count(*) FROM ML.FEATURE_INFO(MODEL m)")
        .await
        .unwrap();
    assert_eq!(features, [["10000"]]);
}
