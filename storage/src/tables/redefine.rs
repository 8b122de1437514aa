//! Another definition of a table, or other rows in the place of all of them.
//!
//! A definition, streams of rows, or files that were written elsewhere flow in; one commit flows out.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::{Action, Add};
use deltalake::protocol::{DeltaOperation, SaveMode};

use crate::error::{Error, Result};
use crate::tables::append::{WrittenFiles, files_of};
use crate::tables::delta_log::Rebase;
use crate::tables::delta_write::{DeltaSink, in_order};
use crate::tables::rewrite::{Rewrite, TableOperation, removals};
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;

impl Rewrite {
    /// Gives the table another definition, and, where the old rows do not have it, its rows anew.
    ///
    /// Errors: `Conflict` if others changed the table meanwhile, those of `append`.
    pub async fn redefine(
        &self,
        shape: &TableShape,
        rows: Option<(Vec<SendableRecordBatchStream>, Arc<RowChecks>)>,
        operation: TableOperation,
    ) -> Result<()> {
        let mut actions = shape.changing(self.version.snapshot()?)?;
        if let Some((rows, checks)) = rows {
            let sink = DeltaSink::new(&self.version, shape, Arc::clone(&checks), rows.len())?;
            let (adds, _) = sink.write(rows).await?;
            self.replace(&mut actions, shape, adds, &checks).await?;
        }
        self.commit_definition(shape, actions, operation).await
    }

    /// The version of the table that it began on, with whose definition files must be written.
    pub fn version(&self) -> u64 {
        self.version.number()
    }

    /// Replaces all rows by those in files that were written for its version, see [`Append`](crate::Append).
    ///
    /// Errors: those of `redefine`.
    pub async fn replace_rows(&self, written: Vec<WrittenFiles>, checks: &RowChecks) -> Result<()> {
        let mut actions = self.shape.changing(self.version.snapshot()?)?;
        let adds = files_of(written);
        self.replace(&mut actions, &self.shape, adds, checks)
            .await?;
        self.commit_definition(&self.shape, actions, TableOperation::Columns)
            .await
    }

    /// Adds to the actions of a definition those that put new files in the place of all others.
    async fn replace(
        &self,
        actions: &mut Vec<Action>,
        shape: &TableShape,
        adds: Vec<Add>,
        checks: &RowChecks,
    ) -> Result<()> {
        actions.extend(removals(&self.version, true, |_| true)?);
        let adds = in_order(adds, &self.version);
        actions.extend(adds.into_iter().map(Action::Add));
        let keys = shape.keys();
        if keys.is_empty() {
            return Ok(());
        }
        // With the definition too: the keys' columns have its names and types.
        self.check_keys(actions, &keys, checks, checks.session()?)
            .await
    }

    async fn commit_definition(
        &self,
        shape: &TableShape,
        actions: Vec<Action>,
        operation: TableOperation,
    ) -> Result<()> {
        let operation = match operation {
            TableOperation::Properties => DeltaOperation::SetTableProperties {
                properties: shape.properties().into_iter().collect(),
            },
            TableOperation::Columns => DeltaOperation::Write {
                mode: SaveMode::Overwrite,
                partition_by: Some(shape.partition_columns.clone()),
                predicate: None,
            },
        };
        self.log
            .commit_written(&self.version, actions, operation, Rebase::Nothing)
            .await?;
        Ok(())
    }

    /// Removes all rows; with `restarts` the numbers of identity columns begin anew. Errors: `AppendOnly`, `Conflict`.
    pub async fn truncate(&self, restarts: bool) -> Result<()> {
        if self.shape.only_appends() {
            return Err(Error::AppendOnly);
        }
        let mut actions = removals(&self.version, true, |_| true)?;
        let mut shape = self.shape.clone();
        if restarts && shape.restart_identities() {
            actions.extend(shape.changing(self.version.snapshot()?)?);
        }
        if actions.is_empty() {
            return Ok(());
        }
        let operation = DeltaOperation::Delete { predicate: None };
        self.log
            .commit(&self.version, actions, operation, Rebase::Nothing)
            .await?;
        Ok(())
    }
}
