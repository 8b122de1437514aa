//! Tables: the rows behind the entries of the catalog.
//!
//! Entries, paths and streams of batches flow in; DataFusion providers, schemas and pinned snapshots flow out. Managed
//! tables are Delta Lake tables, external ones files in place. Names are the catalog's business, not this module's.

mod address_mark;
mod append;
mod arrow_columns;
mod arrow_watch;
mod avro_rows;
mod avro_uuids;
mod avro_watch;
mod bit_mark;
mod blame;
mod block;
mod changed_fields;
mod changed_keys;
mod clock_digits;
mod commit_times;
mod copied_rows;
mod csv_blank_lines;
mod csv_lines;
mod csv_nulls;
mod csv_quotes;
mod csv_types;
mod csv_values;
mod csv_watch;
mod declared_table;
mod declared_texts;
mod declared_type;
mod delta_commit;
mod delta_files;
mod delta_log;
mod delta_scan;
mod delta_write;
mod dictionaries;
pub(crate) mod domain_mark;
pub(crate) mod enum_mark;
mod extension_name;
mod external;
mod external_delta;
mod far_dates;
mod features;
mod few_rows;
mod file_table;
mod floats;
mod folder_columns;
mod footers;
mod format;
mod history;
mod iceberg;
mod identity;
mod inference;
mod interval_bytes;
mod json_array;
mod json_integers;
mod json_keys;
mod json_lines;
mod json_mark;
mod json_rows;
mod json_source;
mod json_texts;
mod json_types;
mod key_checks;
mod key_filter;
mod key_form;
mod key_values;
mod keys;
mod lease;
mod leaves;
mod library_scan;
mod library_words;
pub(crate) mod life_sign;
mod listing;
mod local_files;
mod located;
mod log_bounds;
mod log_claims;
mod log_faults;
mod maintenance;
mod managed;
mod missing_files;
mod nan_bounds;
mod new_keys;
mod one_column;
mod other_case;
mod page_locations;
mod partition_values;
mod pending_rows;
mod plain_bytes;
mod read_types;
mod redefine;
mod references;
mod rewrite;
mod row_changes;
mod row_checks;
mod row_marks;
mod row_ranges;
mod sample;
mod scans;
mod settled_types;
mod shape;
mod shipping;
mod shown_within;
mod snapshot;
mod staged_store;
mod strict_values;
#[cfg(test)]
mod tests;
mod text_input;
mod text_kinds;
mod text_limits;
mod time_columns;
mod type_names;
mod types;
mod union_texts;
mod uuid_columns;
mod uuid_mark;
mod vacuum;
mod versions;
mod whole_look;
mod written_names;
mod zero_bytes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::SendableRecordBatchStream;
use url::Url;

pub use address_mark::AddressKind;
pub use append::{Append, WrittenFiles};
pub use bit_mark::BitKind;
pub use block::BlockMark;
pub use clock_digits::{clock_digits, with_clock_digits};
pub use commit_times::shown_time;
pub use copied_rows::RowCopier;
pub use declared_type::{DeclaredType, noted_columns};
pub(crate) use delta_files::object_path;
pub use delta_log::VersionSpec;
pub use delta_scan::{FILE_COLUMN, ROW_COLUMN};
pub(crate) use external_delta::register_log_stores;
pub use far_dates::{date_text, is_date};
pub use floats::has_one_zero;
pub use format::{compression_by_name, delimiter_by_name, format_by_name};
pub use history::{TableCommit, TableDetail};
pub use json_mark::JsonKind;
pub use key_form::{KeyForm, RowExpr};
pub use keys::{IndexRules, Key};
pub use life_sign::LIFE_SIGN_INTERVAL;
pub use maintenance::{OptimizeOptions, Optimized};
pub use new_keys::{Accept, InsertRules, Number, OnConflict};
pub use other_case::name_in_file;
pub use references::{Deferral, Reference, ReferenceAction};
pub use rewrite::{
    CHANGE_COLUMNS, ChangeCounts, Repeated, Rewrite, RewriteOptions, RowAction, TableOperation,
};
pub use row_checks::{RowChecks, ViewViolation, shown_cell, shown_value};
pub use row_ranges::divide_by_rows;
pub use shape::{Identity, IdentityKind, TableShape};
pub use shipping::ScanForm;
pub use shown_within::texts_within;
pub use snapshot::{SnapshotFile, TableSnapshot};
pub use text_input::{ReadTexts, TextFault, TextReader};
pub use text_limits::TextLimit;
pub use type_names::type_name;
pub use types::stored_schema;
pub use uuid_columns::uuid_of_bytes;
pub use uuid_mark::{is_uuid, marked_element, marks_of, uuid_marks};

