//! The generated reference pages in `docs/reference` are those of this build.
//!
//! `AUSPEX_WRITE_DOCS=1` writes them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use auspex_ml::estimator::{EstimatorSpec, Task};
use auspex_ml::options::options_table;
use auspex_ml::registry;
use auspex_tests::root;

fn page(spec: &EstimatorSpec) -> String {
    let mut text = format!("# {}\n\n{}\n\n", spec.name, spec.summary);
    if !spec.aliases.is_empty() {
        writeln!(text, "Also: `{}`.\n", spec.aliases.join("`, `")).unwrap();
    }
    writeln!(text, "{}\n\n## Options\n", spec.doc.trim()).unwrap();
    text.push_str("| option | type | values | default | meaning |\n|---|---|---|---|---|\n");
    for row in options_table()
        .iter()
        .filter(|row| row.model_type == spec.name)
    {
        let mut name = format!("`{}`", row.name);
        if !row.aliases.is_empty() {
            write!(name, " (also `{}`)", row.aliases.join("`, `")).unwrap();
        }
        let cells = [&name, row.type_name, &row.allowed, row.default, row.doc];
        writeln!(
            text,
            "| {} |",
            cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
        )
        .unwrap();
    }
    let functions: Vec<String> = ["evaluate", "predict", "feature_info", "training_info"]
        .iter()
        .chain(of_task(spec))
        .chain(spec.inspections)
        .map(|name| format!("`ML.{}`", name.to_uppercase()))
        .collect();
    write!(text, "\n## Functions\n\n{}\n", functions.join(", ")).unwrap();
    text
}

/// The functions that all estimators of a task have.
fn of_task(spec: &EstimatorSpec) -> &'static [&'static str] {
    match spec.task {
        Task::Regression => &["explain_predict", "global_explain"],
        Task::Classification => &[
            "confusion_matrix",
            "roc_curve",
            "classes",
            "explain_predict",
            "global_explain",
        ],
        // Noise is dbscan's own word for anomalies.
        Task::Clustering if spec.name == "dbscan" => &[],
        Task::Clustering | Task::Decomposition => &["detect_anomalies"],
    }
}

/// The pages of a folder that are written by hand.
fn written_pages(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn pages() -> Vec<(PathBuf, String)> {
    let folder = root().join("docs/reference");
    let mut index = "# Model types\n\nGenerated from the estimators' descriptions.\n\n".to_owned();
    let mut pages = Vec::new();
    for estimator in registry::all() {
        let spec = estimator.spec();
        writeln!(
            index,
            "- [{}]({}.md): {}",
            spec.name, spec.name, spec.summary
        )
        .unwrap();
        pages.push((folder.join(format!("{}.md", spec.name)), page(spec)));
    }
    for (title, part) in [("Statements", "statements"), ("Lakehouse", "lakehouse")] {
        write!(index, "\n# {title}\n\n").unwrap();
        for page in written_pages(&folder.join(part)) {
            let text = std::fs::read_to_string(&page).unwrap();
            let title = text.lines().next().unwrap_or_default();
            let title = title.trim_start_matches("# ");
            let summary = text.lines().nth(2).unwrap_or_default();
            let name = page.file_name().unwrap().to_string_lossy();
            writeln!(index, "- [{title}]({part}/{name}): {summary}").unwrap();
        }
    }
    pages.push((folder.join("README.md"), index));
    pages
}

#[test]
fn the_reference_is_fresh() {
    let write = std::env::var("AUSPEX_WRITE_DOCS").is_ok();
    let mut stale = Vec::new();
    for (path, text) in pages() {
        if write {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "write them with AUSPEX_WRITE_DOCS=1 cargo test -p auspex-tests --test docs: {stale:?}"
    );
}
