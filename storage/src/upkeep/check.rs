//! `auspex catalog check`: the log, its snapshots, and every file that the catalog names.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::Value;

use crate::catalog::{CatalogEntry, Definition, LogCheck, ModelDefinition};
use crate::checkpoints::CHECKPOINTS;
use crate::error::Result;
use crate::tables::life_sign::is_alive;
use crate::tables::object_path;
use crate::upkeep::{Upkeep, ids};
use crate::warehouse::Warehouse;

/// How often an object is looked at again whose files were not all found.
const MAX_LOOKS: usize = 3;

/// What a check found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Records of the log that were read.
    pub records: u64,
    /// Snapshots of the log that were compared with the records before them.
    pub snapshots: u64,
    /// Tables, models and other objects that the catalog has.
    pub objects: u64,
    /// Data files, manifests and tensor files that were found in their place.
    pub files: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Files that nothing names, which `gc` removes once they are old enough; those of temporary tables are none.
    pub unnamed_files: u64,
    /// Their bytes.
    pub unnamed_bytes: u64,
}

/// Something that a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or object.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

impl CheckReport {
    fn add(&mut self, place: impl Into<String>, what: impl ToString) {
        self.problems.push(Problem {
            place: place.into(),
            what: what.to_string(),
        });
    }
}

impl Upkeep {
    /// Reads the whole log and looks for every file that the catalog names. Servers may go on meanwhile: what is not found is
    /// looked for again before it is said to be missing.
    ///
    /// Errors: only those of a store that does not answer; what is wrong with files is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        let mut report = Self::check_log(&self.warehouse).await?;
        let tables = self.files_by_id("tables").await?;
        let mut models = self.files_by_id("models").await?;
        // Those of trainings that run name no object yet.
        models.remove(CHECKPOINTS);
        self.catalog.refresh_now().await?;
        let state = self.catalog.state();
        for entry in state.all() {
            report.objects += 1;
            let files = match &entry.definition {
                Definition::Model(_) => models.get(&entry.id),
                _ => tables.get(&entry.id),
            };
            let listed = files.map(Vec::as_slice).unwrap_or_default();
            let mut found = self.look(entry, Some(listed)).await?;
            if !found.problems.is_empty() {
                found = self.look_again(&entry.id).await?;
            }
            report.files += found.files;
            report.problems.extend(found.problems);
        }
        let table_ids = ids(&state, |d| {
            matches!(d, Definition::Table(_) | Definition::Sequence(_))
        });
        let model_ids = ids(&state, |d| matches!(d, Definition::Model(_)));
        for (files, named) in [(&tables, table_ids), (&models, model_ids)] {
            let unnamed = files.iter();
            let unnamed = unnamed.filter(|(id, files)| !named.contains(*id) && !is_alive(files));
            for file in unnamed.flat_map(|(_, files)| files) {
                report.unnamed_files += 1;
                report.unnamed_bytes += file.size;
            }
        }
        Ok(report)
    }

    /// The log alone, which also tells of one that no catalog can be opened with.
    pub async fn check_log(warehouse: &Warehouse) -> Result<CheckReport> {
        let log = LogCheck::of(warehouse).await?;
        let mut report = CheckReport {
            records: log.records,
            snapshots: log.snapshots,
            ..CheckReport::default()
        };
        for (place, what) in log.problems {
            report.add(place, what);
        }
        Ok(report)
    }

    /// What is there and what is wrong of the files of an object; `listed` are those of its folder, if they are known.
    async fn look(
        &self,
        entry: &CatalogEntry,
        listed: Option<&[ObjectMeta]>,
    ) -> Result<CheckReport> {
        match &entry.definition {
            Definition::Table(_) => self.check_table(entry, listed).await,
            Definition::Model(model) => self.check_model(entry, model, listed).await,
            _ => Ok(CheckReport::default()),
        }
    }

    /// The same of an object whose files were listed before its log was read: they may have been written since, and the
    /// object may be another one or none by now.
    async fn look_again(&self, id: &str) -> Result<CheckReport> {
        let mut found = CheckReport::default();
        for _ in 0..MAX_LOOKS {
            self.catalog.refresh_now().await?;
            let state = self.catalog.state();
            let Some(entry) = state.by_id(id) else {
                return Ok(CheckReport::default());
            };
            found = self.look(entry, None).await?;
            if found.problems.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    async fn check_table(
        &self,
        entry: &CatalogEntry,
        listed: Option<&[ObjectMeta]>,
    ) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let place = format!("table {}.{}", entry.schema, entry.name);
        let folder = Path::from_iter(["tables", &entry.id]);
        let snapshot = self.tables.snapshot(entry).await;
        let listed = self.listed(&folder, listed).await?;
        if listed.is_empty() {
            report.add(place, format!("folder \"{folder}\" is missing"));
            return Ok(report);
        }
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                report.add(place, error);
                return Ok(report);
            }
        };
        let present: BTreeMap<&str, u64> = listed
            .iter()
            .map(|file| (file.location.as_ref(), file.size))
            .collect();
        for file in &snapshot.files {
            let path = object_path(&file.path);
            let full: Path = folder.parts().chain(path.parts()).collect();
            let name: &str = full.as_ref();
            match present.get(name) {
                None => report.add(&place, format!("file \"{full}\" is missing")),
                Some(bytes) if *bytes != file.bytes => report.add(
                    &place,
                    format!(
                        "file \"{full}\" has {bytes} bytes instead of {}",
                        file.bytes
                    ),
                ),
                Some(_) => report.files += 1,
            }
        }
        Ok(report)
    }

    /// The files of a folder, listed now unless they were before.
    async fn listed<'a>(
        &self,
        folder: &Path,
        listed: Option<&'a [ObjectMeta]>,
    ) -> Result<Cow<'a, [ObjectMeta]>> {
        Ok(match listed {
            Some(listed) => Cow::Borrowed(listed),
            None => Cow::Owned(self.files(folder.as_ref()).await?),
        })
    }

    async fn check_model(
        &self,
        entry: &CatalogEntry,
        model: &ModelDefinition,
        listed: Option<&[ObjectMeta]>,
    ) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let place = format!("model {}.{}", entry.schema, entry.name);
        let manifests = match self.models.versions(&entry.id).await {
            Ok(versions) => versions,
            Err(error) => {
                report.add(place, error);
                return Ok(report);
            }
        };
        let folder = Path::from_iter(["models", &entry.id]);
        let listed = self.listed(&folder, listed).await?;
        let present: BTreeSet<&str> = listed.iter().map(|file| file.location.as_ref()).collect();
        if model.current_version > 0 && !manifests.contains(&model.current_version) {
            report.add(
                &place,
                format!("version {} is missing", model.current_version),
            );
        }
        for version in manifests {
            if version > model.current_version || model.dropped_versions.contains(&version) {
                continue;
            }
            match self.models.manifest(&entry.id, version).await {
                Err(error) => report.add(&place, error),
                Ok(manifest) => {
                    report.files += 1;
                    let hash = manifest.pointer("/tensors/sha256").and_then(Value::as_str);
                    let blob =
                        hash.map(|hash| format!("models/{}/blobs/{hash}.safetensors", entry.id));
                    match blob {
                        Some(blob) if !present.contains(blob.as_str()) => {
                            report.add(&place, format!("file \"{blob}\" is missing"));
                        }
                        // Reading the tensors compares them with their hash.
                        _ => match self.models.tensors(&entry.id, &manifest).await {
                            Ok(_) => report.files += 1,
                            Err(error) => report.add(&place, error),
                        },
                    }
                }
            }
        }
        Ok(report)
    }
}