use crate::catalog::{CatalogEntry, CatalogState, Definition, ExternalTableDefinition};
use crate::error::{Error, Result, not_a_table};
use crate::locations::Locations;
use crate::tables::delta_scan::{DeltaScan, NewestOf};
use crate::tables::external::External;
use crate::tables::few_rows::Inserted;
use crate::tables::identity::Identities;
use crate::tables::managed::Managed;
use crate::warehouse::Warehouse;

/// Opens and writes what the catalog names.
#[derive(Debug)]
pub struct Tables {
    managed: Arc<Managed>,
    external: Arc<External>,
    warehouse: Arc<Warehouse>,
    identities: Arc<Identities>,
}

impl Tables {
    /// The tables of a warehouse; external ones only within `locations`.
    pub fn new(warehouse: Arc<Warehouse>, locations: Arc<Locations>) -> Self {
        Self {
            managed: Arc::new(Managed::new(Arc::clone(&warehouse))),
            external: Arc::new(External::new(Arc::clone(&warehouse), locations)),
            warehouse,
            identities: Arc::default(),
        }
    }

    /// The tables as a transaction block that begins now sees and changes them: managed tables as they are at this
    /// moment, and what the block does to them. Nobody else sees that before `commit_block`.
    ///
    /// `catalog` is the state of this moment: a table that it does not name is as it is when the block meets it.
    pub fn begin_block(&self, catalog: Arc<CatalogState>) -> Self {
        Self {
            managed: Arc::new(self.managed.begin_block(catalog)),
            external: Arc::clone(&self.external),
            warehouse: Arc::clone(&self.warehouse),
            identities: Arc::clone(&self.identities),
        }
    }

    /// The tables as another block sees them that began at the moment of this one; `None`: these are those of no block.
    pub fn begin_block_beside(&self) -> Option<Self> {
        Some(Self {
            managed: Arc::new(self.managed.begin_block_beside()?),
            external: Arc::clone(&self.external),
            warehouse: Arc::clone(&self.warehouse),
            identities: Arc::clone(&self.identities),
        })
    }

    /// Makes one commit of all that a block did to its table; `commit_block` follows for those that nobody else knows.
    ///
    /// Errors: `Conflict` if others changed the table meanwhile in a way that does not go together with it; then, and
    /// after any other error, nothing of the block stays.
    pub async fn commit_table(&self, id: &str) -> Result<()> {
        match self.managed.block() {
            Some((block, parent)) => block.commit_table(parent, id).await,
            None => Ok(()),
        }
    }

    /// Makes one commit of all that a block did to each table that it has not committed yet.
    ///
    /// Errors: those of `commit_table`; what was committed before stays.
    pub async fn commit_block(&self) -> Result<()> {
        match self.managed.block() {
            Some((block, parent)) => block.commit(parent).await,
            None => Ok(()),
        }
    }

    /// Forgets all that a block did and removes its files.
    pub async fn discard_block(&self) {
        if let Some((block, _)) = self.managed.block() {
            block.discard().await;
        }
    }

    /// The next numbers of an identity column: no other row gets them, also not of another server or a block that is
    /// rolled back. Errors: `IdentityExhausted`, `Conflict`.
    pub async fn next_identities(
        &self,
        id: &str,
        sequence: &str,
        count: usize,
    ) -> Result<Vec<i64>> {
        self.identities
            .take(&self.warehouse, id, sequence, count)
            .await
    }

    /// How many numbers of an identity column or sequence were given.
    pub async fn taken_identities(&self, id: &str, sequence: &str) -> Result<i64> {
        self.identities.taken(&self.warehouse, id, sequence).await
    }

