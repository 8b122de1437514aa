//! An opened Delta table: its log, read once and then only its news, and the versions that statements use.
//!
//! A URL and a store flow in; versions with their files flow out, and actions become commits. What the rows are and
//! who may see them is not decided here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::execution::object_store::ObjectStoreUrl;
use deltalake::kernel::{Action, EagerSnapshot};
use deltalake::protocol::DeltaOperation;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableBuilder};
use object_store::ObjectStore;
use object_store::path::Path;
use url::{Position, Url};

use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::tables::block::Staging;
use crate::tables::commit_times::{
    TIMES_IN_COMMITS, check_whole, commit_times, first_version, is_last, read_commit, shown_time,
};
use crate::tables::delta_commit::{allow, conflict, discard, put};
use crate::tables::delta_files::{DeltaFiles, has_mapped_columns};
use crate::tables::delta_scan::DeltaScan;
use crate::tables::enum_mark::EnumTypes;
use crate::tables::key_filter::KeyFilters;
use crate::tables::lease::Lease;
use crate::tables::library_scan::{LibraryScan, Reach};
use crate::tables::missing_files::missing;
use crate::tables::shape::TableShape;
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};
use crate::tables::staged_store::StagedStore;

pub(crate) const LOG_FOLDER: &str = "_delta_log";
/// A lost race is only a reason to take the next number, unless what was read has changed.
const MAX_ATTEMPTS: u32 = 100;
/// Versions whose files are kept parsed: the newest, and those that time travel or running statements still use.
const KEPT_VERSIONS: usize = 4;

/// Which version of a table a statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSpec {
    /// The newest.
    Newest,
    /// The version with this number.
    Number(u64),
    /// The version that was the newest at a time, in milliseconds since 1970.
    AtMs(i64),
}

/// What may have changed in the table between the version that a commit was made from and the one it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebase {
    /// Rows: the commit adds some and has read none.
    Rows,
    /// Nothing, unless the rows that the commit adds, and it does nothing else, are compared anew with those of the table.
    NewKeys,
    /// Added rows: the commit replaces files, which must all still be there.
    AddedRows,
    /// Nothing.
    Nothing,
}

impl Rebase {
    /// What allows only what both allow.
    pub(crate) fn stricter(self, other: Rebase) -> Rebase {
        match (self, other) {
            (Rebase::Rows, Rebase::Rows) => Rebase::Rows,
            (Rebase::Rows | Rebase::NewKeys, Rebase::Rows | Rebase::NewKeys) => Rebase::NewKeys,
            (Rebase::Rows | Rebase::AddedRows, Rebase::Rows | Rebase::AddedRows) => {
                Rebase::AddedRows
            }
            _ => Rebase::Nothing,
        }
    }
}

/// A table whose log was read.
#[derive(Debug)]
pub(crate) struct DeltaLog {
    url: Url,
    /// Addressed with whole paths.
    store: Arc<dyn ObjectStore>,
    reach: Reach,
    /// Of a managed table.
    lease: Option<Arc<Lease>>,
    types: Arc<EnumTypes>,
    /// Its newest known state.
    newest: tokio::sync::Mutex<DeltaTable>,
    /// Held while committing, so that sessions of one server do not race each other.
    commit: tokio::sync::Mutex<()>,
    /// Held by statements that replace files, for their whole time.
    rewrite: Arc<tokio::sync::Mutex<()>>,
    versions: Mutex<VecDeque<(u64, KnownFiles)>>,
    /// The number of the newest known state, for who may not wait.
    known: AtomicU64,
    filters: Arc<KeyFilters>,
    /// What the log of a transaction block has besides.
    staging: Option<Staging>,
}

/// Read when they are asked for first. `None`: the files of a version are not plain Parquet.
type KnownFiles = Arc<OnceLock<Option<Arc<DeltaFiles>>>>;

/// One version of a table.
#[derive(Debug, Clone)]
pub(crate) struct DeltaVersion {
    pub(crate) table: DeltaTable,
    url: Url,
    store: Arc<dyn ObjectStore>,
    reach: Reach,
    lease: Option<Arc<Lease>>,
    types: Arc<EnumTypes>,
    files: KnownFiles,
    filters: Arc<KeyFilters>,
    /// Tells states of transaction blocks apart; 0: it is committed.
    stage: u64,
}

