//! dbt: a project whose seed, table, view and incremental rows are made, made again, and tested.

use std::path::Path;
use std::process::Command;

use auspex_tests::root;

use crate::tools::{clients, filled, run};

/// A command of dbt on the project in `tests/clients/dbt`; what it writes goes to `scratch`.
fn dbt(folder: &Path, scratch: &Path, port: u16, arguments: &[&str]) -> Command {
    let project = root().join("tests/clients/dbt");
    let mut command = Command::new(folder.join("dbt/bin/dbt"));
    command
        .args(arguments)
        .arg("--project-dir")
        .arg(&project)
        .arg("--profiles-dir")
        .arg(&project)
        .current_dir(scratch)
        .env("DBT_TARGET_PATH", scratch.join("target"))
        .env("DBT_LOG_PATH", scratch.join("logs"))
        .env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
        .env("AUSPEX_PORT", port.to_string());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn dbt_makes_a_project_and_makes_it_again() {
    let Some(folder) = clients() else { return };
    let server = filled().await;
    let scratch = tempfile::tempdir().unwrap();
    let port = server.port();
    for arguments in [&["debug"][..], &["build"], &["run"], &["docs", "generate"]] {
        println!(
            "{}",
            run(dbt(&folder, scratch.path(), port, arguments)).await
        );
    }
    let client = server.client().await;
    let counts = client
        .query_one(
            "SELECT (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.big), \
             (SELECT count(*) FROM shop.events)",
            &[],
        )
        .await
        .unwrap();
    let counts: Vec<i64> = (0..3).map(|idx| counts.get(idx)).collect();
    assert_eq!(counts, [2, 1, 3]);
}
