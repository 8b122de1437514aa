//! UPDATE, DELETE and MERGE: rows of a table are replaced by writing their files anew.
//!
//! A stream of changes flows in, each with the address of the row that it replaces; one commit flows out that removes
//! the touched files and adds what is left of them beside the new rows. Which rows change, and to what, is the
//! planner's business. No row is looked at twice: what stays is copied by its row number, not by a condition.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::execute_stream_partitioned;
use deltalake::kernel::{Action, Add, AddCDCFile};
use deltalake::protocol::DeltaOperation;
use futures::StreamExt as _;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Result};
use crate::tables::changed_keys::ChangedKeys;
use crate::tables::copied_rows::{RowCopier, SMALL_BYTES, copy_elsewhere, discard_copies};
use crate::tables::delta_commit::discard;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, Rebase};
use crate::tables::delta_scan::DeltaScan;
use crate::tables::delta_write::{DeltaSink, OpenFiles, in_order};
use crate::tables::few_rows::{learn_keys, names_of};
use crate::tables::key_checks;
use crate::tables::key_form::KeyForm;
use crate::tables::key_values::KeyValues;
use crate::tables::keys::Key;
use crate::tables::new_keys::changed_keys;
use crate::tables::row_checks::RowChecks;
use crate::tables::row_marks::{Marks, unmarked};
use crate::tables::shape::TableShape;

/// What a row of a stream of changes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum RowAction {
    /// Nothing.
    Keep = 0,
    /// Removes the row at the address.
    Delete = 1,
    /// Replaces the row at the address.
    Update = 2,
    /// Adds a row.
    Insert = 3,
}

/// The columns of a stream of changes before those of the table: action (`Int32`), file and row (`Int64`).
pub const CHANGE_COLUMNS: usize = 3;

/// What to do when two changes meet one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    /// The first counts, as in PostgreSQL's UPDATE ... FROM.
    FirstWins,
    /// An error, as in MERGE.
    Refused,
}

/// How changes are applied.
#[derive(Debug, Clone)]
pub struct RewriteOptions {
    /// What new rows must fulfil.
    pub checks: Arc<RowChecks>,
    /// What to do when two changes meet one row.
    pub repeated: Repeated,
    /// The statement's name in the history: `UPDATE`, `DELETE`, `MERGE`.
    pub operation: &'static str,
    /// The condition, for the history.
    pub predicate: Option<String>,
    /// Whether rows may have other keys than the rows that they replace.
    pub changes_keys: bool,
}

/// How the history names a new definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableOperation {
    /// Properties, defaults, constraints.
    Properties,
    /// Columns.
    Columns,
}

/// How many rows a statement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeCounts {
    /// Added.
    pub inserted: u64,
    /// Replaced.
    pub updated: u64,
    /// Removed.
    pub deleted: u64,
}

impl ChangeCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}

