//! The managed tables as one transaction block sees and changes them.
//!
//! Ids flow in; logs flow out that end at the version of the block's snapshot, and whose further commits are the
//! block's own. At its end they become one commit of the real log, or their files are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deltalake::kernel::{Action, Add, Remove};
use deltalake::protocol::DeltaOperation;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::catalog::CatalogState;
use crate::error::{Error, Result};
use crate::tables::delta_files::object_path;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase, VersionSpec};
use crate::tables::delta_write::append_operation;
use crate::tables::key_checks::append_of_block;
use crate::tables::managed::Managed;
use crate::tables::pending_rows::PendingRows;
use crate::tables::row_checks::RowChecks;
use crate::tables::staged_store::StagedStore;

/// A commit of another server this long before the block began is surely older: clocks of files tick slowly.
const CLOCK_SLACK_MS: i64 = 10;

/// A number that no other staged state of this process has, so that plans of one are not taken for those of another.
pub(crate) fn next_stage() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One block.
#[derive(Debug)]
pub(crate) struct Block {
    /// What had a name when the block began.
    catalog: Arc<CatalogState>,
    /// What this server knew of each table then.
    known: BTreeMap<String, u64>,
    began_ms: i64,
    logs: Mutex<BTreeMap<String, Arc<DeltaLog>>>,
}

/// What a log of a block keeps beside what every log keeps.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) base: DeltaVersion,
    pub(crate) store: Arc<StagedStore>,
    commits: Mutex<Vec<StagedCommit>>,
    /// Held while they become a file.
    pub(crate) pending: tokio::sync::Mutex<PendingRows>,
    /// What looks for rows of the same key at the block's end, once it has added rows to a table with keys.
    checks: Mutex<Option<Arc<RowChecks>>>,
    stage: AtomicU64,
}

/// One statement's changes.
#[derive(Debug, Clone)]
pub(crate) struct StagedCommit {
    version: u64,
    actions: Vec<Action>,
    operation: DeltaOperation,
    rebase: Rebase,
}

/// How far a block had come in each table that it has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockMark(BTreeMap<String, u64>);

impl Staging {
    pub(crate) fn new(base: DeltaVersion, store: Arc<StagedStore>) -> Self {
        Self {
            base,
            store,
            commits: Mutex::default(),
            pending: tokio::sync::Mutex::default(),
            checks: Mutex::default(),
            stage: AtomicU64::new(next_stage()),
        }
    }

    /// The number of the staged state; 0 for versions that are not the block's own.
    pub(crate) fn stage_of(&self, version: u64) -> u64 {
        match version > self.base.number() {
            true => self.stage.load(Ordering::Relaxed),
            false => 0,
        }
    }

    /// Keeps what a statement committed. Errors: `ChangesInBlock`.
    pub(crate) fn check(&self, actions: &[Action]) -> Result<()> {
        let commits = self.lock();
        let has_changes = |actions: &[Action]| {
            actions
                .iter()
                .any(|action| matches!(action, Action::Cdc(_)))
        };
        let changes = has_changes(actions);
        // Readers of a commit's changes look at nothing else, so that appended rows would be missed.
        match commits
            .iter()
            .all(|commit| has_changes(&commit.actions) == changes)
        {
            true => Ok(()),
            false => Err(Error::ChangesInBlock),
        }
    }

    pub(crate) fn keep(
        &self,
        version: u64,
        actions: Vec<Action>,
        operation: DeltaOperation,
        rebase: Rebase,
    ) {
        self.lock().push(StagedCommit {
            version,
            actions,
            operation,
            rebase,
        });
    }

