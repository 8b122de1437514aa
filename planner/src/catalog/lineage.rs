//! `ml.lineage`: from the tables that were read, at which version, to the model versions learned from them.
//!
//! In: the manifests of the model versions; out: one row a version and table. Answers from what trainings recorded, so
//! that it also tells of tables that are gone.

use datafusion::error::Result;
use serde_json::Value;

use super::rows::{Cell, ColumnType};
use super::system::readable_models;
use crate::error::Error;
use crate::session::{Session, display_name};

use ColumnType::{Integer, Text, Timestamp};

pub(super) const COLUMNS: &[(&str, ColumnType)] = &[
    ("model", Text),
    ("version", Integer),
    ("table_name", Text),
    ("format", Text),
    ("location", Text),
    ("table_version", Integer),
    ("files", Integer),
    ("bytes", Integer),
    ("trained_at", Timestamp),
    ("statement", Text),
];

pub(super) async fn rows(session: &Session) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for (entry, definition) in readable_models(session) {
        for version in session.live_versions(&entry, &definition).await? {
            let manifest = session.engine.models.manifest(&entry.id, version).await;
            let manifest = manifest.map_err(Error::from)?;
            let snapshots = manifest.get("snapshots").and_then(Value::as_object);
            for (table, snapshot) in snapshots.into_iter().flatten() {
                rows.push(row(
                    &display_name(&entry),
                    version,
                    table,
                    snapshot,
                    &manifest,
                ));
            }
        }
    }
    Ok(rows)
}

fn row(model: &str, version: u64, table: &str, snapshot: &Value, manifest: &Value) -> Vec<Cell> {
    let text = |value: &Value, name: &str| Cell::from(value[name].as_str().map(ToOwned::to_owned));
    let files = snapshot["files"].as_array().map_or(&[][..], Vec::as_slice);
    let bytes: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    let trained_at = manifest["created_at_ms"].as_i64();
    vec![
        model.into(),
        version.into(),
        table.into(),
        text(snapshot, "format"),
        text(snapshot, "location"),
        snapshot["version"].as_u64().into(),
        (files.len() as u64).into(),
        bytes.into(),
        trained_at.map_or(Cell::Null, Cell::Timestamp),
        text(manifest, "statement"),
    ]
}
