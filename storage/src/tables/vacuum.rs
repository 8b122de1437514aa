//! Removing the files that no version needs any more, or finding those that none ever had, but none that a commit is about
//! to name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::vacuum::{VacuumBuilder, VacuumMode};
use deltalake::table::config::TablePropertiesExt as _;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::stores::{Layer, Layered};
use crate::tables::commit_times::READS_IN_FLIGHT;
use crate::tables::delta_files::object_path;
use crate::tables::delta_log::{DeltaLog, LOG_FOLDER};
use crate::tables::features::check_features;

/// A statement or a transaction block names its files sooner than this after it wrote them.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// Removes files that no version of the last hours needs; returns their names.
///
/// Without `retain_hours` the table's property or 7 days hold, also for files that no version has ever named: a statement
/// or a transaction block, maybe of another server, may be about to name them, and gives no sign that it is alive. These
/// stay for an hour however few hours are given.
/// Errors: `Conflict`, `Io`.
pub(crate) async fn vacuum(
    log: &Arc<DeltaLog>,
    retain_hours: Option<u64>,
    dry_run: bool,
) -> Result<Vec<String>> {
    let _turn = log.turn().await;
    let (vacuum, _) = of_finished(log, UNFINISHED).await?;
    let mut vacuum = vacuum.with_dry_run(dry_run);
    if let Some(hours) = retain_hours {
        let hours = i64::try_from(hours).unwrap_or(i64::MAX / 3_600_000);
        let period = chrono::Duration::try_hours(hours).unwrap_or(chrono::Duration::MAX);
        vacuum = vacuum.with_retention_period(period);
    }
    let (_, metrics) = vacuum.await?;
    Ok(metrics.files_deleted)
}

/// The data files of a table that no version has ever named, as statements leave them that failed or were killed.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// All that are older than the bound.
    pub(crate) files: BTreeSet<Path>,
    /// For how long the table keeps such files, whatever the bound.
    pub(crate) kept_for: Duration,
}

/// The orphans of a table that are older than `least_age`.
///
/// Those that are also older than the table's property or 7 days are among what a VACUUM without hours removes. The others
/// of that are of earlier versions, which models may have pinned: those go by VACUUM alone. Errors: `Corrupt`, `Io`.
pub(crate) async fn orphans(log: &DeltaLog, least_age: Duration) -> Result<Orphans> {
    let (vacuum, kept_for) = of_finished(log, least_age.max(UNFINISHED)).await?;
    // The files are seen by their age alone.
    let vacuum = vacuum.with_retention_period(chrono::Duration::zero());
    let (table, needless) = vacuum.with_dry_run(true).await?;
    let files = never_named(log, &table, needless.files_deleted).await?;
    Ok(Orphans { files, kept_for })
}

/// The data files among some that no version has ever named.
async fn never_named(
    log: &DeltaLog,
    table: &DeltaTable,
    names: Vec<String>,
) -> Result<BTreeSet<Path>> {
    let files = names.iter().map(|name| object_path(name));
    let is_data = |file: &Path| file.extension() == Some("parquet");
    let mut orphans: BTreeSet<Path> = files.filter(is_data).collect();
    if orphans.is_empty() {
        return Ok(orphans);
    }
    // The newest version knows most of what earlier ones named, without a look into every commit.
    let log_store = table.log_store();
    let mut tombstones = table.snapshot()?.all_tombstones(log_store.as_ref());
    while let Some(removed) = tombstones.try_next().await? {
        orphans.remove(&object_path(&removed.path()));
    }
    if orphans.is_empty() {
        return Ok(orphans);
    }
    let known = log.known_versions().await?;
    let mut commits = futures::stream::iter(known.into_iter().rev())
        .map(|(number, _)| log.read_commit(number))
        .buffered(READS_IN_FLIGHT);
    while !orphans.is_empty()
        && let Some(actions) = commits.try_next().await?
    {
        for action in actions {
            if let Some(name) = named_file(action)? {
                orphans.remove(&object_path(&name));
            }
        }
    }
    Ok(orphans)
}

/// The file that an action is about. Errors: `Corrupt` for one that cannot be read, since any file may be its.
fn named_file(action: Value) -> Result<Option<String>> {
    let kinds = ["add", "remove", "cdc"];
    if kinds.iter().all(|kind| action.get(kind).is_none()) {
        return Ok(None);
    }
    match serde_json::from_value(action) {
        Ok(Action::Add(add)) => Ok(Some(add.path)),
        Ok(Action::Remove(remove)) => Ok(Some(remove.path)),
        Ok(Action::Cdc(changes)) => Ok(Some(changes.path)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::Corrupt {
            file: LOG_FOLDER.into(),
            reason: error.to_string(),
        }),
    }
}

/// What finds the files of a table that no version of the table's property or 7 days needs, where those younger than
/// `least_age` are not seen; and how long that is.
async fn of_finished(log: &DeltaLog, least_age: Duration) -> Result<(VacuumBuilder, Duration)> {
    let finished = Arc::new(Layered::new(FinishedFiles {
        below: log.store(),
        log: log.folder()?.join(LOG_FOLDER),
        least_age,
    }));
    let table = log.over(finished)?.newest_table().await?;
    let state = table.snapshot()?;
    check_features(state.snapshot().protocol())?;
    let kept_for = state.table_config().deleted_file_retention_duration();
    let properties = CommitProperties::default().with_cleanup_expired_logs(Some(false));
    let vacuum = table
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_enforce_retention_duration(false)
        .with_commit_properties(properties);
    Ok((vacuum, kept_for))
}

/// A table's store without the files that may belong to a commit which is not made yet.
#[derive(Debug)]
struct FinishedFiles {
    below: Arc<dyn ObjectStore>,
    log: Path,
    /// Younger ones may.
    least_age: Duration,
}

impl FinishedFiles {
    fn filter(&self) -> impl Fn(&ObjectMeta) -> bool + use<> {
        let (log, least_age) = (self.log.clone(), self.least_age);
        move |file| {
            let age = chrono::Utc::now() - file.last_modified;
            age.to_std().is_ok_and(|age| age >= least_age) || file.location.prefix_matches(&log)
        }
    }
}

#[async_trait]
impl Layer for FinishedFiles {
    fn below(&self, _: &Path) -> object_store::Result<&dyn ObjectStore> {
        Ok(&self.below)
    }

    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<ObjectMeta>>> {
        let files = match offset {
            Some(offset) => self.below.list_with_offset(folder, offset),
            None => self.below.list(folder),
        };
        let is_finished = self.filter();
        let finished = move |file: &ObjectMeta| std::future::ready(is_finished(file));
        Ok(files.try_filter(finished).boxed())
    }

    async fn list_folder(&self, folder: Option<&Path>) -> object_store::Result<ListResult> {
        let mut listed = self.below.list_with_delimiter(folder).await?;
        listed.objects.retain(self.filter());
        Ok(listed)
    }
}
