//! `TRAIN MODEL m ON SNAPSHOT OF m@3`: a training on exactly the rows that a version learned from.
//!
//! In: the manifest of the version; out: the definition that it was trained by and the tables that it read, pinned. A
//! table that is not what it was is an error, never other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_sql::ModelRef;
use auspex_storage::{CatalogEntry, ModelDefinition, TableSnapshot};
use serde_json::Value;

use crate::catalog::pins::Pins;
use crate::error::{Error, Result};
use crate::session::{Session, display_name};

/// Takes the query of a version, and its type, label and options if it is one of the model itself.
pub(super) async fn repeat_version(
    session: &Session,
    entry: &CatalogEntry,
    definition: &mut ModelDefinition,
    source: &ModelRef,
) -> Result<Arc<Pins>> {
    let (source_entry, source_definition) = session.model_entry(&source.name)?;
    // Its query and options are what SELECT on a model shows.
    session.access().check(&source_entry, "SELECT")?;
    let version = session
        .model_version(&source_entry, &source_definition, source.version.as_ref())
        .await?;
    let engine = &session.engine;
    let manifest = engine.models.manifest(&source_entry.id, version).await?;
    let name = format!("{}@{version}", display_name(&source_entry));
    let query = manifest.get("query").and_then(Value::as_str);
    definition.query = Some(query.ok_or_else(|| not_recorded(&name))?.to_owned());
    if source_entry.id == entry.id
        && let Some(recorded) = manifest.get("definition")
    {
        let recorded: ModelDefinition =
            serde_json::from_value(recorded.clone()).map_err(|_| not_recorded(&name))?;
        definition.model_type = recorded.model_type;
        definition.labels = recorded.labels;
        definition.options = recorded.options;
        definition.dialect = recorded.dialect;
    }
    let snapshots = manifest.get("snapshots").cloned().unwrap_or(Value::Null);
    let snapshots: BTreeMap<String, TableSnapshot> =
        serde_json::from_value(snapshots).map_err(|_| not_recorded(&name))?;
    Ok(Arc::new(Pins::of_version(name, snapshots)))
}

fn not_recorded(name: &str) -> Error {
    let message = format!("model version \"{name}\" does not record what it was trained on");
    Error::invalid(
        "55000",
        message,
        Some("Train on the rows of now: TRAIN MODEL name."),
    )
}
