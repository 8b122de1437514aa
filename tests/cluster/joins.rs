//! Trainings of joins: workers write the rows of the query into files before they train, and leave none of these.

use std::path::Path;
use std::time::Duration;

use auspex_tests::rows;
use tokio_postgres::{Client, NoTls};

use crate::checkpoints::{often, wait_for_parts};
use crate::machines::{Machines, SAMPLES};
use crate::many::wait_for_passes;

const JOINED: &str = "(SELECT s.x1, s.x3, g.n, s.k, s.y, s.c FROM samples s JOIN \
    (SELECT k, substr(k, 2)::int AS n FROM samples WHERE x3 < 500 GROUP BY k) g ON s.k = g.k) joined";

fn trees(name: &str, rest: &str) -> String {
    format!(
        "CREATE MODEL {name} PREDICT c USING boosted_tree WITH (max_iterations = 5, max_tree_depth = 4) \
         AS SELECT x1, x3, n, k, c FROM {JOINED} {rest}"
    )
}

fn line(name: &str) -> String {
    format!(
        "CREATE MODEL {name} PREDICT y USING linear WITH (data_split_method = 'NO_SPLIT') \
         AS SELECT x1, x3, n, y FROM {JOINED}"
    )
}

/// The files of tables, whoever names them.
fn n_files(folder: &Path) -> usize {
    // A folder may be on its way out.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_file = |path: &Path| path.extension().is_some_and(|ending| ending == "parquet");
    paths
        .map(|path| match path.is_dir() {
            true => n_files(&path),
            false => usize::from(is_file(&path)),
        })
        .sum()
}

/// Waits until the written rows have gone, which they do once nothing reads them.
async fn wait_for_files(folder: &Path, expected: usize) {
    for _ in 0..600 {
        if n_files(folder) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{expected} files should stay, found {}", n_files(folder));
}

async fn place_of(client: &Client, create: &str) -> String {
    let plan = rows(client, &format!("EXPLAIN {create}")).await.unwrap();
    let plan = plan.concat().join("\n");
    let (_, place) = plan.split_once("place=[").unwrap();
    place.split(']').next().unwrap().to_owned()
}

async fn weights(client: &Client, model: &str) -> Vec<(String, f64)> {
    let query = format!("SELECT processed_input, weight FROM ML.WEIGHTS(MODEL {model}) ORDER BY 1");
    let weights = rows(client, &query).await.unwrap().into_iter();
    weights
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_join_are_written_and_the_model_depends_on_their_values_alone() {
    let mut machines = Machines::start(3).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let place = place_of(&client, &trees("m", "")).await;
    assert!(place.starts_with("workers: "), "{place}");
    assert!(
        place.ends_with("write its rows into files first"),
        "{place}"
    );
    let tables = machines.warehouse().join("tables");
    let n_before = n_files(&tables);
    client.batch_execute(&trees("three", "")).await.unwrap();
    client.batch_execute(&line("far")).await.unwrap();
    let jobs = "SELECT workers FROM ml.jobs WHERE model = 'three'";
    let workers = rows(&client, jobs).await.unwrap().concat().concat();
    assert_eq!(workers.split(", ").count(), 3, "{workers}");
    // What another number of machines writes, and what is written again after a loss.
    let other = machines.client().await;
    let running = tokio::spawn(async move { other.batch_execute(&trees("fewer", "")).await });
    tokio::time::sleep(Duration::from_millis(250)).await;
    machines.worker(0).kill().unwrap();
    let trained = running.await.unwrap();
    trained.unwrap_or_else(|error| panic!("{error}; {}", machines.logs()));
    machines.wait_for_workers(&client, 2).await;
    client.batch_execute(&trees("two", "")).await.unwrap();
    let expected = machines.tensors("three");
    assert_eq!(machines.tensors("fewer"), expected);
    assert_eq!(machines.tensors("two"), expected);
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    client.batch_execute(&line("near")).await.unwrap();
    let (near, far) = (
        weights(&client, "near").await,
        weights(&client, "far").await,
    );
    assert_eq!(near.len(), 4, "{near:?}");
    for (near, far) in near.iter().zip(&far) {
        assert_eq!(near.0, far.0);
        let difference = (near.1 - far.1).abs();
        assert!(
            difference <= 1e-9 * near.1.abs().max(1.0),
            "{near:?} {far:?}"
        );
    }
    wait_for_files(&tables, n_before).await;
}

/// Rows that come in an order are read in that order, on one machine.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_sort_stay_in_their_order() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let sorted = "ORDER BY x3, x1 LIMIT 20000";
    let place = place_of(&client, &trees("m", sorted)).await;
    assert!(place.starts_with("on this machine: only scans"), "{place}");
    client.batch_execute(&trees("far", sorted)).await.unwrap();
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    client.batch_execute(&trees("near", sorted)).await.unwrap();
    assert_eq!(machines.tensors("far"), machines.tensors("near"));
}

/// Where the order in which rows happen to come decides what they are, one machine computes them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_depend_on_their_order_stay() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let query = |columns: &str, from: &str| {
        format!("CREATE MODEL m PREDICT c USING boosted_tree AS SELECT {columns} FROM {from}")
    };
    let far = [
        query("x1, n, c", JOINED),
        query(
            "x1, c, sum(x1) OVER (PARTITION BY k ORDER BY x3) AS s",
            JOINED,
        ),
        query("x1, c, max(x1) OVER (PARTITION BY k) AS s", JOINED),
    ];
    for statement in far {
        let place = place_of(&client, &statement).await;
        assert!(place.starts_with("workers: "), "{statement}: {place}");
    }
    let first = "(SELECT k FROM samples ORDER BY x3 LIMIT 1000) firsts JOIN samples USING (k)";
    let near = [
        query("x1, c", first),
        query("DISTINCT ON (k, x1) x1, x3, c", JOINED),
        query(
            "x1, c, row_number() OVER (PARTITION BY k ORDER BY x3)::float8 AS s",
            JOINED,
        ),
        query(
            "x1, c, lag(x1) OVER (PARTITION BY k ORDER BY x3) AS s",
            JOINED,
        ),
        query(
            "x1, c, sum(x1) OVER (PARTITION BY k ORDER BY x3 ROWS 3 PRECEDING) AS s",
            JOINED,
        ),
    ];
    for statement in near {
        let place = place_of(&client, &statement).await;
        assert!(
            place.starts_with("on this machine: only scans"),
            "{statement}: {place}"
        );
    }
}

