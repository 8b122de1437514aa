//! Managed tables: Delta Lake tables under `tables/<id>/`.
//!
//! Streams of batches flow in and become data files and one commit of the table's log; snapshots flow out. The log of
//! a table is read once and then only its news. Rows that failed half-way are files that no log names.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::delta_datafusion::DataFusionMixins as _;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, EagerSnapshot, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::operations::write::configs::WriterStatsConfig;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableBuilder, TableProperty};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::tables::snapshot::{SnapshotFile, TableSnapshot};
use crate::tables::types::{conform, stored_schema};
use crate::warehouse::Warehouse;

const LOG_FOLDER: &str = "_delta_log";
/// A row group is what the writer holds in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Bounds the row groups of narrow tables, so that a scan can be divided.
const ROW_GROUP_ROWS: usize = 256 << 10;
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(256 << 20).unwrap();
/// Versions between two checkpoints of a table's log: at most so many small files are read to open it.
const CHECKPOINT_INTERVAL: &str = "20";
/// Appends do not conflict with each other, so a lost race is only a reason to take the next number.
const MAX_RETRIES: usize = 100;

/// The managed tables of a warehouse.
#[derive(Debug)]
pub(crate) struct Managed {
    warehouse: Arc<Warehouse>,
    open: Mutex<BTreeMap<String, Arc<OpenTable>>>,
}

/// A table whose log was read.
#[derive(Debug)]
struct OpenTable {
    /// Its newest known state.
    newest: tokio::sync::Mutex<DeltaTable>,
    /// Held while committing, so that sessions of one server do not race each other.
    commit: tokio::sync::Mutex<()>,
}

impl Managed {
    pub(crate) fn new(warehouse: Arc<Warehouse>) -> Self {
        Self {
            warehouse,
            open: Mutex::new(BTreeMap::new()),
        }
    }

    /// Creates an empty table: the first commit of its log.
    pub(crate) async fn create(&self, id: &str, schema: &SchemaRef) -> Result<()> {
        let schema: StructType = stored_schema(schema)?
            .as_ref()
            .try_into_kernel()
            .map_err(|source| Error::Arrow { source })?;
        let created = CreateBuilder::new()
            .with_log_store(self.unread(id)?.log_store())
            .with_columns(schema.fields().cloned())
            .with_save_mode(SaveMode::ErrorIfExists)
            .with_configuration_property(
                TableProperty::CheckpointInterval,
                Some(CHECKPOINT_INTERVAL),
            )
            .await?;
        let created = Arc::new(OpenTable::new(created));
        self.lock().insert(id.into(), created);
        Ok(())
    }

    /// Writes the rows of a stream and shows them in one commit; no rows, no commit. Returns their number.
    pub(crate) async fn append(&self, id: &str, rows: SendableRecordBatchStream) -> Result<u64> {
        let (table, newest) = self.newest(id).await?;
        let (adds, n_rows) = write(&newest, rows).await?;
        if adds.is_empty() {
            return Ok(0);
        }
        let _turn = table.commit.lock().await;
        let (_, newest) = self.newest(id).await?;
        if let Some(state) = commit(&newest, adds).await? {
            let mut newest = table.newest.lock().await;
            if newest.version() < Some(state.version()) {
                newest.state = Some(state);
            }
        }
        Ok(n_rows)
    }

    /// The newest version, as what a scan reads and what a model pins.
    pub(crate) async fn open(&self, id: &str) -> Result<(Arc<dyn TableProvider>, TableSnapshot)> {
        let (_, newest) = self.newest(id).await?;
        let snapshot = newest.snapshot()?.snapshot();
        let provider = newest
            .table_provider()
            .with_eager_snapshot(Arc::new(snapshot.clone()))
            .await?;
        Ok((provider, self.describe(id, snapshot)))
    }

    /// What a model pins of the newest version.
    pub(crate) async fn snapshot(&self, id: &str) -> Result<TableSnapshot> {
        let (_, newest) = self.newest(id).await?;
        Ok(self.describe(id, newest.snapshot()?.snapshot()))
    }

