//! The tables that a training's query reads, each at one version, with the views and models that it uses.
//!
//! While a training is bound, each table that the query names, also inside views, is opened once together with its
//! snapshot: so the rows that are read are those of the snapshot that the model records. Where a training is repeated,
//! what is not as it was is an error. Other queries pin nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_sql::VersionRef;
use auspex_storage::{
    CatalogEntry, Definition, Error as StorageError, ExternalTableDefinition, TableSnapshot,
    Tables, VersionSpec, ViewDefinition,
};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::binding::{Binding, BoundView, UsedModel, asked};
use crate::access::FileUse;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::named::Named;
use crate::session::{Session, display_name};

tokio::task_local! {
    static PINS: Arc<Pins>;
}

/// What was opened and used, tables by name.
#[derive(Default)]
pub(crate) struct Pins {
    /// What to open, where the rows of an earlier training are wanted.
    wanted: Option<Wanted>,
    read: Mutex<BTreeMap<String, Pinned>>,
    /// The views and models met so far.
    used: Mutex<Binding>,
}

/// What a model version was trained on.
pub(crate) struct Wanted {
    /// The version's name.
    pub(crate) version: String,
    pub(crate) snapshots: BTreeMap<String, Recorded>,
    /// `None` in manifests of old.
    pub(crate) binding: Option<Binding>,
    /// Whether it is a version of the model that is trained.
    pub(crate) is_own: bool,
}

/// What a manifest says of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recorded {
    #[serde(flatten)]
    snapshot: TableSnapshot,
    /// The table's identity, which a rename keeps; manifests of old have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// How the files of an external table were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    definition: Option<ExternalTableDefinition>,
}

impl Recorded {
    fn of_file(snapshot: TableSnapshot) -> Recorded {
        Recorded {
            snapshot,
            id: None,
            definition: None,
        }
    }

    fn of_table(entry: &CatalogEntry, snapshot: TableSnapshot) -> Recorded {
        let definition = match &entry.definition {
            Definition::ExternalTable(external) => Some(external.clone()),
            _ => None,
        };
        Recorded {
            snapshot,
            id: Some(entry.id.clone()),
            definition,
        }
    }
}

#[derive(Clone)]
struct Pinned {
    provider: Arc<dyn TableProvider>,
    recorded: Recorded,
}

impl Pins {
    /// Tables as a model version read them.
    pub(crate) fn of_version(wanted: Wanted) -> Pins {
        Pins {
            wanted: Some(wanted),
            ..Pins::default()
        }
    }

    /// What the version that is repeated was bound by.
    pub(crate) fn repeated(&self) -> Option<(&str, Option<&Binding>)> {
        let wanted = self.wanted.as_ref()?;
        Some((&wanted.version, wanted.binding.as_ref()))
    }

    /// The version that a repeated training went on from; `None`: that is not known.
    pub(crate) fn warm_start(&self) -> Option<Option<u64>> {
        let wanted = self.wanted.as_ref().filter(|wanted| wanted.is_own)?;
        wanted.binding.as_ref().map(|binding| binding.warm_start)
    }

    /// The record of the table to open, found by its identity or else by its name; `None` means as it is now.
    fn wanted(&self, name: &str, id: Option<&str>) -> Result<Option<&Recorded>> {
        let Some(wanted) = &self.wanted else {
            return Ok(None);
        };
        let is_it = |recorded: &&Recorded| id.is_some() && recorded.id.as_deref() == id;
        let by_id = wanted.snapshots.values().find(is_it);
        let found = by_id.or_else(|| wanted.snapshots.get(name));
        found.map(Some).ok_or_else(|| {
            let message = format!(
                "model version \"{}\" was not trained on table \"{name}\"",
                wanted.version
            );
            let hint = "What its query names means other tables now; train on the rows of now.";
            Error::invalid("55000", message, Some(hint))
        })
    }

