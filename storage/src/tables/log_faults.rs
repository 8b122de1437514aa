//! Which entry of a Delta log cannot be read, and where in it.
//!
//! A log that the library failed to read flows in; an error that names file, line and column flows out, or nothing if all
//! entries can be read. That reads the commits behind the last checkpoint, and only where a statement has failed already.

use std::sync::Arc;

use deltalake::kernel::Action;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::{Error as JsonError, Value};
use url::Url;

use crate::error::Error;
use crate::tables::commit_times::{checkpoint_of, number_of};
use crate::tables::delta_log::LOG_FOLDER;
use crate::tables::listing::shown;

/// The error of reading the log of the table in a folder, with the entry that is to blame if one is.
pub(crate) async fn blamed(error: Error, store: &Arc<dyn ObjectStore>, url: &Url) -> Error {
    let is_about_log = match &error {
        // A refusal or failure of a store says itself where.
        Error::Delta { source } => Error::found_in(source.as_ref()).is_none(),
        _ => false,
    };
    match is_about_log {
        true => bad_entry(store, url).await.unwrap_or(error),
        false => error,
    }
}

/// The first entry behind the last checkpoint that is no list of actions, or holds nothing.
async fn bad_entry(store: &Arc<dyn ObjectStore>, url: &Url) -> Option<Error> {
    let log = Path::from_url_path(url.path()).ok()?.join(LOG_FOLDER);
    let files: Vec<ObjectMeta> = store.list(Some(&log)).try_collect().await.ok()?;
    let checkpoint = files.iter().filter_map(checkpoint_of).max();
    let mut commits: Vec<(u64, &Path)> = files
        .iter()
        .filter_map(|file| Some((number_of(&file.location)?, &file.location)))
        .filter(|(number, _)| Some(*number) > checkpoint)
        .collect();
    commits.sort_unstable();
    for (_, path) in commits {
        let text = store.get(path).await.ok()?.bytes().await.ok()?;
        let reason = match text.is_empty() {
            // A lost write leaves it so.
            true => Some("it is empty".to_owned()),
            false => fault(&text),
        };
        if let Some(reason) = reason {
            let mut url = url.clone();
            url.set_path(&format!("/{}", path.as_ref().replace('%', "%25")));
            let file = shown(&url);
            return Some(Error::Corrupt { file, reason });
        }
    }
    None
}

/// What is wrong with the text of an entry.
fn fault(text: &[u8]) -> Option<String> {
    for (idx, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        // What an action of another name holds is not known here, and readers pass over it.
        let read: Result<Value, JsonError> = serde_json::from_slice(line);
        let read = read.and_then(|_| serde_json::from_slice::<Action>(line));
        let Err(error) = read else {
            continue;
        };
        let reason = error.to_string();
        if reason.starts_with("unknown variant") {
            continue;
        }
        let reason = reason.split(" at line ").next().unwrap_or_default();
        return Some(format!(
            "line {}, column {}: {reason}",
            idx + 1,
            error.column()
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_fault_is_told() {
        let good = r#"{"commitInfo":{"operation":"WRITE"}}"#;
        for (text, place) in [
            (format!("{good}\n\n{good}\n"), None),
            (format!("{good}\n{{\"later\":{{}}}}\n"), None),
            (format!("{good}\n{{\"add:\n"), Some("line 2, column 6: ")),
            (
                format!("{good}\n\n{{\"add\":7}}\n"),
                Some("line 3, column "),
            ),
            (format!("{good}{good}\n"), Some("line 1, column 37: ")),
        ] {
            let found = fault(text.as_bytes());
            let is_there = |place| found.as_ref().is_some_and(|found| found.starts_with(place));
            assert!(place.map_or(found.is_none(), is_there), "{text}: {found:?}");
        }
    }
}
