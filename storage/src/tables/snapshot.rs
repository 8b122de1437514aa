//! What a model pins of a table: its version, or the files that it consisted of.
//!
//! Plain data for a manifest; nothing here reads it back into a table.

use serde::{Deserialize, Serialize};

/// One state of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSnapshot {
    /// `delta`, `parquet`, `csv` or `ndjson`.
    pub format: String,
    /// The URL of the table's folder or file.
    pub location: String,
    /// The version of the table's log, if the format has one.
    pub version: Option<u64>,
    /// The data files, by path.
    pub files: Vec<SnapshotFile>,
}

/// One data file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// The path, relative to the location's folder.
    pub path: String,
    /// The size.
    pub bytes: u64,
    /// When it was last written, in milliseconds since 1970.
    pub modified_ms: i64,
    /// The store's mark of its content, if it has one.
    pub e_tag: Option<String>,
}

impl SnapshotFile {
    /// Whether the file that is found now holds what it held: by the store's mark, else by size and time.
    pub(crate) fn is_still(&self, now: &SnapshotFile) -> bool {
        let is_unmarked = self.e_tag.is_none() || now.e_tag.is_none();
        self.bytes == now.bytes
            && (self.e_tag == now.e_tag || is_unmarked && self.modified_ms == now.modified_ms)
    }
}
