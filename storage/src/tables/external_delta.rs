//! Delta tables of others, and the stores that Delta logs lie in.
//!
//! A URL and options flow in, one version of the table flows out, which is read as a managed one is. Its store shows only what SQL may read. The
//! log store is the library's own for every scheme, since all our stores put conditionally.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};

use deltalake::DeltaResult;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result, without_backtrace};
use crate::locations::Locations;
use crate::stores::shown;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, LOG_FOLDER, VersionSpec};
use crate::tables::iceberg::time_ms;
use crate::tables::log_faults::blamed;

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

/// Opens the version that the options name of the table in a folder, else the newest.
///
/// Errors: `LocationNotFound`, `UnknownOption`, `InvalidOption`, `LocationRefused`, `TableFormat`, `UndefinedTableVersion`,
/// `VersionVacuumed`.
pub(crate) async fn open(
    url: &Url,
    options: &BTreeMap<String, String>,
    locations: &Arc<Locations>,
) -> Result<DeltaVersion> {
    open_at(url, version_of(options)?, locations).await
}

/// Opens a version of the table in a folder. Errors: those of `open`.
pub(crate) async fn open_at(
    url: &Url,
    version: VersionSpec,
    locations: &Arc<Locations>,
) -> Result<DeltaVersion> {
    let log = log_of(url, locations).await?;
    let error = match log.at(version).await {
        Ok(found) => return Ok(found),
        Err(error) => blamed(error, &log.store(), url).await,
    };
    Err(match error {
        Error::Delta { source } => failed(url, *source),
        error => error,
    })
}

/// The log of the table in a folder. Errors: `LocationNotFound`, `LocationRefused`.
pub(crate) async fn log_of(url: &Url, locations: &Arc<Locations>) -> Result<DeltaLog> {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let store = locations.confine(&url)?;
    let folder = Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
        location: shown(&url),
    })?;
    let log = folder.join(LOG_FOLDER);
    let log = store.list_with_delimiter(Some(&log));
    if log.await?.objects.is_empty() {
        return Err(Error::LocationNotFound {
            location: shown(&url),
        });
    }
    Ok(DeltaLog::new(url, store)?.within(locations))
}

/// The version that the options of a table name.
fn version_of(options: &BTreeMap<String, String>) -> Result<VersionSpec> {
    let unknown = options
        .keys()
        .find(|option| !OPTIONS.contains(&option.as_str()));
    if let Some(option) = unknown {
        return Err(Error::UnknownOption {
            option: option.clone(),
            format: "delta",
            known: OPTIONS,
        });
    }
    match (options.get("version"), options.get("timestamp")) {
        (Some(number), _) => {
            let number = number.parse().map_err(|_| Error::InvalidOption {
                option: "version".into(),
                value: number.clone(),
                expected: "a whole number",
            })?;
            Ok(VersionSpec::Number(number))
        }
        (None, Some(text)) => Ok(VersionSpec::AtMs(time_ms(text)?)),
        (None, None) => Ok(VersionSpec::Newest),
    }
}

fn failed(url: &Url, error: deltalake::DeltaTableError) -> Error {
    // A refusal or failure of a store comes out as it went in.
    match Error::found_in(&error) {
        Some(found) => found,
        None => Error::TableFormat {
            table: shown(url),
            format: "Delta",
            reason: without_backtrace(&error.to_string()),
        },
    }
}