    /// Remembers what looks for rows of the same key.
    pub(crate) fn look_with(&self, checks: &Arc<RowChecks>) {
        let mut known = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(checks));
    }

    fn checks(&self) -> Option<Arc<RowChecks>> {
        let known = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn has_changes(&self) -> bool {
        let pending = self.pending.try_lock();
        // Who holds them is writing some.
        !self.lock().is_empty() || pending.map_or(true, |pending| !pending.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StagedCommit>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what was committed behind a version.
    fn take_after(&self, version: u64) -> Vec<StagedCommit> {
        let mut commits = self.lock();
        let first = commits.iter().position(|commit| commit.version > version);
        let taken = match first {
            Some(first) => commits.split_off(first),
            None => vec![],
        };
        self.stage.store(next_stage(), Ordering::Relaxed);
        taken
    }
}

impl Block {
    pub(crate) fn begin(catalog: Arc<CatalogState>, known: BTreeMap<String, u64>) -> Self {
        Self {
            catalog,
            known,
            began_ms: chrono::Utc::now().timestamp_millis(),
            logs: Mutex::default(),
        }
    }

    /// A block that began at the same moment, and has done nothing.
    pub(crate) fn beside(&self) -> Self {
        Self {
            catalog: Arc::clone(&self.catalog),
            known: self.known.clone(),
            began_ms: self.began_ms,
            logs: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<DeltaLog>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a table as the block sees it.
    pub(crate) async fn log(&self, parent: &Managed, id: &str) -> Result<Arc<DeltaLog>> {
        let known = self.lock().get(id).cloned();
        if let Some(log) = known {
            return Ok(log);
        }
        let base = self.base(parent, id).await?;
        let log = Arc::new(DeltaLog::staged(base)?);
        Ok(Arc::clone(self.lock().entry(id.to_owned()).or_insert(log)))
    }

    /// The version of a table that was the newest when the block began. Of a table that got its name since, and of a
    /// temporary one, that which is the newest when the block meets it: an older one may be without the rows that the table
    /// was made of.
    async fn base(&self, parent: &Managed, id: &str) -> Result<DeltaVersion> {
        let (log, newest) = parent.newest(id).await?;
        let Some(named) = self.catalog.by_id(id) else {
            return Ok(newest);
        };
        let known = self.known.get(id).copied();
        if known == Some(newest.number()) {
            return Ok(newest);
        }
        let surely_ms = self.began_ms - CLOCK_SLACK_MS;
        let is_older = |number: u64, made: i64| match known {
            Some(known) => number <= known || made <= surely_ms,
            // A table gets its name behind the rows that it is made of.
            None => made <= surely_ms.max(named.created_at_ms + CLOCK_SLACK_MS),
        };
        let versions = log.known_versions().await?;
        let mut versions = versions.into_iter().rev();
        match versions.find(|(number, made)| is_older(*number, *made)) {
            Some((number, _)) => log.at(VersionSpec::Number(number)).await,
            None => Ok(newest),
        }
    }

    pub(crate) async fn mark(&self) -> Result<BlockMark> {
        let mut mark = BTreeMap::new();
        for (id, log) in self.known_logs() {
            log.settle().await?;
            mark.insert(id, log.known_number());
        }
        Ok(BlockMark(mark))
    }

    fn known_logs(&self) -> Vec<(String, Arc<DeltaLog>)> {
        let logs = self.lock();
        let logs = logs.iter().map(|(id, log)| (id.clone(), Arc::clone(log)));
        logs.collect()
    }

    /// Whether the block changed rows.
    pub(crate) fn has_changes(&self) -> bool {
        let logs = self.lock();
        logs.values()
            .any(|log| log.staging().is_some_and(Staging::has_changes))
    }

    /// Whether it changed rows of one table.
    pub(crate) fn has_changes_in(&self, id: &str) -> bool {
        let log = self.lock().get(id).cloned();
        log.is_some_and(|log| log.staging().is_some_and(Staging::has_changes))
    }

    /// Takes back what was done after a mark.
    pub(crate) async fn return_to(&self, mark: &BlockMark) -> Result<()> {
        for (id, log) in self.known_logs() {
            let Some(staging) = log.staging() else {
                continue;
            };
            *staging.pending.lock().await = PendingRows::default();
            let version = mark.0.get(&id).copied().unwrap_or(staging.base.number());
            let version = version.max(staging.base.number());
            if log.known_number() <= version {
                continue;
            }
            let dropped = staging.take_after(version);
            log.return_to(version).await?;
            remove_files(staging, &dropped).await;
        }
        Ok(())
    }

    /// Makes one commit of all that the block did in one table. Errors: `Conflict`, `KeyViolation` if others have added a
    /// key meanwhile, those of the store. What was not committed before does not stay then, unless nobody knows whether the
    /// commit was made.
    pub(crate) async fn commit_table(&self, parent: &Managed, id: &str) -> Result<()> {
        let log = self.lock().remove(id);
        let Some(log) = log else {
            return Ok(());
        };
        let Some(staging) = log.staging() else {
            return Ok(());
        };
        let done = commit_log(parent, id, &log, staging).await;
        if done.is_err() {
            self.discard().await;
        }
        done
    }

    /// Does so in each table that is left.
    pub(crate) async fn commit(&self, parent: &Managed) -> Result<()> {
        loop {
            let next = self.lock().keys().next().cloned();
            let Some(id) = next else {
                return Ok(());
            };
            self.commit_table(parent, &id).await?;
        }
    }

    /// Forgets all that the block did, and removes its files.
    pub(crate) async fn discard(&self) {
        let logs = std::mem::take(&mut *self.lock());
        for log in logs.into_values() {
            discard_log(&log).await;
        }
    }
}

/// Makes one commit of what a block did in a table.
async fn commit_log(parent: &Managed, id: &str, log: &DeltaLog, staging: &Staging) -> Result<()> {
    let settled = log.settle_last().await;
    let commits = std::mem::take(&mut *staging.lock());
    if let Err(error) = settled {
        remove_files(staging, &commits).await;
        return Err(error);
    }
    if commits.is_empty() {
        return Ok(());
    }
    let mut folded = Folded::of(&commits);
    let superseded = std::mem::take(&mut folded.superseded);
    if !folded.actions.is_empty()
        && let Err(error) = folded.commit(parent, id, staging).await
    {
        if error.is_settled() {
            remove_files(staging, &commits).await;
        }
        return Err(error);
    }
    remove(staging, superseded).await;
    Ok(())
}

/// Removes what a block wrote into a table.
async fn discard_log(log: &DeltaLog) {
    if let Some(staging) = log.staging() {
        let commits = std::mem::take(&mut *staging.lock());
        remove_files(staging, &commits).await;
    }
}

/// Several commits as one.
struct Folded {
    actions: Vec<Action>,
    operation: DeltaOperation,
    rebase: Rebase,
    /// Files that the block wrote and replaced itself.
    superseded: Vec<String>,
}

impl Folded {
    /// Puts the commit behind those of others. Files that the block itself replaced are not part of it.
    async fn commit(&mut self, parent: &Managed, id: &str, staging: &Staging) -> Result<()> {
        let (real, _) = parent.newest(id).await?;
        let actions = std::mem::take(&mut self.actions);
        let (operation, rebase) = (self.operation.clone(), self.rebase);
        if let (Rebase::NewKeys, Some(checks)) = (rebase, staging.checks()) {
            let append = append_of_block(&real, &staging.base, actions, operation, &checks);
            return Box::pin(append).await;
        }
        let committed = real.commit(&staging.base, actions, operation, rebase);
        committed.await.map(|_| ())
    }

    fn of(commits: &[StagedCommit]) -> Self {
        let mut adds: Vec<Add> = Vec::new();
        let mut removes: Vec<Remove> = Vec::new();
        let mut others: Vec<Action> = Vec::new();
        let mut superseded = Vec::new();
        let mut rebase = Rebase::Rows;
        for commit in commits {
            rebase = rebase.stricter(commit.rebase);
            for action in &commit.actions {
                match action {
                    Action::Add(add) => adds.push(add.clone()),
                    Action::Remove(gone) => match adds.iter().position(|add| add.path == gone.path)
                    {
                        Some(idx) => superseded.push(adds.remove(idx).path),
                        None => removes.push(gone.clone()),
                    },
                    Action::Metadata(_) | Action::Protocol(_) => {
                        // A commit has one definition, the last, and one protocol.
                        let kind = std::mem::discriminant(action);
                        others.retain(|other| std::mem::discriminant(other) != kind);
                        others.push(action.clone());
                    }
                    other => others.push(other.clone()),
                }
            }
        }
        let is_append = removes.is_empty();
        let operation = match commits {
            [only] => only.operation.clone(),
            _ if is_append => append_operation(),
            _ => DeltaOperation::Merge {
                predicate: None,
                merge_predicate: None,
                matched_predicates: vec![],
                not_matched_predicates: vec![],
                not_matched_by_source_predicates: vec![],
            },
        };
        let mut actions: Vec<Action> = removes.into_iter().map(Action::Remove).collect();
        actions.extend(adds.into_iter().map(Action::Add));
        actions.extend(others);
        Self {
            actions,
            operation,
            rebase,
            superseded,
        }
    }
}

/// Removes the files that commits added.
async fn remove_files(staging: &Staging, commits: &[StagedCommit]) {
    let added: BTreeSet<String> = commits
        .iter()
        .flat_map(|commit| &commit.actions)
        .filter_map(|action| match action {
            Action::Add(add) => Some(add.path.clone()),
            Action::Cdc(change) => Some(change.path.clone()),
            _ => None,
        })
        .collect();
    remove(staging, added.into_iter().collect()).await;
}

/// Removes files by the names that a log has for them. Nobody reads what is left behind, so that a failure is only told.
async fn remove(staging: &Staging, names: Vec<String>) {
    let store: Arc<dyn ObjectStore> = staging.base.table.object_store();
    for name in names {
        if let Err(error) = store.delete(&object_path(&name)).await {
            tracing::warn!(%error, name, "could not remove a file of a block that was rolled back");
        }
    }
}
