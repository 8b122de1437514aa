//! What tests need beside the repository: programs and data, each named by a variable of the environment.
//!
//! In: a variable; out: the path that it holds. Where it is not set a test says so and counts as skipped, and leaves a line
//! in the file that `AUSPEX_TEST_SKIPPED` names, which `.ci/run` reads. Where it is set, nothing is skipped: what it names must
//! be there.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

/// The path that a variable holds; `None`, with a word on what is lacking, where it is not set.
///
/// Panics if it names what is not there.
pub fn given(variable: &str, what: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.exists(),
            "{variable} names {}, which is not there",
            path.display()
        );
        return Some(path);
    }
    println!("skipped: {variable} does not name {what}");
    note_skipped(variable);
    None
}

/// A machine on which a test cannot run is told of, `right` being what the test's process lacks there.
pub fn skip(right: &str, what: &str) {
    println!("skipped: without {right} this process cannot {what}");
    note_skipped(right);
}

fn note_skipped(lacking: &str) {
    if let Some(list) = std::env::var_os("AUSPEX_TEST_SKIPPED") {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let mut list = OpenOptions::new()
            .create(true)
            .append(true)
            .open(list)
            .expect("the list of skipped tests can be written");
        writeln!(list, "{lacking} {test}").expect("the list of skipped tests can be written");
    }
}

/// A real table of `AUSPEX_TEST_DATA`; `None` where that is not set. Panics if the table is missing there.
pub fn test_data(file: &str) -> Option<PathBuf> {
    let path = given("AUSPEX_TEST_DATA", "the folder of real tables")?.join(file);
    assert!(path.exists(), "AUSPEX_TEST_DATA lacks {file}");
    Some(path)
}
