//! One attempt to put a commit behind a version of a Delta table, and what becomes of its files if it is not made.
//!
//! Two states of a table and actions flow in; a version flows out, or a conflict.

use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::protocol::DeltaOperation;
use deltalake::table::state::DeltaTableState;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::error::{Error, Result};
use crate::tables::delta_files::object_path;
use crate::tables::delta_log::Rebase;

/// Fails if a commit that was made from `base` may not follow `newest`.
pub(crate) fn allow(base: &DeltaTable, newest: &DeltaTable, rebase: Rebase) -> Result<()> {
    let (base, newest) = (base.snapshot()?.snapshot(), newest.snapshot()?.snapshot());
    let same_table = base.metadata() == newest.metadata() && base.protocol() == newest.protocol();
    if !same_table || matches!(rebase, Rebase::Nothing | Rebase::NewKeys) {
        return Err(conflict());
    }
    if rebase == Rebase::AddedRows {
        let log = newest.log_data();
        let there: std::collections::BTreeSet<String> =
            log.iter().map(|file| file.path().into_owned()).collect();
        let log = base.log_data();
        if log.iter().any(|file| !there.contains(file.path().as_ref())) {
            return Err(conflict());
        }
    }
    Ok(())
}

pub(crate) fn conflict() -> Error {
    Error::Conflict {
        object: "a table".into(),
    }
}

/// Removes files that no log names; `paths` are those of actions, which are encoded only when they are written.
pub(crate) async fn discard(store: &dyn ObjectStore, paths: &[String]) {
    for path in paths {
        if let Err(error) = store.delete(&object_path(path)).await {
            tracing::warn!(%error, path, "could not remove a file of a commit that was not made");
        }
    }
}

/// One attempt to put a commit behind the version that `table` has loaded; `Conflict` if another was put there. The log
/// of a block is read by nobody later, so that it needs no checkpoints.
pub(crate) async fn put(
    table: &DeltaTable,
    actions: Vec<Action>,
    operation: DeltaOperation,
    is_block: bool,
) -> Result<(u64, Option<DeltaTableState>)> {
    let snapshot = table.snapshot()?.snapshot();
    // Old versions stay, since models pin them; only VACUUM removes their files.
    let properties = CommitProperties::default()
        .with_max_retries(0)
        .with_create_checkpoint(!is_block)
        .with_cleanup_expired_logs(Some(false));
    let committed = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(snapshot), table.log_store(), operation)
        .into_prepared_commit_future()
        .await?
        .await?;
    // The rows are in the table now: what follows only makes its log quicker to read.
    let version = committed.version;
    match committed.await {
        // A state that goes on from commit to commit has a piece of each, all of which every next one looks through; from a
        // checkpoint it has few.
        Ok(finished) if finished.metrics.new_checkpoint_created => {
            let log_store = table.log_store();
            let read = DeltaTableState::try_new(log_store.as_ref(), Some(version)).await;
            Ok((version, Some(read.unwrap_or(finished.snapshot))))
        }
        Ok(finished) => Ok((version, Some(finished.snapshot))),
        Err(error) => {
            tracing::warn!(%error, version, "could not finish the upkeep of a table's log");
            Ok((version, None))
        }
    }
}
