//! A cluster of processes on this machine: a coordinator, and workers that join it.
//!
//! In: a number of workers; out: clients of the coordinator, and workers that can be killed, stopped and replaced. All
//! end with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) use auspex_tests::free_port;
use auspex_tests::{CREDENTIAL_KEY, binary, examples, root, rows, skip};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// Rows to learn from: numbers, a NULL now and then, a category, a number and a class to predict.
pub(crate) const SAMPLES: &str = "CREATE TABLE samples AS SELECT \
    value * 0.37 % 11 AS x1, CASE WHEN value % 97 = 0 THEN NULL ELSE value * 1.3 % 7 END AS x2, \
    (value::bigint * 7919 % 1009)::float8 AS x3, 'k' || value % 5 AS k, \
    value * 0.37 % 11 * 2 - value * 1.3 % 7 AS y, (value * 0.37 % 11 + value * 1.3 % 7) > 9 AS c \
    FROM generate_series(1, 300000)";

/// A coordinator with its workers.
pub(crate) struct Machines {
    folder: TempDir,
    port: u16,
    worker_port: u16,
    coordinator: Child,
    workers: Vec<Child>,
    /// Further coordinators over the same warehouse.
    others: Vec<Child>,
}

impl Drop for Machines {
    fn drop(&mut self) {
        let coordinators = self.others.iter_mut().chain([&mut self.coordinator]);
        for process in self.workers.iter_mut().chain(coordinators) {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "signal {name} was not sent");
}

impl Machines {
    /// Starts a coordinator that distributes whatever it can, and `n_workers` that join it.
    pub(crate) async fn start(n_workers: usize) -> Machines {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let config = folder.path().join("auspex.toml");
        std::fs::write(config, "[settings]\nmin_distributed_size = \"0\"\n").unwrap();
        let (port, worker_port) = (free_port(), free_port());
        let join = format!("--worker-listen=127.0.0.1:{worker_port}");
        let coordinator = serve(folder.path(), "coordinator", port, &join);
        let mut machines = Machines {
            folder,
            port,
            worker_port,
            coordinator,
            workers: Vec::new(),
            others: Vec::new(),
        };
        for _ in 0..n_workers {
            machines.add_worker();
        }
        let client = machines.client().await;
        machines.wait_for_workers(&client, n_workers).await;
        machines
    }

    /// Kills the coordinator.
    pub(crate) fn kill_coordinator(&mut self) {
        self.coordinator.kill().unwrap();
        self.coordinator.wait().unwrap();
    }

    /// Asks the coordinator to end, and waits until it has.
    pub(crate) fn end_first_coordinator(&mut self) -> ExitStatus {
        signal(&self.coordinator, "TERM");
        self.coordinator.wait().unwrap()
    }

    /// Has coordinators that start from now on wait so long for what runs when they are asked to end.
    pub(crate) fn set_shutdown_timeout(&self, timeout: &str) {
        let config =
            format!("shutdown_timeout = \"{timeout}\"\n[settings]\nmin_distributed_size = \"0\"\n");
        std::fs::write(self.folder.path().join("auspex.toml"), config).unwrap();
    }

    /// Starts the coordinator anew, once it has ended.
    pub(crate) fn start_coordinator(&mut self) {
        let join = format!("--worker-listen=127.0.0.1:{}", self.worker_port);
        self.coordinator = serve(self.folder.path(), "coordinator", self.port, &join);
    }

    /// Starts a further coordinator over the same warehouse with these workers, and returns a client of it.
    pub(crate) async fn add_coordinator(&mut self, workers: &[String]) -> Client {
        let port = free_port();
        let name = format!("coordinator-{port}");
        let workers = format!("--workers={}", workers.join(","));
        let process = serve(self.folder.path(), &name, port, &workers);
        self.others.push(process);
        self.connect(port).await.0
    }

    /// Asks a further coordinator to end, and waits until it has.
    pub(crate) fn end_coordinator(&mut self, number: usize) -> ExitStatus {
        signal(&self.others[number], "TERM");
        self.others[number].wait().unwrap()
    }

    /// Where workers join.
    pub(crate) fn worker_port(&self) -> u16 {
        self.worker_port
    }

    /// Where models and tables are.
    pub(crate) fn warehouse(&self) -> PathBuf {
        self.folder.path().join("warehouse")
    }

    /// A folder of files that statements may read.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Starts one more worker.
    pub(crate) fn add_worker(&mut self) {
        self.add_worker_with(&[]);
    }

    /// The same with further arguments.
    pub(crate) fn add_worker_with(&mut self, arguments: &[&str]) {
        let coordinator = format!("127.0.0.1:{}", self.worker_port);
        self.start_worker(&coordinator, arguments);
    }

    /// Starts a worker that shows itself in the warehouse.
    pub(crate) fn add_signing_worker(&mut self) {
        let warehouse = self.warehouse();
        self.start_worker("auto", &["--warehouse", warehouse.to_str().unwrap()]);
    }