    /// Lets the numbers of an identity column go on with the `next`th one.
    pub async fn move_identity(&self, id: &str, sequence: &str, next: i64) -> Result<()> {
        let moved = self.identities.go_on(&self.warehouse, id, sequence, next);
        moved.await
    }

    /// How far a block has come.
    pub async fn block_mark(&self) -> Result<BlockMark> {
        match self.managed.block() {
            Some((block, _)) => block.mark().await,
            None => Ok(BlockMark::default()),
        }
    }

    /// Takes back what a block did after a mark.
    pub async fn return_to(&self, mark: &BlockMark) -> Result<()> {
        match self.managed.block() {
            Some((block, _)) => block.return_to(mark).await,
            None => Ok(()),
        }
    }

    /// Whether a block has changed rows that are not committed yet.
    pub fn has_changes(&self) -> bool {
        let block = self.managed.block();
        block.is_some_and(|(block, _)| block.has_changes())
    }

    /// The same of one table.
    pub fn has_changes_in(&self, id: &str) -> bool {
        let block = self.managed.block();
        block.is_some_and(|(block, _)| block.has_changes_in(id))
    }

    /// Creates an empty managed table. It has no name until the catalog gives one.
    ///
    /// The columns need types of `stored_schema`. Errors: `UnsupportedType`, `NoTableColumns`, `DiskFull`.
    pub async fn create_managed(&self, id: &str, shape: &TableShape) -> Result<()> {
        self.managed.create(id, shape).await
    }

    /// Creates a managed table and appends rows to it; returns their number. A failure removes what was written.
    ///
    /// Each stream is written by a task of its own; scans give the rows of the first stream first.
    pub async fn create_managed_from(
        &self,
        id: &str,
        shape: &TableShape,
        rows: Vec<SendableRecordBatchStream>,
    ) -> Result<u64> {
        let written = match self.managed.create(id, shape).await {
            Ok(()) => self.managed.append(id, None, rows, Arc::default()).await,
            Err(error) => Err(error),
        };
        if written.is_err()
            && let Err(error) = self.managed.remove(id).await
        {
            tracing::warn!(%error, id, "could not remove the files of a table that failed");
        }
        written
    }

    /// Appends rows to a managed table in one commit; returns their number. Columns count by their place.
    ///
    /// The rows stream to disk, a row group for each stream in memory. Concurrent appends all land. After an error
    /// none of the rows shows. Errors: those of the streams, `ColumnCount`, `NullViolation`, `ValueOutOfRange`,
    /// `CheckViolation`, `TableGone`, `Conflict` if the definition is no more `shape`, `DiskFull`.
    pub async fn append(
        &self,
        id: &str,
        shape: &TableShape,
        rows: Vec<SendableRecordBatchStream>,
        checks: Arc<RowChecks>,
    ) -> Result<u64> {
        self.managed.append(id, Some(shape), rows, checks).await
    }

    /// Appends the rows of one stream, if they are few, as an INSERT that says what becomes of keys that are taken; returns
    /// the number of those that were added. `None`: nothing was done, since they are many, or for `OnConflict::GiveUp`.
    ///
    /// Errors: those of `append`, `KeyViolation`, those of who is told of the rows.
    pub async fn insert_few(
        &self,
        id: &str,
        shape: &TableShape,
        rows: SendableRecordBatchStream,
        rules: &InsertRules<'_>,
    ) -> Result<Option<u64>> {
        match self
            .managed
            .insert_few(id, shape, vec![rows], rules)
            .await?
        {
            Inserted::Rows(n_rows) => Ok(Some(n_rows)),
            Inserted::Taken | Inserted::Streams(_) => Ok(None),
        }
    }

    /// The definition of a managed table as it is now.
    pub async fn shape(&self, id: &str) -> Result<TableShape> {
        self.managed.shape(id).await
    }

    /// Begins a statement that changes rows of a managed table; waits for those of this server before it.
    ///
    /// Errors: `NotPlainTable`, `TableGone`.
    pub async fn rewrite(&self, id: &str) -> Result<Rewrite> {
        Rewrite::begin(self.managed.newest(id).await?.0, true).await
    }

