//! Workers that show themselves in the warehouse, and coordinators that look for them there.

use std::path::Path;
use std::process::{Child, Command};

use auspex_tests::{KEY_ID, S3Server, SECRET, ServerProcess, binary, rows};

use crate::faults::QUERY;
use crate::machines::{Machines, SAMPLES, free_port, signal, spawn_logged, wait_for_text};
use crate::watching::wait_for;

/// The content of the signs in a warehouse.
fn signs(warehouse: &Path) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(warehouse.join("catalog/workers")) else {
        return Vec::new();
    };
    let found = found.map(|sign| sign.unwrap().path());
    // What is being written has another name, and what was taken back meanwhile is none.
    found
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

const N_LISTED: &str = "SELECT count(*) FROM ml.workers";

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_found_and_forgotten_by_their_signs() {
    let mut machines = Machines::start(0).await;
    let unconcerned = machines.client().await;
    machines.add_signing_worker();
    let auto = ["auto".to_owned()];
    let client = machines.add_coordinator(&auto).await;
    machines.wait_for_workers(&client, 1).await;
    // One that comes later is found by all that look, without a restart.
    let other = machines.add_coordinator(&auto).await;
    machines.add_signing_worker();
    machines.wait_for_workers(&client, 2).await;
    machines.wait_for_workers(&other, 2).await;
    let listed = rows(&unconcerned, N_LISTED).await.unwrap();
    assert_eq!(listed, [["0"]], "it was not told to look");
    assert_eq!(signs(&machines.warehouse()).len(), 2);

    client.batch_execute(SAMPLES).await.unwrap();
    let place = rows(&client, &format!("EXPLAIN {QUERY}")).await.unwrap();
    let place = place.concat().concat();
    assert!(place.contains("on={0:127.0.0.1:"), "{place}");
    let found = rows(&client, QUERY).await.unwrap();
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    assert_eq!(found, rows(&client, QUERY).await.unwrap());

    // One that is killed is lost at once, and forgotten once its sign has lapsed.
    machines.worker(0).kill().unwrap();
    let lost = "SELECT count(*) FROM ml.workers WHERE state = 'lost' AND reason IS NOT NULL";
    wait_for(&client, lost, "1").await;
    wait_for(&client, N_LISTED, "1").await;
    wait_for(&other, N_LISTED, "1").await;
    assert_eq!(
        signs(&machines.warehouse()).len(),
        2,
        "catalog gc removes it"
    );

    // One that ends in order takes its sign back.
    signal(machines.worker(1), "TERM");
    let status = machines.worker(1).wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(signs(&machines.warehouse()).len(), 1);
    wait_for(&client, N_LISTED, "0").await;
    wait_for(&other, N_LISTED, "0").await;
}

/// Processes that end with the test.
struct Started(Vec<Child>);

impl Started {
    fn start(&mut self, arguments: &[&str], log: &Path) {
        let mut command = Command::new(binary());
        command.args(arguments);
        self.0.push(spawn_logged(command, log));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Who may write files of the warehouse is not told the token, nor learns it from the signs of those who know it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_that_does_not_prove_the_token_is_not_believed() {
    const TOKEN: &str = "a-token-of-tests-long-enough";
    let folder = tempfile::tempdir().unwrap();
    let [token, warehouse, serve, stranger, known] = [
        "token",
        "warehouse",
        "serve.log",
        "stranger.log",
        "known.log",
    ]
    .map(|name| folder.path().join(name));
    std::fs::write(&token, TOKEN).unwrap();
    let path = warehouse.to_str().unwrap();
    let with_token = ["--cluster-token-file", token.to_str().unwrap()];
    let worker = ["worker", "--listen", "127.0.0.1:0", "--coordinator", "auto"];
    let worker = [&worker[..], &["--warehouse", path]].concat();
    let listen = format!("127.0.0.1:{}", free_port());
    let server = ["serve", "--listen", &listen, "--workers", "auto"];
    let server = [&server[..], &["--warehouse", path], &with_token].concat();
    let mut started = Started(Vec::new());
    started.start(&server, &serve);
    started.start(&worker, &stranger);
    let told = wait_for_text(&serve, "the sign of a worker is not believed").await;
    assert!(
        told.contains("the cluster's token is missing or wrong"),
        "{told}"
    );
    started.start(&[&worker[..], &with_token].concat(), &known);
    wait_for_text(&known, "taken in by a coordinator").await;
    let asked = std::fs::read_to_string(&stranger).unwrap();
    assert!(!asked.contains("taken in"), "it was asked: {asked}");
    let signs = signs(&warehouse);
    assert_eq!(signs.len(), 2);
    assert!(signs.iter().all(|sign| !sign.contains(TOKEN)), "{signs:?}");
}

/// The times of an object store are whole seconds.
#[tokio::test(flavor = "multi_thread")]
async fn workers_are_found_in_a_bucket() {
    let Some(s3) = S3Server::start(&["lake"]) else {
        return;
    };
    let warehouse = "s3://lake/house";
    let environment = [
        ("AWS_ENDPOINT_URL", s3.endpoint()),
        ("AWS_ALLOW_HTTP", "true".into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", KEY_ID.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
    ];
    let server = ServerProcess::start(warehouse, &["--workers", "auto"], &environment);
    let client = server.client().await;
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Command::new(binary());
    worker.args(["worker", "--listen", "127.0.0.1:0", "--coordinator", "auto"]);
    worker.args(["--warehouse", warehouse]).envs(environment);
    let log = folder.path().join("worker.log");
    let mut started = Started(vec![spawn_logged(worker, &log)]);
    let ready = "SELECT count(*) FROM ml.workers WHERE state = 'ready'";
    wait_for(&client, ready, "1").await;
    let house = s3.bucket("lake").join("house");
    assert_eq!(signs(&house).len(), 1);
    signal(&started.0[0], "TERM");
    let status = started.0[0].wait().unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(signs(&house), Vec::<String>::new());
    wait_for(&client, N_LISTED, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_to_be_found_must_know_the_warehouse() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("worker.log");
    let mut started = Started(Vec::new());
    started.start(&["worker", "--coordinator", "auto"], &log);
    let told = wait_for_text(&log, "hint:").await;
    let expected = "error: a worker that coordinators find in the warehouse must know the warehouse\n\
                    hint: Give --warehouse, the same as to the coordinators.";
    assert!(told.contains(expected), "{told}");
}
