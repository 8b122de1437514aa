//! An INSERT of a few rows, as applications send them: its rows are in memory, checked, before anything is written.
//!
//! A stream flows in. In a transaction block its rows wait with those of other statements, see `pending_rows.rs`; outside
//! they become one file and one commit. Streams of many rows flow out again, to be written as they come.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalake::kernel::Action;
use futures::StreamExt as _;

use crate::error::Result;
use crate::tables::block::Staging;
use crate::tables::delta_commit::conflict;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_write::{DeltaSink, append_operation, in_order};
use crate::tables::key_checks::MAX_ROUNDS;
use crate::tables::key_values::KeyValues;
use crate::tables::managed::check_writable;
use crate::tables::new_keys::{InsertRules, OnConflict, new_rows};
use crate::tables::pending_rows::bytes_of;
use crate::tables::shape::TableShape;

/// What one statement may leave in memory.
const STATEMENT_BYTES: usize = 256 << 10;

/// What became of the rows of an INSERT.
pub(crate) enum Inserted {
    /// They are added: so many.
    Rows(u64),
    /// Some have keys that are taken, so that nothing was done.
    Taken,
    /// They are too many to be kept in memory.
    Streams(Vec<SendableRecordBatchStream>),
}

/// The rows of a stream, if they are few.
enum Few {
    Rows(Vec<RecordBatch>),
    Stream(SendableRecordBatchStream),
}

impl DeltaLog {
    /// Adds the rows of an INSERT if they are few. None is added after an error.
    ///
    /// Errors: those of `append`, those of who is told of the rows.
    pub(crate) async fn insert_few(
        &self,
        shape: &TableShape,
        mut rows: Vec<SendableRecordBatchStream>,
        rules: &InsertRules<'_>,
    ) -> Result<Inserted> {
        if rows.len() > 1 {
            return Ok(Inserted::Streams(rows));
        }
        let Some(stream) = rows.pop() else {
            return Ok(Inserted::Rows(0));
        };
        let newest = self.newest().await?;
        if newest.shape()? != *shape {
            return Err(conflict());
        }
        check_writable(&newest)?;
        if let Some(staging) = self.staging() {
            staging.check(&[])?;
        }
        let few = match few_of(stream).await? {
            Few::Rows(few) => few,
            Few::Stream(stream) => return Ok(Inserted::Streams(vec![stream])),
        };
        let Some(few) = Box::pin(self.numbered(shape, few, rules)).await? else {
            return Ok(Inserted::Taken);
        };
        let sink = DeltaSink::new(&newest, shape, Arc::clone(rules.checks), 1)?;
        let mut checked = Vec::with_capacity(few.len());
        for batch in few.iter().filter(|batch| batch.num_rows() > 0) {
            checked.push(sink.checked(batch)?);
        }
        match self.staging() {
            Some(staging) => Box::pin(self.keep(staging, shape, checked, rules)).await,
            None => Box::pin(self.append_few(shape, checked, rules)).await,
        }
    }

    /// Rows with the numbers that they lack; `None`: some are taken, and the rules say to give up. Rows that another key
    /// keeps out get none.
    async fn numbered(
        &self,
        shape: &TableShape,
        rows: Vec<RecordBatch>,
        rules: &InsertRules<'_>,
    ) -> Result<Option<Vec<RecordBatch>>> {
        let Some(number) = rules.number else {
            return Ok(Some(rows));
        };
        let is_numbered = |name: &String| {
            let column = shape.position(name).map(|idx| &shape.columns()[idx]);
            column.is_some_and(|column| shape.identity_of(column).is_some())
        };
        let mut keys = shape.keys();
        keys.retain(|key| !key.reads().any(is_numbered));
        if let OnConflict::LeaveOut(Some(name)) = rules.on_conflict
            && keys.iter().all(|key| key.name != *name)
        {
            // Which rows are left out is seen when they have their numbers.
            keys.clear();
        }
        let mut unnumbered = Vec::with_capacity(rows.len());
        for batch in rows.iter().filter(|batch| batch.num_rows() > 0) {
            unnumbered.push(nullable(batch, shape)?);
        }
        let newest = self.newest().await?;
        let none = KeyValues::default();
        let pending = match self.staging() {
            Some(staging) => Some(staging.pending.lock().await),
            None => None,
        };
        let known = pending.as_ref().map_or(&none, |pending| pending.keys());
        let new = new_rows(&newest, (&keys, known), unnumbered, rules);
        let Some(new) = Box::pin(new).await? else {
            return Ok(None);
        };
        drop(pending);
        let mut numbered = Vec::with_capacity(new.batches.len());
        for batch in new.batches {
            numbered.push(number(batch).await?);
        }
        Ok(Some(numbered))
    }

