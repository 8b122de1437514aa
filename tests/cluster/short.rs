//! Workers with too little memory, or with a full disk: others do their part, as long as no row has left.

use std::process::Command;

use auspex_tests::{rows, skip};
use tempfile::TempDir;

use crate::faults::QUERY;
use crate::machines::{Machines, SAMPLES};

/// A worker that may use less memory than one sort reserves.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_little_memory_is_left_out() {
    let mut machines = Machines::start(1).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let expected = rows(&client, QUERY).await.unwrap();
    machines.add_worker_with(&["--memory-limit", "8MB"]);
    machines.wait_for_workers(&client, 2).await;
    let found = rows(&client, QUERY).await;
    assert_eq!(found.unwrap(), expected, "{}", machines.logs());
    let logs = machines.logs();
    assert!(logs.contains("a query runs again without it"), "{logs}");
    // At last on the coordinator alone.
    machines.worker(0).kill().unwrap();
    let found = rows(&client, QUERY).await;
    assert_eq!(found.unwrap(), expected, "{}", machines.logs());
}

/// A disk of a megabyte, unmounted at the end.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(SmallDisk(folder));
        }
        skip("CAP_SYS_ADMIN", "mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the last file that a worker has open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_full_disk_is_left_out() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut machines = Machines::start(1).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let query = "SELECT count(*), sum(n) FROM (SELECT x1, x2, x3, count(*) AS n FROM samples GROUP BY x1, x2, x3) q";
    let train = "PREDICT c USING boosted_tree WITH (max_iterations = 3, max_tree_depth = 4) \
                 AS SELECT x1, x2, x3, k, c FROM samples";
    let expected = rows(&client, query).await.unwrap();
    let create = format!("CREATE MODEL expected {train}");
    client.batch_execute(&create).await.unwrap();
    let spill = disk.0.path().to_str().unwrap().to_owned();
    machines.add_worker_with(&["--memory-limit", "2MB", "--spill-dir", &spill]);
    machines.wait_for_workers(&client, 2).await;
    let found = rows(&client, query).await;
    assert_eq!(found.unwrap(), expected, "{}", machines.logs());
    let create = format!("CREATE MODEL found {train}");
    let created = client.batch_execute(&create).await;
    created.unwrap_or_else(|error| panic!("{error}: {}", machines.logs()));
    assert_eq!(machines.tensors("found"), machines.tensors("expected"));
}
