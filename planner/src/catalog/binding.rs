//! What binds a training's query beside its tables, as the manifest of its model version records it: what its names
//! meant, the views and models that it used, and the moment that `now()` was.
//!
//! Plain data with a stable JSON form, and the questions that a repeated training asks it. Manifests of old have none.

use std::collections::{BTreeMap, BTreeSet};

use auspex_sql::VersionRef;
use auspex_storage::{CatalogEntry, ViewDefinition, ViewObject};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::session::display_name;

/// What binds a training's query beside its tables.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Binding {
    /// The role that trained: `current_user`.
    pub(crate) role: String,
    /// What `now()` was, in nanoseconds since 1970.
    pub(crate) started_at_ns: Option<i64>,
    /// What the names of the query meant.
    pub(crate) objects: BTreeSet<ViewObject>,
    /// The views that were read, by name, also those inside views.
    pub(crate) views: BTreeMap<String, BoundView>,
    /// The models that were used, also inside views.
    pub(crate) models: BTreeSet<UsedModel>,
    /// The version that the training went on from (`warm_start`).
    pub(crate) warm_start: Option<u64>,
}

/// A view as it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoundView {
    /// Its identity.
    pub(crate) id: String,
    /// Its schema, that of names without one in views of old.
    pub(crate) schema: String,
    /// Its text, and what its names meant.
    pub(crate) definition: ViewDefinition,
}

impl BoundView {
    pub(crate) fn new(entry: &CatalogEntry, definition: &ViewDefinition) -> BoundView {
        BoundView {
            id: entry.id.clone(),
            schema: entry.schema.clone(),
            definition: definition.clone(),
        }
    }

    /// Whether a view asks the same. What its names mean, the snapshots of the tables tell.
    fn asks_the_same(&self, other: &BoundView) -> bool {
        let schemas = |view: &BoundView| view.definition.schemas_of_names(&view.schema);
        self.definition.text == other.definition.text
            && self.definition.columns == other.definition.columns
            && self.definition.dialect == other.definition.dialect
            && schemas(self) == schemas(other)
    }
}

/// A model version that was used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct UsedModel {
    /// The model's name.
    pub(crate) name: String,
    /// Its identity.
    pub(crate) id: String,
    /// The version or alias that the query names; `None`: the current version.
    pub(crate) asked: Option<String>,
    /// The version that this was.
    pub(crate) version: u64,
}

/// A version or alias as a query names it.
pub(crate) fn asked(version: Option<&VersionRef>) -> Option<String> {
    Some(match version? {
        VersionRef::Number(number) => number.to_string(),
        VersionRef::Alias(alias) => alias.clone(),
    })
}

impl Binding {
    /// What `now()` was.
    pub(crate) fn start(&self) -> Option<DateTime<Utc>> {
        self.started_at_ns.map(DateTime::from_timestamp_nanos)
    }

    /// Fails if a view is not what it was when `version` was trained.
    pub(crate) fn check_view(
        &self,
        version: &str,
        entry: &CatalogEntry,
        definition: &ViewDefinition,
    ) -> Result<()> {
        let name = display_name(entry);
        let by_id = self.views.values().find(|view| view.id == entry.id);
        let found = by_id.or_else(|| self.views.get(&name));
        if found.is_some_and(|view| view.asks_the_same(&BoundView::new(entry, definition))) {
            return Ok(());
        }
        let what = match found {
            Some(_) => format!(
                "view \"{name}\" was replaced since model version \"{version}\" was trained"
            ),
            None => format!("model version \"{version}\" was not trained on view \"{name}\""),
        };
        let hint = format!(
            "DESCRIBE MODEL {version} shows the views that it read; make them so, or train on the rows of now."
        );
        Err(Error::invalid("55000", what, Some(&hint)))
    }

    /// The version of a model that was used when `version` was trained.
    pub(crate) fn used_version(
        &self,
        version: &str,
        entry: &CatalogEntry,
        asked: Option<&str>,
    ) -> Result<u64> {
        let is_it = |used: &&UsedModel| used.id == entry.id && used.asked.as_deref() == asked;
        match self.models.iter().find(is_it) {
            Some(used) => Ok(used.version),
            None => {
                let name = display_name(entry);
                let message =
                    format!("model version \"{version}\" was not trained with model \"{name}\"");
                let hint = "The model was made anew under the name, or a view that the query names has changed; train on the rows of now.";
                Err(Error::invalid("55000", message, Some(hint)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use auspex_storage::Definition;
    use serde_json::json;

    use super::*;

    fn view(text: &str) -> (CatalogEntry, ViewDefinition) {
        let definition = ViewDefinition {
            text: text.to_owned(),
            columns: Vec::new(),
            dialect: "auto".to_owned(),
            default_schema: None,
            search_path: Vec::new(),
            objects: Vec::new(),
            security_barrier: false,
            check_option: None,
        };
        let entry = CatalogEntry::new("public", "v", Definition::View(definition.clone()));
        (entry, definition)
    }

    #[test]
    fn a_view_with_another_text_is_another() {
        let (entry, definition) = view("SELECT 1 AS x");
        let mut binding = Binding::default();
        let error = binding.check_view("m@1", &entry, &definition).unwrap_err();
        assert!(
            error.to_string().contains("not trained on view \"v\""),
            "{error}"
        );
        let bound = BoundView::new(&entry, &definition);
        binding.views.insert("v".to_owned(), bound);
        binding.check_view("m@1", &entry, &definition).unwrap();
        let (made_anew, same) = view("SELECT 1 AS x");
        binding.check_view("m@1", &made_anew, &same).unwrap();
        let (_, other) = view("SELECT 2 AS x");
        let error = binding.check_view("m@1", &entry, &other).unwrap_err();
        assert!(
            error.to_string().contains("view \"v\" was replaced"),
            "{error}"
        );
    }

    #[test]
    fn a_model_means_the_version_of_then() {
        let (entry, _) = view("SELECT 1");
        let used = |asked: Option<&str>, version| UsedModel {
            name: "x".to_owned(),
            id: entry.id.clone(),
            asked: asked.map(ToOwned::to_owned),
            version,
        };
        let models = [used(None, 2), used(Some("prod"), 1)];
        let binding = Binding {
            models: models.into(),
            ..Binding::default()
        };
        assert_eq!(binding.used_version("m@1", &entry, None).unwrap(), 2);
        assert_eq!(
            binding.used_version("m@1", &entry, Some("prod")).unwrap(),
            1
        );
        assert!(binding.used_version("m@1", &entry, Some("7")).is_err());
    }

    #[test]
    fn what_a_manifest_lacks_is_nothing() {
        let binding: Binding = serde_json::from_value(json!({"role": "postgres"})).unwrap();
        assert_eq!(binding.start(), None);
        assert!(binding.views.is_empty() && binding.models.is_empty());
        let text = serde_json::to_value(&binding).unwrap();
        assert_eq!(serde_json::from_value::<Binding>(text).unwrap(), binding);
    }
}
