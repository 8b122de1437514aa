//! Workers that are killed or stopped at seeded moments of a query and of a training: the statement ends in the right
//! rows or the right model.

use std::time::Duration;

use auspex_tests::rows;

use crate::machines::{Machines, SAMPLES, signal};

pub(crate) const QUERY: &str = "SELECT a.k, count(*), min(a.x3), max(b.x1) FROM samples a JOIN samples b ON a.x3 = b.x3 AND a.k = b.k \
                     WHERE a.x1 < 0.5 AND b.x2 < 3 GROUP BY a.k ORDER BY a.k";

/// A number below `end` that depends on the round alone.
fn drawn(round: u64, end: u64) -> u64 {
    let mut x = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed;
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x ^ (x >> 29)) % end
}

/// How many trainings lose a worker: a few in a usual run. As many queries do.
fn n_trainings() -> u64 {
    match std::env::var("AUSPEX_TEST_FULL") {
        Ok(_) => 100,
        Err(_) => 5,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_cost_no_rows_and_no_model() {
    let mut machines = Machines::start(3).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let train = |name: &str| {
        format!(
            "CREATE MODEL {name} PREDICT c USING boosted_tree WITH (max_iterations = 6, max_tree_depth = 4) \
             AS SELECT x1, x2, x3, k, c FROM samples"
        )
    };
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    let expected_rows = rows(&client, QUERY).await.unwrap();
    client.batch_execute(&train("expected")).await.unwrap();
    let anywhere = "RESET min_distributed_size";
    client.batch_execute(anywhere).await.unwrap();
    let expected = machines.tensors("expected");
    let mut alive: Vec<usize> = (0..machines.n_started()).collect();
    for round in 0..2 * n_trainings() {
        let other = machines.client().await;
        let name = format!("m{round}");
        let trains = round % 2 == 0;
        let statement = if trains {
            train(&name)
        } else {
            QUERY.to_owned()
        };
        let running = tokio::spawn(async move { rows(&other, &statement).await });
        let delay_ms = drawn(round, if trains { 2_500 } else { 600 });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        let victim = alive.swap_remove(drawn(round + 1_000, 3) as usize);
        machines.worker(victim).kill().unwrap();
        let found = running.await.unwrap();
        let context = || format!("round {round}, {delay_ms} ms: {}", machines.logs());
        match found {
            Err(error) => panic!("{error}; {}", context()),
            Ok(_) if trains => assert_eq!(machines.tensors(&name), expected, "{}", context()),
            Ok(found) => assert_eq!(found, expected_rows, "{}", context()),
        }
        machines.replace_worker(victim);
        alive.push(machines.n_started() - 1);
        machines.wait_for_workers(&client, 3).await;
    }
}

/// A stopped process keeps its connections open and says nothing: only the wait for a sign of life finds it.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_workers_are_found_out() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let expected = rows(&client, QUERY).await.unwrap();
    signal(machines.worker(1), "STOP");
    let found = rows(&client, QUERY).await.unwrap();
    assert_eq!(found, expected);
    let train = "CREATE MODEL m PREDICT y USING linear AS SELECT x1, x2, x3, y FROM samples";
    client.batch_execute(train).await.unwrap();
    let states = rows(&client, "SELECT state FROM ml.workers ORDER BY state").await;
    let states = states.unwrap().concat();
    assert!(states.contains(&"ready".to_owned()), "{states:?}");
    signal(machines.worker(1), "CONT");
    machines.wait_for_workers(&client, 2).await;
}

/// Each worker has a row of the two files, so that one of them is enough; the other one never says that its task has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_lost_behind_the_last_row_costs_no_rows() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    for name in ["a.csv", "b.csv"] {
        std::fs::write(machines.files().join(name), "x\n1\n2\n").unwrap();
    }
    let files = machines.files().join("*.csv");
    let query = format!(
        "SELECT x >= 0 FROM '{}' WHERE x >= 0 LIMIT 1",
        files.display()
    );
    client.batch_execute("SET threads = 2").await.unwrap();
    let plan = rows(&client, &format!("EXPLAIN {query}")).await.unwrap();
    let plan = plan.concat().join("\n");
    assert!(plan.contains("tasks=2"), "{plan}");
    signal(machines.worker(1), "STOP");
    let found = rows(&client, &query).await;
    assert_eq!(found.unwrap(), [["t"]], "{}", machines.logs());
}

/// A worker that ends in order takes no new work, and those who use it notice nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_asked_to_end_drains() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let expected = rows(&client, QUERY).await.unwrap();
    let other = machines.client().await;
    let running = tokio::spawn(async move { rows(&other, QUERY).await });
    signal(machines.worker(0), "TERM");
    assert_eq!(running.await.unwrap().unwrap(), expected);
    let status = machines.worker(0).wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(rows(&client, QUERY).await.unwrap(), expected);
}
