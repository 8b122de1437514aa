//! `auspex catalog gc`: removing what nothing names any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use serde_json::Value;

use crate::catalog::{Definition, LEAST_RECORD_AGE};
use crate::checkpoints::CHECKPOINTS;
use crate::error::{Error, Result};
use crate::locations::UNWRITABLE;
use crate::upkeep::{Upkeep, ids};
use crate::warehouse::{EARLIER_PROBES, PROBES, Warehouse};
use crate::worker_signs::SIGNS;

/// Tables whose logs are read at once.
const TABLES_IN_FLIGHT: usize = 8;

/// What may be removed.
#[derive(Debug, Clone, Copy)]
pub struct GarbageOptions {
    /// Only what was last written longer ago than this.
    pub older_than: Duration,
    /// Tells what would be removed, and removes nothing.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The files, in the order in which they went.
    pub removed: Vec<Removed>,
    /// Data files that no version has named, older than the bound: their tables keep such for longer.
    pub n_waiting: usize,
    /// The sizes of those together.
    pub waiting_bytes: u64,
}

/// One file that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its path in the warehouse.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Why nobody needs it.
    pub reason: &'static str,
}

impl Upkeep {
    /// Removes superseded entries of the log, folders of tables and models that the catalog does not name, data files that
    /// no version of their table has ever named, tensor files that no manifest names, checkpoints of trainings with which
    /// nobody went on, signs of workers and probes of coordinators that have gone, and, on this machine's disks, halves of
    /// files whose writers were killed.
    ///
    /// Errors: `YoungGarbage` for a bound under an hour, which running servers need to see each other's commits.
    pub async fn collect_garbage(&self, options: GarbageOptions) -> Result<Garbage> {
        if options.older_than < LEAST_RECORD_AGE {
            return Err(Error::YoungGarbage {
                least: LEAST_RECORD_AGE,
            });
        }
        let age = chrono::Duration::from_std(options.older_than).map_err(|_| Error::Internal {
            what: "a bound beyond all time".into(),
        })?;
        let before = Utc::now() - age;
        let is_old = |file: &ObjectMeta| file.last_modified < before;
        let mut garbage = Vec::new();
        for file in self.catalog.superseded(before).await? {
            garbage.push((file, "superseded by a snapshot"));
        }
        let signs = self.files(SIGNS).await?.into_iter().filter(is_old);
        garbage.extend(signs.map(|file| (file, "sign of a worker that has gone")));
        for place in [PROBES, EARLIER_PROBES] {
            let probes = self.files(place).await?.into_iter().filter(is_old);
            let probes = probes.filter(|file| Warehouse::is_probe(file.location.as_ref()));
            garbage.extend(probes.map(|file| (file, "probe of a coordinator that has gone")));
        }
        // Listed before the catalog is read: what is new in the list is in the catalog, or too young.
        let tables = self.files_by_id("tables").await?;
        let mut models = self.files_by_id("models").await?;
        let checkpoints = models.remove(CHECKPOINTS).unwrap_or_default();
        self.catalog.refresh_now().await?;
        let state = self.catalog.state();
        let table_ids = ids(&state, |d| {
            matches!(d, Definition::Table(_) | Definition::Sequence(_))
        });
        let model_ids = ids(&state, |d| matches!(d, Definition::Model(_)));
        for (files, named) in [(&tables, &table_ids), (&models, &model_ids)] {
            for (id, files) in files {
                // The temporary tables of sessions have a young file, see `life_sign`.
                if !named.contains(id) && files.iter().all(is_old) {
                    let unnamed = files.iter().cloned();
                    garbage.extend(unnamed.map(|file| (file, "of an object that does not exist")));
                }
            }
        }
        let kept = ids(&state, |d| matches!(d, Definition::Table(_)));
        let (orphans, waiting) = self.all_orphans(kept, &tables, before, options).await;
        let orphans = orphans.into_iter();
        garbage.extend(orphans.map(|file| (file, "data that no version has named")));
        for (id, files) in &models {
            if model_ids.contains(id) {
                let unnamed = self.unnamed_blobs(id, files).await?;
                let unnamed = unnamed.into_iter().filter(is_old);
                garbage.extend(unnamed.map(|file| (file, "tensors that no version names")));
            }
        }
        let abandoned = runs(checkpoints).into_values();
        for files in abandoned.filter(|files| files.iter().all(is_old)) {
            let files = files.into_iter();
            garbage.extend(files.map(|file| (file, "checkpoint of a training that was abandoned")));
        }
        let mut removed = self.remove(garbage, options.dry_run).await?;
        let halves = self.sweep_own(before.into(), options.dry_run).await?;
        removed.extend(halves);
        Ok(Garbage {
            removed,
            n_waiting: waiting.len(),
            waiting_bytes: waiting.iter().map(|file| file.size).sum(),
        })
    }

    /// Those of the old files of some tables that no version has ever named: the ones that may go, and the ones that their
    /// tables keep for longer.
    async fn all_orphans(
        &self,
        ids: BTreeSet<String>,
        tables: &BTreeMap<String, Vec<ObjectMeta>>,
        before: DateTime<Utc>,
        options: GarbageOptions,
    ) -> (Vec<ObjectMeta>, Vec<ObjectMeta>) {
        let looks = ids.into_iter().map(|id| {
            let files = tables.get(&id).into_iter().flatten();
            let old: Vec<&ObjectMeta> = files.filter(|file| file.last_modified < before).collect();
            self.orphans(id, old, options.older_than)
        });
        let mut looks = futures::stream::iter(looks).buffered(TABLES_IN_FLIGHT);
        let (mut orphans, mut waiting) = (Vec::new(), Vec::new());
        while let Some((of_table, waiting_of_table)) = looks.next().await {
            orphans.extend(of_table);
            waiting.extend(waiting_of_table);
        }
        (orphans, waiting)
    }

