//! The catalog: one log of commits that any number of servers append to.
//!
//! A statement's changes flow in, are checked against the newest state, and are put as the next number of the log with
//! create-if-absent; who loses that race reads on, checks again and retries. States flow out. The rows of tables and
//! the bytes of models are elsewhere, under the ids of the entries.

mod definition;
mod inspect;
mod log;
mod roles;
mod sequence;
mod state;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

pub use definition::{
    CatalogEntry, CheckOption, ColumnDefinition, CredentialDefinition, DatabaseDefinition,
    Definition, DomainDefinition, EnumDefinition, ExternalCatalogDefinition, ExternalFormat,
    ExternalTableDefinition, LocationDefinition, MaterializedQuery, ModelDefinition, ObjectKind,
    TableDefinition, TableReference, ViewDefinition, ViewObject, columns_of, schema_of,
};
pub(crate) use inspect::{LEAST_RECORD_AGE, LogCheck};
pub(crate) use log::FOLDER as CATALOG_FOLDER;
pub use roles::{DefaultGrant, GRANT_OPTION, Grants, PUBLIC_ROLE, RoleDefinition};
pub use sequence::{SequenceDefinition, SequenceOwner};
pub use state::{CatalogState, Change, PUBLIC_SCHEMA, RESERVED_SCHEMAS};

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// A snapshot is put every so many commits, so that a start reads at most as many records.
const SNAPSHOT_INTERVAL: u64 = 100;
/// Lost races before a commit gives up. Each loss is another's success, so this many in a row means starvation.
const MAX_ATTEMPTS: usize = 100;
/// A server that looked at the log longer ago than this may have missed records that are gone since; see `inspect`.
const TRUSTED_AGE_MS: i64 = 10 * 60 * 1000;
/// How long a statement waits for a store that says nothing, which is less than what a client of the store does.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a statement waits that needs nothing of the catalog.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);
/// Records read at once when a catalog is opened.
const PARALLEL_READS: usize = 16;

/// The names of everything in a warehouse.
#[derive(Debug)]
pub struct Catalog {
    warehouse: Arc<Warehouse>,
    refresh_interval: Duration,
    state: RwLock<Arc<CatalogState>>,
    generation: AtomicU64,
    opened: Instant,
    /// Milliseconds from `opened` to when the log was last read.
    read_ms: AtomicU64,
    /// When the log was last read. Whoever holds the lock is the one that moves the state.
    log: Mutex<LastRead>,
    /// Whether the store said nothing when the log was last to be read.
    is_silent: AtomicBool,
    /// How often the store answered.
    n_answers: AtomicU64,
    patience: Duration,
}

/// When the log was last read.
#[derive(Debug, Clone, Copy)]
struct LastRead {
    /// By a clock that never goes back.
    instant: Instant,
    /// By the calendar, which also counts the time that a machine sleeps.
    at_ms: i64,
    /// Until when it was waited for in vain since.
    silent: Option<Instant>,
}

impl LastRead {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            at_ms: chrono::Utc::now().timestamp_millis(),
            silent: None,
        }
    }
}

impl Catalog {
    /// Reads the catalog of a warehouse; that of a new one holds the schema `public`.
    ///
    /// Others' commits show after `refresh_interval` at the latest; zero: at every `refresh`.
    /// Errors: `Corrupt` or `NewerFormat` with the file's name, `Io`.
    pub async fn open(warehouse: Arc<Warehouse>, refresh_interval: Duration) -> Result<Arc<Self>> {
        let state = read_all(&warehouse).await?;
        warehouse.stores().adopt(&state);
        warehouse.types().adopt(&state);
        let catalog = Self {
            generation: AtomicU64::new(state.number()),
            state: RwLock::new(Arc::new(state)),
            log: Mutex::new(LastRead::now()),
            opened: Instant::now(),
            read_ms: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
            n_answers: AtomicU64::new(0),
            patience: PATIENCE,
            warehouse,
            refresh_interval,
        };
        Ok(Arc::new(catalog))
    }

