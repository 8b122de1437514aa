//! Workers as those who copy the rows that stay when UPDATE, DELETE and MERGE rewrite files of a table.
//!
//! In: a scan of these rows; out: files that workers wrote. Which rows change, and to what, is found on this machine, which
//! makes the commit.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use auspex_storage::{RowCopier, WrittenFiles};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use tokio_util::sync::CancellationToken;

use crate::distributed::{Cluster, collected};
use crate::engine::Engine;
use crate::measured::Measured;
use crate::physical::{WriteFilesExec, WriteTarget, files_written};
use crate::session::Session;
use crate::statement_run::StatementControl;

/// The workers of a cluster.
struct Workers {
    cluster: Arc<Cluster>,
    engine: Arc<Engine>,
    state: SessionState,
    /// The table's id.
    table: String,
    task_bytes: u64,
    cancel: CancellationToken,
}

impl Debug for Workers {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Workers")
    }
}

/// The state that copies rows: neither their order nor their division among files may depend on which thread is faster,
/// since a training reads a table by its files.
pub(crate) fn for_copies(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    let options = state.config_mut().options_mut();
    options.execution.enable_file_stream_work_stealing = false;
    state
}

/// Who copies rows of a table for a statement; `None` without a cluster, and in a block, which keeps its files.
pub(crate) fn copier(
    session: &Session,
    table: &str,
    state: &SessionState,
    control: &StatementControl,
) -> Option<Arc<dyn RowCopier>> {
    let cluster = session.engine.cluster()?;
    if !Arc::ptr_eq(&session.tables(), &session.engine.tables) {
        return None;
    }
    Some(Arc::new(Workers {
        cluster,
        engine: Arc::clone(&session.engine),
        state: state.clone(),
        table: table.to_owned(),
        task_bytes: session.settings().min_distributed_bytes(),
        cancel: control.cancel.clone(),
    }))
}

#[async_trait]
impl RowCopier for Workers {
    async fn copy(
        &self,
        version: u64,
        rows: Arc<dyn ExecutionPlan>,
    ) -> DfResult<Option<Vec<WrittenFiles>>> {
        let target = WriteTarget {
            id: self.table.clone(),
            version,
            checks: Arc::default(),
        };
        let tables = Arc::clone(&self.engine.tables);
        let plan = Arc::new(WriteFilesExec::new(rows, tables, target));
        let place = (&self.cluster, &self.engine, &self.state);
        let copying = collected(place, plan, self.task_bytes, &self.cancel);
        // The plan of the statement is the one that finds what changes.
        let told = Measured::default().scope(Box::pin(copying)).await?;
        let written = told.map(|told| files_written(&told)).transpose();
        Ok(written?)
    }
}
