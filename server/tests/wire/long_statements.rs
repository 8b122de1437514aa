//! Statements that compute for long: notices at a bearable rate, and threads that come free when
//! nobody waits for the answer any more.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use crate::{Fixture, error_of, rows};

/// Each computes for hours in one operator that gives no row: a cross join below an aggregate, a join
/// whose condition is never true, and one that finds a match in every row.
const ENDLESS: [&str; 3] = [
    "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b",
    "SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y) \
     WHERE x * y = -1",
    "SELECT sum(x + y) FROM (SELECT value AS x, value % 2 AS k FROM generate_series(1, 1000000)) a \
     JOIN (SELECT value AS y, value % 2 AS k FROM generate_series(1, 1000000)) b USING (k) \
     WHERE x + y < 0",
];
/// How soon threads must come free: 200 ms, and time for a loaded machine.
const FREE: Duration = Duration::from_secs(5);

/// More than all threads for queries.
fn n_statements() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get()) + 1
}

/// Answers only if a thread for queries is free.
async fn until_free(fixture: &Fixture) {
    let client = fixture.connect().await;
    let asked = Instant::now();
    let answer = tokio::time::timeout(
        FREE,
        rows(&client, "SELECT count(*) FROM generate_series(1, 100)"),
    );
    assert_eq!(answer.await.expect("no thread came free"), ["100"]);
    assert!(asked.elapsed() < FREE);
}

#[tokio::test]
async fn a_cancel_request_frees_the_threads() {
    let fixture = Fixture::start().await;
    for endless in ENDLESS {
        let mut statements = Vec::new();
        for _ in 0..n_statements() {
            let client = fixture.connect().await;
            let cancel = client.cancel_token();
            let statement = tokio::spawn(async move { error_of(&client, endless).await });
            statements.push((cancel, statement));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (cancel, statement) in statements {
            cancel.cancel_query(NoTls).await.unwrap();
            let error = tokio::time::timeout(FREE, statement).await;
            let error = error.expect("no answer").unwrap();
            assert_eq!(error.code().code(), "57014", "{endless}");
        }
        until_free(&fixture).await;
    }
}

#[tokio::test]
async fn a_timeout_frees_the_threads() {
    let fixture = Fixture::start().await;
    for endless in ENDLESS {
        let mut statements = Vec::new();
        for _ in 0..n_statements() {
            let client = fixture.connect().await;
            rows(&client, "SET statement_timeout = '300ms'").await;
            let statement = tokio::spawn(async move { error_of(&client, endless).await });
            statements.push(statement);
        }
        for statement in statements {
            let error = tokio::time::timeout(2 * FREE, statement).await;
            let error = error.expect("no answer").unwrap();
            assert_eq!(
                error.message(),
                "canceling statement due to statement timeout"
            );
        }
        until_free(&fixture).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_threads() {
    /// Length, protocol 3.0, and one parameter.
    const STARTUP: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";
    let fixture = Fixture::start().await;
    for endless in ENDLESS {
        let mut leavers = Vec::new();
        for _ in 0..n_statements() {
            let mut leaver = TcpStream::connect(fixture.server.address()).await.unwrap();
            let length = i32::try_from(endless.len() + 5).unwrap().to_be_bytes();
            let query = [STARTUP, b"Q", &length[..], endless.as_bytes(), b"\0"].concat();
            leaver.write_all(&query).await.unwrap();
            leavers.push(leaver);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(leavers);
        until_free(&fixture).await;
    }
}

/// 3,000 fast iterations are told by a few notices: the first, the last, and some between.
#[tokio::test]
async fn fast_iterations_do_not_flood_the_client() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    let started = Instant::now();
    let create = "CREATE MODEL m PREDICT y USING linear WITH (optimize_strategy = 'BATCH_GRADIENT_DESCENT', \
         max_iterations = 3000, early_stop = FALSE) AS \
         SELECT value % 10 AS a, value % 7 AS b, value % 3 AS y FROM generate_series(1, 200)";
    rows(&client, create).await;
    let elapsed = started.elapsed();
    let mut iterations = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        if let Some(rest) = notice.message().strip_prefix("iteration ") {
            let number = rest.split(':').next().unwrap();
            iterations.push(number.parse::<u64>().unwrap());
        }
    }
    let n_told = rows(
        &client,
        "SELECT max(iteration) FROM ML.TRAINING_INFO(MODEL m)",
    )
    .await;
    assert_eq!(iterations.first(), Some(&0));
    assert_eq!(
        iterations.last().map(u64::to_string),
        Some(n_told[0].clone())
    );
    let most = 2 + elapsed.as_millis() as usize / 250;
    assert!(
        iterations.len() <= most,
        "{} notices in {elapsed:?}",
        iterations.len()
    );
}

/// What is a row of `ml.warnings` is a WARNING too, whatever the form of the statement.
#[tokio::test]
async fn warnings_come_with_every_form() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    let mut warnings = async |text: &str| -> Vec<String> {
        while notices.try_recv().is_ok() {}
        rows(&client, text).await;
        let mut found = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            if notice.severity() == "WARNING" {
                found.push(notice.message().to_owned());
            }
        }
        found
    };
    let create = "CREATE MODEL m PREDICT y USING logistic WITH (data_split_method = 'NO_SPLIT') AS \
         SELECT x, CASE WHEN x % 3 = 0 THEN 'a' ELSE 'b' END AS y FROM generate_series(1, 90) AS t(x) LIMIT 60";
    let limit =
        "the training query has LIMIT without ORDER BY, so its rows may differ between runs";
    assert_eq!(warnings(create).await, [limit]);
    let view = "CREATE VIEW judged AS SELECT * FROM ML.EVALUATE(MODEL m)";
    assert!(warnings(view).await.is_empty());
    let same_rows = "model \"m\" held no rows out, so these are the metrics of its training rows";
    for form in [
        "EVALUATE MODEL m",
        "SELECT * FROM ML.EVALUATE(MODEL m)",
        "SELECT * FROM ml.evaluate('m')",
        "SELECT * FROM ML.CONFUSION_MATRIX(MODEL m)",
        "SELECT * FROM ML.ROC_CURVE(MODEL m)",
        "SELECT (SELECT accuracy FROM ML.EVALUATE(MODEL m)) > 0.5",
        "SELECT * FROM judged",
    ] {
        assert_eq!(warnings(form).await, [same_rows], "{form}");
    }
    let rows = "(VALUES (1, 'a'), (2, NULL), (3, 'c'), (NULL, 'b'), (1000, 'b')) AS t(x, y)";
    let expected = [
        "1 rows without a label in column \"y\" were left out",
        "1 rows have a class of \"y\" that model \"m\" never saw in training; each counts as wrong",
        "1 NULL values in column \"x\" were filled with the mean of training",
        "1 values in column \"x\" lie outside of the range that model \"m\" saw in training",
    ];
    for form in [
        format!("EVALUATE MODEL m ON (SELECT * FROM {rows})"),
        format!("SELECT * FROM ML.CONFUSION_MATRIX(MODEL m, (SELECT * FROM {rows}))"),
    ] {
        assert_eq!(warnings(&form).await, expected, "{form}");
    }
    for form in [
        format!("SELECT PREDICT(m USING x) FROM {rows}"),
        format!("PREDICT MODEL m ON (SELECT * FROM {rows})"),
    ] {
        assert_eq!(warnings(&form).await, expected[2..], "{form}");
    }
    assert!(warnings("SELECT PREDICT(m USING 5 AS x)").await.is_empty());
}

