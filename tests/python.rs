//! Python with other systems' readers and writers, for tests of exchange with them.
//!
//! In: a script of `tests/python/` and its arguments; out: what it printed. `AUSPEX_TEST_PYTHON` names an interpreter that has the
//! packages of `tests/python/requirements.txt`; without it a test says so and counts as skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::needed::given;
use crate::root;

/// The interpreter; `None`, with a word on why, where there is none.
pub fn python() -> Option<PathBuf> {
    given(
        "AUSPEX_TEST_PYTHON",
        "a Python with the packages of tests/python/requirements.txt",
    )
}

/// Runs a script of `tests/python/` with arguments; its output. Panics if it fails.
pub fn run_python(python: &Path, script: &str, args: &[&str]) -> String {
    let script = root().join("tests/python").join(script);
    let output = Command::new(python).arg(script).args(args).output();
    let output = output.expect("the interpreter runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}\n{text}\n{errors}");
    text
}
