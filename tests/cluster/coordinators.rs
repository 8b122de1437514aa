//! Two coordinators over one warehouse, with the same workers.

use auspex_tests::rows;

use crate::machines::{Machines, SAMPLES};

/// Two trainings that have different requests, steps and partials.
const TYPES: [(&str, &str); 2] = [
    (
        "lines",
        "PREDICT y USING linear AS SELECT x1, x2, x3, y FROM samples",
    ),
    (
        "trees",
        "PREDICT c USING boosted_tree WITH (max_iterations = 4, max_tree_depth = 4) \
         AS SELECT x1, x2, x3, k, c FROM samples",
    ),
];

/// Each coordinator counts what it opens on workers from 1: a worker keeps them apart.
#[tokio::test(flavor = "multi_thread")]
async fn coordinators_train_at_once_on_the_same_workers() {
    let mut machines = Machines::start(2).await;
    let first = machines.client().await;
    first.batch_execute(SAMPLES).await.unwrap();
    let here = "SET min_distributed_size = '1TB'";
    first.batch_execute(here).await.unwrap();
    for (name, training) in TYPES {
        let create = format!("CREATE MODEL expected_{name} {training}");
        first.batch_execute(&create).await.unwrap();
    }
    let anywhere = "RESET min_distributed_size";
    first.batch_execute(anywhere).await.unwrap();
    let addresses = rows(&first, "SELECT address FROM ml.workers").await;
    let second = machines.add_coordinator(&addresses.unwrap().concat()).await;
    machines.wait_for_workers(&second, 2).await;
    for round in 0..2 {
        let [create, other] = TYPES.map(|(name, training)| {
            let name = format!("{name}_{round}");
            format!("CREATE MODEL {name} {training}")
        });
        let (one, two) = tokio::join!(first.batch_execute(&create), second.batch_execute(&other));
        one.unwrap_or_else(|error| panic!("{error}: {}", machines.logs()));
        two.unwrap_or_else(|error| panic!("{error}: {}", machines.logs()));
        for (name, _) in TYPES {
            let found = machines.tensors(&format!("{name}_{round}"));
            assert_eq!(found, machines.tensors(&format!("expected_{name}")));
        }
    }
    // Both were on the workers, and say so after their end.
    for client in [&first, &second] {
        let jobs = "SELECT DISTINCT cardinality(string_to_array(workers, ', ')) FROM ml.jobs \
                    WHERE model NOT LIKE 'expected%'";
        assert_eq!(rows(client, jobs).await.unwrap(), [["2"]]);
    }
}

/// Workers look for a file of their coordinator in the warehouse; it goes with the coordinator.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_ends_leaves_no_file_behind() {
    let mut machines = Machines::start(1).await;
    let client = machines.client().await;
    let probes = |machines: &Machines| {
        let probes = std::fs::read_dir(machines.warehouse().join("catalog/probes")).unwrap();
        let probes = probes.map(|probe| probe.unwrap().path());
        probes
            .filter(|probe| probe.extension().is_some_and(|e| e == "probe"))
            .count()
    };
    let addresses = rows(&client, "SELECT address FROM ml.workers").await;
    let other = machines.add_coordinator(&addresses.unwrap().concat()).await;
    machines.wait_for_workers(&other, 1).await;
    assert_eq!(probes(&machines), 2);
    drop(other);
    let status = machines.end_coordinator(0);
    assert!(status.success(), "{status}: {}", machines.logs());
    assert_eq!(probes(&machines), 1);
    // The first one's is still there for workers that come.
    machines.add_worker();
    machines.wait_for_workers(&client, 2).await;
}

/// One worker under two names is one worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_two_names_counts_once() {
    let mut machines = Machines::start(1).await;
    let first = machines.client().await;
    let address = rows(&first, "SELECT address FROM ml.workers").await;
    let address = address.unwrap().concat().concat();
    let other_name = address.replace("127.0.0.1", "localhost");
    let second = machines.add_coordinator(&[address, other_name]).await;
    machines.wait_for_workers(&second, 1).await;
    let refused =
        "SELECT count(*) FROM ml.workers WHERE state = 'refused' AND reason LIKE 'it is % already'";
    crate::watching::wait_for(&second, refused, "1").await;
}
