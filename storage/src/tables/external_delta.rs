//! Delta tables of others, and the stores that Delta logs lie in.
//!
//! A URL and options flow in, one version of the table flows out, which is read as a managed one is. Its store shows only what SQL may read. The
//! log store is the library's own for every scheme, since all our stores put conditionally. A log that was read is kept,
//! so that the next statement reads its news alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use deltalake::DeltaResult;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _, ObjectStoreExt as _};
use url::Url;

use crate::credentials::Access;
use crate::error::{Error, Result, without_backtrace};
use crate::locations::Locations;
use crate::stores::{Stores, shown};
use crate::tables::commit_times::number_of;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, LOG_FOLDER, VersionSpec};
use crate::tables::iceberg::time_ms;
use crate::tables::library_words::log_words;
use crate::tables::listing::is_http;
use crate::tables::log_faults::blamed;

/// Each holds the names of all files of its table.
const KEPT_LOGS: usize = 64;
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

/// The logs that were read, the one that was used last at the end.
#[derive(Debug)]
pub(crate) struct ExternalLogs {
    locations: Arc<Locations>,
    stores: Arc<Stores>,
    kept: Mutex<VecDeque<KeptLog>>,
}

#[derive(Debug, Clone)]
struct KeptLog {
    url: Url,
    log: Arc<DeltaLog>,
    /// The secrets that it is read with.
    access: Arc<Access>,
    /// A commit that was there before the log was read. Another one in its place belongs to another table.
    commit: ObjectMeta,
}

impl ExternalLogs {
    /// None yet. Tables lie within `locations`.
    pub(crate) fn new(locations: Arc<Locations>, stores: Arc<Stores>) -> Self {
        Self {
            locations,
            stores,
            kept: Mutex::default(),
        }
    }

    /// Opens the version that the options name of the table in a folder, else the newest.
    ///
    /// Errors: `LocationNotFound`, `UnknownOption`, `InvalidOption`, `LocationRefused`, `TableFormat`,
    /// `UndefinedTableVersion`, `VersionVacuumed`.
    pub(crate) async fn open(
        &self,
        url: &Url,
        options: &BTreeMap<String, String>,
    ) -> Result<DeltaVersion> {
        self.open_at(url, version_of(options)?).await
    }

    /// Opens a version of the table in a folder. Errors: those of `open`.
    pub(crate) async fn open_at(&self, url: &Url, version: VersionSpec) -> Result<DeltaVersion> {
        let log = self.log_of(url).await?;
        let error = match log.at(version).await {
            Ok(found) => return Ok(found),
            Err(error) => blamed(error, &log.store(), url).await,
        };
        Err(match error {
            Error::Delta { source } => failed(url, *source),
            error => error,
        })
    }

    /// The log of the table in a folder. Errors: `LocationNotFound`, `LocationRefused`, `NoListing`.
    pub(crate) async fn log_of(&self, url: &Url) -> Result<Arc<DeltaLog>> {
        if is_http(url) {
            return Err(Error::NoListing {
                location: shown(url),
            });
        }
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let access = self.stores.access();
        if let Some(log) = self.kept(&url, &access).await {
            return Ok(log);
        }
        let locations = self.locations.led_to_by(&url);
        let store = locations.confine(&url)?;
        let folder = Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
            location: shown(&url),
        })?;
        let listed = folder.join(LOG_FOLDER);
        let listed = store.list_with_delimiter(Some(&listed)).await?.objects;
        if listed.is_empty() {
            return Err(Error::LocationNotFound {
                location: shown(&url),
            });
        }
        let commits = listed.iter().map(|file| &file.location);
        let last = commits.max_by_key(|file| number_of(file));
        let commit = match last {
            Some(last) => store.head(last).await.ok(),
            None => None,
        };
        let log = DeltaLog::new(url.clone(), store)?.within(&locations);
        let log = Arc::new(log);
        if let Some(commit) = commit {
            self.keep(KeptLog {
                url,
                log: Arc::clone(&log),
                access,
                commit,
            });
        }
        Ok(log)
    }

    /// The log of a folder that was read before, if the folder still has that table.
    async fn kept(&self, url: &Url, access: &Arc<Access>) -> Option<Arc<DeltaLog>> {
        let known = self.lock().iter().find(|kept| kept.url == *url).cloned()?;
        let found = known.log.store().head(&known.commit.location).await;
        let is_same = found.is_ok_and(|found| found == known.commit);
        if !is_same || !Arc::ptr_eq(&known.access, access) {
            return None;
        }
        let log = Arc::clone(&known.log);
        self.keep(known);
        Some(log)
    }

    fn keep(&self, log: KeptLog) {
        let mut kept = self.lock();
        kept.retain(|other| other.url != log.url);
        if kept.len() >= KEPT_LOGS {
            kept.pop_front();
        }
        kept.push_back(log);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<KeptLog>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            reason: log_words(&without_backtrace(&error.to_string())),
        },
    }
}