    /// The newest state that this server knows.
    pub fn state(&self) -> Arc<CatalogState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of that state: it grows with every commit. One atomic read.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How soon others' commits show at the latest.
    pub fn refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    /// Whether the refresh interval has not passed yet since the log was read, so that `refresh` would do nothing. One
    /// atomic read.
    pub fn is_fresh(&self) -> bool {
        let read = Duration::from_millis(self.read_ms.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(read) < self.refresh_interval
    }

    /// Reads the commits of other servers, if the refresh interval has passed.
    ///
    /// Errors: those of reading; `ObjectFailed` where the store says nothing for so long.
    pub async fn refresh(&self) -> Result<()> {
        self.look(self.refresh_interval).await
    }

    /// Reads the commits of other servers now. Errors: the same.
    pub async fn refresh_now(&self) -> Result<()> {
        self.look(Duration::ZERO).await
    }

    /// Reads the commits of other servers for what needs nothing of them, unless that was done within this time: a store that
    /// says nothing is soon waited for no more, and not at all until another statement has heard of it again.
    pub async fn refresh_if_heard(&self, age: Duration) {
        if self.is_silent.load(Ordering::Relaxed) {
            return;
        }
        let patience = SHORT_PATIENCE.min(self.patience);
        match timeout(patience, self.look(age)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the catalog stays as it is known"),
            Err(_) => self.is_silent.store(true, Ordering::Relaxed),
        }
    }

    /// Reads the commits of other servers, unless that was done within this time.
    async fn look(&self, age: Duration) -> Result<()> {
        let called = Instant::now();
        let mut log = self.locked().await?;
        if log.instant.elapsed() < age {
            return Ok(());
        }
        // Who waited for another's look need not wait once more to hear the same.
        if log.silent.is_some_and(|silent| silent >= called) {
            return Err(self.silence());
        }
        let read = self.catch_up(&mut log, Some(self.patience)).await;
        if matches!(read, Err(Error::ObjectFailed { .. })) {
            log.silent = Some(Instant::now());
            self.is_silent.store(true, Ordering::Relaxed);
        }
        read
    }

    /// The right to read the log and to move the state, unless who has it hears nothing for so long.
    async fn locked(&self) -> Result<MutexGuard<'_, LastRead>> {
        let mut locking = std::pin::pin!(self.log.lock());
        loop {
            let n_answers = self.n_answers.load(Ordering::Relaxed);
            match timeout(self.patience, &mut locking).await {
                Ok(log) => return Ok(log),
                Err(_) if self.n_answers.load(Ordering::Relaxed) == n_answers => {
                    return Err(self.silence());
                }
                Err(_) => {}
            }
        }
    }

    /// What the store answers, within this time if there is a limit.
    async fn answered<T>(
        &self,
        patience: Option<Duration>,
        asked: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = match patience {
            Some(patience) => match timeout(patience, asked).await {
                Ok(answer) => answer,
                Err(_) => return Err(self.silence()),
            },
            None => asked.await,
        };
        self.n_answers.fetch_add(1, Ordering::Relaxed);
        answer
    }

    fn silence(&self) -> Error {
        Error::ObjectFailed {
            url: self.warehouse.folder_url(log::FOLDER).into(),
            reason: format!("no answer within {} s", self.patience.as_secs()),
            is_settled: true,
        }
    }

    /// Appends the changes that `plan` makes of the newest state, as one commit; no changes, no commit.
    ///
    /// `plan` runs again on the newer state after a lost race, so it must check all that it relies on. `statement` is
    /// kept in the log for people. Errors: those of `plan`, those of the rules, `Conflict` after too many lost races.
    pub async fn commit(
        &self,
        statement: &str,
        plan: impl Fn(&CatalogState) -> Result<Vec<Change>> + Send + Sync,
    ) -> Result<Arc<CatalogState>> {
        let mut log = self.log.lock().await;
        for _ in 0..MAX_ATTEMPTS {
            // What it is the end of may have taken long, and is not given up so soon.
            self.catch_up(&mut log, None).await?;
            let state = self.state();
            let changes = plan(&state)?;
            if changes.is_empty() {
                return Ok(state);
            }
            let at_ms = chrono::Utc::now().timestamp_millis();
            let (next, changes) = state.apply(state.number() + 1, at_ms, changes)?;
            let record = log::Record {
                format: log::FORMAT,
                number: next.number(),
                commit: uuid::Uuid::new_v4().to_string(),
                at_ms,
                statement: statement.into(),
                changes,
            };
            if self.answered(None, self.put(&record)).await? {
                let next = Arc::new(next);
                self.publish(Arc::clone(&next));
                self.snapshot(&next).await;
                return Ok(next);
            }
        }
        Err(Error::Conflict {
            object: "the catalog".into(),
        })
    }

