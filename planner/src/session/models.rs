//! The models that a session names: their entries, versions and the fitted models themselves.
//!
//! In: names and versions as statements write them; out: catalog entries, and models from the engine's cache.

use std::sync::Arc;

use auspex_ml::trained_model::TrainedModel;
use auspex_sql::{ModelRef, Name, VersionRef};
use auspex_storage::{CatalogEntry, Definition, ModelDefinition};

use super::{Session, display_name};
use crate::bind::BoundModel;
use crate::catalog::pins;
use crate::commands;
use crate::error::{Error, Result, nearest};
use crate::name_scope::note_object;

impl Session {
    /// A model's entry and definition, if something of that name exists and is a model.
    pub(crate) fn existing_model(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<Option<(Arc<CatalogEntry>, ModelDefinition)>> {
        let catalog = self.seen_catalog();
        if !catalog.schema_exists(schema) {
            return Err(Error::Undefined {
                kind: "schema",
                name: schema.to_owned(),
                nearest: None,
                position: None,
            });
        }
        match catalog.get(schema, name) {
            None => Ok(None),
            Some(entry) => match &entry.definition {
                Definition::Model(definition) => Ok(Some((Arc::clone(entry), definition.clone()))),
                _ => Err(Error::Duplicate {
                    kind: "relation",
                    name: name.to_owned(),
                }),
            },
        }
    }

    /// A model's entry and definition.
    pub(crate) fn model_entry(&self, name: &Name) -> Result<(Arc<CatalogEntry>, ModelDefinition)> {
        let (schema, short) = self.model_parts(&name.parts)?;
        let entry = self.entry(&schema, &short);
        match entry.map(|entry| (entry.definition.clone(), entry)) {
            Some((Definition::Model(definition), entry)) => {
                note_object(&entry);
                Ok((entry, definition))
            }
            Some((definition, _)) => Err(Error::WrongKind {
                name: short,
                expected: "model",
                found: commands::kind_name(&definition),
            }),
            None => {
                let catalog = self.seen_catalog();
                let is_model =
                    |entry: &&Arc<CatalogEntry>| matches!(entry.definition, Definition::Model(_));
                let names = catalog.entries(&schema).filter(is_model);
                let names: Vec<String> = names.map(|entry| entry.name.clone()).collect();
                Err(Error::Undefined {
                    kind: "model",
                    nearest: nearest(&short, names.iter().map(String::as_str)),
                    name: name.parts.join("."),
                    position: (name.span.end > 0).then_some(name.span.start),
                })
            }
        }
    }

    /// The version that a reference means.
    pub(crate) async fn model_version(
        &self,
        entry: &CatalogEntry,
        definition: &ModelDefinition,
        version: Option<&VersionRef>,
    ) -> Result<u64> {
        let number = match version {
            None if definition.current_version == 0 => {
                return Err(Error::NotTrained {
                    model: entry.name.clone(),
                });
            }
            None => return Ok(definition.current_version),
            Some(VersionRef::Number(number)) => Some(*number),
            Some(VersionRef::Alias(alias)) => definition.aliases.get(alias).copied(),
        };
        let existing = self.live_versions(entry, definition).await?;
        match number.filter(|number| existing.contains(number)) {
            Some(number) => Ok(number),
            None => Err(Error::UndefinedVersion {
                model: entry.name.clone(),
                version: match version {
                    Some(VersionRef::Number(number)) => number.to_string(),
                    Some(VersionRef::Alias(alias)) => alias.clone(),
                    None => String::new(),
                },
                existing,
            }),
        }
    }

    /// The versions of a model that were not dropped, ascending.
    pub(crate) async fn live_versions(
        &self,
        entry: &CatalogEntry,
        definition: &ModelDefinition,
    ) -> Result<Vec<u64>> {
        let mut versions = self.engine.models.versions(&entry.id).await?;
        // A version beyond the current one belongs to a training that never came to its end.
        versions.retain(|version| {
            *version <= definition.current_version && !definition.dropped_versions.contains(version)
        });
        Ok(versions)
    }

    /// Loads the model version that a reference means, if the role that acts has the privilege on it.
    pub(crate) async fn load_model(
        &self,
        model: &ModelRef,
        privilege: &'static str,
    ) -> Result<BoundModel> {
        let (entry, definition) = pins::found_model(self.model_entry(&model.name))?;
        self.access().check(&entry, privilege)?;
        let asked = model.version.as_ref();
        let used = pins::used_version(&entry, asked)?;
        let found = self
            .model_version(&entry, &definition, used.as_ref().or(asked))
            .await;
        let version = pins::found_model(found)?;
        pins::note_model(&entry, asked, version);
        let name = display_name(&entry);
        let model = self.load_version(&entry.id, version).await?;
        let predicted = self.engine.observer.metrics.predictions(&name, version);
        Ok(BoundModel {
            compute: self.settings().compute_predictions()?,
            predicted,
            name,
            version,
            model,
        })
    }

    pub(crate) async fn load_version(&self, id: &str, version: u64) -> Result<Arc<TrainedModel>> {
        self.engine.load_version(id, version).await
    }
}