    /// Starts a worker whose mounts are its own; `false`, with a word on why, where this process may not.
    pub(crate) fn add_worker_with_own_mounts(&mut self) -> bool {
        let own = ["-m", "--propagation", "private"];
        let tried = Command::new("unshare").args(own).arg("true").output();
        if !tried.is_ok_and(|tried| tried.status.success()) {
            skip("CAP_SYS_ADMIN", "make namespaces of mounts");
            return false;
        }
        let mut worker = Command::new("unshare");
        worker.args(own).arg(binary());
        let coordinator = format!("127.0.0.1:{}", self.worker_port);
        self.start_worker_as(worker, &coordinator, &[]);
        true
    }

    /// Runs a program of mounts where a worker has its own.
    pub(crate) fn among_mounts_of(&self, number: usize, command: &[&str]) {
        let process = self.workers[number].id().to_string();
        let ran = Command::new("nsenter")
            .args(["-t", &process, "-m"])
            .args(command)
            .arg(self.warehouse())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{command:?}: {ran:?}");
    }

    fn start_worker(&mut self, coordinator: &str, arguments: &[&str]) {
        self.start_worker_as(Command::new(binary()), coordinator, arguments);
    }

    fn start_worker_as(&mut self, mut worker: Command, coordinator: &str, arguments: &[&str]) {
        worker.args(["worker", "--listen", "127.0.0.1:0"]);
        worker.args(["--coordinator", coordinator]);
        worker.args(arguments);
        let name = format!("worker-{}", self.workers.len());
        let process = spawn_logged(worker, &log(self.folder.path(), &name));
        self.workers.push(process);
    }

    /// Starts a worker in the place of one that ended.
    pub(crate) fn replace_worker(&mut self, number: usize) {
        // It has ended.
        let _ = self.workers[number].wait();
        self.add_worker();
    }

    /// A worker's process.
    pub(crate) fn worker(&mut self, number: usize) -> &mut Child {
        &mut self.workers[number]
    }

    /// How many workers were started so far.
    pub(crate) fn n_started(&self) -> usize {
        self.workers.len()
    }

    /// The hash of the parameters of a model's first version.
    pub(crate) fn tensors(&self, model: &str) -> String {
        self.tensors_of(model, 1)
    }

    /// The same of a version.
    pub(crate) fn tensors_of(&self, model: &str, version: u64) -> String {
        let models = self.warehouse().join("models");
        for folder in std::fs::read_dir(models).unwrap() {
            let manifest = folder.unwrap().path();
            let manifest = manifest.join(version.to_string()).join("manifest.json");
            let Ok(text) = std::fs::read_to_string(manifest) else {
                continue;
            };
            let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
            if manifest["model"] == model {
                return manifest["tensors"]["sha256"].as_str().unwrap().to_owned();
            }
        }
        panic!("model {model} was not stored")
    }

    /// A client of the coordinator, which may still be starting.
    pub(crate) async fn client(&self) -> Client {
        self.client_with_connection().await.0
    }

    /// The same with the task that carries its connection, which closes when the task is aborted.
    pub(crate) async fn client_with_connection(&self) -> (Client, JoinHandle<()>) {
        self.connect(self.port).await
    }

    async fn connect(&self, port: u16) -> (Client, JoinHandle<()>) {
        let config = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
        for _ in 0..3_000 {
            if let Ok((client, connection)) = tokio_postgres::connect(&config, NoTls).await {
                // The client tells of errors.
                let connection = tokio::spawn(async move { drop(connection.await) });
                return (client, connection);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the coordinator never answered: {}", self.logs());
    }

    /// Waits until so many workers take work.
    pub(crate) async fn wait_for_workers(&self, client: &Client, n_workers: usize) {
        let started = Instant::now();
        let mut found = Vec::new();
        while started.elapsed() < Duration::from_secs(60) {
            let ready = "SELECT count(*) FROM ml.workers WHERE state = 'ready'";
            let count = rows(client, ready).await.unwrap();
            if count == [[n_workers.to_string()]] {
                return;
            }
            found = rows(client, "SHOW WORKERS").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{n_workers} workers were expected, found {found:?}: {}",
            self.logs()
        );
    }

    /// What the processes wrote.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap();
                text.push_str(&format!("\n== {}\n{log}", path.display()));
            }
        }
        text
    }
}

/// Starts a coordinator over the warehouse of a folder; `workers` says which it has.
fn serve(folder: &Path, name: &str, port: u16, workers: &str) -> Child {
    let allowed = [examples(), root().join("tests/data"), folder.join("files")];
    let mut serve = Command::new(binary());
    serve.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    serve.env("AUSPEX_CREDENTIAL_KEY", CREDENTIAL_KEY);
    serve.arg(workers);
    serve.arg("--config").arg(folder.join("auspex.toml"));
    serve.arg("--warehouse").arg(folder.join("warehouse"));
    for location in &allowed {
        serve.arg("--allow-location").arg(location);
    }
    spawn_logged(serve, &log(folder, name))
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

/// Waits until a text is in a log.
pub(crate) async fn wait_for_text(log: &Path, text: &str) -> String {
    let mut found = String::new();
    for _ in 0..3_000 {
        found = std::fs::read_to_string(log).unwrap_or_default();
        if found.contains(text) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("\"{text}\" never came: {found}")
}

/// Starts a process that writes to a log.
pub(crate) fn spawn_logged(mut command: Command, log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    command
        .env("AUSPEX_LOG", "info")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