    /// Puts a record; `false`: the number belongs to another commit.
    async fn put(&self, record: &log::Record) -> Result<bool> {
        let store = self.warehouse.store().as_ref();
        if log::create_record(store, record).await? {
            return Ok(true);
        }
        // A store may have put it, lost the answer, and tried again.
        let winner = log::read_record(store, record.number).await?;
        Ok(winner.is_some_and(|winner| winner.commit == record.commit))
    }

    /// Applies the records after the state, one by one, until there is none; each is waited for within `patience`.
    async fn catch_up(
        &self,
        log: &mut MutexGuard<'_, LastRead>,
        patience: Option<Duration>,
    ) -> Result<()> {
        let started = LastRead::now();
        let mut state = self.state();
        if started.at_ms - log.at_ms > TRUSTED_AGE_MS {
            let listing = log::list(self.warehouse.store().as_ref());
            let newest = self.answered(patience, listing).await?;
            if newest.last_snapshot > Some(state.number()) {
                state = Arc::new(read_all(&self.warehouse).await?);
                self.publish(Arc::clone(&state));
            }
        }
        loop {
            let next = log::read_record(self.warehouse.store().as_ref(), state.number() + 1);
            let Some(record) = self.answered(patience, next).await? else {
                break;
            };
            state = Arc::new(replay(&state, record)?);
            self.publish(Arc::clone(&state));
        }
        let read = started.instant.saturating_duration_since(self.opened);
        // Lossless: a server does not run for so many milliseconds.
        self.read_ms
            .store(read.as_millis() as u64, Ordering::Relaxed);
        self.is_silent.store(false, Ordering::Relaxed);
        **log = started;
        Ok(())
    }

    fn publish(&self, state: Arc<CatalogState>) {
        let number = state.number();
        self.warehouse.stores().adopt(&state);
        self.warehouse.types().adopt(&state);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.generation.store(number, Ordering::Release);
    }

    /// A snapshot only saves reading, so a failure to put one fails no statement.
    async fn snapshot(&self, state: &CatalogState) {
        if !state.number().is_multiple_of(SNAPSHOT_INTERVAL) {
            return;
        }
        if let Err(error) = log::create_snapshot(self.warehouse.store().as_ref(), state).await {
            tracing::warn!(%error, number = state.number(), "could not put a catalog snapshot");
        }
    }
}

/// The newest snapshot and the records after it.
async fn read_all(warehouse: &Warehouse) -> Result<CatalogState> {
    let store = warehouse.store().as_ref();
    let listing = log::list(store).await?;
    let mut state = match listing.last_snapshot {
        Some(number) => log::read_snapshot(store, number).await?,
        None => CatalogState::bootstrap()?,
    };
    let mut records = futures::stream::iter(state.number() + 1..=listing.last_record)
        .map(|number| async move {
            let record = log::read_record(store, number).await?;
            record.ok_or_else(|| log::corrupt(&log::record_path(number), "it is missing"))
        })
        .buffered(PARALLEL_READS);
    let mut read = Vec::new();
    while let Some(record) = records.try_next().await? {
        read.push(record);
    }
    drop(records);
    let commits = read.iter().map(|record| {
        let changes = record.changes.clone();
        (record.number, record.at_ms, changes)
    });
    if let Ok(state) = state.apply_all(commits.collect()) {
        return Ok(state);
    }
    // One by one, to name the record that is wrong.
    for record in read {
        state = replay(&state, record)?;
    }
    Ok(state)
}

