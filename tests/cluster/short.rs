//! Workers with too little memory, with a full disk, or without the warehouse: others do their part, as long as no row has
//! left.

use std::process::Command;

use auspex_tests::{rows, skip};
use tempfile::TempDir;

use crate::faults::QUERY;
use crate::machines::{Machines, SAMPLES};
use crate::watching::wait_for;

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

/// Where a mount was, a worker sees an empty folder: it answers, and finds no file.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_loses_the_warehouse_is_left_out() {
    let mut machines = Machines::start(1).await;
    if !machines.add_worker_with_own_mounts() {
        return;
    }
    let client = machines.client().await;
    machines.wait_for_workers(&client, 2).await;
    client.batch_execute(SAMPLES).await.unwrap();
    let train = "PREDICT c USING boosted_tree WITH (max_iterations = 3, max_tree_depth = 4) \
                 AS SELECT x1, x2, x3, k, c FROM samples";
    let expected = rows(&client, QUERY).await.unwrap();
    let create = format!("CREATE MODEL expected {train}");
    client.batch_execute(&create).await.unwrap();
    machines.among_mounts_of(1, &["mount", "-t", "tmpfs", "none"]);
    let found = rows(&client, QUERY).await;
    assert_eq!(found.unwrap(), expected, "{}", machines.logs());
    let logs = machines.logs();
    assert!(logs.contains("a query runs again without it"), "{logs}");
    let create = format!("CREATE MODEL found {train}");
    let copy = "CREATE TABLE copied AS SELECT * FROM samples";
    for statement in [create.as_str(), copy] {
        let ran = client.batch_execute(statement).await;
        ran.unwrap_or_else(|error| panic!("{error}: {}", machines.logs()));
    }
    assert_eq!(machines.tensors("found"), machines.tensors("expected"));
    let refused = "SELECT count(*) FROM ml.workers WHERE state = 'refused' \
                   AND reason LIKE '%is not the coordinator''s on this machine'";
    wait_for(&client, refused, "1").await;
    let same = "SELECT count(*) FROM (SELECT * FROM copied EXCEPT ALL SELECT * FROM samples) d";
    assert_eq!(rows(&client, same).await.unwrap(), [["0"]]);
    let n_rows = rows(&client, "SELECT count(*) FROM copied").await.unwrap();
    assert_eq!(n_rows, [["300000"]]);
    // A file that is nowhere is missing for the coordinator, too, whichever workers are asked before.
    machines.among_mounts_of(1, &["umount", "-l"]);
    machines.wait_for_workers(&client, 2).await;
    for part in std::fs::read_dir(machines.warehouse().join("tables")).unwrap() {
        let part = part.unwrap().path();
        for file in std::fs::read_dir(&part).unwrap() {
            let file = file.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "parquet")
            {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
    let error = rows(&client, QUERY).await.unwrap_err();
    let is_missing = ["58P01", "XX001"].iter().any(|code| error.contains(code));
    assert!(is_missing && !error.contains("worker"), "{error}");
}
