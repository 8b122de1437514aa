//! The tables that a training's query reads, each at one version.
//!
//! While a training is bound, each table that the query names, also inside views, is opened once together with its
//! snapshot: so the rows that are read are those of the snapshot that the model records. Other queries pin nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_storage::{
    CatalogEntry, Definition, ExternalTableDefinition, TableSnapshot, Tables, VersionSpec,
};
use datafusion::catalog::TableProvider;
use datafusion::execution::SessionState;
use serde_json::Value;

use crate::access::FileUse;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::named::Named;
use crate::session::{Session, display_name};

tokio::task_local! {
    static PINS: Arc<Pins>;
}

/// What was opened, by name.
#[derive(Default)]
pub(crate) struct Pins {
    /// What to open, where the rows of an earlier training are wanted.
    wanted: Option<Wanted>,
    read: Mutex<BTreeMap<String, Pinned>>,
}

/// The tables of a model version.
struct Wanted {
    version: String,
    snapshots: BTreeMap<String, TableSnapshot>,
}

#[derive(Clone)]
struct Pinned {
    provider: Arc<dyn TableProvider>,
    snapshot: TableSnapshot,
}

impl Pins {
    /// Tables as a model version read them.
    pub(crate) fn of_version(version: String, snapshots: BTreeMap<String, TableSnapshot>) -> Pins {
        Pins {
            wanted: Some(Wanted { version, snapshots }),
            read: Mutex::default(),
        }
    }

    /// The snapshot to open a table at; `None` means as it is now.
    fn wanted(&self, name: &str) -> Result<Option<&TableSnapshot>> {
        let Some(wanted) = &self.wanted else {
            return Ok(None);
        };
        wanted.snapshots.get(name).map(Some).ok_or_else(|| {
            let message = format!(
                "model version \"{}\" was not trained on table \"{name}\"",
                wanted.version
            );
            let hint = "A view that its query names has changed; train on the rows of now.";
            Error::invalid("55000", message, Some(hint))
        })
    }

    /// Runs a binding whose tables are pinned.
    pub(crate) async fn scope<T>(self: &Arc<Pins>, binding: impl Future<Output = T>) -> T {
        PINS.scope(Arc::clone(self), binding).await
    }

    /// The snapshots of all tables by name, for the model's record.
    pub(crate) fn to_json(&self) -> Value {
        let read = lock(&self.read);
        let snapshots = read.iter().map(|(name, pinned)| {
            let snapshot = serde_json::to_value(&pinned.snapshot).unwrap_or(Value::Null);
            (name.clone(), snapshot)
        });
        Value::Object(snapshots.collect())
    }

    /// An unnamed external table as it is wanted.
    async fn external(
        &self,
        tables: &Tables,
        name: &str,
        definition: &ExternalTableDefinition,
        state: &SessionState,
    ) -> Result<(Arc<dyn TableProvider>, TableSnapshot)> {
        Ok(match self.wanted(name)? {
            None => tables.pinned_external(definition, state).await?,
            Some(snapshot) => {
                let provider = tables.external_at(definition, snapshot, state).await?;
                (provider, snapshot.clone())
            }
        })
    }

    async fn provider(
        &self,
        name: &str,
        open: impl Future<Output = Result<(Arc<dyn TableProvider>, TableSnapshot)>>,
    ) -> Result<Arc<dyn TableProvider>> {
        let known = lock(&self.read).get(name).cloned();
        if let Some(known) = known {
            return Ok(known.provider);
        }
        let (provider, snapshot) = open.await?;
        let pinned = Pinned {
            provider: Arc::clone(&provider),
            snapshot,
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
            let wanted = pins.wanted(&name)?;
            let open = async {
                Ok(match wanted {
                    None => tables.pinned_provider(entry, state).await?,
                    Some(snapshot) => {
                        let provider = tables.provider_at(entry, snapshot, state).await?;
                        (provider, snapshot.clone())
                    }
                })
            };
            pins.provider(&name, open).await
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
            pins.provider(&name, async { Ok((provider, snapshot)) })
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
    if pins.wanted.is_some() {
        return Err(Error::unsupported(
            "ON SNAPSHOT OF a table of another catalog",
        ));
    }
    match tables.foreign(catalog, namespace, table, version).await? {
        None => Ok(None),
        Some(found) => pins.provider(&name, async { Ok(found) }).await.map(Some),
    }
}