    /// The same without waiting, for a statement that is only planned: rows of a block that lie in no file yet stay there.
    pub async fn inspect(&self, id: &str) -> Result<Rewrite> {
        Rewrite::begin(self.managed.unsettled(id).await?, false).await
    }

    /// Puts small files of a managed table together, or orders its rows anew.
    pub async fn optimize(
        &self,
        id: &str,
        options: &OptimizeOptions,
        session: &dyn Session,
    ) -> Result<Optimized> {
        let (log, _) = self.managed.newest(id).await?;
        maintenance::optimize(&log, options, session).await
    }

    /// Removes files of a managed table that no version of the last hours needs; returns their names.
    pub async fn vacuum(
        &self,
        id: &str,
        retain_hours: Option<u64>,
        dry_run: bool,
    ) -> Result<Vec<String>> {
        let (log, _) = self.managed.newest(id).await?;
        vacuum::vacuum(&log, retain_hours, dry_run).await
    }

    /// The data files of a managed table that no version has ever named, all older than a bound; by their paths in its
    /// folder.
    pub(crate) async fn orphans(&self, id: &str, least_age: Duration) -> Result<vacuum::Orphans> {
        // A log that is read for this alone is not kept open.
        vacuum::orphans(&self.managed.unread(id)?, least_age).await
    }

    /// The table of an entry as it is now. Errors: `NotATable` for another kind, `TableGone`, those of files.
    pub async fn provider(
        &self,
        entry: &CatalogEntry,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        match &entry.definition {
            Definition::Table(_) => {
                let version = self.managed.open(&entry.id, VersionSpec::Newest).await?;
                match version.scan()? {
                    Some(scan) => Ok(Arc::new(scan.of_newest(NewestOf {
                        id: entry.id.clone(),
                        version: version.number(),
                        stage: version.stage(),
                    }))),
                    None => version.provider().await,
                }
            }
            Definition::ExternalTable(external) => self.external.open(external, session).await,
            _ => Err(not_a_table(entry)),
        }
    }

    /// The table of an entry together with what a model pins of it; for a managed table, of exactly that version.
    pub async fn pinned_provider(
        &self,
        entry: &CatalogEntry,
        session: &dyn Session,
    ) -> Result<(Arc<dyn TableProvider>, TableSnapshot)> {
        match &entry.definition {
            Definition::Table(_) => {
                let version = self.managed.open(&entry.id, VersionSpec::Newest).await?;
                Ok((version.provider().await?, version.pinned()))
            }
            Definition::ExternalTable(external) => {
                self.external.open_pinned(external, session).await
            }
            _ => Err(not_a_table(entry)),
        }
    }

    /// A managed table whose scans have a partition for each value of its partition columns, whoever wrote the files.
    ///
    /// Errors: `TableGone`, `NotPlainTable`.
    pub async fn provider_by_partition(&self, id: &str) -> Result<Arc<dyn TableProvider>> {
        let version = self.managed.open(id, VersionSpec::Newest).await?;
        let scan = version.scan()?.ok_or(Error::NotPlainTable)?;
        Ok(Arc::new(scan.by_partition()))
    }

    /// An external table as it was at a snapshot: the version, or exactly the files if all are what they were.
    ///
    /// Errors: `SnapshotLost`, and those of the format for a version that is gone.
    pub async fn external_at(
        &self,
        definition: &ExternalTableDefinition,
        snapshot: &TableSnapshot,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        self.external.open_at(definition, snapshot, session).await
    }

    /// The rows of an external table's definition, with the columns of its partitions last.
    ///
    /// Errors: `LocationRefused`, `LocationNotFound`, `EmptyFolder`, `NoMatch`, `MixedFiles`, `MixedPartitions`,
    /// `Column`, `NoColumns`, `UnknownOption`, `InvalidOption`, `BadFile` for a file that is not of the format.
    pub async fn external_provider(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        self.external.open(definition, session).await
    }

    /// The same together with what a model pins of it: exactly the files that are read.
    pub async fn pinned_external(
        &self,
        definition: &ExternalTableDefinition,
        session: &dyn Session,
    ) -> Result<(Arc<dyn TableProvider>, TableSnapshot)> {
        self.external.open_pinned(definition, session).await
    }

