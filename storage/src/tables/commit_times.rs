//! When the versions of a Delta table were made: the one time that DESCRIBE HISTORY shows and time travel goes by.
//!
//! The store of a log flows in, the versions that it still has with their times flow out. As Delta has it, a version's
//! time is that of its commit's file, or, where the table keeps times in its commits, the one that stands there; no
//! version is as old as the one before it, so that each time belongs to one version.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use serde_json::Value;

use crate::error::{Error, Result};

/// The property of tables whose commits hold their own time.
pub(crate) const TIMES_IN_COMMITS: &str = "delta.enableInCommitTimestamps";
/// Commits that are read at a time.
pub(crate) const READS_IN_FLIGHT: usize = 16;

/// The versions in the log with their times in milliseconds since 1970, ascending.
pub(crate) async fn commit_times(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    are_in_commits: bool,
) -> Result<Vec<(u64, i64)>> {
    let files: Vec<ObjectMeta> = store.list(Some(log)).try_collect().await?;
    let commit = |file: &ObjectMeta| {
        let number = number_of(&file.location)?;
        Some((number, file.last_modified.timestamp_millis()))
    };
    let mut known: Vec<(u64, i64)> = files.iter().filter_map(commit).collect();
    known.sort_unstable();
    if are_in_commits {
        known = noted(store, log, known).await?;
    }
    let mut last = i64::MIN;
    for (_, made) in &mut known {
        last = (*made).max(last.saturating_add(1));
        *made = last;
    }
    Ok(known)
}

/// The same versions with the times that stand in their commits; the file's where none does.
async fn noted(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    known: Vec<(u64, i64)>,
) -> Result<Vec<(u64, i64)>> {
    let reads = known.into_iter().map(|(number, modified_ms)| async move {
        let actions = read_commit(store.as_ref(), log, number).await?;
        let time = |action: &Value| action.pointer("/commitInfo/inCommitTimestamp")?.as_i64();
        Ok((number, actions.iter().find_map(time).unwrap_or(modified_ms)))
    });
    let reads = futures::stream::iter(reads).buffered(READS_IN_FLIGHT);
    reads.try_collect().await
}

/// A time in milliseconds since 1970 as SQL writes it.
pub fn shown_time(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms).map_or_else(
        || at_ms.to_string(),
        |time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    )
}

/// The number in the name of a commit: `00000000000000000007.json`.
pub(crate) fn number_of(file: &Path) -> Option<u64> {
    file.filename()?.strip_suffix(".json")?.parse().ok()
}

/// The number in the name of a checkpoint, or of a part of one.
pub(crate) fn checkpoint_of(file: &ObjectMeta) -> Option<u64> {
    let (number, _) = file.location.filename()?.split_once(".checkpoint.")?;
    number.parse().ok()
}

/// The first version that the files of a log make: that of its first commit, or of its first checkpoint where older
/// commits are gone.
pub(crate) async fn first_version(store: &Arc<dyn ObjectStore>, log: &Path) -> Result<Option<u64>> {
    let files: Vec<ObjectMeta> = store.list(Some(log)).try_collect().await?;
    let commits = files.iter().filter_map(|file| number_of(&file.location));
    match commits.min() {
        Some(0) => Ok(Some(0)),
        _ => Ok(files.iter().filter_map(checkpoint_of).min()),
    }
}

fn file_of(log: &Path, number: u64) -> Path {
    log.clone().join(format!("{number:020}.json"))
}

/// The actions of a commit. Errors: `Corrupt` for what is not JSON.
pub(crate) async fn read_commit(
    store: &dyn ObjectStore,
    log: &Path,
    number: u64,
) -> Result<Vec<Value>> {
    let path = file_of(log, number);
    let text = store.get(&path).await?.bytes().await?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty());
    let action = |line: &[u8]| {
        serde_json::from_slice(line).map_err(|error| Error::Corrupt {
            file: path.to_string(),
            reason: error.to_string(),
        })
    };
    lines.map(action).collect()
}

/// Whether a version is there and none behind it: two requests, where a listing goes through the names of all.
pub(crate) async fn is_last(store: &dyn ObjectStore, log: &Path, number: u64) -> bool {
    let (last, next) = (file_of(log, number), file_of(log, number + 1));
    let (last, next) = futures::join!(store.head(&last), store.head(&next));
    last.is_ok() && matches!(next, Err(object_store::Error::NotFound { .. }))
}

/// Fails if a commit behind version `after` and up to `last` is an empty file, as a lost write leaves it: the library
/// would take it for a commit that does nothing. What a checkpoint covers is not read.
pub(crate) async fn check_whole(
    store: &Arc<dyn ObjectStore>,
    log: &Path,
    after: Option<u64>,
    last: u64,
) -> Result<()> {
    let files: Vec<ObjectMeta> = match after {
        Some(number) => {
            let listed = store.list_with_offset(Some(log), &file_of(log, number));
            listed.try_collect().await?
        }
        None => store.list(Some(log)).try_collect().await?,
    };
    let checkpoint = files.iter().filter_map(checkpoint_of).max();
    let is_read = |number: u64| number <= last && Some(number) > checkpoint;
    let lost = files
        .iter()
        .find(|file| file.size == 0 && number_of(&file.location).is_some_and(is_read));
    match lost {
        Some(file) => Err(Error::Corrupt {
            file: file.location.to_string(),
            reason: "it is empty".into(),
        }),
        None => Ok(()),
    }
}
