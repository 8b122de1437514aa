//! The log as its upkeep sees it: whether it is whole, and which of its files a snapshot has superseded.
//!
//! Files flow in, findings flow out. Nothing is removed here.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::{ObjectMeta, ObjectStore};

use crate::catalog::log::{self, LogFile};
use crate::catalog::state::CatalogState;
use crate::catalog::{Catalog, replay};
use crate::error::Result;
use crate::warehouse::Warehouse;

/// A record stays at least this long, though a snapshot covers it: a server that has read up to the record before it
/// looks for it by its number. A server that was away for longer than ten minutes reads the newest snapshot first, so an
/// hour leaves room for clocks that differ.
pub(crate) const LEAST_RECORD_AGE: Duration = Duration::from_secs(3600);

/// What is to be said of a log.
#[derive(Debug, Default)]
pub(crate) struct LogCheck {
    pub(crate) records: u64,
    pub(crate) snapshots: u64,
    /// Files, and what is wrong with each.
    pub(crate) problems: Vec<(String, String)>,
}

impl LogCheck {
    /// Reads all records and snapshots of a warehouse and compares them with each other.
    pub(crate) async fn of(warehouse: &Warehouse) -> Result<Self> {
        let store = warehouse.store().as_ref();
        let mut check = Self::default();
        let files = log_files(store).await?;
        let snapshots: Vec<u64> = files.values().filter_map(LogFile::snapshot).collect();
        let records: Vec<u64> = files.values().filter_map(LogFile::record).collect();
        // Records that a snapshot covers may have been removed, all up to some number.
        let first = records.iter().copied().min().unwrap_or(1);
        let mut state = match snapshots.iter().copied().filter(|n| *n + 1 >= first).min() {
            Some(number) if first > 1 => match log::read_snapshot(store, number).await {
                Ok(state) => Some(state),
                Err(error) => {
                    check.note(log::snapshot_path(number), error);
                    None
                }
            },
            None if first > 1 => {
                check.note(log::record_path(first - 1), "it is missing");
                None
            }
            _ => Some(CatalogState::bootstrap()?),
        };
        let last = records.iter().chain(&snapshots).copied().max().unwrap_or(0);
        let start = state.as_ref().map_or(first, |state| state.number() + 1);
        for number in start..=last {
            match log::read_record(store, number).await {
                Ok(Some(record)) => {
                    check.records += 1;
                    state = match state.map(|state| replay(&state, record)) {
                        Some(Ok(state)) => Some(state),
                        Some(Err(error)) => {
                            check.note(log::record_path(number), error);
                            None
                        }
                        None => None,
                    };
                }
                Ok(None) => {
                    check.note(log::record_path(number), "it is missing");
                    state = None;
                }
                Err(error) => {
                    check.note(log::record_path(number), error);
                    state = None;
                }
            }
            if snapshots.contains(&number) {
                state = check.compare(store, number, state).await;
            }
        }
        Ok(check)
    }

    /// Compares a snapshot with the state of the records; goes on with it where those are broken.
    async fn compare(
        &mut self,
        store: &dyn ObjectStore,
        number: u64,
        state: Option<CatalogState>,
    ) -> Option<CatalogState> {
        self.snapshots += 1;
        match (log::read_snapshot(store, number).await, state) {
            (Ok(snapshot), Some(state)) if snapshot != state => {
                let what = "it differs from the records before it";
                self.note(log::snapshot_path(number), what);
                Some(snapshot)
            }
            (Ok(snapshot), _) => Some(snapshot),
            (Err(error), state) => {
                self.note(log::snapshot_path(number), error);
                state
            }
        }
    }

    fn note(&mut self, file: object_store::path::Path, what: impl ToString) {
        self.problems.push((file.to_string(), what.to_string()));
    }
}

impl Catalog {
    /// The files of the log that the newest snapshot from before a moment makes needless, all from before it too.
    pub(crate) async fn superseded(&self, before: DateTime<Utc>) -> Result<Vec<ObjectMeta>> {
        let store = self.warehouse.store();
        let listed = store.list(Some(&log::folder())).try_collect::<Vec<_>>();
        let old: Vec<(LogFile, ObjectMeta)> = listed
            .await?
            .into_iter()
            .filter(|file| file.last_modified < before)
            .filter_map(|file| Some((log::file_of(file.location.filename()?)?, file)))
            .collect();
        let base = old.iter().filter_map(|(file, _)| file.snapshot()).max();
        let Some(base) = base else {
            return Ok(Vec::new());
        };
        // What is needless must not go before what replaces it is known to be whole.
        log::read_snapshot(store.as_ref(), base).await?;
        let is_needless = |(file, _): &(LogFile, ObjectMeta)| match file {
            LogFile::Record(number) => *number <= base,
            LogFile::Snapshot(number) => *number < base,
        };
        let needless = old.into_iter().filter(is_needless);
        Ok(needless.map(|(_, file)| file).collect())
    }
}

async fn log_files(store: &dyn ObjectStore) -> Result<BTreeMap<String, LogFile>> {
    let listed: Vec<ObjectMeta> = store.list(Some(&log::folder())).try_collect().await?;
    let file = |meta: ObjectMeta| {
        let file = log::file_of(meta.location.filename()?)?;
        Some((meta.location.to_string(), file))
    };
    Ok(listed.into_iter().filter_map(file).collect())
}
