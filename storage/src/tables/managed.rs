//! Managed tables: Delta Lake tables under `tables/<id>/`.
//!
//! Streams of batches flow in and become data files and one commit of the table's log; versions flow out. Rows that
//! failed half-way are files that no log names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::SendableRecordBatchStream;
use deltalake::kernel::Action;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt as _;
use object_store::path::Path;
use url::Url;

use crate::catalog::CatalogState;
use crate::error::{Error, Result};
use crate::tables::block::Block;
use crate::tables::delta_commit::conflict;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, LOG_FOLDER, VersionSpec};
use crate::tables::few_rows::Inserted;
use crate::tables::lease::Lease;
use crate::tables::log_faults::blamed;
use crate::tables::new_keys::{InsertRules, OnConflict};
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;
use crate::warehouse::Warehouse;

/// Versions between two checkpoints of a table's log: at most so many small files are read to open it.
const CHECKPOINT_EVERY: &str = "20";
const CHECKPOINT_INTERVAL: &str = "delta.checkpointInterval";

/// The managed tables of a warehouse.
#[derive(Debug)]
pub(crate) struct Managed {
    warehouse: Arc<Warehouse>,
    open: Mutex<BTreeMap<String, Arc<DeltaLog>>>,
    /// The transaction block that sees the tables this way, and the tables that it began from.
    block: Option<(Block, Arc<Managed>)>,
}

impl Managed {
    pub(crate) fn new(warehouse: Arc<Warehouse>) -> Self {
        Self {
            warehouse,
            open: Mutex::new(BTreeMap::new()),
            block: None,
        }
    }

    /// The tables as a transaction block that begins now sees them; `catalog` has been read before.
    pub(crate) fn begin_block(self: &Arc<Self>, catalog: Arc<CatalogState>) -> Self {
        let open = self.lock();
        let known = open
            .iter()
            .map(|(id, log)| (id.clone(), log.known_number()));
        let block = Block::begin(catalog, known.collect());
        Self {
            warehouse: Arc::clone(&self.warehouse),
            open: Mutex::default(),
            block: Some((block, Arc::clone(self))),
        }
    }

    /// The tables as a block sees them that began with this one; `None`: these are those of no block.
    pub(crate) fn begin_block_beside(&self) -> Option<Self> {
        let (block, parent) = self.block.as_ref()?;
        Some(Self {
            warehouse: Arc::clone(&self.warehouse),
            open: Mutex::default(),
            block: Some((block.beside(), Arc::clone(parent))),
        })
    }

    /// The block, if these are the tables of one, and the tables that it began from.
    pub(crate) fn block(&self) -> Option<&(Block, Arc<Managed>)> {
        self.block.as_ref()
    }

    /// Creates an empty table: the first commit of its log.
    pub(crate) async fn create(&self, id: &str, shape: &TableShape) -> Result<()> {
        let mut shape = shape.clone();
        if !shape.properties().contains_key(CHECKPOINT_INTERVAL) {
            shape.set_property(CHECKPOINT_INTERVAL, CHECKPOINT_EVERY);
        }
        let (protocol, metadata) = shape.creating()?;
        let table = self.unread(id)?.unread().await;
        let actions = vec![
            Action::Protocol(protocol.clone()),
            Action::Metadata(metadata.clone()),
        ];
        let operation = DeltaOperation::Create {
            mode: SaveMode::ErrorIfExists,
            location: self.url(id),
            protocol,
            metadata,
        };
        CommitBuilder::from(CommitProperties::default().with_max_retries(0))
            .with_actions(actions)
            .build(None, table.log_store(), operation)
            .await?;
        self.newest(id).await?;
        Ok(())
    }

    /// Writes the rows of streams and shows them in one commit; no rows, no commit. Returns their number.
    ///
    /// `shape` is the definition that the rows were made for.
    pub(crate) async fn append(
        &self,
        id: &str,
        shape: Option<&TableShape>,
        rows: Vec<SendableRecordBatchStream>,
        checks: Arc<RowChecks>,
    ) -> Result<u64> {
        let rows = match shape {
            Some(shape) if self.block.is_some() || !shape.keys().is_empty() => {
                let rules = InsertRules {
                    checks: &checks,
                    on_conflict: &OnConflict::Fail,
                    number: None,
                    accept: None,
                };
                match self.insert_few(id, shape, rows, &rules).await? {
                    Inserted::Rows(n_rows) => return Ok(n_rows),
                    Inserted::Streams(rows) => rows,
                    Inserted::Taken => return Err(conflict()),
                }
            }
            _ => rows,
        };
        let append = self.begin_append(id, shape).await?;
        let written = append.write(rows, Arc::clone(&checks)).await?;
        append.show(vec![written], &checks).await
    }

