//! The files of `deploy/` are what their readers accept: Compose's and Kubernetes' schemas, systemd, a linter of
//! Dockerfiles; the processes that they start have flags and variables that the binary knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use auspex_tests::{binary, python, root, run_python, skip};
use serde_json::Value;

fn deploy() -> PathBuf {
    root().join("deploy")
}

/// Runs a program that finds nothing to say of a file.
fn accepts(program: &Path, arguments: &[&str], file: &Path) {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    let is_content = output.status.success() && errors.is_empty();
    assert!(is_content, "{}: {told}{errors}", file.display());
}

#[test]
fn schemas_and_linters_accept_what_is_deployed() {
    let Some(python) = python() else {
        return;
    };
    let program = |name: &str| python.with_file_name(name);
    let compose = ["--builtin-schema", "vendor.compose-spec"];
    let file = deploy().join("compose.yaml");
    accepts(&program("check-jsonschema"), &compose, &file);
    let strict = ["--strict", "--quiet"];
    let file = deploy().join("kubernetes/auspex.yaml");
    accepts(&program("kubernetes-validate"), &strict, &file);
    accepts(&program("hadolint"), &[], &deploy().join("Dockerfile"));
}

/// systemd looks for the program, too: the units are read as if it lay where this build has it.
#[test]
fn systemd_accepts_the_units() {
    let analyze = Command::new("systemd-analyze").arg("--version").output();
    if analyze.is_err() {
        return skip("SYSTEMD", "verify units");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["auspex.service", "auspex-worker.service"] {
        let unit = std::fs::read_to_string(deploy().join("systemd").join(name)).unwrap();
        let unit = unit.replace("/usr/local/bin/auspex", binary().to_str().unwrap());
        // What a warehouse in a shared folder needs, too.
        let shared = unit.replace("# ReadWritePaths=", "ReadWritePaths=");
        assert_ne!(shared, unit, "{name}");
        let unit = shared;
        let file = folder.path().join(name);
        std::fs::write(&file, unit).unwrap();
        let verify = ["verify", "--man=no"];
        accepts(Path::new("systemd-analyze"), &verify, &file);
    }
}

#[test]
fn the_binary_knows_what_it_is_deployed_with() {
    let Some(python) = python() else {
        return;
    };
    let told = run_python(&python, "deployed.py", &[deploy().to_str().unwrap()]);
    let security = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let processes: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(processes.len() >= 7, "{told}");
    for process in processes {
        let texts = |key: &str| -> Vec<String> {
            let texts = process[key].as_array().unwrap().iter();
            texts
                .map(|text| text.as_str().unwrap().to_owned())
                .collect()
        };
        // Arguments are read in their order, so that one before `--help` that is unknown or has a wrong value is an error.
        let output = Command::new(binary())
            .args(texts("arguments"))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{}: {error}", process["place"]);
        let variables = texts("variables").into_iter();
        for variable in variables.filter(|name| name.starts_with("AUSPEX_")) {
            let is_flag = help.contains(&format!("[env: {variable}="));
            let is_told = security.contains(&format!("`{variable}`"));
            assert!(is_flag || is_told, "{}: {variable}", process["place"]);
        }
    }
}
