//! More workers than send their replies to a pass to the coordinator: some merge those of others.

use std::time::Duration;

use auspex_tests::rows;

use crate::machines::{Machines, SAMPLES};

/// One more than a coordinator merges the replies of.
const N_WORKERS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn nine_workers_learn_what_one_machine_does() {
    let mut machines = Machines::start(N_WORKERS).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    // A file for each worker; x3 is below 1,009.
    let file = |number: usize| {
        let (from, to) = (number * 113, (number + 1) * 113);
        format!("SELECT * FROM samples WHERE x3 >= {from} AND x3 < {to}")
    };
    let create = format!("CREATE TABLE parts AS {}", file(0));
    client.batch_execute(&create).await.unwrap();
    for number in 1..N_WORKERS {
        let insert = format!("INSERT INTO parts {}", file(number));
        client.batch_execute(&insert).await.unwrap();
    }
    let options = [
        "boosted_tree WITH (max_iterations = 6, max_tree_depth = 4)",
        "logistic WITH (max_iterations = 5)",
    ];
    let train = |name: &str, number: usize| {
        let using = options[number];
        format!(
            "CREATE MODEL {name}_{number} PREDICT c USING {using} AS SELECT x1, x2, x3, k, c FROM parts"
        )
    };
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    for number in 0..options.len() {
        let expected = train("expected", number);
        client.batch_execute(&expected).await.unwrap();
    }
    let anywhere = "RESET min_distributed_size";
    client.batch_execute(anywhere).await.unwrap();
    for (number, using) in options.iter().enumerate() {
        let merged = train("merged", number);
        client.batch_execute(&merged).await.unwrap();
        let workers = format!(
            "SELECT cardinality(string_to_array(workers, ', ')) FROM ml.jobs WHERE model = 'merged_{number}'"
        );
        let n_workers = rows(&client, &workers).await.unwrap().concat();
        assert_eq!(n_workers, [N_WORKERS.to_string()]);
        let found = machines.tensors(&format!("merged_{number}"));
        let expected = machines.tensors(&format!("expected_{number}"));
        assert_eq!(found, expected, "{using}");
    }
    // A worker is lost in the midst of the passes.
    let other = machines.client().await;
    let statement = train("lost", 0);
    let running = tokio::spawn(async move { rows(&other, &statement).await });
    wait_for_passes(&machines, "lost_0", 10).await;
    machines.worker(0).kill().unwrap();
    running.await.unwrap().unwrap();
    let expected = machines.tensors("expected_0");
    assert_eq!(machines.tensors("lost_0"), expected, "{}", machines.logs());
}

/// Waits until the training of a model has made so many passes.
pub(crate) async fn wait_for_passes(machines: &Machines, model: &str, n_passes: u64) {
    let client = machines.client().await;
    let seen =
        format!("SELECT count(*) FROM ml.jobs WHERE model = '{model}' AND pass >= {n_passes}");
    for _ in 0..3_000 {
        if rows(&client, &seen).await.unwrap() == [["1"]] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{model} made no {n_passes} passes: {}", machines.logs());
}