/// A table whose rows a statement is about to change; others of this server wait for it.
#[derive(Debug)]
pub struct Rewrite {
    pub(super) log: Arc<DeltaLog>,
    pub(super) version: DeltaVersion,
    scan: DeltaScan,
    pub(super) shape: TableShape,
    copier: Option<Arc<dyn RowCopier>>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Rewrite {
    pub(crate) async fn begin(log: Arc<DeltaLog>, waits: bool) -> Result<Self> {
        let turn = match waits {
            true => Some(log.turn().await),
            false => None,
        };
        let version = log.newest().await?;
        let scan = version.scan()?.ok_or(Error::NotPlainTable)?;
        Ok(Self {
            shape: version.shape()?,
            log,
            version,
            scan,
            copier: None,
            _turn: turn,
        })
    }

    /// The same with somebody who may copy the rows that stay.
    pub fn copied_by(mut self, copier: Arc<dyn RowCopier>) -> Self {
        self.copier = Some(copier);
        self
    }

    /// The rows as they are, with the columns `FILE_COLUMN` and `ROW_COLUMN` behind the others.
    pub fn target(&self) -> Arc<dyn TableProvider> {
        Arc::new(self.scan.clone().with_addresses())
    }

    /// The table's definition.
    pub fn shape(&self) -> &TableShape {
        &self.shape
    }

    /// Applies changes in one commit; none, no commit.
    ///
    /// A batch has the action, the file and the row, then the new values of all columns (which a deletion may leave
    /// out), then, if the table keeps changes, the old values of all columns. Errors: those of the stream, `Conflict`
    /// if others changed the table meanwhile, `RepeatedChange`, `AppendOnly`, `CheckViolation`, `NullViolation`, `DiskFull`.
    pub async fn apply(
        &self,
        changes: SendableRecordBatchStream,
        options: &RewriteOptions,
        session: &dyn Session,
    ) -> Result<ChangeCounts> {
        let sink = DeltaSink::new(&self.version, &self.shape, Arc::clone(&options.checks), 1)?;
        let mut writing = Writing {
            n_columns: self.shape.columns().len(),
            repeated: options.repeated,
            marks: Marks::default(),
            keys: ChangedKeys::new(&self.shape, options.changes_keys),
            counts: ChangeCounts::default(),
            changes: self
                .shape
                .keeps_changes()
                .then(|| sink.below(CHANGES_FOLDER, change_type_field()).start()),
            rows: sink.start(),
        };
        let written = self.write(&mut writing, changes, &sink, session).await;
        let counts = writing.counts;
        let mut rest = match written {
            Ok(rest) if counts.total() > 0 => rest,
            refused => {
                writing.discard().await;
                return refused.map(|_| counts);
            }
        };
        let mut actions = self.removals(&rest.touched)?;
        let keys = std::mem::take(&mut writing.keys);
        let (mut adds, kept_changes) = match Box::pin(writing.close()).await {
            Ok(closed) => closed,
            Err(error) => {
                discard_copies(&self.version, &rest.copied).await;
                return Err(error);
            }
        };
        adds.splice(0..0, std::mem::take(&mut rest.copied));
        actions.extend(in_order(adds, &self.version).into_iter().map(Action::Add));
        actions.extend(kept_changes.into_iter().map(as_change_file));
        if keys.are_many() {
            self.check_keys(&actions, keys.keys(), &options.checks, session)
                .await?;
        }
        // Rows that others added meanwhile were not compared with these: neither keys, nor what MERGE adds since no row
        // matched it.
        let rebase = match keys.is_empty() && counts.inserted == 0 {
            true => Rebase::AddedRows,
            false => Rebase::Nothing,
        };
        let files = names_of(&actions);
        let operation = operation(options);
        self.log
            .commit_written(&self.version, actions, operation, rebase)
            .await?;
        if !keys.are_many() {
            self.learn(&rest, &files).await;
        }
        Ok(counts)
    }

    /// Lets the filters of keys know what the new files hold, so that the next INSERT need not read them.
    async fn learn(&self, written: &Written, files: &[String]) {
        let name = |file: &usize| self.scan.name(*file).to_owned();
        let touched: Vec<String> = written.touched.iter().map(name).collect();
        let files = (touched.as_slice(), files);
        learn_keys(&self.version, &self.shape, files, &written.keys).await;
    }

    /// Writes new rows, and what stays of the files that they replace rows of.
    async fn write(
        &self,
        writing: &mut Writing,
        mut changes: SendableRecordBatchStream,
        sink: &DeltaSink,
        session: &dyn Session,
    ) -> Result<Written> {
        while let Some(batch) = changes.next().await {
            tokio::task::yield_now().await;
            writing.take(&batch?).await?;
        }
        let counts = writing.counts;
        if counts.updated + counts.deleted > 0 && self.shape.only_appends() {
            return Err(Error::AppendOnly);
        }
        let marks = Arc::new(std::mem::take(&mut writing.marks));
        let keys = match writing.keys.rows()? {
            Some(rows) => {
                let gone = Arc::new(writing.keys.take_gone());
                let keys = (writing.keys.keys(), &gone);
                let look = changed_keys(&self.version, keys, &rows, &sink.checks, session);
                Box::pin(look).await?
            }
            None => KeyValues::default(),
        };
        let copied = match &self.copier {
            Some(copier) => {
                let of = (&self.version, &self.scan);
                Box::pin(copy_elsewhere(copier.as_ref(), of, &marks, session)).await?
            }
            None => None,
        };
        let copied = match copied {
            Some(copied) => copied,
            None => self.copy(writing, &marks, sink, session).await?,
        };
        Ok(Written {
            touched: marks.files(),
            copied,
            keys,
        })
    }

    /// Copies what stays of the touched files, if it is little, into the file of the new rows.
    async fn copy(
        &self,
        writing: &mut Writing,
        marks: &Arc<Marks>,
        sink: &DeltaSink,
        session: &dyn Session,
    ) -> Result<Vec<Add>> {
        let n_threads = session.config().target_partitions();
        let rest = self.rest(marks, session, n_threads).await?;
        if rest.small {
            writing.keep(rest.streams).await?;
            return Ok(vec![]);
        }
        let copying = sink.copying(rest.streams.len());
        Ok(copying.write(rest.streams).await?.0)
    }

    /// Looks for rows of the same key; removes the files that were written if there are some.
    pub(super) async fn check_keys(
        &self,
        actions: &[Action],
        keys: &[Key],
        checks: &RowChecks,
        session: &dyn Session,
    ) -> Result<()> {
        let check = key_checks::check(&self.version, actions, keys, checks, session);
        let checked = Box::pin(check).await;
        if checked.is_err() {
            let path = |action: &Action| match action {
                Action::Add(add) => Some(add.path.clone()),
                Action::Cdc(changes) => Some(changes.path.clone()),
                _ => None,
            };
            let written: Vec<String> = actions.iter().filter_map(path).collect();
            discard(self.version.table.object_store().as_ref(), &written).await;
        }
        checked
    }

    /// A key that two rows share, as messages show it: `(id)=(1)`.
    ///
    /// `form` computes the key of an index.
    pub async fn duplicate(
        &self,
        key: (&Key, Option<&KeyForm>),
        session: &dyn Session,
    ) -> Result<Option<String>> {
        key_checks::duplicate(&self.scan, key, session).await
    }

    /// What is left of the touched files.
    async fn rest(
        &self,
        marks: &Arc<Marks>,
        session: &dyn Session,
        n_threads: usize,
    ) -> Result<Rest> {
        let rest: Vec<usize> = marks
            .files()
            .into_iter()
            .filter(|file| {
                let n_rows = self.scan.n_rows(*file);
                n_rows.is_none_or(|n_rows| marks.count(*file) < n_rows)
            })
            .collect();
        let bytes: u64 = rest.iter().map(|file| self.scan.bytes(*file)).sum();
        let small = bytes < SMALL_BYTES;
        if rest.is_empty() {
            return Ok(Rest {
                streams: vec![],
                small,
            });
        }
        let mut scan = self.scan.clone().with_addresses().of_files(rest);
        if small {
            scan = scan.in_one_group();
        }
        let mut plan = scan.scan(session, None, &[], None).await?;
        if !small {
            let divided = plan.repartitioned(n_threads, session.config_options())?;
            plan = divided.unwrap_or(plan);
        }
        let n_columns = self.shape.columns().len();
        let streams = execute_stream_partitioned(plan, session.task_ctx())?
            .into_iter()
            .map(|stream| unmarked(stream, Arc::clone(marks), n_columns))
            .collect();
        Ok(Rest { streams, small })
    }

    fn removals(&self, touched: &BTreeSet<usize>) -> Result<Vec<Action>> {
        let names: BTreeSet<&str> = touched.iter().map(|file| self.scan.name(*file)).collect();
        removals(&self.version, true, |name| names.contains(name))
    }
}

/// The actions that remove the files of a version whose names are chosen.
pub(crate) fn removals(
    version: &DeltaVersion,
    data_change: bool,
    is_chosen: impl Fn(&str) -> bool,
) -> Result<Vec<Action>> {
    let log = version.snapshot()?.log_data();
    let chosen = log.iter().filter(|file| is_chosen(file.path().as_ref()));
    Ok(chosen
        .map(|file| Action::Remove(file.remove_action(data_change)))
        .collect())
}

/// The rows of touched files that stay.
struct Rest {
    streams: Vec<SendableRecordBatchStream>,
    small: bool,
}

/// What was written of a statement's changes besides their rows.
struct Written {
    /// The files that they replace rows of.
    touched: BTreeSet<usize>,
    /// New files that hold nothing but rows that stay.
    copied: Vec<Add>,
    /// The keys of their rows that may be new to the table, while those are few.
    keys: KeyValues,
}

/// The changes of a statement while they are taken.
struct Writing {
    n_columns: usize,
    repeated: Repeated,
    marks: Marks,
    keys: ChangedKeys,
    counts: ChangeCounts,
    rows: OpenFiles,
    /// The old and new rows themselves, if the table keeps them.
    changes: Option<OpenFiles>,
}

impl Writing {
    async fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let actions = self.accepted(batch)?;
        let columns = batch.columns();
        let chosen = |wanted: &[RowAction]| -> BooleanArray {
            let is_wanted = |action: &RowAction| Some(wanted.contains(action));
            actions.iter().map(is_wanted).collect()
        };
        let new: Vec<usize> = (CHANGE_COLUMNS..CHANGE_COLUMNS + self.n_columns).collect();
        if columns.len() >= CHANGE_COLUMNS + self.n_columns {
            let written = chosen(&[RowAction::Update, RowAction::Insert]);
            let rows = filter_record_batch(&batch.project(&new)?, &written)?;
            if rows.num_rows() > 0 {
                let rows = self.rows.checked(&rows)?;
                let done = actions.iter().zip(written.values());
                let done = done.filter_map(|(action, is_written)| is_written.then_some(*action));
                self.keys.take(&rows, done)?;
                self.rows.write_kept(&rows).await?;
            }
        }
        let Some(changes) = &mut self.changes else {
            return Ok(());
        };
        let old: Vec<usize> = (columns.len() - self.n_columns..columns.len()).collect();
        for (action, name, side) in [
            (RowAction::Delete, "delete", &old),
            (RowAction::Update, "update_preimage", &old),
            (RowAction::Update, "update_postimage", &new),
            (RowAction::Insert, "insert", &new),
        ] {
            let mask = chosen(&[action]);
            if mask.true_count() == 0 {
                continue;
            }
            let rows = filter_record_batch(&batch.project(side)?, &mask)?;
            changes.write(&with_change_type(&rows, name)?).await?;
        }
        Ok(())
    }