/// A training whose coordinator is killed goes on over the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_leaves_rows_to_go_on_with() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let tables = machines.warehouse().join("tables");
    let n_before = n_files(&tables);
    let train = |name: &str| {
        format!(
            "CREATE MODEL {name} PREDICT c USING boosted_tree WITH (max_iterations = 16, max_tree_depth = 4, early_stop = false) \
             AS SELECT x1, x3, n, k, c FROM {JOINED}"
        )
    };
    client.batch_execute(&train("expected")).await.unwrap();
    often(&client).await;
    let killed = train("killed");
    let running = tokio::spawn(async move { client.batch_execute(&killed).await });
    wait_for_parts(&machines, 3).await;
    machines.kill_coordinator();
    assert!(running.await.unwrap().is_err());
    assert!(n_files(&tables) > n_before, "the rows stay");
    machines.start_coordinator();
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    let resume = "TRAIN MODEL killed RESUME";
    client.batch_execute(resume).await.unwrap();
    assert_eq!(machines.tensors("killed"), machines.tensors("expected"));
    wait_for_files(&tables, n_before).await;
}

/// Nobody can go on with a training that is cancelled before its first checkpoint: none of its rows stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_is_cancelled_early_leaves_no_rows() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let tables = machines.warehouse().join("tables");
    let n_before = n_files(&tables);
    let late = "SET checkpoint_interval = '1h'";
    client.batch_execute(late).await.unwrap();
    let cancel = client.cancel_token();
    let train = format!(
        "CREATE MODEL cancelled PREDICT c USING boosted_tree WITH (max_iterations = 500, early_stop = false) \
         AS SELECT x1, x3, n, k, c FROM {JOINED}"
    );
    let running = tokio::spawn(async move { client.batch_execute(&train).await });
    wait_for_passes(&machines, "cancelled", 3).await;
    assert!(n_files(&tables) > n_before, "the rows were written");
    cancel.cancel_query(NoTls).await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014", "{error}");
    wait_for_files(&tables, n_before).await;
}

/// A training that fails after its rows were written leaves none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_fails_leaves_no_rows() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let tables = machines.warehouse().join("tables");
    let n_before = n_files(&tables);
    let one_class = format!(
        "CREATE MODEL never PREDICT c USING boosted_tree AS SELECT x1, n, x1 > 1000 AS c FROM {JOINED}"
    );
    let error = client.batch_execute(&one_class).await.unwrap_err();
    let message = error.as_db_error().unwrap().message();
    assert!(message.contains("only one class"), "{message}");
    wait_for_files(&tables, n_before).await;
}
