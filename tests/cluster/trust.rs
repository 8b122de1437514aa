//! Who may be part of a cluster: machines with the token, of the same version, with the same warehouse.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use auspex_tests::{binary, root, rows};
use tokio_postgres::NoTls;

use crate::machines::{Machines, free_port, spawn_logged, wait_for_text};

/// Starts a worker and returns what it writes until `text` is in it.
async fn worker_says(arguments: &[&str], text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("worker.log");
    let mut worker = Command::new(binary());
    worker.arg("worker").args(arguments);
    let mut process = spawn_logged(worker, &log);
    let found = wait_for_text(&log, text).await;
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_need_a_token() {
    let found = worker_says(&["--listen", "0.0.0.0:0"], "hint:").await;
    let expected = "error: \"0.0.0.0:0\" is reached by other machines, so that a token is needed\n\
                    hint: Give --cluster-token-file or --cluster-tls, or listen on 127.0.0.1.";
    assert!(found.contains(expected), "{found}");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "short").unwrap();
    let path = token.to_str().unwrap();
    let found = worker_says(&["--cluster-token-file", path], "hint:").await;
    assert!(
        found.contains("must have at least 16 characters"),
        "{found}"
    );
    std::fs::write(&token, "0123456789abcdef").unwrap();
    let known = ["--cluster-token-file", path, "--listen", "0.0.0.0:0"];
    let unnamed = [&known[..], &["--coordinator", "127.0.0.1:9"]].concat();
    let found = worker_says(&unnamed, "hint:").await;
    assert!(
        found.contains("hint: Give --advertise HOST:PORT."),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a token of tests, long enough".replace(' ', "-")).unwrap();
    let (port, worker_port) = (free_port(), free_port());
    let mut serve = Command::new(binary());
    serve.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    serve.args(["--worker-listen", &format!("127.0.0.1:{worker_port}")]);
    serve.arg("--cluster-token-file").arg(&token);
    serve
        .arg("--warehouse")
        .arg(folder.path().join("warehouse"));
    let log = folder.path().join("serve.log");
    let mut process = spawn_logged(serve, &log);
    wait_for_text(&log, "workers may join").await;
    let coordinator = format!("127.0.0.1:{worker_port}");
    let stranger = ["--listen", "127.0.0.1:0", "--coordinator", &coordinator];
    let found = worker_says(&stranger, "cannot join").await;
    assert!(
        found.contains("the cluster's token is missing or wrong"),
        "{found}"
    );
    let refused = wait_for_text(&log, "a machine was refused").await;
    assert!(
        refused.contains("it does not know the cluster's token"),
        "{refused}"
    );
    let known = [
        &stranger[..],
        &["--cluster-token-file", token.to_str().unwrap()],
    ]
    .concat();
    worker_says(&known, "taken in by a coordinator").await;
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// Who names a worker tells it no token that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_worker_proves_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let [token, warehouse, log, worker_log] =
        ["token", "warehouse", "serve.log", "worker.log"].map(|name| folder.path().join(name));
    std::fs::write(&token, "a-token-of-tests-long-enough").unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut worker = Command::new(binary());
    worker.args(["worker", "--listen", &address]);
    let mut worker = spawn_logged(worker, &worker_log);
    let mut serve = Command::new(binary());
    serve.args(["serve", "--listen", &format!("127.0.0.1:{}", free_port())]);
    serve.args(["--workers", &address]);
    serve.arg("--cluster-token-file").arg(&token);
    serve.arg("--warehouse").arg(&warehouse);
    let mut process = spawn_logged(serve, &log);
    let told = wait_for_text(&log, "worker is refused").await;
    assert!(
        told.contains("the worker does not prove that it knows the cluster's token"),
        "{told}"
    );
    let told = wait_for_text(&worker_log, "which is not known here").await;
    assert!(!told.contains("taken in"), "{told}");
    // It may have ended already.
    let _ = worker.kill();
    let _ = worker.wait();
    // The same address, and the token.
    let known = ["--listen", &address, "--cluster-token-file"];
    let known = [&known[..], &[token.to_str().unwrap()]].concat();
    worker_says(&known, "taken in by a coordinator").await;
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// A folder with certificates of the tests' authority, which are those of 127.0.0.1.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = root().join("server/tests/wire/certificates");
    for (from, to) in [
        ("ca.pem", "ca.pem"),
        ("server.pem", "cert.pem"),
        ("server.key", "key.pem"),
    ] {
        std::fs::copy(made.join(from), folder.path().join(to)).unwrap();
    }
    folder
}

/// With certificates no token is needed; who has none is refused before a word is read.
#[tokio::test(flavor = "multi_thread")]
async fn machines_show_certificates_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificates();
    let tls = tls.path().to_str().unwrap();
    let (port, worker_port) = (free_port(), free_port());
    let mut serve = Command::new(binary());
    serve.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    serve.args(["--worker-listen", &format!("0.0.0.0:{worker_port}")]);
    serve.args(["--cluster-tls", tls]);
    serve
        .arg("--warehouse")
        .arg(folder.path().join("warehouse"));
    let log = folder.path().join("serve.log");
    let mut process = spawn_logged(serve, &log);
    wait_for_text(&log, "workers may join").await;
    let coordinator = format!("127.0.0.1:{worker_port}");
    let plain = ["--listen", "127.0.0.1:0", "--coordinator", &coordinator];
    worker_says(&plain, "cannot join").await;
    wait_for_text(&log, "it does not encrypt").await;
    let known = [&plain[..], &["--cluster-tls", tls]].concat();
    worker_says(&known, "taken in by a coordinator").await;
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

/// A worker whose certificate proves that it may call, and not that it is what is called at its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_reached_shows_why() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, other_tls) = (certificates(), certificates());
    let made = root().join("server/tests/wire/certificates");
    for (from, to) in [("client.pem", "cert.pem"), ("client.key", "key.pem")] {
        std::fs::copy(made.join(from), other_tls.path().join(to)).unwrap();
    }
    let (port, worker_port, silent_port) = (free_port(), free_port(), free_port());
    let mut serve = Command::new(binary());
    serve.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    serve.args(["--worker-listen", &format!("127.0.0.1:{worker_port}")]);
    serve.args(["--workers", &format!("127.0.0.1:{silent_port}")]);
    serve.arg("--cluster-tls").arg(tls.path());
    serve
        .arg("--warehouse")
        .arg(folder.path().join("warehouse"));
    let log = folder.path().join("serve.log");
    let mut process = spawn_logged(serve, &log);
    let told = wait_for_text(&log, "cannot reach a worker").await;
    assert!(told.contains("Connection refused"), "{told}");
    wait_for_text(&log, "workers may join").await;
    let coordinator = format!("127.0.0.1:{worker_port}");
    let other_tls = other_tls.path().to_str().unwrap();
    let worker = ["--listen", "127.0.0.1:0", "--coordinator", &coordinator];
    let worker = [&worker[..], &["--cluster-tls", other_tls]].concat();
    let found = worker_says(&worker, "a machine was refused").await;
    assert!(
        found.contains("it does not accept this machine's certificate"),
        "{found}"
    );
    let told = wait_for_text(&log, "invalid peer certificate").await;
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let listed = format!(
        "SELECT state, reason LIKE '%Connection refused%' FROM ml.workers \
         WHERE address = '127.0.0.1:{silent_port}'"
    );
    let listed = rows(&client, &listed).await.unwrap();
    assert_eq!(listed, [["expected", "t"]]);
    // It was asked each second.
    let of_silent = |line: &&str| line.contains(&silent_port.to_string());
    let lines = told.lines().filter(of_silent);
    let warnings = lines.filter(|line| line.contains("cannot reach a worker"));
    assert_eq!(warnings.count(), 1, "{told}");
    // It may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_certificates_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let found = worker_says(&["--cluster-tls", path], "hint:").await;
    assert!(found.contains("ca.pem"), "{found}");
    assert!(
        found.contains("hint: --cluster-tls names a folder with ca.pem, cert.pem and key.pem."),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_are_sent_away() {
    let machines = Machines::start(1).await;
    let client = machines.client().await;
    let gate = ("127.0.0.1", machines.worker_port());
    let strangers: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(gate).unwrap()).collect();
    for mut stranger in strangers {
        let patience = Duration::from_secs(60);
        stranger.set_read_timeout(Some(patience)).unwrap();
        // What the port says of itself first, and its end.
        let read = stranger.read_to_end(&mut Vec::new());
        let is_open = read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_open, "{}", machines.logs());
    }
    let logs = machines.logs();
    let told = "it did not show in time that it belongs to the cluster";
    assert_eq!(logs.matches(told).count(), 1, "a line a minute: {logs}");
    // Those that belong to it stay.
    machines.wait_for_workers(&client, 1).await;
    assert!(!logs.contains("worker is lost"), "{logs}");
}
