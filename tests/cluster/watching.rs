//! What those who watch a cluster see: workers that were lost, their counters, and that nothing goes on for nobody.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use auspex_tests::{binary, rows};
use tokio_postgres::{Client, NoTls};

use crate::machines::{Machines, SAMPLES, free_port, signal, spawn_logged, wait_for_text};

/// Asks until a query of one value gives what is wanted.
pub(crate) async fn wait_for(client: &Client, query: &str, wanted: &str) {
    let mut found = Vec::new();
    for _ in 0..600 {
        found = rows(client, query).await.unwrap();
        if found == [[wanted.to_owned()]] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} should give {wanted}, found {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_workers_stay_in_the_list() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    machines.worker(0).kill().unwrap();
    let lost = "SELECT count(*) FROM ml.workers WHERE state = 'lost' AND last_seen IS NOT NULL AND reason IS NOT NULL";
    wait_for(&client, lost, "1").await;
    let held =
        "SELECT sum(tasks + partitions_held + bytes_held) FROM ml.workers WHERE state = 'lost'";
    wait_for(&client, held, "0").await;
    machines.replace_worker(0);
    machines.wait_for_workers(&client, 2).await;
    wait_for(&client, lost, "1").await;
}

/// A join whose condition is never true gives no batch at which its workers could end, and keeps all their threads busy.
const ENDLESS: &str =
    "SELECT count(*) FROM samples a JOIN samples b ON a.k = b.k AND a.x1 + b.x3 > 1e9";
const IS_BUSY: &str = "SELECT sum(tasks) > 0 FROM ml.workers";

/// Waits until nothing runs on the workers any more, of which the coordinator hears once a second.
async fn wait_for_idle(client: &Client, after: &str) {
    let started = Instant::now();
    let is_idle = "SELECT sum(tasks) = 0 FROM ml.workers WHERE state = 'ready'";
    wait_for(client, is_idle, "t").await;
    let waited = started.elapsed();
    assert!(waited < Duration::from_secs(10), "{after}: {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_end_with_their_statement() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();

    let other = machines.client().await;
    let cancel = other.cancel_token();
    let running = tokio::spawn(async move { rows(&other, ENDLESS).await });
    wait_for(&client, IS_BUSY, "t").await;
    cancel.cancel_query(NoTls).await.unwrap();
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("cancel"), "{error}");
    wait_for_idle(&client, "a cancelled query").await;

    let other = machines.client().await;
    let timeout = "SET statement_timeout = '8s'";
    other.batch_execute(timeout).await.unwrap();
    let running = tokio::spawn(async move { rows(&other, ENDLESS).await });
    wait_for(&client, IS_BUSY, "t").await;
    let error = running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("timeout"), "{error}");
    wait_for_idle(&client, "a query whose time was over").await;

    let (other, connection) = machines.client_with_connection().await;
    let running = tokio::spawn(async move { rows(&other, ENDLESS).await });
    wait_for(&client, IS_BUSY, "t").await;
    connection.abort();
    assert!(running.await.unwrap().is_err());
    wait_for_idle(&client, "a query whose client has gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_end_with_their_coordinator() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let other = machines.client().await;
    let running = tokio::spawn(async move { rows(&other, ENDLESS).await });
    wait_for(&client, IS_BUSY, "t").await;
    machines.kill_coordinator();
    assert!(running.await.unwrap().is_err());
    machines.start_coordinator();
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    wait_for_idle(&client, "a query whose coordinator was killed").await;
}

/// A worker that was stopped does not hear that its partitions went to others, nor that their training has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_goes_on_forgets_the_partitions_that_others_have() {
    let mut machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    // A second file: rows of the first are all in the partitions of one worker.
    let more = "INSERT INTO samples SELECT * FROM samples";
    client.batch_execute(more).await.unwrap();
    let other = machines.client().await;
    let cancel = other.cancel_token();
    let train = "CREATE MODEL m PREDICT c USING boosted_tree \
                 WITH (max_iterations = 1000, early_stop = false) AS SELECT x1, x2, x3, k, c FROM samples";
    let running = tokio::spawn(async move { rows(&other, train).await });
    let hold = "SELECT count(*) FROM ml.workers WHERE bytes_held > 0";
    wait_for(&client, hold, "2").await;
    signal(machines.worker(0), "STOP");
    let lost = "SELECT count(*) FROM ml.workers WHERE state = 'lost'";
    wait_for(&client, lost, "1").await;
    cancel.cancel_query(NoTls).await.unwrap();
    assert!(running.await.unwrap().is_err());
    // Until nobody tries any more to tell it of the end.
    let silent = "SELECT count(*) FROM ml.workers WHERE state = 'lost' AND last_seen < now() - interval '28 seconds'";
    wait_for(&client, silent, "1").await;
    signal(machines.worker(0), "CONT");
    machines.wait_for_workers(&client, 2).await;
    let held = "SELECT sum(partitions_held + bytes_held) FROM ml.workers";
    wait_for(&client, held, "0").await;
}

/// The body of an answer.
pub(crate) fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_tell_how_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("worker.log");
    let port = free_port();
    let mut worker = Command::new(binary());
    worker.args(["worker", "--listen", "127.0.0.1:0"]);
    worker.args(["--http", &format!("127.0.0.1:{port}")]);
    let mut process = spawn_logged(worker, &log);
    wait_for_text(&log, "health and metrics").await;
    assert!(get(port, "/healthz").ends_with("ok\n"));
    let ready = get(port, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    let metrics = get(port, "/metrics");
    for line in [
        "auspex_worker_taken_in 0",
        "auspex_worker_tasks 0",
        "auspex_worker_partitions_held 0",
        "# TYPE auspex_worker_sent_bytes_total counter",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}
