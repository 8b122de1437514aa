//! Runs the sqllogictest files of `slt/`: the executable manual of the SQL surface.
//!
//! Each file has a server and a warehouse of its own and speaks through the wire. With
//! `AUSPEX_WRITE_SLT=1` the files are rewritten with the results of this build, for review.
//!
//! Files with the line `# tags: device` run once more where `device` is the stand-in CUDA driver, those with `# tags:
//! device, long` only with `AUSPEX_TEST_FULL=1`. The files of `device/` run on that driver alone, each in a process of
//! its own whose driver is what the line `# driver: …` says. Files with the tag `cluster` run on a cluster, too, which
//! is the test `cluster`: joins, aggregates, windows, subqueries, each model type, and what is written from queries. All do with
//! `AUSPEX_TEST_FULL=1` but those that show plans and those with the tag `here`, which tell where something runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::path::{Path, PathBuf};

use auspex_tests::{SqlFailure, SqlWire, TestServer, root};
use sqllogictest::Runner;

/// The SQL files of a folder of the tests.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("tests").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Runs a file; each of its clients begins with a statement.
async fn run(file: PathBuf, first: &str) -> Result<(), String> {
    let server = TestServer::start().await;
    let connect = || async {
        let client = server.client().await;
        let began = client.simple_query(first).await;
        began.map_err(|error| SqlFailure::of(&error))?;
        Ok(SqlWire { client })
    };
    let mut runner = Runner::new(connect);
    let name = file.display().to_string();
    if std::env::var("AUSPEX_WRITE_SLT").is_ok() {
        let updated = runner
            .update_test_file(
                &file,
                " ",
                sqllogictest::default_validator,
                sqllogictest::default_normalizer,
                sqllogictest::default_column_validator,
            )
            .await;
        return updated.map_err(|error| format!("{name}: {error}"));
    }
    runner
        .run_file_async(&file)
        .await
        .map_err(|error| format!("{name}: {}", error.display(false)))
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_files_give_what_they_say() {
    let only = only();
    let files: Vec<PathBuf> = files("slt")
        .into_iter()
        .filter(|file| wanted(file))
        .collect();
    let is_of_device = || self::files("device").iter().any(|file| wanted(file));
    assert!(
        !files.is_empty() || is_of_device(),
        "no file matches \"{only}\""
    );
    run_all(files, "").await;
}

fn only() -> String {
    std::env::var("AUSPEX_SLT").unwrap_or_default()
}

fn wanted(file: &Path) -> bool {
    file.to_string_lossy().contains(&only())
}

async fn run_all(files: Vec<PathBuf>, first: &str) {
    let n_files = files.len();
    let mut failures = Vec::new();
    for file in files {
        if let Err(failure) = run(file, first).await {
            failures.push(failure);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {n_files} files fail:\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Names the files that a process with a driver of its own runs.
const FILES_ON_DEVICE: &str = "AUSPEX_SLT_FILES_ON_DEVICE";

/// What the line of a file that begins so says.
fn line_of(file: &PathBuf, begin: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(begin).map(|rest| rest.trim().to_owned()))
}

/// Runs files in a process of its own, in which the stand-in driver, which cargo builds beside the tests, has some settings.
fn run_on_simulated_driver(test: &str, files: &[PathBuf], settings: &str) -> Result<(), String> {
    let mut library = std::env::current_exe().unwrap();
    library.pop();
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    library.push(format!("{prefix}auspex_gpu_sim{suffix}"));
    assert!(library.exists(), "{} was not built", library.display());
    let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FILES_ON_DEVICE, names.join("\n"))
        .env("AUSPEX_CUDA_LIBRARY", library)
        .env("AUSPEX_GPU_SIM", settings)
        .output()
        .unwrap();
    match done.status.success() {
        true => Ok(()),
        false => Err(format!(
            "with driver \"{settings}\":\n{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

/// The files that this process is to run, if it is one that was started for them.
fn files_on_device() -> Option<Vec<PathBuf>> {
    let names = std::env::var(FILES_ON_DEVICE).ok()?;
    Some(names.lines().map(PathBuf::from).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_tagged_device_give_the_same_on_a_device() {
    if let Some(files) = files_on_device() {
        return run_all(files, "SET device = 'cuda'").await;
    }
    let is_full = std::env::var_os("AUSPEX_TEST_FULL").is_some();
    let is_tagged = |file: &PathBuf| {
        let tags = line_of(file, "# tags:").unwrap_or_default();
        let has = |tag: &str| tags.split(',').any(|found| found.trim() == tag);
        has("device") && (is_full || !has("long"))
    };
    let tagged = files("slt")
        .into_iter()
        .filter(|file| wanted(file))
        .filter(is_tagged);
    let tagged: Vec<PathBuf> = tagged.collect();
    if !tagged.is_empty() {
        let test = "files_tagged_device_give_the_same_on_a_device";
        let done = run_on_simulated_driver(test, &tagged, "");
        assert!(done.is_ok(), "{}", done.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_devices_give_what_they_say() {
    if let Some(files) = files_on_device() {
        return run_all(files, "").await;
    }
    let test = "files_of_devices_give_what_they_say";
    let mut failures = Vec::new();
    for file in files("device").into_iter().filter(|file| wanted(file)) {
        let settings = line_of(&file, "# driver:").unwrap();
        failures.extend(run_on_simulated_driver(test, &[file], &settings).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