impl DeltaLog {
    /// The table in the folder `url`, which ends in a slash; `store` takes whole paths. Reads nothing yet.
    pub(crate) fn new(url: Url, store: Arc<dyn ObjectStore>) -> Result<Self> {
        let table = DeltaTableBuilder::from_url(url.clone())?
            .with_storage_backend(Arc::clone(&store), url.clone())
            .build()?;
        Ok(Self::of(table, url, store))
    }

    /// The same table in another view of its store.
    pub(crate) fn over(&self, store: Arc<dyn ObjectStore>) -> Result<Self> {
        Ok(Self::new(self.url.clone(), store)?.under(None, &self.types))
    }

    /// A table that was just created.
    pub(crate) fn of(table: DeltaTable, url: Url, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            reach: Reach::Folder(url.clone()),
            url,
            store,
            lease: None,
            types: Arc::default(),
            newest: tokio::sync::Mutex::new(table),
            commit: tokio::sync::Mutex::default(),
            rewrite: Arc::default(),
            versions: Mutex::default(),
            known: AtomicU64::new(0),
            filters: Arc::default(),
            staging: None,
        }
    }

    /// The same table, whose log others write: its files may lie wherever SQL may read.
    pub(crate) fn within(mut self, locations: &Arc<Locations>) -> Self {
        self.reach = Reach::Locations(Arc::clone(locations));
        self
    }

    /// The same table, a managed one whose files are kept while something holds them, and whose columns may be of enums.
    pub(crate) fn under(mut self, lease: Option<Arc<Lease>>, types: &Arc<EnumTypes>) -> Self {
        (self.lease, self.types) = (lease, Arc::clone(types));
        self
    }

    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }

    /// The table as a transaction block sees it: its log ends at `base`, and further commits are the block's own.
    pub(crate) fn staged(base: DeltaVersion) -> Result<Self> {
        let folder = folder_of(&base.url)?;
        let below = Arc::clone(&base.store);
        let store = StagedStore::new(below, folder.join(LOG_FOLDER), base.number());
        let store = Arc::new(store);
        let mut log = Self::new(base.url.clone(), Arc::clone(&store) as Arc<dyn ObjectStore>)?;
        log.lease.clone_from(&base.lease);
        log.types = Arc::clone(&base.types);
        log.newest.get_mut().state = base.table.state.clone();
        log.known = AtomicU64::new(base.number());
        log.lock().push_back((base.number(), base.files.clone()));
        log.filters = Arc::clone(&base.filters);
        log.staging = Some(Staging::new(base, store));
        Ok(log)
    }

    /// What the log of a transaction block has besides.
    pub(crate) fn staging(&self) -> Option<&Staging> {
        self.staging.as_ref()
    }

    /// The number of the newest state that was read.
    pub(crate) fn known_number(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Whether a version is known to be the newest, and no other is there.
    pub(crate) async fn ends_at(&self, number: u64) -> Result<bool> {
        let log = self.folder()?.join(LOG_FOLDER);
        Ok(self.known_number() == number && is_last(self.store.as_ref(), &log, number).await)
    }

    /// Forgets the block's own commits behind a version.
    pub(crate) async fn return_to(&self, version: u64) -> Result<()> {
        let Some(staging) = &self.staging else {
            return Ok(());
        };
        let mut newest = self.newest.lock().await;
        staging.store.forget_after(version).await?;
        newest.state = staging.base.table.state.clone();
        newest.update_incremental(None).await?;
        self.known.store(version, Ordering::Relaxed);
        self.lock().retain(|(number, _)| *number <= version);
        Ok(())
    }

    /// Waits for the other statements of this server that replace files of the table.
    pub(crate) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.rewrite).lock_owned().await
    }

    /// The table as deltalake sees it, with the newest version loaded.
    pub(crate) async fn newest_table(&self) -> Result<DeltaTable> {
        let mut newest = self.newest.lock().await;
        let before = newest.version();
        if self.staging.is_some() && before == Some(self.known_number()) {
            // Nobody else adds to the log of a block.
            return Ok(newest.clone());
        }
        let log = self.folder()?.join(LOG_FOLDER);
        if let Some(before) = before
            && is_last(self.store.as_ref(), &log, before).await
        {
            return Ok(newest.clone());
        }
        newest.update_incremental(None).await?;
        let number = newest.version().unwrap_or_default();
        if newest.version() != before {
            check_whole(&self.store, &log, before, number).await?;
        }
        self.known.fetch_max(number, Ordering::Relaxed);
        Ok(newest.clone())
    }

    /// The table without a version loaded.
    pub(crate) async fn unread(&self) -> DeltaTable {
        DeltaTable::new(self.newest.lock().await.log_store())
    }

    /// The newest version.
    pub(crate) async fn newest(&self) -> Result<DeltaVersion> {
        let table = self.newest_table().await?;
        self.version(table)
    }

    /// The version that a statement means.
    ///
    /// Errors: `UndefinedTableVersion` with the range that exists, `VersionVacuumed`.
    pub(crate) async fn at(&self, spec: VersionSpec) -> Result<DeltaVersion> {
        let newest = self.newest().await?;
        let number = match spec {
            VersionSpec::Newest => return Ok(newest),
            VersionSpec::Number(number) if number == newest.number() => return Ok(newest),
            VersionSpec::Number(number) => {
                self.check_version(number).await?;
                number
            }
            VersionSpec::AtMs(at) => {
                let known = self.known_versions().await?;
                match known.iter().rev().find(|(_, made)| *made <= at) {
                    Some((number, _)) => *number,
                    None => {
                        let what = format!("version at {}", shown_time(at));
                        return Err(self.undefined(&what).await?);
                    }
                }
            }
        };
        if number == newest.number() {
            return Ok(newest);
        }
        let version = self.unchecked(number).await?;
        self.check_files(&version, &newest).await?;
        Ok(version)
    }

    /// A version whose files may be gone. Errors: `UndefinedTableVersion`.
    pub(crate) async fn unchecked(&self, number: u64) -> Result<DeltaVersion> {
        let mut table = self.unread().await;
        match table.load_version(number).await {
            Ok(()) => self.version(table),
            Err(error) => match Error::found_in(&error) {
                None | Some(Error::ObjectMissing { .. }) => {
                    tracing::debug!(%error, number, "a version of a table could not be read");
                    Err(self.undefined(&format!("version {number}")).await?)
                }
                Some(failure) => Err(failure),
            },
        }
    }

    /// Fails if the log does not have a version.
    pub(crate) async fn check_version(&self, number: u64) -> Result<()> {
        let known = self.known_versions().await?;
        match known.iter().any(|(known, _)| *known == number) {
            true => Ok(()),
            false => Err(self.undefined(&format!("version {number}")).await?),
        }
    }

    fn version(&self, table: DeltaTable) -> Result<DeltaVersion> {
        let number = table.snapshot()?.version();
        let files = self.files_of(number);
        Ok(DeltaVersion {
            table,
            url: self.url.clone(),
            store: Arc::clone(&self.store),
            reach: self.reach.clone(),
            lease: self.lease.clone(),
            types: Arc::clone(&self.types),
            files,
            filters: Arc::clone(&self.filters),
            stage: self
                .staging
                .as_ref()
                .map_or(0, |staging| staging.stage_of(number)),
        })
    }

    fn files_of(&self, number: u64) -> KnownFiles {
        let mut versions = self.lock();
        if let Some((_, files)) = versions.iter().find(|(known, _)| *known == number) {
            return Arc::clone(files);
        }
        if versions.len() >= KEPT_VERSIONS {
            versions.pop_front();
        }
        let files = KnownFiles::default();
        versions.push_back((number, Arc::clone(&files)));
        files
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, KnownFiles)>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions in the log with their times in milliseconds since 1970, ascending.
    pub(crate) async fn known_versions(&self) -> Result<Vec<(u64, i64)>> {
        let noted = self.newest.lock().await.snapshot().map(|state| {
            let configuration = state.snapshot().metadata().configuration();
            configuration
                .get(TIMES_IN_COMMITS)
                .is_some_and(|value| value == "true")
        });
        let are_in_commits = noted.unwrap_or(false);
        commit_times(
            &self.store,
            &self.folder()?.join(LOG_FOLDER),
            are_in_commits,
        )
        .await
    }

    /// The error that a version does not exist, with those that do.
    async fn undefined(&self, what: &str) -> Result<Error> {
        let first = first_version(&self.store, &self.folder()?.join(LOG_FOLDER)).await?;
        let mut known = self.known_versions().await?;
        known.retain(|(number, _)| first.is_some_and(|first| *number >= first));
        let range = match (known.first(), known.last()) {
            (Some((first, made)), Some((last, newest))) => format!(
                "Versions {first} ({}) to {last} ({}) exist.",
                shown_time(*made),
                shown_time(*newest)
            ),
            _ => "No version exists.".into(),
        };
        Ok(Error::UndefinedTableVersion {
            what: what.into(),
            range,
        })
    }

    /// The actions of a commit as JSON.
    pub(crate) async fn read_commit(&self, number: u64) -> Result<Vec<serde_json::Value>> {
        let log = self.folder()?.join(LOG_FOLDER);
        read_commit(self.store.as_ref(), &log, number).await
    }

    /// The path of the table's folder in its store.
    pub(crate) fn folder(&self) -> Result<Path> {
        folder_of(&self.url)
    }

    /// What the table's files are read from, by whole paths.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// What other machines find that store under.
    pub(crate) fn store_url(&self) -> Result<ObjectStoreUrl> {
        Ok(ObjectStoreUrl::parse(&self.url[..Position::BeforePath])?)
    }

    /// Fails when a file of `version` that `newest` has no more was removed from the store.
    async fn check_files(&self, version: &DeltaVersion, newest: &DeltaVersion) -> Result<()> {
        let pinned = newest.pinned();
        let kept: std::collections::BTreeSet<String> =
            pinned.files.into_iter().map(|file| file.path).collect();
        let removed = version.pinned().files.into_iter().map(|file| file.path);
        let removed = removed.filter(|file| !kept.contains(file)).collect();
        match missing(&version.table, removed).await? {
            Some(file) => Err(Error::VersionVacuumed {
                version: version.number(),
                file,
                newest: newest.number(),
            }),
            None => Ok(()),
        }
    }

    /// Puts actions that were made from `base` behind the newest version; returns the new version's number.
    ///
    /// Errors: `Conflict` if the table changed since in a way that `rebase` does not allow, or others won every race.
    pub(crate) async fn commit(
        &self,
        base: &DeltaVersion,
        actions: Vec<Action>,
        operation: DeltaOperation,
        rebase: Rebase,
    ) -> Result<u64> {
        let _turn = self.commit.lock().await;
        if let Some(staging) = &self.staging {
            staging.check(&actions)?;
        }
        let mut onto = base.table.clone();
        for attempt in 0..MAX_ATTEMPTS {
            let newest = self.newest_table().await?;
            if newest.version() != onto.version() {
                allow(&base.table, &newest, rebase)?;
                onto = newest;
            }
            let is_block = self.staging.is_some();
            match put(&onto, actions.clone(), operation.clone(), is_block).await {
                Ok((version, state)) => {
                    self.known.fetch_max(version, Ordering::Relaxed);
                    self.learn(state).await;
                    if let Some(staging) = &self.staging {
                        staging.keep(version, actions, operation, rebase);
                    }
                    return Ok(version);
                }
                Err(Error::Conflict { .. }) => {
                    // Another server won; a little patience lets several of them take turns.
                    let pause = Duration::from_millis(u64::from(attempt.min(20)));
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(conflict())
    }

    /// The same with files that were written for it: they go again if the commit was not made. Where nobody knows whether
    /// it was, they stay for VACUUM.
    pub(crate) async fn commit_written(
        &self,
        base: &DeltaVersion,
        actions: Vec<Action>,
        operation: DeltaOperation,
        rebase: Rebase,
    ) -> Result<u64> {
        let path = |action: &Action| match action {
            Action::Add(add) => Some(add.path.clone()),
            Action::Cdc(changes) => Some(changes.path.clone()),
            _ => None,
        };
        let written: Vec<String> = actions.iter().filter_map(path).collect();
        let committed = self.commit(base, actions, operation, rebase).await;
        if let Err(error) = &committed
            && error.is_settled()
        {
            discard(base.table.object_store().as_ref(), &written).await;
        }
        committed
    }

    async fn learn(&self, state: Option<DeltaTableState>) {
        let Some(state) = state else { return };
        let mut newest = self.newest.lock().await;
        if newest.version() < Some(state.version()) {
            newest.state = Some(state);
        }
    }
}

impl DeltaVersion {
    /// The number.
    pub(crate) fn number(&self) -> u64 {
        self.table.version().unwrap_or_default()
    }

    /// Tells states of transaction blocks apart; 0: it is committed.
    pub(crate) fn stage(&self) -> u64 {
        self.stage
    }

    pub(crate) fn snapshot(&self) -> Result<&EagerSnapshot> {
        Ok(self.table.snapshot()?.snapshot())
    }

    /// A time for new files, later than those of its own.
    pub(crate) fn next_modified_ms(&self) -> i64 {
        let next = match (self.files.get(), self.table.snapshot()) {
            (Some(files), _) => files.as_ref().map(|files| files.next_modified_ms()),
            (None, Ok(state)) => {
                let log = state.snapshot().log_data();
                let last = log.iter().map(|file| file.modification_time()).max();
                last.map(|last| last + 1)
            }
            (None, Err(_)) => None,
        };
        let now = chrono::Utc::now().timestamp_millis();
        now.max(next.unwrap_or(0))
    }

    /// Which keys its files may hold.
    pub(crate) fn filters(&self) -> &KeyFilters {
        &self.filters
    }

    fn files(&self) -> Result<Option<Arc<DeltaFiles>>> {
        if let Some(files) = self.files.get() {
            return Ok(files.clone());
        }
        let files = DeltaFiles::of(self.snapshot()?, &folder_of(&self.url)?)?;
        Ok(self.files.get_or_init(|| files.map(Arc::new)).clone())
    }

    /// Its definition.
    pub(crate) fn shape(&self) -> Result<TableShape> {
        Ok(TableShape::of(self.snapshot()?).with_types(&self.types))
    }

    /// Whether columns may have other names in files than in the table.
    pub(crate) fn has_mapped_columns(&self) -> Result<bool> {
        Ok(has_mapped_columns(self.snapshot()?))
    }

    /// Its rows as a scan of Parquet files; `None` if they are not plain ones.
    pub(crate) fn scan(&self) -> Result<Option<DeltaScan>> {
        let Some(files) = self.files()? else {
            return Ok(None);
        };
        let store_url = ObjectStoreUrl::parse(&self.url[..Position::BeforePath])?;
        let store = Arc::clone(&self.store);
        let scan = DeltaScan::new(files, store, store_url);
        Ok(Some(scan.under(self.lease.clone()).with_types(&self.types)))
    }

    /// Its rows. Tables with deletion vectors or mapped columns are read by deltalake's own operator, which stays on
    /// this machine.
    pub(crate) async fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        if let Some(scan) = self.scan()? {
            return Ok(Arc::new(match self.reach {
                Reach::Folder(_) => scan,
                Reach::Locations(_) => scan.of_others(),
            }));
        }
        let snapshot = Arc::new(self.snapshot()?.clone());
        let provider = self.table.table_provider();
        let provider = provider.with_eager_snapshot(Arc::clone(&snapshot)).await?;
        let reach = self.reach.clone();
        let checked = LibraryScan::new(provider, &snapshot, &self.url, reach)?;
        Ok(Arc::new(checked))
    }

    /// What a model pins of it.
    pub(crate) fn pinned(&self) -> TableSnapshot {
        let files = match (self.files(), self.table.snapshot()) {
            (Ok(Some(files)), _) => files.pinned(),
            (_, Ok(state)) => listed(state.snapshot()),
            (_, Err(_)) => vec![],
        };
        TableSnapshot {
            format: "delta".into(),
            location: self.url.to_string(),
            version: Some(self.number()),
            files,
        }
    }
}

fn listed(snapshot: &EagerSnapshot) -> Vec<SnapshotFile> {
    let log = snapshot.log_data();
    let mut files: Vec<SnapshotFile> = log
        .iter()
        .map(|file| SnapshotFile {
            path: file.path().into_owned(),
            bytes: u64::try_from(file.size()).unwrap_or_default(),
            modified_ms: file.modification_time(),
            e_tag: None,
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn folder_of(url: &Url) -> Result<Path> {
    Path::from_url_path(url.path()).map_err(|_| Error::InvalidLocation {
        location: url.to_string(),
    })
}
