//! `TRAIN MODEL m ON SNAPSHOT OF m@3`: a training on exactly the rows that a version learned from.
//!
//! In: the manifest of the version; out: the definition that it was trained by and the tables that it read, pinned,
//! with what else bound its query. A table, view or model that is not what it was is an error, never other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_sql::ModelRef;
use auspex_storage::{CatalogEntry, ModelDefinition};
use serde_json::Value;

use crate::catalog::binding::Binding;
use crate::catalog::pins::{Pins, Recorded, Wanted};
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
    let is_own = source_entry.id == entry.id;
    if let Some(recorded) = manifest.get("definition") {
        let recorded: ModelDefinition =
            serde_json::from_value(recorded.clone()).map_err(|_| not_recorded(&name))?;
        // What the query means goes with the query.
        definition.dialect = recorded.dialect;
        definition.extra = recorded.extra;
        if is_own {
            definition.model_type = recorded.model_type;
            definition.labels = recorded.labels;
            definition.options = recorded.options;
            keep_seed(session, definition, &source_entry.id, version).await?;
        }
    }
    let snapshots = manifest.get("snapshots").cloned().unwrap_or(Value::Null);
    let snapshots: BTreeMap<String, Recorded> =
        serde_json::from_value(snapshots).map_err(|_| not_recorded(&name))?;
    let binding: Option<Binding> = match manifest.get("binding").cloned() {
        None => None,
        Some(binding) => Some(serde_json::from_value(binding).map_err(|_| not_recorded(&name))?),
    };
    Ok(Arc::new(Pins::of_version(Wanted {
        version: name,
        snapshots,
        binding,
        is_own,
    })))
}

/// Writes the seed of a version into its options, if it came from a session whose seed is not that of this one.
async fn keep_seed(
    session: &Session,
    definition: &mut ModelDefinition,
    id: &str,
    version: u64,
) -> Result<()> {
    let Value::Object(options) = &mut definition.options else {
        return Ok(());
    };
    if options.contains_key("seed") {
        return Ok(());
    }
    let seed = session.load_version(id, version).await?.record.seed;
    let own = session.settings().get("seed");
    if own.and_then(|own| own.parse().ok()) != Some(seed) {
        options.insert("seed".to_owned(), Value::from(seed));
    }
    Ok(())
}

fn not_recorded(name: &str) -> Error {
    let message = format!("model version \"{name}\" does not record what it was trained on");
    Error::invalid(
        "55000",
        message,
        Some("Train on the rows of now: TRAIN MODEL name."),
    )
}