    /// Those of some old files of a table that no version has ever named, as statements leave them that failed or were
    /// killed: the ones that may go, and the ones that the table keeps for longer; none where its log cannot be read.
    async fn orphans(
        &self,
        id: String,
        old: Vec<&ObjectMeta>,
        older_than: Duration,
    ) -> (Vec<ObjectMeta>, Vec<ObjectMeta>) {
        if old.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let found = match self.tables.orphans(&id, older_than).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, id, "files of a table stay, since its log cannot be read");
                return (Vec::new(), Vec::new());
            }
        };
        let folder = Path::from_iter(["tables", id.as_str()]);
        let within = |path: &Path| -> Path { folder.parts().chain(path.parts()).collect() };
        let files: BTreeSet<Path> = found.files.iter().map(within).collect();
        let orphans = old
            .into_iter()
            .filter(|file| files.contains(&file.location));
        let now = Utc::now();
        let may_go = |file: &ObjectMeta| {
            let age = (now - file.last_modified).to_std();
            age.is_ok_and(|age| age >= found.kept_for)
        };
        orphans.cloned().partition(may_go)
    }

    /// Removes the halves of files that lie in our folders, where the warehouse is one of this machine.
    async fn sweep_own(&self, before: SystemTime, dry_run: bool) -> Result<Vec<Removed>> {
        let Some(root) = self.warehouse.local_root() else {
            return Ok(Vec::new());
        };
        let root = root.to_owned();
        let swept = tokio::task::spawn_blocking(move || {
            let mut halves = Vec::new();
            // What lies elsewhere in the warehouse are the users' files.
            for own in UNWRITABLE.iter().map(|own| root.join(own)) {
                if own.is_dir() {
                    sweep(&root, &own, before, dry_run, &mut halves)?;
                }
            }
            Ok::<_, std::io::Error>(halves)
        });
        let swept = swept.await.map_err(|error| Error::Internal {
            what: format!("a task that removes files ended early: {error}"),
        })?;
        swept.map_err(|error| Error::Io {
            source: error.into(),
        })
    }

    /// The tensor files of a model that none of its manifests names.
    async fn unnamed_blobs(&self, id: &str, files: &[ObjectMeta]) -> Result<Vec<ObjectMeta>> {
        let mut named = BTreeSet::new();
        for version in self.models.versions(id).await? {
            let manifest = self.models.manifest(id, version).await?;
            let hash = manifest.pointer("/tensors/sha256").and_then(Value::as_str);
            named.extend(hash.map(ToOwned::to_owned));
        }
        let folder = Path::from_iter(["models", id, "blobs"]);
        let is_unnamed = |file: &&ObjectMeta| {
            let name = file.location.filename().unwrap_or_default();
            let hash = name.strip_suffix(".safetensors");
            file.location.prefix_matches(&folder) && hash.is_some_and(|hash| !named.contains(hash))
        };
        Ok(files.iter().filter(is_unnamed).cloned().collect())
    }

    async fn remove(
        &self,
        garbage: Vec<(ObjectMeta, &'static str)>,
        dry_run: bool,
    ) -> Result<Vec<Removed>> {
        let mut removed = Vec::new();
        for (file, reason) in garbage {
            if !dry_run {
                match self.warehouse.store().delete(&file.location).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            removed.push(Removed {
                path: file.location.to_string(),
                bytes: file.size,
                reason,
            });
        }
        Ok(removed)
    }
}

/// The files of checkpoints by their runs.
fn runs(files: Vec<ObjectMeta>) -> BTreeMap<String, Vec<ObjectMeta>> {
    let mut runs: BTreeMap<String, Vec<ObjectMeta>> = BTreeMap::new();
    for file in files {
        let run = file.location.parts().nth(2);
        let run = run.map(|part| part.as_ref().to_owned()).unwrap_or_default();
        runs.entry(run).or_default().push(file);
    }
    runs
}

/// Removes what writers that were killed left below a folder: files are written as `name#number` beside their place, and
/// the store does not list them.
fn sweep(
    root: &FilePath,
    folder: &FilePath,
    before: SystemTime,
    dry_run: bool,
    swept: &mut Vec<Removed>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sweep(root, &entry.path(), before, dry_run, swept)?;
        }
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| Some(name.rsplit_once('#')?.1));
        let is_half = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if !kind.is_file() || !is_half {
            continue;
        }
        let looked = entry.metadata().and_then(|meta| {
            let is_old = meta.modified()? < before;
            if is_old && !dry_run {
                std::fs::remove_file(entry.path())?;
            }
            Ok(is_old.then_some(meta))
        });
        let meta = match looked {
            Ok(Some(meta)) => meta,
            Ok(None) => continue,
            // A server that runs has given it its name meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let path = entry.path();
        swept.push(Removed {
            path: path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string(),
            bytes: meta.len(),
            reason: "half of a file whose writer has gone",
        });
    }
    Ok(())
}
