//! Removing the files that no version needs any more, but none that a commit is about to name.

use std::sync::Arc;

use async_trait::async_trait;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::vacuum::VacuumMode;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta, ObjectStore};

use crate::error::Result;
use crate::stores::{Layer, Layered};
use crate::tables::delta_log::{DeltaLog, LOG_FOLDER};
use crate::tables::features::check_features;

/// A statement or a transaction block names its files sooner than this after it wrote them.
const UNFINISHED_MINUTES: i64 = 60;

/// Removes files that no version of the last hours needs; returns their names.
///
/// Without `retain_hours` the table's property or 7 days hold. Files that no version has ever named stay for an hour
/// however few hours are given: a statement or a transaction block, maybe of another server, may be about to name them.
/// Errors: `Conflict`, `Io`.
pub(crate) async fn vacuum(
    log: &Arc<DeltaLog>,
    retain_hours: Option<u64>,
    dry_run: bool,
) -> Result<Vec<String>> {
    let _turn = log.turn().await;
    let finished = Arc::new(Layered::new(FinishedFiles {
        below: log.store(),
        log: log.folder()?.join(LOG_FOLDER),
    }));
    let table = log.over(finished)?.newest_table().await?;
    check_features(table.snapshot()?.snapshot().protocol())?;
    let properties = CommitProperties::default().with_cleanup_expired_logs(Some(false));
    let mut vacuum = table
        .vacuum()
        .with_mode(VacuumMode::Full)
        .with_dry_run(dry_run)
        .with_enforce_retention_duration(false)
        .with_commit_properties(properties);
    if let Some(hours) = retain_hours {
        let hours = i64::try_from(hours).unwrap_or(i64::MAX / 3_600_000);
        let period = chrono::Duration::try_hours(hours).unwrap_or(chrono::Duration::MAX);
        vacuum = vacuum.with_retention_period(period);
    }
    let (_, metrics) = vacuum.await?;
    Ok(metrics.files_deleted)
}

/// A table's store without the files that may belong to a commit which is not made yet.
#[derive(Debug)]
struct FinishedFiles {
    below: Arc<dyn ObjectStore>,
    log: Path,
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
        let log = self.log.clone();
        let finished = move |file: &ObjectMeta| std::future::ready(is_finished(file, &log));
        Ok(files.try_filter(finished).boxed())
    }

    async fn list_folder(&self, folder: Option<&Path>) -> object_store::Result<ListResult> {
        let mut listed = self.below.list_with_delimiter(folder).await?;
        listed.objects.retain(|file| is_finished(file, &self.log));
        Ok(listed)
    }
}

fn is_finished(file: &ObjectMeta, log: &Path) -> bool {
    let age = chrono::Utc::now() - file.last_modified;
    age.num_minutes() >= UNFINISHED_MINUTES || file.location.prefix_matches(log)
}