    /// What each row of a batch does after repeated changes are settled; marks and counts them.
    fn accepted(&mut self, batch: &RecordBatch) -> Result<Vec<RowAction>> {
        let actions = batch.column(0).as_primitive::<Int32Type>();
        let files = batch.column(1).as_primitive::<Int64Type>();
        let rows = batch.column(2).as_primitive::<Int64Type>();
        let mut accepted = Vec::with_capacity(batch.num_rows());
        for idx in 0..batch.num_rows() {
            let action = match actions.is_valid(idx).then(|| actions.value(idx)) {
                Some(1) => RowAction::Delete,
                Some(2) => RowAction::Update,
                Some(3) => RowAction::Insert,
                _ => RowAction::Keep,
            };
            let replaces = matches!(action, RowAction::Delete | RowAction::Update);
            if replaces {
                let address = address(files, rows, idx)?;
                if !self.marks.insert(address) {
                    if self.repeated == Repeated::Refused {
                        return Err(Error::RepeatedChange);
                    }
                    accepted.push(RowAction::Keep);
                    continue;
                }
                self.keys.leave(address, action);
            }
            match action {
                RowAction::Keep => {}
                RowAction::Delete => self.counts.deleted += 1,
                RowAction::Update => self.counts.updated += 1,
                RowAction::Insert => self.counts.inserted += 1,
            }
            accepted.push(action);
        }
        Ok(accepted)
    }

