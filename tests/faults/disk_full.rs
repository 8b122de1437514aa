//! A disk that is full, of files, of the warehouse and of what a query spills: an error, nothing half written, and life after.
//!
//! The disks are file systems in memory of a few megabytes, which only root may mount; without that right the tests are skipped.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auspex_tests::{ServerProcess, binary, describe, rows, skip};
use tempfile::TempDir;
use tokio_postgres::Client;

/// A small disk; it is gone at the end.
struct SmallDisk {
    folder: TempDir,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that still ends may hold files: the disk goes with the last of them.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

impl SmallDisk {
    /// Mounts one; `None`, with a word on why, where this process may not.
    fn mount(megabytes: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk { folder }),
            _ => {
                skip("CAP_SYS_ADMIN", "mount a small disk");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills what is left of it; the file to remove.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let zeros = vec![0; 4096];
        while file.write_all(&zeros).is_ok() {}
        ballast
    }

    /// Waits until it holds nothing but these files and folders: what was written in part is removed behind the error.
    async fn wait_for(&self, expected: &[&str]) {
        let mut names = Vec::new();
        for _ in 0..500 {
            let entries = std::fs::read_dir(self.path()).unwrap();
            names = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            if names == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("left: {names:?}");
    }
}

async fn one(client: &Client, sql: &str) -> String {
    let found = rows(client, sql).await;
    let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let found: Vec<String> = found.iter().map(|row| row.join(" ")).collect();
    found.join("; ")
}

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

/// The statement fails for want of space; what the client is told.
async fn is_refused(client: &Client, sql: &str) -> String {
    let text = match client.simple_query(sql).await {
        Ok(_) => panic!("{sql} must fail"),
        Err(error) => describe(&error),
    };
    assert!(text.contains("ERROR 53100"), "{sql}: {text}");
    assert!(
        text.contains("no space left") && text.contains("HINT"),
        "{sql}: {text}"
    );
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_files_leaves_what_was_there() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().join("house");
    let files = disk.path().to_str().unwrap();
    let flags = ["--allow-location", files];
    let server = ServerProcess::start(warehouse.to_str().unwrap(), &flags, &[]);
    let client = server.client().await;
    let large = "SELECT value AS i, md5(value::text) AS s FROM generate_series(1, 800000)";
    run(
        &client,
        &format!("COPY (SELECT 7 AS a) TO '{files}/kept.csv' (HEADER)"),
    )
    .await;
    for name in ["kept.csv", "new.csv", "new.parquet", "new.json"] {
        let told = is_refused(&client, &format!("COPY ({large}) TO '{files}/{name}'")).await;
        assert!(told.contains(&format!("{files}/{name}")), "{told}");
        disk.wait_for(&["kept.csv"]).await;
        let sql = format!("SELECT a FROM '{files}/kept.csv'");
        assert_eq!(one(&client, &sql).await, "7");
    }
    let ballast = disk.fill();
    let small = format!("COPY (SELECT 8 AS a) TO '{files}/small.csv' (HEADER)");
    let told = is_refused(&client, &small).await;
    assert!(told.contains("small.csv"), "{told}");
    std::fs::remove_file(ballast).unwrap();
    disk.wait_for(&["kept.csv"]).await;
    run(&client, &small).await;
    let sql = format!("SELECT sum(a) FROM read_csv('{files}/*.csv')");
    assert_eq!(one(&client, &sql).await, "15");
}

/// A warehouse has no problems.
fn is_sound(warehouse: &str) {
    let checked = Command::new(binary())
        .args(["catalog", "check", "--warehouse", warehouse])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success() && text.contains("0 problems"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_the_warehouse_keeps_what_is_committed() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    let warehouse = disk.path().join("house");
    let warehouse = warehouse.to_str().unwrap();
    let server = ServerProcess::start(warehouse, &[], &[]);
    let client = server.client().await;
    let large = "SELECT value AS x, random() AS y FROM generate_series(1, 1000000)";
    run(&client, "CREATE TABLE t (x bigint, y double precision)").await;
    run(
        &client,
        "INSERT INTO t SELECT value, value * 2.0 FROM generate_series(1, 100)",
    )
    .await;
    for sql in [
        format!("INSERT INTO t {large}"),
        format!("CREATE TABLE u AS {large}"),
        format!("COPY ({large}) TO 'large.parquet'"),
    ] {
        let told = is_refused(&client, &sql).await;
        assert!(told.contains(warehouse), "{told}");
        assert_eq!(
            one(&client, "SELECT count(*), sum(y) FROM t").await,
            "100 10100"
        );
    }
    disk.wait_for(&["house"]).await;
    let ballast = disk.fill();
    let statements = [
        "INSERT INTO t VALUES (1, 2)",
        "UPDATE t SET y = y + 1 WHERE x = 1",
        "DELETE FROM t WHERE x = 2",
        "CREATE TABLE u (a int)",
        "CREATE TABLE v AS SELECT * FROM t",
        "CREATE SCHEMA s",
        "CREATE MODEL m PREDICT y USING linear AS SELECT x, y FROM t",
        "COPY t TO 't.csv'",
        "BEGIN; INSERT INTO t VALUES (3, 4); COMMIT",
    ];
    for sql in statements {
        let told = is_refused(&client, sql).await;
        assert!(told.contains(warehouse), "{sql}: {told}");
        assert_eq!(
            one(&client, "SELECT count(*), sum(y) FROM t").await,
            "100 10100"
        );
    }
    std::fs::remove_file(ballast).unwrap();
    for sql in statements {
        run(&client, sql).await;
    }
    let sql = "SELECT count(*), sum(y) FROM t";
    assert_eq!(one(&client, sql).await, "101 10104");
    assert_eq!(
        one(
            &client,
            "SELECT round(PREDICT(m USING x)) FROM t WHERE x = 50"
        )
        .await,
        "100"
    );
    drop(client);
    drop(server);
    is_sound(warehouse);
    let server = ServerProcess::start(warehouse, &[], &[]);
    let client = server.client().await;
    assert_eq!(one(&client, sql).await, "101 10104");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_of_spilled_rows_ends_the_statement_alone() {
    let Some(disk) = SmallDisk::mount(4) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().join("house");
    let spill = disk.path().join("spill");
    std::fs::create_dir(&spill).unwrap();
    let mut flags = vec!["--spill-dir", spill.to_str().unwrap()];
    flags.extend(["--memory-limit", "64MB", "--threads", "2"]);
    let server = ServerProcess::start(warehouse.to_str().unwrap(), &flags, &[]);
    let client = server.client().await;
    run(
        &client,
        "CREATE TABLE src AS SELECT value AS i, random() AS x, \
         md5(value::text) || md5((value + 1)::text) AS s FROM generate_series(1, 500000)",
    )
    .await;
    for sql in [
        "SELECT sum(length(s)), min(n) FROM \
         (SELECT s, row_number() OVER (ORDER BY s, x) AS n FROM src)",
        "SELECT count(*) FROM (SELECT s, i, count(*) FROM src GROUP BY s, i)",
        "COPY (SELECT * FROM src ORDER BY s) TO 'sorted.parquet'",
        "CREATE TABLE sorted AS SELECT * FROM src ORDER BY s",
    ] {
        is_refused(&client, sql).await;
        assert_eq!(one(&client, "SELECT count(*) FROM src").await, "500000");
    }
    assert!(!warehouse.join("sorted.parquet").exists());
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'sorted'";
    assert_eq!(one(&client, tables).await, "0");
    // What was spilled is gone: a small sort of the same rows has the disk for itself.
    let left = files_below(&spill);
    assert!(left.is_empty(), "{left:?}");
    let sql =
        "SELECT min(n) FROM (SELECT row_number() OVER (ORDER BY x) AS n FROM src WHERE i < 1000)";
    assert_eq!(one(&client, sql).await, "1");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}