    /// Adds the rows of streams if they are few; without reading what a block has added itself.
    pub(crate) async fn insert_few(
        &self,
        id: &str,
        shape: &TableShape,
        rows: Vec<SendableRecordBatchStream>,
        rules: &InsertRules<'_>,
    ) -> Result<Inserted> {
        let log = self.unsettled(id).await?;
        Box::pin(log.insert_few(shape, rows, rules)).await
    }

    /// The log of a table without the rows of a block that lie in no file yet.
    pub(crate) async fn unsettled(&self, id: &str) -> Result<Arc<DeltaLog>> {
        match &self.block {
            Some((block, parent)) => Box::pin(block.log(parent, id)).await,
            None => Ok(self.newest(id).await?.0),
        }
    }

    /// The definition of a table as it is now.
    pub(crate) async fn shape(&self, id: &str) -> Result<TableShape> {
        match &self.block {
            // Rows that wait for a file have no part in it.
            Some(_) => self.unsettled(id).await?.newest().await?.shape(),
            None => self.newest(id).await?.1.shape(),
        }
    }

    /// A version, as what a scan reads and what a model pins.
    pub(crate) async fn open(&self, id: &str, version: VersionSpec) -> Result<DeltaVersion> {
        let (log, newest) = self.newest(id).await?;
        match version {
            VersionSpec::Newest => Ok(newest),
            other => log.at(other).await,
        }
    }

    /// Removes the files of a table, once no statement of this server uses them any more.
    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let known = self.lock().remove(id);
        let lease = known.and_then(|log| log.lease().cloned());
        lease.unwrap_or_else(|| self.lease(id)).end().await
    }

    fn lease(&self, id: &str) -> Arc<Lease> {
        Lease::new(self.warehouse.store(), folder(id))
    }

    /// Whether a version is known to be the newest: a look at the store that waits for nobody who reads the log. Blocks
    /// have versions of their own, of which this tells nothing.
    pub(crate) async fn ends_at(&self, id: &str, number: u64) -> Result<bool> {
        let known = self.lock().get(id).cloned();
        match known.filter(|_| self.block.is_none()) {
            Some(log) => log.ends_at(number).await,
            None => Ok(false),
        }
    }

    /// Reads the log, or only its news.
    pub(crate) async fn newest(&self, id: &str) -> Result<(Arc<DeltaLog>, DeltaVersion)> {
        if let Some((block, parent)) = &self.block {
            let log = Box::pin(block.log(parent, id)).await?;
            log.settle().await?;
            let newest = log.newest().await?;
            return Ok((log, newest));
        }
        let known = self.lock().get(id).cloned();
        let log = match known {
            Some(log) => log,
            None => Arc::new(self.unread(id)?),
        };
        match log.newest().await {
            Ok(newest) => {
                // Only a table whose log could be read is kept.
                let log = Arc::clone(self.lock().entry(id.into()).or_insert(log));
                Ok((log, newest))
            }
            Err(error) => match self.has_log(id).await? {
                // A log that is open stays: statements and transaction blocks hold on to it.
                true => {
                    let store = self.warehouse.root_store();
                    Err(blamed(error, store, &self.url(id)).await)
                }
                false => {
                    self.lock().remove(id);
                    Err(Error::TableGone { id: id.into() })
                }
            },
        }
    }

    pub(crate) async fn has_log(&self, id: &str) -> Result<bool> {
        let log = folder(id).join(LOG_FOLDER);
        Ok(self
            .warehouse
            .store()
            .list(Some(&log))
            .try_next()
            .await?
            .is_some())
    }

    pub(crate) fn unread(&self, id: &str) -> Result<DeltaLog> {
        let log = DeltaLog::new(self.url(id), Arc::clone(self.warehouse.root_store()))?;
        Ok(log.under(Some(self.lease(id)), self.warehouse.types()))
    }

    fn url(&self, id: &str) -> Url {
        self.warehouse.folder_url(folder(id).as_ref())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<DeltaLog>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails for tables whose new rows would be stored under other names, or would have to fulfil what other engines have
/// noted in a form that this one does not evaluate. Error: `NotPlainTable`.
pub(crate) fn check_writable(version: &DeltaVersion) -> Result<()> {
    const INVARIANTS: &str = "delta.invariants";
    let shape = version.shape()?;
    let mut columns = shape.columns().iter();
    match version.has_mapped_columns()?
        || columns.any(|column| column.metadata().contains_key(INVARIANTS))
    {
        true => Err(Error::NotPlainTable),
        false => Ok(()),
    }
}

fn folder(id: &str) -> Path {
    Path::from_iter(["tables", id])
}
