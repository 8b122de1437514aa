//! Rows that a transaction block has inserted and that lie in no file yet.
//!
//! Streams of small INSERTs flow in and stay in memory, checked; one file of all of them flows out as soon as anything
//! asks for the table's rows, and at the latest at COMMIT. So a block of many one-row statements writes one file rather
//! than one for each. Large INSERTs do not come here: they are written as they stream.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake::kernel::Action;
use futures::StreamExt as _;
use tokio::sync::MutexGuard;

use crate::error::{Error, Result};
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_write::{DeltaSink, append_operation, in_order};
use crate::tables::managed::check_writable;
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;

/// What one statement may leave in memory.
const STATEMENT_BYTES: usize = 256 << 10;
/// What a block may; beyond it the rows become a file.
const BLOCK_BYTES: usize = 4 << 20;
/// Batches of one row each are put together now and then: an array costs more than a number in it.
const MOST_BATCHES: usize = 512;

/// The rows of one table.
#[derive(Debug, Default)]
pub(crate) struct PendingRows {
    batches: Vec<RecordBatch>,
}

impl PendingRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.batches)
    }

    fn add(&mut self, rows: Vec<RecordBatch>) -> Result<()> {
        self.batches.extend(rows);
        if self.batches.len() >= MOST_BATCHES {
            let schema = self.batches[0].schema();
            self.batches = vec![concat_batches(&schema, &self.batches)?];
        }
        Ok(())
    }

    /// Writes the rows; returns what a commit behind `version` needs to name their files.
    async fn write(&mut self, version: &DeltaVersion) -> Result<Vec<Action>> {
        let batches = std::mem::take(&mut self.batches);
        let sink = DeltaSink::new(version, &version.shape()?, Arc::default(), 1)?;
        let mut files = sink.start();
        for batch in &batches {
            if let Err(error) = files.write_kept(batch).await {
                files.discard().await;
                return Err(error);
            }
        }
        let (adds, _) = files.close().await?;
        let adds = in_order(adds, version).into_iter();
        Ok(adds.map(Action::Add).collect())
    }
}

fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}

/// What became of the rows of an INSERT.
pub(crate) enum Inserted {
    /// They are kept: so many.
    Kept(u64),
    /// They are too many, or the table has a rule that only files fulfil.
    Streams(Vec<SendableRecordBatchStream>),
}

impl DeltaLog {
    /// Keeps the rows of an INSERT in memory if this is a block's log and they are few. None is kept after an error.
    ///
    /// Errors: those of `append`.
    pub(crate) async fn keep_few(
        &self,
        shape: &TableShape,
        mut rows: Vec<SendableRecordBatchStream>,
        checks: &Arc<RowChecks>,
    ) -> Result<Inserted> {
        // Keys are looked for in files, at each statement.
        let (Some(staging), true, 1) = (self.staging(), shape.keys().is_empty(), rows.len()) else {
            return Ok(Inserted::Streams(rows));
        };
        let newest = self.newest().await?;
        if newest.shape()? != *shape {
            return Err(Error::Conflict {
                object: "a table".into(),
            });
        }
        check_writable(&newest)?;
        staging.check(&[])?;
        let Some(mut stream) = rows.pop() else {
            return Ok(Inserted::Kept(0));
        };
        let mut few = Vec::new();
        while bytes_of(&few) <= STATEMENT_BYTES {
            let Some(batch) = stream.next().await.transpose()? else {
                let sink = DeltaSink::new(&newest, shape, Arc::clone(checks), 1)?;
                let mut kept = Vec::with_capacity(few.len());
                for batch in few.iter().filter(|batch| batch.num_rows() > 0) {
                    kept.push(sink.checked(batch)?);
                }
                let n_rows = kept.iter().map(|batch| batch.num_rows() as u64).sum();
                let mut pending = staging.pending.lock().await;
                pending.add(kept)?;
                if pending.bytes() > BLOCK_BYTES {
                    drop(pending);
                    self.settle().await?;
                }
                return Ok(Inserted::Kept(n_rows));
            };
            few.push(batch);
        }
        let schema = stream.schema();
        let all = futures::stream::iter(few.into_iter().map(Ok)).chain(stream);
        let all = RecordBatchStreamAdapter::new(schema, all);
        Ok(Inserted::Streams(vec![Box::pin(all)]))
    }

    /// Shows the rows that wait for a file to whoever reads the log next.
    pub(crate) async fn settle(&self) -> Result<()> {
        if let Some((_held, newest, actions)) = self.write_pending().await? {
            self.commit_written(&newest, actions, append_operation(), Rebase::Rows)
                .await?;
        }
        Ok(())
    }

    /// The same at the block's end, when only its commit will read them.
    pub(crate) async fn settle_last(&self) -> Result<()> {
        if let (Some(staging), Some((_held, newest, actions))) =
            (self.staging(), self.write_pending().await?)
        {
            let version = newest.number() + 1;
            staging.keep(version, actions, append_operation(), Rebase::Rows);
        }
        Ok(())
    }

    /// Writes the rows that wait for a file, if there are some; what names it must follow the version at once, while
    /// nobody else may look for such rows.
    async fn write_pending(
        &self,
    ) -> Result<Option<(MutexGuard<'_, PendingRows>, DeltaVersion, Vec<Action>)>> {
        let Some(staging) = self.staging() else {
            return Ok(None);
        };
        let mut pending = staging.pending.lock().await;
        if pending.is_empty() {
            return Ok(None);
        }
        let newest = self.newest().await?;
        let actions = pending.write(&newest).await?;
        Ok(Some((pending, newest, actions)))
    }
}
