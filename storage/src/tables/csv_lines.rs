//! Which line of a CSV file a line of a range of it is.
//!
//! Reasons of errors flow in, whose lines the library counted from the start of a range; the same reasons flow out with
//! the lines of the file. That reads the file up to the range, and only where a statement has failed already.

use std::sync::Arc;

use memchr::memchr_iter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// How much is looked at in one piece.
const LOOK_BYTES: u64 = 8 << 20;

/// The lines before the first one that a reader of the bytes from `start` on reads.
pub(crate) async fn lines_before(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    start: u64,
) -> Option<u64> {
    // The reader of a range begins behind the first line break at the byte before it or later.
    let end = start.checked_sub(1)?;
    let mut n_lines = 1;
    let mut at = 0;
    while at < end {
        let next = end.min(at + LOOK_BYTES);
        let piece = store.get_range(path, at..next).await.ok()?;
        n_lines += memchr_iter(b'\n', &piece).count() as u64;
        at = next;
    }
    Some(n_lines)
}

/// A reason with the line of the file.
pub(crate) fn with_line_of_file(reason: String, n_before: u64) -> String {
    // A value in quotes may hold anything.
    let from = reason.find("' as type '").unwrap_or(0);
    for mark in [" at line ", " for line "] {
        let Some(found) = reason[from..].find(mark) else {
            continue;
        };
        let (before, after) = reason.split_at(from + found + mark.len());
        let n_digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = after.split_at(n_digits);
        if let Ok(number) = number.parse::<u64>() {
            return format!("{before}{}{rest}", number + n_before);
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn lines_of_ranges_are_lines_of_the_file() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.csv");
        store.put(&path, "a\n10\n20\n".into()).await.unwrap();
        for (start, expected) in [(1, 1), (2, 1), (3, 2), (5, 2), (6, 3)] {
            let found = lines_before(&store, &path, start).await;
            assert_eq!(found, Some(expected), "{start}");
        }
        for (reason, expected) in [
            (
                "Error while parsing value ' at line 7' as type 'Int64' for column 0 at line 2. Row",
                "Error while parsing value ' at line 7' as type 'Int64' for column 0 at line 12. Row",
            ),
            (
                "incorrect number of fields for line 3, expected 2",
                "incorrect number of fields for line 13, expected 2",
            ),
            ("it is torn", "it is torn"),
        ] {
            assert_eq!(with_line_of_file(reason.to_owned(), 10), expected);
        }
    }
}
