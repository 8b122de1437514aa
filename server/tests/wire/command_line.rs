//! The `auspex` command itself, as a process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::{Fixture, examples};

fn auspex(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auspex"));
    command.current_dir(folder);
    for name in [
        "AUSPEX_URL",
        "AUSPEX_WAREHOUSE",
        "AUSPEX_CONFIG",
        "AUSPEX_ALLOW_LOCATION",
    ] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn sql_prints_aligned_tables_and_tags() {
    let folder = tempfile::tempdir().unwrap();
    let (status, out, err) = run(auspex(folder.path()).args(["sql", "-c"]).arg(
        "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (20, NULL); SELECT * FROM t",
    ));
    let expected = "CREATE TABLE\nINSERT 0 2\n  a | b\n----+---\n  1 | x\n 20 |\n(2 rows)\n\n";
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (Some(0), expected, "")
    );
    // The warehouse stays, in the current folder.
    let (_, out, _) =
        run(auspex(folder.path()).args(["sql", "--format", "csv", "-c", "SELECT * FROM t"]));
    assert_eq!(out, "a,b\n1,x\n20,\n");
    let (_, out, _) =
        run(auspex(folder.path()).args(["sql", "--format", "json", "-c", "SELECT * FROM t"]));
    assert_eq!(out, "[{\"a\":1,\"b\":\"x\"},\n {\"a\":20,\"b\":null}]\n");
}

#[test]
fn an_error_points_at_its_place_and_sets_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let text = "SELECT 1 AS a; SELEC 2; SELECT 3 AS c";
    let (status, out, err) = run(auspex(folder.path()).args(["sql", "-c", text]));
    assert_eq!(status, Some(1));
    assert!(out.contains("(1 row)") && !out.contains('3'), "{out}");
    assert!(
        err.starts_with("ERROR:  ") && err.contains("LINE 1: SELEC 2\n        ^\n"),
        "{err}"
    );
    let (status, out, _) = run(auspex(folder.path()).args(["sql", "--keep-going", "-c", text]));
    assert_eq!(status, Some(1));
    assert!(out.contains('3'), "{out}");
}

#[test]
fn sql_reads_standard_input_and_files_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(examples().join("penguins.csv"), folder.path().join("p.csv")).unwrap();
    let mut child = auspex(folder.path())
        .args(["sql", "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"SELECT count(*) AS n FROM 'p.csv'")
        .unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "n\n344\n");
}

#[test]
fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, err) = run(auspex(folder.path())
        .args(["serve", "--listen", "0.0.0.0:0", "--tls-cert", "none.pem"])
        .args(["--tls-key", "none.pem"]));
    assert_eq!(status, Some(2));
    assert!(
        err.contains("cannot read TLS file \"none.pem\"") && err.contains("hint: "),
        "{err}"
    );
    let made = folder.path().join("warehouse").exists();
    assert!(
        !made,
        "a warehouse was made although the server was refused"
    );
    let config = folder.path().join("auspex.toml");
    std::fs::write(&config, "warehous = \"x\"\n").unwrap();
    let (status, _, err) = run(auspex(folder.path())
        .args(["serve", "--config"])
        .arg(&config));
    assert_eq!(status, Some(2));
    assert!(err.contains("hint: Did you mean \"warehouse\"?"), "{err}");
    let (status, _, err) = run(auspex(folder.path()).args(["serve", "--memory-limit", "lots"]));
    assert_eq!(status, Some(2));
    assert!(err.contains("invalid memory size \"lots\""), "{err}");
    let url = "postgres://postgres@127.0.0.1:1/postgres";
    let (status, _, err) = run(auspex(folder.path()).args(["sql", "--url", url, "-c", "SELECT 1"]));
    assert_eq!(status, Some(2));
    assert!(err.contains("cannot connect to"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_is_a_client_of_a_server() {
    let fixture = Fixture::start().await;
    let url = format!("postgres://postgres@{}/postgres", fixture.server.address());
    let folder = fixture.folder.path().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        run(auspex(&folder).args(["sql", "--url", &url, "-c", "DROP TABLE IF EXISTS nothing"]))
    });
    let (status, out, err) = output.await.unwrap();
    assert_eq!((status, out.as_str()), (Some(0), "DROP TABLE\n"));
    assert_eq!(err, "NOTICE:  table \"nothing\" does not exist, skipping\n");
}

#[test]
fn the_demo_runs_from_anywhere_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (status, out, err) = run(auspex(folder.path()).arg("demo"));
    assert_eq!(status, Some(0), "{err}");
    assert!(
        out.contains("CREATE MODEL species_of") && out.contains("psql -h 127.0.0.1"),
        "{out}"
    );
    assert!(!err.contains("ERROR"), "{err}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn version_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (status, out, _) = run(auspex(folder.path()).arg("version"));
    assert_eq!(status, Some(0));
    assert_eq!(out, format!("auspex {}\n", env!("CARGO_PKG_VERSION")));
}
