//! An append to a managed table in steps, so that other machines can write its files.
//!
//! On the machine that begins it a table flows in, and at the end what the writers tell: all their files show in one
//! commit. On each writer a stream flows in and becomes files that no log names, and what names them flows out. Files of an
//! append that nobody ended stay for VACUUM, or go with their table if that has no name yet.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::{Action, Add};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::Tables;
use crate::tables::delta_commit::conflict;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_write::{DeltaSink, append_operation, in_order};
use crate::tables::key_checks::append_unique;
use crate::tables::managed::{Managed, check_writable};
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;

/// An append that was begun; as long as it is there, the table's files are.
#[derive(Debug)]
pub struct Append {
    log: Arc<DeltaLog>,
    base: DeltaVersion,
    shape: TableShape,
}

/// What one writer wrote.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WrittenFiles {
    adds: Vec<Add>,
    n_rows: u64,
}

impl WrittenFiles {
    fn of((adds, n_rows): (Vec<Add>, u64)) -> WrittenFiles {
        WrittenFiles { adds, n_rows }
    }
}

/// The files of several writers, in their order.
pub(crate) fn files_of(written: Vec<WrittenFiles>) -> Vec<Add> {
    written.into_iter().flat_map(|files| files.adds).collect()
}

/// How many rows several writers wrote.
pub(crate) fn rows_of(written: &[WrittenFiles]) -> u64 {
    written.iter().map(|files| files.n_rows).sum()
}

impl Append {
    /// The version of the table that it began on, with whose definition files must be written.
    pub fn version(&self) -> u64 {
        self.base.number()
    }

    /// What writes rows of `n_writers` streams.
    fn sink(&self, checks: Arc<RowChecks>, n_writers: usize) -> Result<DeltaSink> {
        DeltaSink::new(&self.base, &self.shape, checks, n_writers)
    }

    /// Writes the rows of streams, each by a task of its own.
    pub(crate) async fn write(
        &self,
        rows: Vec<SendableRecordBatchStream>,
        checks: Arc<RowChecks>,
    ) -> Result<WrittenFiles> {
        let sink = self.sink(checks, rows.len())?;
        Ok(WrittenFiles::of(sink.write(rows).await?))
    }

    /// Writes the rows of one of `n_writers` streams, which may come in the order of a column. A failure discards what was
    /// written.
    ///
    /// Errors: those of the stream, and of [`Tables::append`] about rows.
    pub async fn write_one(
        &self,
        rows: SendableRecordBatchStream,
        checks: Arc<RowChecks>,
        (n_writers, ordered_by): (usize, Option<usize>),
    ) -> Result<WrittenFiles> {
        let sink = self.sink(checks, n_writers)?.ordered_by(ordered_by);
        Ok(WrittenFiles::of(sink.write(vec![rows]).await?))
    }

    /// Shows what was written in one commit, the rows of the first writer first; no rows, no commit. Returns their number.
    ///
    /// Errors: `KeyViolation`; `Conflict` if the table's definition is another one by now; then the files go.
    pub async fn show(&self, written: Vec<WrittenFiles>, checks: &Arc<RowChecks>) -> Result<u64> {
        let n_rows = rows_of(&written);
        let adds = files_of(written);
        if adds.is_empty() {
            return Ok(0);
        }
        let (log, base, operation) = (&self.log, &self.base, append_operation());
        if !self.shape.keys().is_empty() {
            Box::pin(append_unique(log, base, adds, operation, checks)).await?;
            return Ok(n_rows);
        }
        let actions = in_order(adds, base).into_iter().map(Action::Add);
        log.commit_written(base, actions.collect(), operation, Rebase::Rows)
            .await?;
        Ok(n_rows)
    }
}

impl Managed {
    /// Begins an append. `shape` is the definition that the rows are made for.
    pub(crate) async fn begin_append(
        &self,
        id: &str,
        shape: Option<&TableShape>,
    ) -> Result<Append> {
        let (log, base) = self.newest(id).await?;
        let current = base.shape()?;
        if shape.is_some_and(|shape| *shape != current) {
            return Err(conflict());
        }
        check_writable(&base)?;
        Ok(Append {
            log,
            base,
            shape: current,
        })
    }
}

impl Tables {
    /// Begins an append to a managed table whose files may be written on other machines, see [`Append::show`].
    ///
    /// Errors: `TableGone`, `NotPlainTable`, `Conflict` if the definition is no more `shape`.
    pub async fn begin_append(&self, id: &str, shape: &TableShape) -> Result<Append> {
        self.managed.begin_append(id, Some(shape)).await
    }

    /// The same append on a machine that only writes files for it; nothing of the table is kept beyond it.
    ///
    /// Errors: `TableGone`, those of reading its log.
    pub async fn join_append(&self, id: &str, version: u64) -> Result<Append> {
        let log = Arc::new(self.managed.unread(id)?);
        let read = log.unchecked(version).await;
        if read.is_err() && !self.managed.has_log(id).await? {
            return Err(Error::TableGone { id: id.into() });
        }
        let base = read?;
        let shape = base.shape()?;
        Ok(Append { log, base, shape })
    }
}