    /// Keeps checked rows until the block needs them in a file.
    async fn keep(
        &self,
        staging: &Staging,
        shape: &TableShape,
        rows: Vec<RecordBatch>,
        rules: &InsertRules<'_>,
    ) -> Result<Inserted> {
        let keys = shape.keys();
        let mut pending = staging.pending.lock().await;
        // Statements of the block may have changed rows since those of this one were asked for.
        let newest = self.newest().await?;
        let new = new_rows(&newest, (&keys, pending.keys()), rows, rules);
        let Some(new) = Box::pin(new).await? else {
            return Ok(Inserted::Taken);
        };
        rules.tell(&new.batches)?;
        if !keys.is_empty() {
            staging.look_with(rules.checks);
        }
        let n_rows = new.n_rows();
        if pending.add(new)? {
            drop(pending);
            self.settle().await?;
        }
        Ok(Inserted::Rows(n_rows))
    }

    /// Writes checked rows into one file and commits it.
    async fn append_few(
        &self,
        shape: &TableShape,
        rows: Vec<RecordBatch>,
        rules: &InsertRules<'_>,
    ) -> Result<Inserted> {
        let keys = shape.keys();
        let rebase = match keys.is_empty() {
            true => Rebase::Rows,
            false => Rebase::Nothing,
        };
        let none = KeyValues::default();
        // One after the other, so that statements of one server do not send each other to look again.
        let _turn = self.turn().await;
        for _ in 0..MAX_ROUNDS {
            let newest = self.newest().await?;
            if newest.shape()? != *shape {
                return Err(conflict());
            }
            let new = new_rows(&newest, (&keys, &none), rows.clone(), rules);
            let Some(new) = Box::pin(new).await? else {
                return Ok(Inserted::Taken);
            };
            rules.tell(&new.batches)?;
            let n_rows = new.n_rows();
            if n_rows == 0 {
                return Ok(Inserted::Rows(0));
            }
            let actions = write_rows(&newest, shape, &new.batches).await?;
            let files = names_of(&actions);
            let committed = self.commit_written(&newest, actions, append_operation(), rebase);
            match Box::pin(committed).await {
                Err(crate::error::Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    learn_keys(&newest, shape, (&[], &files), &new.keys).await;
                    return Ok(Inserted::Rows(n_rows));
                }
            }
        }
        Err(conflict())
    }
}

/// The rows of a stream as far as they are few, else the whole stream.
async fn few_of(mut stream: SendableRecordBatchStream) -> Result<Few> {
    let mut few = Vec::new();
    while bytes_of(&few) <= STATEMENT_BYTES {
        match stream.next().await.transpose()? {
            Some(batch) => few.push(batch),
            None => return Ok(Few::Rows(few)),
        }
    }
    let schema = stream.schema();
    let all = futures::stream::iter(few.into_iter().map(Ok)).chain(stream);
    let all = RecordBatchStreamAdapter::new(schema, all);
    Ok(Few::Stream(Box::pin(all)))
}

/// Rows under the names of the table's columns, of which any may still be NULL.
fn nullable(rows: &RecordBatch, shape: &TableShape) -> Result<RecordBatch> {
    let fields = shape.columns().iter().zip(rows.columns());
    let fields = fields.map(|(field, column)| {
        let data_type = column.data_type().clone();
        Field::new(field.name(), data_type, true)
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Ok(RecordBatch::try_new(
        Arc::new(schema),
        rows.columns().to_vec(),
    )?)
}

/// Writes checked rows; returns what a commit behind `version` needs to name their files.
pub(crate) async fn write_rows(
    version: &DeltaVersion,
    shape: &TableShape,
    batches: &[RecordBatch],
) -> Result<Vec<Action>> {
    let sink = DeltaSink::new(version, shape, Arc::default(), 1)?;
    let mut files = sink.start();
    for batch in batches {
        if let Err(error) = files.write_kept(batch).await {
            files.discard().await;
            return Err(error);
        }
    }
    let (adds, _) = files.close().await?;
    let adds = in_order(adds, version).into_iter();
    Ok(adds.map(Action::Add).collect())
}

/// The names of the files that actions add.
pub(crate) fn names_of(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Add(add) => Some(add.path.clone()),
        _ => None,
    };
    actions.iter().filter_map(name).collect()
}

/// Lets the filters of a table know the keys of files that were just written: they have the rows of those that they
/// replace, and rows of these values. Nothing fails by it: what is not learnt is read when it is needed.
pub(crate) async fn learn_keys(
    version: &DeltaVersion,
    shape: &TableShape,
    (replaced, files): (&[String], &[String]),
    values: &KeyValues,
) {
    let keys = shape.keys();
    if !keys.is_empty() {
        let filters = version.filters();
        filters
            .learn((replaced, files), (&keys, shape), values)
            .await;
    }
}