fn replay(state: &CatalogState, record: log::Record) -> Result<CatalogState> {
    let path = log::record_path(record.number);
    state
        .apply(record.number, record.at_ms, record.changes)
        .map(|(next, _)| next)
        .map_err(|error| log::corrupt(&path, error))
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;
    use object_store::{ObjectStore as _, PutMode};

    use super::*;
    use crate::full_store::FullStore;
    use crate::stores::{Fault, FaultyStore, Plan};

    async fn warehouse() -> (tempfile::TempDir, Arc<Warehouse>) {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
        (dir, warehouse)
    }

    async fn open(warehouse: &Arc<Warehouse>) -> Arc<Catalog> {
        Catalog::open(Arc::clone(warehouse), Duration::ZERO)
            .await
            .unwrap()
    }

    fn table(name: &str) -> CatalogEntry {
        let columns = vec![ColumnDefinition {
            name: "a".into(),
            data_type: "Int64".into(),
            nullable: true,
            marks: std::collections::BTreeMap::new(),
        }];
        CatalogEntry::new(
            "public",
            name,
            Definition::Table(TableDefinition {
                columns,
                ..TableDefinition::default()
            }),
        )
    }

    async fn create(catalog: &Catalog, name: &str) -> Result<Arc<CatalogState>> {
        catalog
            .commit(&format!("CREATE TABLE {name} (a bigint)"), |_| {
                Ok(vec![Change::Put(table(name))])
            })
            .await
    }

    #[tokio::test]
    async fn every_kind_survives_a_restart() {
        let (_dir, warehouse) = warehouse().await;
        let catalog = open(&warehouse).await;
        let external = ExternalTableDefinition {
            location: "file:///x/".into(),
            further_locations: vec![],
            format: ExternalFormat::NdJson,
            options: [("compression".into(), "gzip".into())].into(),
            schema: Some(vec![]),
            partition_columns: vec!["year".into()],
        };
        let view = ViewDefinition {
            text: "SELECT 'é'".into(),
            columns: vec!["x".into()],
            dialect: "postgres".into(),
            default_schema: None,
            search_path: vec![],
            objects: vec![],
            security_barrier: false,
            check_option: None,
        };
        let model = ModelDefinition {
            statement: "CREATE MODEL m".into(),
            query: Some("SELECT 1".into()),
            model_type: "linear_reg".into(),
            labels: vec!["y".into()],
            options: serde_json::json!({"l2_reg": 0.1}),
            dialect: "postgres".into(),
            current_version: 2,
            aliases: [("prod".into(), 1)].into(),
            dropped_versions: vec![1],
            extra: serde_json::Value::Null,
        };
        let changes = vec![
            Change::Put(CatalogEntry::new_schema("s")),
            Change::Put(table("t")),
            Change::Put(CatalogEntry::new(
                "s",
                "e",
                Definition::ExternalTable(external),
            )),
            Change::Put(CatalogEntry::new("s", "v", Definition::View(view))),
            Change::Put(CatalogEntry::new("public", "m", Definition::Model(model))),
        ];
        catalog
            .commit("CREATE ...", |_| Ok(changes.clone()))
            .await
            .unwrap();
        create(&catalog, "gone").await.unwrap();
        catalog
            .commit("DROP TABLE gone", |state| {
                Ok(vec![Change::Drop {
                    id: state.require("public", "gone")?.id.clone(),
                }])
            })
            .await
            .unwrap();
        let again = open(&warehouse).await;
        assert_eq!(again.state(), catalog.state());
        assert_eq!(again.generation(), 3);
        assert_eq!(again.state().all().count(), 6);
    }

    #[tokio::test]
    async fn a_failed_or_empty_plan_writes_nothing() {
        let (dir, warehouse) = warehouse().await;
        let catalog = open(&warehouse).await;
        create(&catalog, "t").await.unwrap();
        assert_eq!(create(&catalog, "t").await.unwrap_err().sqlstate(), "42P07");
        let error = catalog
            .commit("x", |state| state.require("public", "none").map(|_| vec![]))
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate(), "42P01");
        catalog.commit("x", |_| Ok(vec![])).await.unwrap();
        assert_eq!(catalog.generation(), 1);
        assert_eq!(
            std::fs::read_dir(dir.path().join("catalog"))
                .unwrap()
                .count(),
            1
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn eight_racing_servers_lose_nothing() {
        let (_dir, warehouse) = warehouse().await;
        let mut tasks = tokio::task::JoinSet::new();
        for server in 0..8 {
            let warehouse = Arc::clone(&warehouse);
            tasks.spawn(async move {
                let catalog = open(&warehouse).await;
                let mut won_shared = 0;
                for i in 0..15 {
                    create(&catalog, &format!("t_{server}_{i}")).await.unwrap();
                    match create(&catalog, &format!("shared_{i}")).await {
                        Ok(_) => won_shared += 1,
                        Err(error) => assert_eq!(error.sqlstate(), "42P07"),
                    }
                }
                won_shared
            });
        }
        let won: i32 = tasks.join_all().await.into_iter().sum();
        assert_eq!(won, 15, "one server wins each shared name");
        let catalog = open(&warehouse).await;
        let state = catalog.state();
        assert_eq!(state.entries("public").count(), 8 * 15 + 15);
        let oids: std::collections::BTreeSet<u32> = state.all().map(|e| e.oid).collect();
        assert_eq!(oids.len(), state.all().count());
        assert_eq!(catalog.generation(), 135);
    }

    #[tokio::test]
    async fn a_snapshot_and_its_tail_equal_the_whole_log() {
        let (dir, warehouse) = warehouse().await;
        let catalog = open(&warehouse).await;
        for i in 0..205 {
            create(&catalog, &format!("t{i}")).await.unwrap();
            if i % 3 == 0 {
                let name = format!("t{i}");
                catalog
                    .commit("DROP", |s| {
                        Ok(vec![Change::Drop {
                            id: s.require("public", &name)?.id.clone(),
                        }])
                    })
                    .await
                    .unwrap();
            }
        }
        let folder = dir.path().join("catalog");
        let snapshots = [100, 200].map(|n| folder.join(format!("{n:020}.snapshot.json")));
        assert!(snapshots.iter().all(|path| path.exists()));
        // With a snapshot, the records that it covers are not read.
        let first = folder.join(format!("{:020}.json", 1));
        let bytes = std::fs::read(&first).unwrap();
        std::fs::remove_file(&first).unwrap();
        let from_snapshot = open(&warehouse).await.state();
        std::fs::write(&first, bytes).unwrap();
        for path in snapshots {
            std::fs::remove_file(path).unwrap();
        }
        let from_log = open(&warehouse).await.state();
        assert_eq!(from_snapshot, from_log);
        assert_eq!(from_log, catalog.state());
    }

    #[tokio::test]
    async fn others_commits_show_after_the_interval() {
        let (_dir, warehouse) = warehouse().await;
        let hour = Duration::from_secs(3600);
        let reader = Catalog::open(Arc::clone(&warehouse), hour).await.unwrap();
        let eager = open(&warehouse).await;
        let writer = open(&warehouse).await;
        create(&writer, "a").await.unwrap();
        reader.refresh().await.unwrap();
        assert_eq!(reader.generation(), 0);
        eager.refresh().await.unwrap();
        assert_eq!(eager.generation(), 1);
        create(&writer, "b").await.unwrap();
        reader.refresh_now().await.unwrap();
        assert!(reader.state().get("public", "b").is_some());
        // A writer always sees the newest state.
        create(&writer, "c").await.unwrap();
        assert_eq!(create(&reader, "c").await.unwrap_err().sqlstate(), "42P07");
    }

    #[tokio::test]
    async fn a_full_disk_changes_nothing() {
        let (_dir, warehouse) = warehouse().await;
        create(&*open(&warehouse).await, "a").await.unwrap();
        let full = FullStore::over(warehouse.store());
        let full = open(&warehouse.with_stores(full, Arc::clone(warehouse.root_store()))).await;
        let error = create(&full, "b").await.unwrap_err();
        assert_eq!(error.sqlstate(), "53100", "{error:?}");
        assert_eq!(full.generation(), 1);
    }

    async fn open_with(name: &str, content: &str) -> Error {
        let (_dir, warehouse) = warehouse().await;
        create(&*open(&warehouse).await, "t").await.unwrap();
        let path = Path::from(format!("catalog/{name}"));
        warehouse
            .store()
            .put_opts(&path, content.to_owned().into(), PutMode::Create.into())
            .await
            .unwrap();
        let error = Catalog::open(warehouse, Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        error
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named() {
        let record = "00000000000000000002.json";
        let newer = open_with(record, r#"{"format": 9, "news": []}"#).await;
        assert!(
            matches!(
                newer,
                Error::NewerFormat {
                    found: 9,
                    supported: 1,
                    ..
                }
            ),
            "{newer:?}"
        );
        assert!(newer.hint().is_some());
        let known = r#""number":2,"commit":"c","at_ms":1,"statement":"x""#;
        for content in [
            "".to_owned(),
            "{\"format\": 1, \"num".into(),
            "[]".into(),
            format!(r#"{{"format":1,{known},"changes":[],"more":1}}"#),
            format!(r#"{{"format":1,{known},"changes":[{{"drop":{{"id":"none"}}}}]}}"#),
            format!(r#"{{"format":1,{known},"changes":[{{"drop":{{"id":"x","why":1}}}}]}}"#),
            format!(r#"{{"format":1,{known},"changes":[{{"grant":{{}}}}]}}"#),
            format!(r#"{{"format":1,{},"changes":[]}}"#, known.replace('2', "3")),
        ] {
            let error = open_with(record, &content).await;
            assert_eq!(error.sqlstate(), "XX001", "{content}: {error:?}");
        }
        let snapshot = open_with("00000000000000000001.snapshot.json", "{}").await;
        assert_eq!(snapshot.sqlstate(), "XX001");
    }

    #[tokio::test]
    async fn a_gap_is_corrupt_and_strangers_are_ignored() {
        let (dir, warehouse) = warehouse().await;
        let catalog = open(&warehouse).await;
        for name in ["a", "b", "c"] {
            create(&catalog, name).await.unwrap();
        }
        let folder = dir.path().join("catalog");
        for stranger in ["heartbeat.json", "00000000000000000009.json#1", "9.json"] {
            std::fs::write(folder.join(stranger), "?").unwrap();
        }
        assert_eq!(open(&warehouse).await.generation(), 3);
        std::fs::remove_file(folder.join("00000000000000000002.json")).unwrap();
        let error = Catalog::open(warehouse, Duration::ZERO).await.unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { file, .. } if file.contains("0002")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_unknown_field_of_a_definition_is_an_error() {
        let (dir, warehouse) = warehouse().await;
        create(&*open(&warehouse).await, "t").await.unwrap();
        let path = dir.path().join("catalog/00000000000000000001.json");
        let text = std::fs::read_to_string(&path).unwrap();
        for (known, unknown) in [
            ("\"columns\":", "\"sorted\":1,\"columns\":"),
            ("\"owner\":", "\"acl\":[],\"owner\":"),
        ] {
            assert!(text.contains(known));
            std::fs::write(&path, text.replacen(known, unknown, 1)).unwrap();
            let error = Catalog::open(Arc::clone(&warehouse), Duration::ZERO)
                .await
                .unwrap_err();
            assert_eq!(error.sqlstate(), "XX001", "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_is_waited_for_once() {
        let (_dir, warehouse) = warehouse().await;
        let plan = Plan {
            seed: 1,
            rate: 1000,
            faults: &[Fault::Hangs],
        };
        let (store, n_requests) = FaultyStore::over(Arc::clone(warehouse.root_store()), plan);
        let silent = warehouse.with_stores(Arc::clone(&store), store);
        let known = open(&warehouse).await;
        let catalog = Catalog {
            generation: AtomicU64::new(known.generation()),
            state: RwLock::new(known.state()),
            log: Mutex::new(LastRead::now()),
            opened: Instant::now(),
            read_ms: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
            n_answers: AtomicU64::new(0),
            patience: Duration::from_millis(200),
            warehouse: silent,
            refresh_interval: Duration::ZERO,
        };
        let (first, second) = tokio::join!(catalog.refresh(), catalog.refresh_now());
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!(error.sqlstate(), "58030");
            assert!(error.to_string().contains("/catalog/"), "{error}");
        }
        assert_eq!(n_requests.load(Ordering::Relaxed), 1);
        // What needs nothing of it goes on with what is known.
        catalog.refresh_if_heard(Duration::ZERO).await;
        assert_eq!(n_requests.load(Ordering::Relaxed), 1);
        assert_eq!(catalog.state(), known.state());
    }
}
