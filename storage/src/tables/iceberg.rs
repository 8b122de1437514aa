//! Iceberg tables as they lie: planned by the Iceberg library, read by DataFusion wherever that gives the same rows.
//!
//! The URL of a table, or a name in another catalog, flows in; a provider of one snapshot flows out. Snapshots, hidden
//! partitions and deletes are the library's business; it sees the stores only through `storage`, so that credentials, the
//! cache and confinement hold there too. Nothing is written.

mod answers;
mod arrow_bridge;
mod catalogs;
mod equality_deletes;
mod library;
mod nested_columns;
mod predicate;
mod provider;
mod storage;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use iceberg::TableIdent;
use iceberg::spec::{SnapshotLog, SnapshotRef, TableMetadata};
use iceberg::table::{StaticTable, Table};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::shown;
use crate::tables::commit_times::shown_time;
use crate::tables::delta_log::VersionSpec;
use crate::tables::history::{TableCommit, TableDetail};
use crate::tables::iceberg::provider::IcebergProvider;
use crate::tables::iceberg::storage::{file_io, location_of};
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};

pub(crate) use catalogs::IcebergCatalogs;

const OPTIONS: &[&str] = &["snapshot_id", "timestamp"];
/// Writers without a catalog say here which version is the newest.
const VERSION_HINT: &str = "version-hint.text";

/// A table at one snapshot.
#[derive(Debug)]
pub(crate) struct IcebergTable {
    table: Table,
    /// `None`: a table that never had a row.
    snapshot: Option<SnapshotRef>,
    /// Whether the options name the snapshot.
    is_named: bool,
    locations: Arc<Locations>,
}

impl IcebergTable {
    /// Opens the table in a folder, or that of a metadata file, at the snapshot that the options name.
    ///
    /// Errors: `LocationNotFound`, `UnknownOption`, `InvalidOption`, `UndefinedSnapshot`, `TableFormat`.
    pub(crate) async fn open(
        url: &Url,
        options: &BTreeMap<String, String>,
        locations: &Arc<Locations>,
    ) -> Result<Self> {
        let locations = &locations.led_to_by(url);
        let store = locations.confine(url)?;
        let metadata = metadata_file(url, store.as_ref()).await?;
        let name = TableIdent::from_strs(["files", "table"]).map_err(|e| failed(url, e))?;
        let io = file_io(locations);
        let table = StaticTable::from_metadata_file(&location_of(&metadata)?, name, io)
            .await
            .map_err(|error| failed(url, error))?;
        Self::at(table.into_table(), options, locations)
    }

    /// A table at the snapshot that the options name, else its newest.
    pub(crate) fn at(
        table: Table,
        options: &BTreeMap<String, String>,
        locations: &Arc<Locations>,
    ) -> Result<Self> {
        let snapshot = chosen(table.metadata(), options)?;
        Ok(Self {
            table,
            snapshot,
            is_named: !options.is_empty(),
            locations: Arc::clone(locations),
        })
    }

    /// The same at another version, whose number is the id of its snapshot. Errors: `UndefinedSnapshot`.
    pub(crate) fn at_version(self, version: VersionSpec) -> Result<Self> {
        let option = match version {
            VersionSpec::Newest => return Ok(self),
            VersionSpec::Number(number) => ("snapshot_id".to_owned(), number.to_string()),
            VersionSpec::AtMs(at) => ("timestamp".to_owned(), shown_time(at)),
        };
        Self::at(self.table, &BTreeMap::from([option]), &self.locations)
    }