    /// The same of a table of the catalog, whose files must be read as they were.
    fn wanted_table(&self, name: &str, entry: &CatalogEntry) -> Result<Option<&Recorded>> {
        let found = self.wanted(name, Some(&entry.id))?;
        if let Some(Recorded {
            definition: Some(then),
            ..
        }) = found
            && !matches!(&entry.definition, Definition::ExternalTable(now) if now == then)
        {
            let version = self.wanted.as_ref().map_or("", |wanted| &wanted.version);
            let message = format!(
                "external table \"{name}\" was made anew in another way since model version \"{version}\" was trained"
            );
            let hint = "Its location, format, options and columns must be what they were; train on the rows of now.";
            return Err(Error::invalid("55000", message, Some(hint)));
        }
        Ok(found)
    }

    /// Runs a binding whose tables are pinned.
    pub(crate) async fn scope<T>(self: &Arc<Pins>, binding: impl Future<Output = T>) -> T {
        PINS.scope(Arc::clone(self), binding).await
    }

    /// The snapshots of all tables by name, for the model's record.
    pub(crate) fn to_json(&self) -> Value {
        let read = lock(&self.read);
        let snapshots = read.iter().map(|(name, pinned)| {
            let snapshot = serde_json::to_value(&pinned.recorded).unwrap_or(Value::Null);
            (name.clone(), snapshot)
        });
        Value::Object(snapshots.collect())
    }

    /// The views and models that were used.
    pub(crate) fn used(&self) -> Binding {
        lock(&self.used).clone()
    }

    /// An unnamed external table as it is wanted.
    async fn external(
        &self,
        tables: &Tables,
        name: &str,
        definition: &ExternalTableDefinition,
        state: &SessionState,
    ) -> Result<(Arc<dyn TableProvider>, Recorded)> {
        Ok(match self.wanted(name, None)? {
            None => {
                let (provider, snapshot) = tables.pinned_external(definition, state).await?;
                (provider, Recorded::of_file(snapshot))
            }
            Some(recorded) => {
                let snapshot = &recorded.snapshot;
                let provider = tables.external_at(definition, snapshot, state).await?;
                (provider, recorded.clone())
            }
        })
    }

    /// A table of another catalog is not there as the version that is repeated read it.
    fn lost_snapshot(&self, name: &str, what: &str) -> Error {
        let version = self.wanted.as_ref().map_or("", |wanted| &wanted.version);
        let message =
            format!("table \"{name}\", on which model version \"{version}\" was trained, {what}");
        let hint = "Its own catalog keeps and expires its snapshots; train on the rows of now.";
        Error::invalid("55000", message, Some(hint))
    }

    async fn provider(
        &self,
        name: &str,
        open: impl Future<Output = Result<(Arc<dyn TableProvider>, Recorded)>>,
    ) -> Result<Arc<dyn TableProvider>> {
        let known = lock(&self.read).get(name).cloned();
        if let Some(known) = known {
            return Ok(known.provider);
        }
        let (provider, recorded) = open.await?;
        let pinned = Pinned {
            provider: Arc::clone(&provider),
            recorded,
        };
        lock(&self.read).insert(name.to_owned(), pinned);
        Ok(provider)
    }
}

/// The rows of a table of the catalog: pinned in a training's query, else as they are now.
pub(crate) async fn table(
    session: &Session,
    entry: &CatalogEntry,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    if !matches!(entry.definition, Definition::Table(_)) {
        Named::note_files();
    }
    let tables = session.tables();
    match PINS.try_with(Arc::clone) {
        Err(_) => Ok(tables.provider(entry, state).await?),
        Ok(pins) => {
            let name = display_name(entry);
            let wanted = pins.wanted_table(&name, entry)?;
            let open = async {
                Ok(match wanted {
                    None => {
                        let (provider, snapshot) = tables.pinned_provider(entry, state).await?;
                        (provider, Recorded::of_table(entry, snapshot))
                    }
                    Some(recorded) => {
                        let snapshot = &recorded.snapshot;
                        let provider = tables.provider_at(entry, snapshot, state).await?;
                        (provider, Recorded::of_table(entry, snapshot.clone()))
                    }
                })
            };
            pins.provider(&name, Box::pin(open)).await
        }
    }
}

