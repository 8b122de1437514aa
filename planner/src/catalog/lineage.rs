//! `ml.lineage`: from the tables and models that were used, at which version, to the model versions learned from them.
//!
//! In: the manifests of the model versions; out: one row a version and table or model. Answers from what trainings recorded, so
//! that it also tells of tables that are gone.

use datafusion::error::Result;
use serde_json::Value;

use super::binding::{Binding, BoundView, UsedModel};
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
            let used = binding(&manifest).models;
            let of_model = |used| model_row(&display_name(&entry), version, used, &manifest);
            rows.extend(used.iter().map(of_model));
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

/// What bound the query of a version beside its tables; versions of old do not say.
fn binding(manifest: &Value) -> Binding {
    let binding = manifest.get("binding").cloned();
    let binding = binding.and_then(|binding| serde_json::from_value(binding).ok());
    binding.unwrap_or_default()
}

/// The row of a model that a training query used.
fn model_row(model: &str, version: u64, used: &UsedModel, manifest: &Value) -> Vec<Cell> {
    vec![
        model.into(),
        version.into(),
        used.name.as_str().into(),
        "model".into(),
        Cell::Null,
        used.version.into(),
        Cell::Null,
        Cell::Null,
        manifest["created_at_ms"]
            .as_i64()
            .map_or(Cell::Null, Cell::Timestamp),
        Cell::from(manifest["statement"].as_str().map(ToOwned::to_owned)),
    ]
}

/// What a version was trained on, as rows of `DESCRIBE MODEL`: tables, views with their texts, and models.
pub(crate) fn read_properties(manifest: &Value) -> Vec<(String, String)> {
    let tables = manifest.get("snapshots").and_then(Value::as_object);
    let table = |(name, snapshot): (&String, &Value)| {
        let format = snapshot["format"].as_str().unwrap_or_default();
        let what = match snapshot["version"].as_u64() {
            Some(version) => format!("{format} version {version}"),
            None => format.to_owned(),
        };
        (format!("table {name}"), what)
    };
    let mut rows: Vec<_> = tables.into_iter().flatten().map(table).collect();
    let binding = binding(manifest);
    let view = |(name, view): (String, BoundView)| (format!("view {name}"), view.definition.text);
    rows.extend(binding.views.into_iter().map(view));
    let model = |used: UsedModel| {
        let version = format!("version {}", used.version);
        (format!("used_model {}", used.name), version)
    };
    rows.extend(binding.models.into_iter().map(model));
    rows
}
