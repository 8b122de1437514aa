//! Rows that a transaction block has inserted and that lie in no file yet.
//!
//! The checked rows of small INSERTs flow in and stay in memory with their keys; one file of all of them flows out as soon
//! as anything asks for the table's rows, and at the latest at COMMIT. So a block of many one-row statements writes one
//! file rather than one for each. Large INSERTs do not come here: they are written as they stream.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use deltalake::kernel::Action;
use tokio::sync::MutexGuard;

use crate::error::Result;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_write::append_operation;
use crate::tables::few_rows::{learn_keys, names_of, write_rows};
use crate::tables::key_values::KeyValues;
use crate::tables::new_keys::NewRows;

/// What a block may leave in memory; beyond it the rows become a file.
const BLOCK_BYTES: usize = 4 << 20;
/// Batches of one row each are put together now and then: an array costs more than a number in it.
const MOST_BATCHES: usize = 512;

/// The rows of one table.
#[derive(Debug, Default)]
pub(crate) struct PendingRows {
    batches: Vec<RecordBatch>,
    keys: KeyValues,
}

impl PendingRows {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The keys of the rows.
    pub(crate) fn keys(&self) -> &KeyValues {
        &self.keys
    }

    /// Adds rows whose keys are not among those of the others; whether there are so many now that they must be written.
    pub(crate) fn add(&mut self, rows: NewRows) -> Result<bool> {
        self.batches.extend(rows.batches);
        self.keys.append(rows.keys);
        if self.batches.len() >= MOST_BATCHES {
            let schema = self.batches[0].schema();
            self.batches = vec![concat_batches(&schema, &self.batches)?];
        }
        Ok(bytes_of(&self.batches) + self.keys.bytes() > BLOCK_BYTES)
    }
}

pub(crate) fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}

/// Rows that were just written, while nobody else may look for such rows.
struct Written<'a> {
    _held: MutexGuard<'a, PendingRows>,
    /// The version that they must follow at once.
    version: DeltaVersion,
    actions: Vec<Action>,
    rebase: Rebase,
}

impl DeltaLog {
    /// Shows the rows that wait for a file to whoever reads the log next.
    pub(crate) async fn settle(&self) -> Result<()> {
        if let Some(written) = self.write_pending().await? {
            let (version, actions) = (&written.version, written.actions);
            self.commit_written(version, actions, append_operation(), written.rebase)
                .await?;
        }
        Ok(())
    }

    /// The same at the block's end, when only its commit will read them.
    pub(crate) async fn settle_last(&self) -> Result<()> {
        if let (Some(staging), Some(written)) = (self.staging(), self.write_pending().await?) {
            let version = written.version.number() + 1;
            staging.keep(version, written.actions, append_operation(), written.rebase);
        }
        Ok(())
    }

    /// Writes the rows that wait for a file, if there are some.
    async fn write_pending(&self) -> Result<Option<Written<'_>>> {
        let Some(staging) = self.staging() else {
            return Ok(None);
        };
        let mut pending = staging.pending.lock().await;
        if pending.is_empty() {
            return Ok(None);
        }
        let rows = std::mem::take(&mut *pending);
        let version = self.newest().await?;
        let shape = version.shape()?;
        let actions = write_rows(&version, &shape, &rows.batches).await?;
        let keys = shape.keys();
        learn_keys(&version, &shape, (&[], &names_of(&actions)), &rows.keys).await;
        Ok(Some(Written {
            _held: pending,
            version,
            actions,
            rebase: match keys.is_empty() {
                true => Rebase::Rows,
                false => Rebase::NewKeys,
            },
        }))
    }
}