/// A training in the background is a process of its own, which others see and can end.
#[tokio::test]
async fn a_training_in_the_background_goes_on_alone() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    let create = "CREATE MODEL m PREDICT y USING linear AS \
         SELECT value AS x, 2.0 * value AS y FROM generate_series(1, 100)";
    rows(&client, create).await;
    rows(&client, "TRAIN MODEL m IN BACKGROUND").await;
    let told = std::iter::from_fn(|| notices.try_recv().ok());
    let told: Vec<String> = told.map(|notice| notice.message().to_owned()).collect();
    assert!(
        told.iter()
            .any(|text| text.starts_with("the training goes on as process ")),
        "{told:?}"
    );
    let version = "SELECT current_version FROM ml.models";
    until(async || rows(&client, version).await == ["2"]).await;

    // What is wrong with the statement is told at once; what goes wrong later is a row of ml.warnings.
    let error = error_of(&client, "TRAIN MODEL nothing IN BACKGROUND").await;
    assert_eq!(error.message(), "model \"nothing\" does not exist");
    let endless = "TRAIN MODEL k ON (SELECT sin(value) AS x, cos(value) AS z FROM generate_series(1, 500000)) \
         WITH (max_iterations = 100000) IN BACKGROUND";
    rows(
        &client,
        "CREATE MODEL k USING kmeans WITH (num_clusters = 40, early_stop = FALSE, kmeans_init_method = 'RANDOM') AS \
         SELECT sin(value) AS x, cos(value) AS z FROM generate_series(1, 100)",
    )
    .await;
    rows(&client, endless).await;
    let running = "SELECT pid FROM pg_stat_progress_train WHERE model = 'k'";
    until(async || !rows(&client, running).await.is_empty()).await;
    let pid = rows(&client, running).await[0].clone();
    let own = rows(&client, "SELECT pg_backend_pid()").await[0].clone();
    assert_ne!(pid, own);
    assert_eq!(
        rows(&client, &format!("SELECT pg_cancel_backend({pid})")).await,
        ["t"]
    );
    until(async || rows(&client, running).await.is_empty()).await;
    let failed = "SELECT model, statement, message FROM ml.warnings WHERE code = 'training_failed'";
    until(async || !rows(&client, failed).await.is_empty()).await;
    let cancelled = "k|TRAIN|the training in the background failed with 57014: canceling statement due to user request";
    assert_eq!(rows(&client, failed).await, [cancelled]);
    assert_eq!(
        rows(&client, "SELECT pg_cancel_backend(999999)").await,
        ["f"]
    );
    assert_eq!(
        rows(
            &client,
            "SELECT current_version FROM ml.models WHERE name = 'k'"
        )
        .await,
        ["1"]
    );
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it did not happen");
}
