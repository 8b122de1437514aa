//! Trainings whose coordinator is killed, or that are cancelled, go on with `TRAIN MODEL … RESUME` to the model that they
//! would have come to.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use auspex_tests::rows;
use tokio_postgres::{Client, NoTls};

use crate::machines::{Machines, SAMPLES};
use crate::watching::wait_for;

/// A boosted model of so many trees that it is killed in their midst.
const TREES: &str = "PREDICT c USING boosted_tree WITH (max_iterations = 40, max_tree_depth = 4, early_stop = false) \
                     AS SELECT x1, x2, x3, k, c FROM samples";

/// The files of checkpoints.
fn parts(machines: &Machines) -> Vec<PathBuf> {
    let folder = machines.warehouse().join("models/checkpoints");
    let runs = std::fs::read_dir(folder).into_iter().flatten();
    let files = runs.flat_map(|run| std::fs::read_dir(run.unwrap().path()).into_iter().flatten());
    files.map(|file| file.unwrap().path()).collect()
}

/// Waits until what ended has left nothing.
async fn wait_for_nothing(machines: &Machines) {
    for _ in 0..600 {
        if parts(machines).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("what ended leaves nothing: {:?}", parts(machines));
}

/// Waits until a training has written so many parts.
pub(crate) async fn wait_for_parts(machines: &Machines, n_parts: usize) {
    for _ in 0..6_000 {
        let is_part = |file: &&PathBuf| file.extension().is_some_and(|ending| ending == "part");
        if parts(machines).iter().filter(is_part).count() >= n_parts {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no checkpoint was written: {}", machines.logs());
}

pub(crate) async fn often(client: &Client) {
    let often = "SET checkpoint_interval = '10ms'";
    client.batch_execute(often).await.unwrap();
}

/// Waits until the newest training of a model has ended so; a client may hear of its end before.
async fn wait_for_end(client: &Client, model: &str, state: &str, resumed: &str) {
    let newest = "SELECT model, state, resumed FROM ml.jobs ORDER BY job DESC LIMIT 1";
    let mut found = Vec::new();
    for _ in 0..600 {
        found = rows(client, newest).await.unwrap().remove(0);
        if found == [model, state, resumed] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{model} should be {state}, found {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_costs_no_training() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let expected = format!("CREATE MODEL expected {TREES}");
    client.batch_execute(&expected).await.unwrap();
    assert!(
        parts(&machines).is_empty(),
        "a short training keeps nothing"
    );
    often(&client).await;
    let running = tokio::spawn(async move {
        let killed = format!("CREATE MODEL killed {TREES}");
        client.batch_execute(&killed).await
    });
    wait_for_parts(&machines, 3).await;
    machines.kill_coordinator();
    assert!(running.await.unwrap().is_err());
    machines.start_coordinator();
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    // The rows are those of then, and so is what the statement said.
    let more = "INSERT INTO samples SELECT * FROM samples LIMIT 1000";
    client.batch_execute(more).await.unwrap();
    let resume = "TRAIN MODEL killed RESUME";
    client.batch_execute(resume).await.unwrap();
    assert_eq!(machines.tensors("killed"), machines.tensors("expected"));
    wait_for_end(&client, "killed", "done", "yes").await;
    wait_for_nothing(&machines).await;
    let error = client.batch_execute(resume).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55000", "{error}");
    let error = client
        .batch_execute("TRAIN MODEL nobody RESUME")
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42704", "{error}");
}

/// On one machine, of a model that exists, with an estimator that sends passes over blocks.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_training_goes_on() {
    let machines = Machines::start(0).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let options = "num_clusters = 40, max_iterations = 60, early_stop = false, seed = 3";
    let query = "SELECT x1, x3, y FROM samples";
    let model = |name: &str, rest: &str| {
        format!("CREATE MODEL {name} USING kmeans WITH ({options}) AS {query} {rest}")
    };
    let expected = model("expected", "");
    client.batch_execute(&expected).await.unwrap();
    let cancelled = model("cancelled", "LIMIT 1000");
    client.batch_execute(&cancelled).await.unwrap();
    often(&client).await;
    let cancel = client.cancel_token();
    let (client, ended) = {
        let running = tokio::spawn(async move {
            let train = format!("TRAIN MODEL cancelled ON ({query})");
            let ended = client.batch_execute(&train).await;
            (client, ended)
        });
        wait_for_parts(&machines, 2).await;
        cancel.cancel_query(NoTls).await.unwrap();
        running.await.unwrap()
    };
    let error = ended.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014", "{error}");
    wait_for_end(&client, "cancelled", "cancelled", "no").await;
    let resume = "TRAIN MODEL cancelled RESUME";
    client.batch_execute(resume).await.unwrap();
    wait_for_end(&client, "cancelled", "done", "yes").await;
    wait_for_nothing(&machines).await;
    assert_eq!(
        machines.tensors_of("cancelled", 2),
        machines.tensors("expected")
    );
}

/// Trains a model of that name in the background, and waits until its first tree is over, of which it keeps a record.
async fn train_in_background(client: &Client, name: &str) {
    let create = format!("CREATE MODEL {name} {TREES} WITH NO TRAIN");
    client.batch_execute(&create).await.unwrap();
    let train = format!("TRAIN MODEL {name} IN BACKGROUND");
    client.batch_execute(&train).await.unwrap();
    let trees = format!("SELECT count(*) FROM ml.jobs WHERE model = '{name}' AND iteration > 1");
    wait_for(client, &trees, "1").await;
}

/// Machines whose coordinator has been asked to end in the midst of a training in the background, and how it ended; the
/// model `expected` is what the training comes to.
async fn ended_in_training(shutdown_timeout: &str, name: &str) -> (Machines, ExitStatus) {
    let mut machines = Machines::start(2).await;
    machines.kill_coordinator();
    machines.set_shutdown_timeout(shutdown_timeout);
    machines.start_coordinator();
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    client.batch_execute(SAMPLES).await.unwrap();
    let expected = format!("CREATE MODEL expected {TREES}");
    client.batch_execute(&expected).await.unwrap();
    train_in_background(&client, name).await;
    drop(client);
    let status = machines.end_first_coordinator();
    (machines, status)
}

/// A coordinator that is asked to end lets trainings in the background end, as it does statements.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_ends_waits_for_trainings_in_the_background() {
    let (machines, status) = ended_in_training("5 min", "waited").await;
    assert!(status.success(), "{status}: {}", machines.logs());
    assert_eq!(machines.tensors("waited"), machines.tensors("expected"));
    assert!(parts(&machines).is_empty(), "{:?}", parts(&machines));
}

/// One that may not wait has them write what they have come to, however short they ran.
#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_the_end_of_the_coordinator_cuts_off_goes_on() {
    let (mut machines, status) = ended_in_training("0", "cut").await;
    let logs = machines.logs();
    assert!(status.success(), "{status}: {logs}");
    assert!(logs.contains("a training ends with the server"), "{logs}");
    assert!(
        logs.contains("RESUME goes on with its checkpoint"),
        "{logs}"
    );
    wait_for_parts(&machines, 1).await;
    machines.start_coordinator();
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    let resume = "TRAIN MODEL cut RESUME";
    client.batch_execute(resume).await.unwrap();
    assert_eq!(machines.tensors("cut"), machines.tensors("expected"));
    wait_for_nothing(&machines).await;
}