    /// Adds rows that stay as they are.
    async fn keep(&mut self, streams: Vec<SendableRecordBatchStream>) -> Result<()> {
        for stream in streams {
            // The next rows are read while these are written.
            let mut stream = spawn_buffered(stream, 1);
            while let Some(batch) = stream.next().await {
                tokio::task::yield_now().await;
                self.rows.write_kept(&batch?).await?;
            }
        }
        Ok(())
    }

    async fn discard(self) {
        self.rows.discard().await;
        if let Some(changes) = self.changes {
            changes.discard().await;
        }
    }

    async fn close(self) -> Result<(Vec<Add>, Vec<Add>)> {
        match (self.rows.close().await, self.changes) {
            (Ok((rows, _)), Some(changes)) => Ok((rows, changes.close().await?.0)),
            (Ok((rows, _)), None) => Ok((rows, vec![])),
            (Err(error), changes) => {
                if let Some(changes) = changes {
                    changes.discard().await;
                }
                Err(error)
            }
        }
    }
}

fn address(files: &Int64Array, rows: &Int64Array, idx: usize) -> Result<(usize, usize)> {
    let place = |array: &Int64Array| {
        let value = array.is_valid(idx).then(|| array.value(idx));
        value.and_then(|value| usize::try_from(value).ok())
    };
    let address = place(files).zip(place(rows));
    address.ok_or_else(|| Error::Internal {
        what: "a changed row has no address".into(),
    })
}

/// Where Delta keeps changes.
const CHANGES_FOLDER: &str = "_change_data";

fn change_type_field() -> Field {
    Field::new("_change_type", DataType::Utf8, false)
}

fn with_change_type(rows: &RecordBatch, name: &str) -> Result<RecordBatch> {
    let names = std::iter::repeat_n(Some(name), rows.num_rows());
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(change_type_field()));
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.push(Arc::new(names.collect::<StringArray>()));
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(fields));
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn as_change_file(add: Add) -> Action {
    Action::Cdc(AddCDCFile {
        path: format!("{CHANGES_FOLDER}/{}", add.path),
        size: add.size,
        partition_values: add.partition_values,
        data_change: false,
        tags: None,
    })
}

fn operation(options: &RewriteOptions) -> DeltaOperation {
    let predicate = options.predicate.clone();
    match options.operation {
        "UPDATE" => DeltaOperation::Update { predicate },
        "DELETE" => DeltaOperation::Delete { predicate },
        _ => DeltaOperation::Merge {
            predicate: None,
            merge_predicate: predicate,
            matched_predicates: vec![],
            not_matched_predicates: vec![],
            not_matched_by_source_predicates: vec![],
        },
    }
}
