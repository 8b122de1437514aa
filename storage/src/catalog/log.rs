//! The files of the catalog log: their names, their JSON, and putting and getting them.
//!
//! Records and snapshots flow in and out; what they mean is the state's business. A file that this version cannot read
//! whole is a typed error that names it.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use futures::TryStreamExt as _;

use crate::catalog::definition::CatalogEntry;
use crate::catalog::state::{CatalogState, Change};
use crate::error::{Error, Result};

/// The newest version of the files that this engine reads, and the one that it writes.
pub(crate) const FORMAT: u64 = 1;

/// The folder of the log.
pub(crate) const FOLDER: &str = "catalog";

/// One commit: all changes of one statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) format: u64,
    pub(crate) number: u64,
    /// Unique, so that a writer recognises its own record after a put whose answer was lost.
    pub(crate) commit: String,
    pub(crate) at_ms: i64,
    pub(crate) statement: String,
    pub(crate) changes: Vec<Change>,
}

/// The whole state after one commit.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    format: u64,
    number: u64,
    next_oid: u32,
    entries: Vec<CatalogEntry>,
}

/// The numbers of the files present.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) last_record: u64,
    pub(crate) last_snapshot: Option<u64>,
}

pub(crate) fn record_path(number: u64) -> Path {
    Path::from(format!("{FOLDER}/{number:020}.json"))
}

pub(crate) fn snapshot_path(number: u64) -> Path {
    Path::from(format!("{FOLDER}/{number:020}.snapshot.json"))
}

/// The folder of the log.
pub(crate) fn folder() -> Path {
    Path::from(FOLDER)
}

/// A file of the log, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFile {
    Record(u64),
    Snapshot(u64),
}

impl LogFile {
    pub(crate) fn record(&self) -> Option<u64> {
        match self {
            Self::Record(number) => Some(*number),
            Self::Snapshot(_) => None,
        }
    }

    pub(crate) fn snapshot(&self) -> Option<u64> {
        match self {
            Self::Record(_) => None,
            Self::Snapshot(number) => Some(*number),
        }
    }
}

/// What a name in the folder means; names of other forms are not the log's.
pub(crate) fn file_of(name: &str) -> Option<LogFile> {
    match name.strip_suffix(".snapshot.json") {
        Some(number) => parse_number(number).map(LogFile::Snapshot),
        None => parse_number(name.strip_suffix(".json")?).map(LogFile::Record),
    }
}

/// Finds the newest record and snapshot; files of other names are not the log's.
pub(crate) async fn list(store: &dyn ObjectStore) -> Result<Listing> {
    let mut files = store.list(Some(&folder()));
    let mut listing = Listing::default();
    while let Some(file) = files.try_next().await? {
        match file.location.filename().and_then(file_of) {
            Some(LogFile::Snapshot(number)) => {
                listing.last_snapshot = listing.last_snapshot.max(Some(number));
            }
            Some(LogFile::Record(number)) => {
                listing.last_record = listing.last_record.max(number);
            }
            None => {}
        }
    }
    Ok(listing)
}

fn parse_number(text: &str) -> Option<u64> {
    let is_number = text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The record of a number, or `None` if it was not committed yet.
pub(crate) async fn read_record(store: &dyn ObjectStore, number: u64) -> Result<Option<Record>> {
    let path = record_path(number);
    let Some(record) = read::<Record>(store, &path).await? else {
        return Ok(None);
    };
    match record.number == number {
        true => Ok(Some(record)),
        false => Err(corrupt(
            &path,
            format!("it says that its number is {}", record.number),
        )),
    }
}

/// Puts a record; `false`: another commit has its number.
pub(crate) async fn create_record(store: &dyn ObjectStore, record: &Record) -> Result<bool> {
    create(store, &record_path(record.number), record).await
}

/// The state that a snapshot holds.
pub(crate) async fn read_snapshot(store: &dyn ObjectStore, number: u64) -> Result<CatalogState> {
    let path = snapshot_path(number);
    let missing = || corrupt(&path, "it vanished while it was read");
    let snapshot = read::<Snapshot>(store, &path).await?.ok_or_else(missing)?;
    CatalogState::from_entries(snapshot.number, snapshot.next_oid, snapshot.entries)
        .map_err(|error| corrupt(&path, error))
}

/// Puts the snapshot of a state, unless another server did.
pub(crate) async fn create_snapshot(store: &dyn ObjectStore, state: &CatalogState) -> Result<bool> {
    let snapshot = Snapshot {
        format: FORMAT,
        number: state.number(),
        next_oid: state.next_oid(),
        entries: state.all().map(|entry| entry.as_ref().clone()).collect(),
    };
    create(store, &snapshot_path(snapshot.number), &snapshot).await
}

pub(crate) fn corrupt(path: &Path, reason: impl ToString) -> Error {
    Error::Corrupt {
        file: path.to_string(),
        reason: reason.to_string(),
    }
}

async fn create(store: &dyn ObjectStore, path: &Path, value: &impl Serialize) -> Result<bool> {
    let bytes = serde_json::to_vec(value).map_err(|e| Error::Internal {
        what: format!("cannot write \"{path}\": {e}"),
    })?;
    match store
        .put_opts(path, bytes.into(), PutMode::Create.into())
        .await
    {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn read<T: DeserializeOwned>(store: &dyn ObjectStore, path: &Path) -> Result<Option<T>> {
    let bytes = match store.get(path).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| corrupt(path, e))?;
    // The version is looked at first: a newer file may differ in everything else.
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found > FORMAT => {
            let file = path.to_string();
            return Err(Error::NewerFormat {
                file,
                found,
                supported: FORMAT,
            });
        }
        Some(_) => {}
        None => return Err(corrupt(path, "it has no format version")),
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|e| corrupt(path, e))
}
