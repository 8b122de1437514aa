//! Delta tables of others, and the stores that Delta logs lie in.
//!
//! A URL and options flow in, a provider of one version flows out. The table's store shows only what SQL may read. The
//! log store is the library's own for every scheme, since all our stores put conditionally.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};

use datafusion::catalog::TableProvider;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder};
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::shown;
use crate::tables::iceberg::time_ms;
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};

const OPTIONS: &[&str] = &["timestamp", "version"];
const SCHEMES: &[&str] = &[
    "s3", "s3a", "az", "azure", "abfs", "abfss", "gs", "http", "https",
];

/// Makes the library commit and read logs in all our stores, not only on local disk.
pub(crate) fn register_log_stores() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let factories = logstore_factories();
        for scheme in SCHEMES {
            if let Ok(url) = Url::parse(&format!("{scheme}://")) {
                factories.insert(url, Arc::new(AnyStore));
            }
        }
    });
}

#[derive(Debug)]
struct AnyStore;

impl LogStoreFactory for AnyStore {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(
            prefixed_store,
            root_store,
            location,
            options,
        ))
    }
}

/// A Delta table of others at one version.
#[derive(Debug)]
pub(crate) struct ExternalDelta {
    table: DeltaTable,
    location: Url,
}

impl ExternalDelta {
    /// Opens the table in a folder at the version that the options name, else the newest.
    ///
    /// Errors: `LocationNotFound`, `UnknownOption`, `InvalidOption`, `LocationRefused`, `TableFormat`.
    pub(crate) async fn open(
        url: &Url,
        options: &BTreeMap<String, String>,
        locations: &Arc<Locations>,
    ) -> Result<Self> {
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let store = locations.confine(&url)?;
        let folder = Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
            location: shown(&url),
        })?;
        let log = store
            .list_with_delimiter(Some(&folder.join("_delta_log")))
            .await?;
        if log.objects.is_empty() {
            return Err(Error::LocationNotFound {
                location: shown(&url),
            });
        }
        let mut builder =
            DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(store, url.clone());
        for (option, value) in options {
            let invalid = |expected| Error::InvalidOption {
                option: option.clone(),
                value: value.clone(),
                expected,
            };
            builder = match option.as_str() {
                "version" => {
                    let number = value.parse().map_err(|_| invalid("a whole number"))?;
                    builder.with_version(number)
                }
                "timestamp" => {
                    let at = chrono::DateTime::from_timestamp_millis(time_ms(value)?);
                    builder.with_timestamp(at.ok_or_else(|| invalid("a timestamp"))?)
                }
                _ => {
                    return Err(Error::UnknownOption {
                        option: option.clone(),
                        format: "delta",
                        known: OPTIONS,
                    });
                }
            };
        }
        let table = builder.load().await.map_err(|error| failed(&url, error))?;
        Ok(Self {
            table,
            location: url,
        })
    }

    /// The rows.
    pub(crate) async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let failed = |error| failed(&self.location, error);
        let snapshot = self.table.snapshot().map_err(failed)?.snapshot().clone();
        let provider = self
            .table
            .table_provider()
            .with_eager_snapshot(Arc::new(snapshot))
            .await;
        Ok(provider?)
    }

    /// What a model pins.
    pub(crate) fn describe(&self) -> Result<TableSnapshot> {
        let state = self.table.snapshot();
        let snapshot = state
            .map_err(|error| failed(&self.location, error))?
            .snapshot();
        let mut files: Vec<SnapshotFile> = snapshot
            .log_data()
            .iter()
            .map(|file| SnapshotFile {
                path: file.path().into_owned(),
                bytes: u64::try_from(file.size()).unwrap_or_default(),
                modified_ms: file.modification_time(),
                e_tag: None,
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(TableSnapshot {
            format: "delta".into(),
            location: self.location.to_string(),
            version: Some(snapshot.version()),
            files,
        })
    }
}

fn failed(url: &Url, error: deltalake::DeltaTableError) -> Error {
    // A refusal or failure of a store comes out as it went in.
    match Error::found_in(&error) {
        Some(found) => found,
        None => Error::TableFormat {
            table: shown(url),
            format: "Delta",
            reason: error.to_string(),
        },
    }
}
