//! What a table's log tells of its past: the commits, and the state in numbers.
//!
//! An opened table flows in; plain records flow out. Nothing is changed.

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tables::commit_times::READS_IN_FLIGHT;
use crate::tables::delta_log::{DeltaLog, DeltaVersion};

/// One commit of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCommit {
    /// The version that it made, or the id of its snapshot.
    pub version: u64,
    /// When, in milliseconds since 1970: the time that selects the version.
    pub timestamp_ms: i64,
    /// What was done, as `WRITE`, `UPDATE`.
    pub operation: String,
    /// The operation's parameters as JSON.
    pub parameters: String,
    /// Data files that it added.
    pub files_added: u64,
    /// Data files that it removed.
    pub files_removed: u64,
}

/// The state of a table in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDetail {
    /// `delta` or `iceberg`.
    pub format: &'static str,
    /// The table's id in its own metadata.
    pub id: String,
    /// The URL of its folder.
    pub location: String,
    /// The newest version, or the id of its snapshot.
    pub version: u64,
    /// When it was created, in milliseconds since 1970, if the log says so.
    pub created_ms: Option<i64>,
    /// The columns that divide its files.
    pub partition_columns: Vec<String>,
    /// Data files.
    pub n_files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, if the log says so for every file.
    pub n_rows: Option<u64>,
    /// Properties as a JSON object.
    pub properties: String,
    /// The reader version that the protocol demands.
    pub min_reader_version: i32,
    /// The writer version that the protocol demands.
    pub min_writer_version: i32,
}

/// The commits that the log still has, the newest first.
pub(crate) async fn history(log: &DeltaLog) -> Result<Vec<TableCommit>> {
    log.newest().await?;
    let known = log.known_versions().await?;
    let reads = futures::stream::iter(known.into_iter().rev())
        .map(|(version, made_ms)| async move {
            Ok::<_, Error>(commit_of(
                version,
                made_ms,
                &log.read_commit(version).await?,
            ))
        })
        .buffered(READS_IN_FLIGHT);
    reads.try_collect().await
}

fn commit_of(version: u64, made_ms: i64, actions: &[Value]) -> TableCommit {
    let mut commit = TableCommit {
        version,
        timestamp_ms: made_ms,
        operation: String::new(),
        parameters: "{}".into(),
        files_added: 0,
        files_removed: 0,
    };
    for action in actions {
        commit.files_added += u64::from(action.get("add").is_some());
        commit.files_removed += u64::from(action.get("remove").is_some());
        let Some(info) = action.get("commitInfo") else {
            continue;
        };
        if let Some(operation) = info.get("operation").and_then(Value::as_str) {
            operation.clone_into(&mut commit.operation);
        }
        if let Some(parameters) = info.get("operationParameters") {
            commit.parameters = parameters.to_string();
        }
    }
    commit
}

/// A version in numbers.
pub(crate) fn detail(version: &DeltaVersion) -> Result<TableDetail> {
    let snapshot = version.snapshot()?;
    let files = version.pinned().files;
    let n_rows: Option<usize> = snapshot
        .log_data()
        .iter()
        .map(|file| file.num_records())
        .sum();
    let properties = version.shape()?.properties();
    Ok(TableDetail {
        format: "delta",
        id: snapshot.metadata().id().to_owned(),
        location: version.pinned().location,
        version: version.number(),
        created_ms: snapshot.metadata().created_time(),
        partition_columns: snapshot.metadata().partition_columns().to_vec(),
        n_files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
        n_rows: n_rows.map(|n_rows| n_rows as u64),
        properties: serde_json::json!(properties).to_string(),
        min_reader_version: snapshot.protocol().min_reader_version(),
        min_writer_version: snapshot.protocol().min_writer_version(),
    })
}