    /// The rows of a version of a table that another catalog names, and what a model pins of it; `None`: it has no such
    /// table.
    ///
    /// Errors: `NotATable` if the entry is no catalog, `TableFormat`, `LocationRefused`, `CredentialFailure`.
    pub async fn foreign(
        &self,
        entry: &CatalogEntry,
        namespace: &str,
        name: &str,
        version: VersionSpec,
    ) -> Result<Option<(Arc<dyn TableProvider>, TableSnapshot)>> {
        match &entry.definition {
            Definition::Catalog(catalog) => {
                let found = self
                    .external
                    .foreign(entry, catalog, (namespace, name), version);
                found.await
            }
            _ => Err(not_a_table(entry)),
        }
    }

    /// The snapshots of a table that another catalog names, the newest first; `None`: it has no such table. Errors: as
    /// those of its rows.
    pub async fn foreign_history(
        &self,
        entry: &CatalogEntry,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Vec<TableCommit>>> {
        let table = self.foreign_table(entry, (namespace, name)).await?;
        Ok(table.map(|table| table.history()))
    }

    /// The state of such a table in numbers.
    pub async fn foreign_detail(
        &self,
        entry: &CatalogEntry,
        namespace: &str,
        name: &str,
    ) -> Result<Option<TableDetail>> {
        match self.foreign_table(entry, (namespace, name)).await? {
            Some(table) => Ok(Some(table.detail().await?)),
            None => Ok(None),
        }
    }

    async fn foreign_table(
        &self,
        entry: &CatalogEntry,
        named: (&str, &str),
    ) -> Result<Option<self::iceberg::IcebergTable>> {
        match &entry.definition {
            Definition::Catalog(catalog) => {
                self.external.foreign_table(entry, catalog, named).await
            }
            _ => Err(not_a_table(entry)),
        }
    }

    /// The definition of the unnamed table that a path in a FROM clause means; the names of its files say the format.
    pub async fn file_definition(&self, path: &str) -> Result<ExternalTableDefinition> {
        self.external.define(path).await
    }

    /// The rows of a path in a FROM clause: a file, or a folder of files of one format.
    pub async fn file_provider(
        &self,
        path: &str,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        let definition = self.external.define(path).await?;
        self.external.open(&definition, session).await
    }

    /// What a model pins of a path in a FROM clause.
    pub async fn file_snapshot(&self, path: &str) -> Result<TableSnapshot> {
        let definition = self.external.define(path).await?;
        self.external.snapshot(&definition).await
    }

    /// Whether a provider that was made for the newest version of a managed table is not of the newest any more.
    pub async fn is_outdated(&self, provider: &dyn TableProvider) -> Result<bool> {
        let provider: &dyn std::any::Any = provider;
        let scan = provider.downcast_ref::<DeltaScan>();
        match scan.and_then(DeltaScan::newest_of) {
            Some(known) => {
                if known.stage == 0 && self.managed.ends_at(&known.id, known.version).await? {
                    return Ok(false);
                }
                let newest = self.managed.newest(&known.id).await?.1;
                Ok((newest.number(), newest.stage()) != (known.version, known.stage))
            }
            None => Ok(false),
        }
    }

    /// Whether a line break of a CSV file stands inside quotes, so that the file cannot be divided at line breaks.
    ///
    /// Errors: `BadFile` if a quote never closes, `InvalidOption`.
    pub async fn has_quoted_breaks(
        &self,
        url: &Url,
        options: &BTreeMap<String, String>,
    ) -> Result<bool> {
        self.external.has_quoted_breaks(url, options).await
    }

    /// Shows that a session has a temporary table, whose files the catalog does not name.
    ///
    /// To be called again every [`LIFE_SIGN_INTERVAL`].
    pub async fn give_life_sign(&self, id: &str) -> Result<()> {
        life_sign::give(self.warehouse.store().as_ref(), id).await
    }

    /// Removes the files of a managed table, once the catalog names it no more.
    pub async fn remove_managed(&self, id: &str) -> Result<()> {
        self.managed.remove(id).await
    }
}