    /// Removes the files of a table, its log last, so that a half-removed one is still a table without some files
    /// rather than files without a table.
    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        self.lock().remove(id);
        let store = self.warehouse.store();
        let folder = folder(id);
        let files: Vec<Path> = store
            .list(Some(&folder))
            .map_ok(|file| file.location)
            .try_collect()
            .await?;
        let log = folder.join(LOG_FOLDER);
        let (last, first): (Vec<Path>, Vec<Path>) = files
            .into_iter()
            .partition(|file| file.prefix_matches(&log));
        for files in [first, last] {
            let locations = futures::stream::iter(files).map(Ok).boxed();
            let mut deletions = store.delete_stream(locations);
            while let Some(deleted) = deletions.next().await {
                match deleted {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Reads the log, or only its news.
    async fn newest(&self, id: &str) -> Result<(Arc<OpenTable>, DeltaTable)> {
        let known = self.lock().get(id).cloned();
        let table = match known {
            Some(table) => table,
            None => Arc::new(OpenTable::new(self.unread(id)?)),
        };
        let read = {
            let mut newest = table.newest.lock().await;
            newest
                .update_incremental(None)
                .await
                .map(|()| newest.clone())
        };
        match read {
            Ok(newest) => {
                // Only a table whose log could be read is kept.
                let table = Arc::clone(self.lock().entry(id.into()).or_insert(table));
                Ok((table, newest))
            }
            Err(error) => {
                self.lock().remove(id);
                match self.has_log(id).await? {
                    true => Err(error.into()),
                    false => Err(Error::TableGone { id: id.into() }),
                }
            }
        }
    }

    async fn has_log(&self, id: &str) -> Result<bool> {
        let log = folder(id).join(LOG_FOLDER);
        Ok(self
            .warehouse
            .store()
            .list(Some(&log))
            .try_next()
            .await?
            .is_some())
    }

    fn unread(&self, id: &str) -> Result<DeltaTable> {
        let url = self.warehouse.folder_url(folder(id).as_ref());
        let builder = DeltaTableBuilder::from_url(url.clone())?;
        Ok(builder
            .with_storage_backend(Arc::clone(self.warehouse.root_store()), url)
            .build()?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<OpenTable>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, id: &str, snapshot: &EagerSnapshot) -> TableSnapshot {
        let mut files: Vec<SnapshotFile> = snapshot
            .log_data()
            .iter()
            .map(|file| SnapshotFile {
                path: file.path().into_owned(),
                bytes: u64::try_from(file.size()).unwrap_or_default(),
                modified_ms: file.modification_time(),
                e_tag: None,
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        TableSnapshot {
            format: "delta".into(),
            location: self.warehouse.folder_url(folder(id).as_ref()).into(),
            version: Some(snapshot.version()),
            files,
        }
    }
}

impl OpenTable {
    fn new(table: DeltaTable) -> Self {
        Self {
            newest: tokio::sync::Mutex::new(table),
            commit: tokio::sync::Mutex::new(()),
        }
    }
}

fn folder(id: &str) -> Path {
    Path::from_iter(["tables", id])
}

/// Writes rows as data files that no commit names yet. A failure discards them.
async fn write(table: &DeltaTable, mut rows: SendableRecordBatchStream) -> Result<(Vec<Add>, u64)> {
    let snapshot = table.snapshot()?.snapshot();
    let schema = snapshot.input_schema();
    let stats = WriterStatsConfig::from_config(snapshot.table_configuration());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    let config = WriterConfig::new(
        Arc::clone(&schema),
        vec![],
        Some(properties),
        Some(FILE_BYTES),
        None,
        stats.num_indexed_cols,
        stats.stats_columns,
    );
    let mut writer = DeltaWriter::new(table.object_store(), config);
    let mut n_rows = 0;
    loop {
        // Encoding a batch is work without a pause: a cancelled statement ends here.
        tokio::task::yield_now().await;
        let written = match rows.next().await {
            None => break,
            Some(Err(error)) => Err(error.into()),
            Some(Ok(batch)) => {
                n_rows += batch.num_rows() as u64;
                write_batch(&mut writer, &batch, &schema).await
            }
        };
        if let Err(error) = written {
            if let Err(abort) = writer.abort().await {
                tracing::warn!(error = %abort, "could not discard the rows of a failed statement");
            }
            return Err(error);
        }
    }
    Ok((writer.close().await?, n_rows))
}

async fn write_batch(
    writer: &mut DeltaWriter,
    batch: &datafusion::arrow::array::RecordBatch,
    schema: &SchemaRef,
) -> Result<()> {
    Ok(writer.write(&conform(batch, schema)?).await?)
}

/// Shows written files as the next version of the table; returns its state, if that could be read.
async fn commit(table: &DeltaTable, adds: Vec<Add>) -> Result<Option<DeltaTableState>> {
    let snapshot = table.snapshot()?.snapshot();
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    };
    // Old versions stay, since models pin them; only `auspex catalog gc` removes any.
    let properties = CommitProperties::default()
        .with_max_retries(MAX_RETRIES)
        .with_cleanup_expired_logs(Some(false));
    let committed = CommitBuilder::from(properties)
        .with_actions(adds.into_iter().map(Action::Add).collect())
        .build(Some(snapshot), table.log_store(), operation)
        .into_prepared_commit_future()
        .await?
        .await?;
    // The rows are in the table now: what follows only makes its log quicker to read.
    let version = committed.version;
    match committed.await {
        Ok(finished) => Ok(Some(finished.snapshot)),
        Err(error) => {
            tracing::warn!(%error, version, "could not finish the upkeep of a table's log");
            Ok(None)
        }
    }
}