/// The rows of a table of the catalog as they were at a version.
pub(crate) async fn version(
    session: &Session,
    entry: &CatalogEntry,
    version: VersionSpec,
) -> Result<Arc<dyn TableProvider>> {
    let (provider, snapshot) = session.tables().pinned_version(entry, version).await?;
    match PINS.try_with(Arc::clone) {
        Err(_) => Ok(provider),
        Ok(pins) => {
            let number = snapshot.version.unwrap_or_default();
            let name = format!("{} VERSION AS OF {number}", display_name(entry));
            let id = format!("{} VERSION AS OF {number}", entry.id);
            let wanted = pins.wanted(&name, Some(&id))?;
            if wanted.is_some_and(|then| then.snapshot.location != snapshot.location) {
                let message =
                    format!("table \"{name}\" is not the one that a model was trained on");
                let hint = "Another table has its name now; train on the rows of now.";
                return Err(Error::invalid("55000", message, Some(hint)));
            }
            let recorded = Recorded {
                id: Some(id),
                ..Recorded::of_file(snapshot)
            };
            pins.provider(&name, async { Ok((provider, recorded)) })
                .await
        }
    }
}

/// The rows of a file or folder that a query names by its path.
pub(crate) async fn file(
    session: &Session,
    path: &str,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    session.file_url(path, FileUse::Read)?;
    Named::note_files();
    let tables = session.tables();
    match PINS.try_with(Arc::clone) {
        Err(_) => Ok(tables.file_provider(path, state).await?),
        Ok(pins) => {
            let open = async {
                let definition = tables.file_definition(path).await?;
                pins.external(&tables, path, &definition, state).await
            };
            pins.provider(path, open).await
        }
    }
}

/// The rows of files that a query names by a function, whose text is `name`.
pub(crate) async fn function(
    session: &Session,
    name: &str,
    definition: &ExternalTableDefinition,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>> {
    Named::note_files();
    let tables = session.tables();
    match PINS.try_with(Arc::clone) {
        Err(_) => Ok(tables.external_provider(definition, state).await?),
        Ok(pins) => {
            let open = pins.external(&tables, name, definition, state);
            pins.provider(name, open).await
        }
    }
}

/// The rows of a version of a table that another catalog names; `None`: it has no such table.
pub(crate) async fn foreign(
    session: &Session,
    catalog: &CatalogEntry,
    namespace: &str,
    (table, version): (&str, VersionSpec),
) -> Result<Option<Arc<dyn TableProvider>>> {
    Named::note_catalog();
    Named::note_files();
    let tables = session.tables();
    let Ok(pins) = PINS.try_with(Arc::clone) else {
        let found = tables.foreign(catalog, namespace, table, version).await?;
        return Ok(found.map(|(provider, _)| provider));
    };
    let name = format!("{}.{namespace}.{table}", catalog.name);
    let name = match version {
        VersionSpec::Newest => name,
        VersionSpec::Number(number) => format!("{name} VERSION AS OF {number}"),
        VersionSpec::AtMs(at) => format!("{name} TIMESTAMP AS OF {at} ms"),
    };
    let known = lock(&pins.read).get(&name).cloned();
    if let Some(known) = known {
        return Ok(Some(known.provider));
    }
    let wanted = pins.wanted(&name, None)?;
    let snapshot = wanted.map(|recorded| &recorded.snapshot);
    let at = snapshot.and_then(|snapshot| snapshot.version);
    let version = at.map_or(version, VersionSpec::Number);
    let opened = tables.foreign(catalog, namespace, table, version).await;
    let found = match (opened, at) {
        (Err(StorageError::UndefinedSnapshot { .. }), Some(at)) => {
            return Err(pins.lost_snapshot(&name, &format!("has snapshot {at} no more")));
        }
        (opened, _) => opened?,
    };
    match (found, snapshot) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(pins.lost_snapshot(&name, "was dropped")),
        (Some((_, now)), Some(then)) if now.location != then.location => {
            Err(pins.lost_snapshot(&name, "is another table"))
        }
        (Some((_, now)), Some(then)) if now.version != then.version => {
            Err(pins.lost_snapshot(&name, "had no snapshot then"))
        }
        (Some((provider, snapshot)), _) => {
            let recorded = Recorded::of_file(snapshot);
            pins.provider(&name, async { Ok((provider, recorded)) })
                .await
                .map(Some)
        }
    }
}