    /// The snapshots that were the newest one after the other, the newest first.
    pub(crate) fn history(&self) -> Vec<TableCommit> {
        let metadata = self.table.metadata();
        let commit = |log: &SnapshotLog| {
            let snapshot = metadata.snapshot_by_id(log.snapshot_id)?;
            let summary = snapshot.summary();
            let notes = &summary.additional_properties;
            let count = |note: &str| notes.get(note).and_then(|n| n.parse().ok()).unwrap_or(0);
            let sorted: BTreeMap<&String, &String> = notes.iter().collect();
            Some(TableCommit {
                version: log.snapshot_id.unsigned_abs(),
                timestamp_ms: log.timestamp_ms(),
                operation: summary.operation.as_str().to_uppercase(),
                parameters: serde_json::json!(sorted).to_string(),
                files_added: count("added-data-files"),
                files_removed: count("deleted-data-files"),
            })
        };
        metadata.history().iter().rev().filter_map(commit).collect()
    }

    /// The state in numbers.
    pub(crate) async fn detail(&self) -> Result<TableDetail> {
        let metadata = self.table.metadata();
        let pinned = self.describe().await?;
        let notes = self
            .snapshot
            .as_ref()
            .map(|s| &s.summary().additional_properties);
        let n_rows = notes.and_then(|notes| notes.get("total-records")?.parse().ok());
        let partitions = metadata.default_partition_spec().fields().iter();
        let format_version = metadata.format_version() as i32;
        let properties: BTreeMap<_, _> = metadata.properties().iter().collect();
        Ok(TableDetail {
            format: "iceberg",
            id: metadata.uuid().to_string(),
            location: pinned.location,
            version: pinned.version.unwrap_or_default(),
            created_ms: metadata.history().first().map(SnapshotLog::timestamp_ms),
            partition_columns: partitions.map(|field| field.name.clone()).collect(),
            n_files: pinned.files.len() as u64,
            bytes: pinned.files.iter().map(|file| file.bytes).sum(),
            n_rows,
            properties: serde_json::json!(properties).to_string(),
            min_reader_version: format_version,
            min_writer_version: format_version,
        })
    }

    /// The rows.
    pub(crate) fn provider(self) -> Result<Arc<dyn TableProvider>> {
        let provider =
            IcebergProvider::new(self.table, self.snapshot, self.is_named, self.locations)?;
        Ok(Arc::new(provider))
    }

