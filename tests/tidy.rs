//! The rules of the house that no compiler checks: which crate may use which, how modules open, how
//! large files are, and which words stay out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Each crate of ours with the crates of ours that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("auspex-sql", &[]),
    ("auspex-gpu", &[]),
    ("auspex-gpu-sim", &[]),
    ("auspex-storage", &[]),
    ("auspex-ml", &["auspex-gpu"]),
    (
        "auspex-planner",
        &["auspex-sql", "auspex-ml", "auspex-storage"],
    ),
    ("auspex-server", &["auspex-planner", "auspex-sql"]),
];

/// Libraries that only one crate may name.
const OWNERS: &[(&str, &str)] = &[
    ("cudarc", "auspex-gpu"),
    ("pgwire", "auspex-server"),
    ("datafusion-pg-catalog", "auspex-server"),
    ("deltalake", "auspex-storage"),
    ("iceberg", "auspex-storage"),
    ("object_store", "auspex-storage"),
    ("datafusion-distributed", "auspex-planner"),
    ("datafusion-proto", "auspex-planner"),
    ("tonic", "auspex-planner"),
    ("linfa", "auspex-ml"),
    ("linfa-clustering", "auspex-ml"),
];

/// Lines of a file without its tests; beyond it the file holds more than one idea.
const MAX_LINES: usize = 620;

fn root() -> PathBuf {
    // Tests run in the folder of their package; a path of the build would outlive a moved clone.
    PathBuf::from("..")
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            // The stand-in driver is loaded by tests alone.
            let is_test = dependency.kind == cargo_metadata::DependencyKind::Development;
            if used == "auspex-gpu-sim" && is_test {
                continue;
            }
            if let Some(allowed) = edges.get(name)
                && used.starts_with("auspex-")
                && !allowed.contains(&used)
            {
                wrong.push(format!("{name} uses {used}"));
            }
            let owner = OWNERS.iter().find(|(library, _)| *library == used);
            if let Some((_, owner)) = owner
                && *owner != name
            {
                wrong.push(format!("{name} uses {used}, which only {owner} may"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_opens_with_what_it_is() {
    let opens = |path: &PathBuf| std::fs::read_to_string(path).unwrap().starts_with("//!");
    let silent: Vec<PathBuf> = sources().into_iter().filter(|path| !opens(path)).collect();
    assert!(silent.is_empty(), "files without a //! header: {silent:#?}");
}

#[test]
fn files_hold_one_idea() {
    let mut large = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let n_lines = code.lines().count();
        let within = path.strip_prefix(root()).unwrap();
        let is_test = within.components().any(|part| part.as_os_str() == "tests");
        let is_test = is_test || path.file_stem().is_some_and(|stem| stem == "tests");
        if n_lines > MAX_LINES && !is_test {
            large.push(format!("{}: {n_lines} lines", path.display()));
        }
    }
    assert!(large.is_empty(), "split by concept:\n{}", large.join("\n"));
}

#[test]
fn no_module_is_a_drawer() {
    let drawers: BTreeSet<&str> = ["utils", "util", "common", "helpers", "misc"].into();
    let is_drawer = |path: &PathBuf| {
        path.file_stem()
            .is_some_and(|stem| drawers.contains(stem.to_string_lossy().as_ref()))
            && !path.ends_with("options/common.rs")
    };
    let found: Vec<PathBuf> = sources().into_iter().filter(is_drawer).collect();
    assert!(
        found.is_empty(),
        "name these after what they hold: {found:#?}"
    );
}

#[test]
fn tests_are_never_ignored_and_never_sleep() {
    let mut found = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        // Put together here, so that this file does not find itself.
        for word in [
            concat!("#[", "ignore"),
            concat!("thread::", "sleep"),
            concat!("to", "do!("),
        ] {
            if text.contains(word) {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