/// Takes down a view that a training reads, or fails if it is not what the training that is repeated read.
pub(crate) fn view(entry: &CatalogEntry, definition: &ViewDefinition) -> Result<()> {
    let Ok(pins) = PINS.try_with(Arc::clone) else {
        return Ok(());
    };
    if let Some((version, Some(binding))) = pins.repeated() {
        binding.check_view(version, entry, definition)?;
    }
    let view = BoundView::new(entry, definition);
    lock(&pins.used).views.insert(display_name(entry), view);
    Ok(())
}

/// The version of a model that the training that is repeated used; `None`: it is the one that the query names.
pub(crate) fn used_version(
    entry: &CatalogEntry,
    version: Option<&VersionRef>,
) -> Result<Option<VersionRef>> {
    let Ok(pins) = PINS.try_with(Arc::clone) else {
        return Ok(None);
    };
    let Some((of, Some(binding))) = pins.repeated() else {
        return Ok(None);
    };
    let number = binding.used_version(of, entry, asked(version).as_deref())?;
    Ok(Some(VersionRef::Number(number)))
}

/// A model or a version of it as it was found; in a training that is repeated, what was used then and is gone is that.
pub(crate) fn found_model<T>(found: Result<T>) -> Result<T> {
    let Ok(pins) = PINS.try_with(Arc::clone) else {
        return found;
    };
    let (Some((of, _)), Err(error)) = (pins.repeated(), &found) else {
        return found;
    };
    let what = match error {
        Error::Undefined {
            kind: "model",
            name,
            ..
        } => format!("model \"{name}\""),
        Error::UndefinedVersion { model, version, .. } => {
            format!("version {version} of model \"{model}\"")
        }
        _ => return found,
    };
    let message = format!("{what}, with which model version \"{of}\" was trained, was dropped");
    let hint = "Its predictions were among the rows of that training; train on the rows of now.";
    Err(Error::invalid("55000", message, Some(hint)))
}

/// The error that a name means no relation; in a training that is repeated, it meant one, and no other is meant.
pub(crate) fn undefined_relation(error: Error) -> Error {
    let Error::Undefined {
        kind: "relation",
        name,
        ..
    } = &error
    else {
        return error;
    };
    let Ok(pins) = PINS.try_with(Arc::clone) else {
        return error;
    };
    let Some((version, binding)) = pins.repeated() else {
        return error;
    };
    let was = match binding {
        Some(_) => "was dropped, whatever it was called by then",
        // Versions of old know names alone.
        None => "was dropped or renamed",
    };
    let message = format!("relation \"{name}\" does not exist");
    let hint = format!(
        "What model version \"{version}\" was trained on under that name {was}; train on the rows of now."
    );
    Error::invalid("42P01", message, Some(&hint))
}

/// Takes down a model version that a training uses.
pub(crate) fn note_model(entry: &CatalogEntry, asked_for: Option<&VersionRef>, version: u64) {
    // Other queries pin nothing.
    let _ = PINS.try_with(|pins| {
        lock(&pins.used).models.insert(UsedModel {
            name: display_name(entry),
            id: entry.id.clone(),
            asked: asked(asked_for),
            version,
        })
    });
}

/// Fails where a training is repeated: what these rows of a system view, a table's changes or its history were, nobody
/// keeps.
pub(crate) fn refuse_unpinned(what: &str) -> Result<()> {
    let repeats = PINS.try_with(|pins| pins.wanted.is_some());
    match repeats.unwrap_or(false) {
        true => Err(Error::unsupported(format!(
            "ON SNAPSHOT OF a version whose query reads the state or the changes of \"{what}\""
        ))),
        false => Ok(()),
    }
}