    /// What a model pins.
    pub(crate) async fn describe(&self) -> Result<TableSnapshot> {
        let location = self.table.metadata().location().to_owned();
        let mut files = Vec::new();
        if let Some(snapshot) = &self.snapshot {
            let tasks = provider::plan(&self.table, snapshot, None).await?;
            for task in tasks {
                let path = task.data_file_path.strip_prefix(&location);
                let path = path.map_or(task.data_file_path.as_str(), |p| p.trim_start_matches('/'));
                files.push(SnapshotFile {
                    path: path.to_owned(),
                    bytes: task.file_size_in_bytes,
                    modified_ms: snapshot.timestamp_ms(),
                    e_tag: None,
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let version = self.snapshot.as_ref().map(|s| s.snapshot_id());
        Ok(TableSnapshot {
            format: "iceberg".into(),
            location,
            version: version.and_then(|version| u64::try_from(version).ok()),
            files,
        })
    }
}

/// The snapshot that the options name, else the newest.
fn chosen(
    metadata: &TableMetadata,
    options: &BTreeMap<String, String>,
) -> Result<Option<SnapshotRef>> {
    for option in options.keys() {
        if !OPTIONS.contains(&option.as_str()) {
            return Err(Error::UnknownOption {
                option: option.clone(),
                format: "iceberg",
                known: OPTIONS,
            });
        }
    }
    let undefined = |what: String| Error::UndefinedSnapshot {
        location: metadata.location().to_owned(),
        what,
        existing: metadata
            .history()
            .iter()
            .map(|log| log.snapshot_id)
            .collect(),
    };
    if let Some(text) = options.get("snapshot_id") {
        let id: i64 = text.parse().map_err(|_| Error::InvalidOption {
            option: "snapshot_id".into(),
            value: text.clone(),
            expected: "a whole number",
        })?;
        let found = metadata.snapshot_by_id(id).cloned();
        return found
            .map(Some)
            .ok_or_else(|| undefined(format!("snapshot {id}")));
    }
    if let Some(text) = options.get("timestamp") {
        let at_ms = time_ms(text)?;
        let mut log = metadata.history().iter();
        let last = log.rfind(|log| log.timestamp_ms() <= at_ms);
        let found = last.and_then(|log| metadata.snapshot_by_id(log.snapshot_id).cloned());
        return found
            .map(Some)
            .ok_or_else(|| undefined(format!("a snapshot of {text}")));
    }
    Ok(metadata.current_snapshot().cloned())
}

/// A moment as SQL writes it, in UTC where it names no zone.
pub(crate) fn time_ms(text: &str) -> Result<i64> {
    use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
    match string_to_timestamp_nanos(text) {
        Ok(nanoseconds) => Ok(nanoseconds / 1_000_000),
        Err(_) => Err(Error::InvalidOption {
            option: "timestamp".into(),
            value: text.into(),
            expected: "a timestamp such as 2026-01-31 12:00:00",
        }),
    }
}

/// The URL of the newest metadata file of the table in a folder.
async fn metadata_file(url: &Url, store: &dyn ObjectStore) -> Result<Url> {
    if url.path().ends_with(".metadata.json") {
        return Ok(url.clone());
    }
    let absent = || Error::LocationNotFound {
        location: shown(url),
    };
    let folder = Path::from_url_path(url.path()).map_err(|_| absent())?;
    let folder = folder.join("metadata");
    let named = match store.get(&folder.clone().join(VERSION_HINT)).await {
        Ok(hint) => {
            let bytes = hint.bytes().await?;
            let version = String::from_utf8_lossy(&bytes).trim().to_owned();
            Some(format!("v{version}.metadata.json"))
        }
        Err(object_store::Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let listed = store.list_with_delimiter(Some(&folder)).await?.objects;
    let newest = listed
        .iter()
        .filter_map(|file| {
            let name = file.location.filename()?;
            let version = version_of(name)?;
            // Some other name than that of the hint counts only where there is no hint.
            let is_named = named.as_deref().is_none_or(|named| named == name);
            is_named.then_some(((version, file.last_modified), name.to_owned()))
        })
        .max();
    let (_, name) = newest.ok_or_else(absent)?;
    let mut found = url.clone();
    let slash = if url.path().ends_with('/') { "" } else { "/" };
    found.set_path(&format!("{}{slash}metadata/{name}", url.path()));
    Ok(found)
}

/// The number in the name of a metadata file: `v3.metadata.json`, `00003-….metadata.json`.
fn version_of(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".metadata.json")?;
    let stem = stem.strip_prefix('v').unwrap_or(stem);
    stem.split('-').next()?.parse().ok()
}

/// An error of the library about a table.
fn failed(url: &Url, error: iceberg::Error) -> Error {
    failed_at(&shown(url), error)
}

/// The same about a table that is known by a text.
pub(super) fn failed_at(table: &str, error: iceberg::Error) -> Error {
    // A refusal or failure of a store comes out as it went in.
    match Error::found_in(&error) {
        Some(found) => found,
        None => Error::TableFormat {
            table: table.into(),
            format: "Iceberg",
            reason: format!("{}: {}", error.kind(), error.message()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_files_are_numbered() {
        assert_eq!(version_of("v12.metadata.json"), Some(12));
        assert_eq!(version_of("00003-5f2a.metadata.json"), Some(3));
        assert_eq!(version_of("snap-1.avro"), None);
        assert_eq!(version_of("x.metadata.json"), None);
    }

    #[test]
    fn moments_are_read_as_sql_writes_them() {
        assert_eq!(time_ms("1970-01-01 00:00:01").unwrap(), 1000);
        assert_eq!(time_ms("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert_eq!(time_ms("yesterday").unwrap_err().sqlstate(), "22023");
    }
}
