//! Machines that are cut from each other: network namespaces of this test, whose packets go nowhere.
//!
//! Only root may make them; without that right the test is skipped.

use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

use auspex_tests::{binary, skip};
use tempfile::TempDir;

use crate::machines::{SAMPLES, spawn_logged};

/// Where clients and workers reach the coordinator in its namespace.
const PORT: u16 = 5432;
const GATE: &str = "10.93.7.1:5433";

const QUERY: &str = "SELECT k, count(*), max(x3) FROM samples GROUP BY k ORDER BY k";

/// A coordinator and two workers, each in a namespace of its own, on one bridge.
struct Networks {
    folder: TempDir,
    names: [String; 3],
    processes: Vec<Child>,
}

impl Drop for Networks {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        for name in &self.names {
            // What was not made cannot be removed.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(arguments).output()
}

fn done(arguments: &[&str]) -> bool {
    ip(arguments).is_ok_and(|output| output.status.success())
}

/// A worker's address.
fn address(worker: usize) -> String {
    format!("10.93.7.{}", worker + 1)
}

impl Networks {
    /// Makes them; `None`, with a word on why, where this process may not.
    fn make() -> Option<Networks> {
        let names = ["c", "a", "b"].map(|name| format!("auspex-{}-{name}", std::process::id()));
        let networks = Networks {
            folder: tempfile::tempdir().unwrap(),
            names,
            processes: Vec::new(),
        };
        if networks.connect().is_none() {
            skip("CAP_NET_ADMIN", "make network namespaces");
            return None;
        }
        Some(networks)
    }

    fn connect(&self) -> Option<()> {
        let all = |commands: &[&[&str]]| commands.iter().all(|command| done(command)).then_some(());
        let [hub, ..] = self.names.each_ref().map(String::as_str);
        for name in &self.names {
            all(&[
                &["netns", "add", name],
                &["-n", name, "link", "set", "lo", "up"],
            ])?;
        }
        all(&[
            &["-n", hub, "link", "add", "br0", "type", "bridge"],
            &["-n", hub, "addr", "add", "10.93.7.1/24", "dev", "br0"],
            &["-n", hub, "link", "set", "br0", "up"],
        ])?;
        for (worker, name) in self.names.iter().enumerate().skip(1) {
            let (port, own) = (format!("port{worker}"), format!("{}/24", address(worker)));
            let (port, own, name) = (port.as_str(), own.as_str(), name.as_str());
            all(&[
                &[
                    "-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0",
                    "netns", name,
                ],
                &["-n", hub, "link", "set", port, "master", "br0", "up"],
                &["-n", name, "addr", "add", own, "dev", "eth0"],
                &["-n", name, "link", "set", "eth0", "up"],
            ])?;
        }
        Some(())
    }

    fn start(&mut self, place: usize, arguments: &[&str]) {
        let token = self.folder.path().join("token");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[place]]);
        command.arg(binary()).args(arguments);
        command.arg("--cluster-token-file").arg(token);
        let log = self.folder.path().join(format!("{place}.log"));
        self.processes.push(spawn_logged(command, &log));
    }

    fn start_all(&mut self) {
        let folder = self.folder.path().to_owned();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(folder.join("token"), "0123456789abcdef0123456789abcdef").unwrap();
        let config = "[settings]\nmin_distributed_size = \"0\"\n";
        std::fs::write(folder.join("auspex.toml"), config).unwrap();
        let (warehouse, config) = (path("warehouse"), path("auspex.toml"));
        let listen = format!("127.0.0.1:{PORT}");
        self.start(
            0,
            &[
                "serve",
                "--listen",
                &listen,
                "--worker-listen",
                GATE,
                "--config",
                &config,
                "--warehouse",
                &warehouse,
            ],
        );
        for worker in [1, 2] {
            let listen = format!("{}:5433", address(worker));
            self.start(
                worker,
                &["worker", "--listen", &listen, "--coordinator", GATE],
            );
        }
    }

    /// What a client on the coordinator's machine is told, and whether that is rows.
    fn told(&self, sql: &str) -> (String, bool) {
        let url = format!("postgresql://postgres@127.0.0.1:{PORT}/postgres");
        let output = Command::new("ip")
            .args(["netns", "exec", &self.names[0]])
            .arg(binary())
            .args(["sql", "--url", &url, "--format", "csv", "-c", sql])
            .output()
            .unwrap();
        let text = match output.status.success() {
            true => output.stdout,
            false => output.stderr,
        };
        (String::from_utf8(text).unwrap(), output.status.success())
    }

    fn rows(&self, sql: &str) -> String {
        let (told, is_rows) = self.told(sql);
        assert!(is_rows, "{sql}: {told}; {}", self.logs());
        told
    }

    async fn wait_for(&self, sql: &str, wanted: &str) {
        let mut found = String::new();
        for _ in 0..300 {
            found = self.told(sql).0;
            if found.lines().nth(1) == Some(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{sql} should give {wanted}, found {found}: {}", self.logs());
    }

    /// Packets of one worker to another one, and so the answers to the other's, go nowhere from now on.
    fn cut(&self, from: usize, to: usize) {
        let (name, to) = (self.names[from].as_str(), address(to));
        let nowhere = [
            "-n",
            name,
            "neigh",
            "replace",
            &to,
            "lladdr",
            "02:00:00:00:00:77",
            "dev",
            "eth0",
            "nud",
            "permanent",
        ];
        assert!(done(&nowhere), "the cut was not made");
    }

    fn logs(&self) -> String {
        let log = |place: usize| {
            let path = self.folder.path().join(format!("{place}.log"));
            read(&path)
        };
        (0..3).map(log).collect::<Vec<_>>().join("\n==\n")
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_cut_from_each_other_cost_no_query() {
    let Some(mut networks) = Networks::make() else {
        return;
    };
    networks.start_all();
    let ready = "SELECT count(*) FROM ml.workers WHERE state = 'ready'";
    networks.wait_for(ready, "2").await;
    networks.rows(SAMPLES);
    let plan = networks.rows(&format!("EXPLAIN {QUERY}"));
    assert!(plan.contains("Stage 2"), "{plan}");
    let expected = networks.rows(QUERY);
    networks.cut(1, 2);
    assert_eq!(networks.rows(QUERY), expected, "{}", networks.logs());
    // Both answer, and one of them gets no stages for a while.
    networks.wait_for(ready, "2").await;
    let reason = "SELECT count(*) FROM ml.workers WHERE reason LIKE '%does not reach it'";
    networks.wait_for(reason, "1").await;
    assert_eq!(networks.rows(QUERY), expected, "{}", networks.logs());
}
