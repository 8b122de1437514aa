//! Tables: the rows behind the entries of the catalog.
//!
//! Entries, paths and streams of batches flow in; DataFusion providers, schemas and pinned snapshots flow out. Managed
//! tables are Delta Lake tables, external ones files in place. Names are the catalog's business, not this module's.

mod external;
mod format;
mod managed;
mod page_locations;
mod row_ranges;
mod snapshot;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::SendableRecordBatchStream;
use url::Url;

pub use row_ranges::divide_by_rows;
pub use snapshot::{SnapshotFile, TableSnapshot};
pub use types::stored_schema;

use crate::catalog::{CatalogEntry, Definition, ExternalFormat, ExternalTableDefinition};
use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::tables::external::External;
use crate::tables::managed::Managed;
use crate::warehouse::Warehouse;

/// Opens and writes what the catalog names.
#[derive(Debug)]
pub struct Tables {
    managed: Managed,
    external: External,
}

impl Tables {
    /// The tables of a warehouse; external ones only within `locations`.
    pub fn new(warehouse: Arc<Warehouse>, locations: Arc<Locations>) -> Self {
        Self {
            managed: Managed::new(Arc::clone(&warehouse)),
            external: External::new(warehouse, locations),
        }
    }

    /// Creates an empty managed table with the types of `stored_schema`. It has no name until the catalog gives one.
    ///
    /// Errors: `UnsupportedType`, `DuplicateColumn`, `NoTableColumns`, `DiskFull`.
    pub async fn create_managed(&self, id: &str, schema: SchemaRef) -> Result<()> {
        self.managed.create(id, &schema).await
    }

    /// Creates a managed table and appends rows to it; returns their number. A failure removes what was written.
    ///
    /// As in PostgreSQL, a table made of a query has no NOT NULL columns.
    pub async fn create_managed_from(
        &self,
        id: &str,
        schema: SchemaRef,
        rows: SendableRecordBatchStream,
    ) -> Result<u64> {
        let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let schema = Schema::new(schema.fields().iter().map(nullable).collect::<Vec<_>>());
        let written = match self.managed.create(id, &Arc::new(schema)).await {
            Ok(()) => self.managed.append(id, rows).await,
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
    /// The rows stream to disk, a row group at a time in memory. Concurrent appends all land. After an error none of
    /// the rows shows. Errors: those of the stream, `ColumnCount`, `NullViolation`, `ValueOutOfRange`, `TableGone`,
    /// `Conflict`, `DiskFull`.
    pub async fn append(&self, id: &str, rows: SendableRecordBatchStream) -> Result<u64> {
        self.managed.append(id, rows).await
    }

    /// The table of an entry as it is now. Errors: `NotATable` for another kind, `TableGone`, those of files.
    pub async fn provider(
        &self,
        entry: &CatalogEntry,
        session: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>> {
        match &entry.definition {
            Definition::Table(_) => Ok(self.managed.open(&entry.id).await?.0),
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
            Definition::Table(_) => self.managed.open(&entry.id).await,
            Definition::ExternalTable(external) => {
                let snapshot = self.external.snapshot(external).await?;
                Ok((self.external.open(external, session).await?, snapshot))
            }
            _ => Err(not_a_table(entry)),
        }
    }

    /// What a model pins of the table of an entry: the version and the files of now.
    pub async fn snapshot(&self, entry: &CatalogEntry) -> Result<TableSnapshot> {
        match &entry.definition {
            Definition::Table(_) => self.managed.snapshot(&entry.id).await,
            Definition::ExternalTable(external) => self.external.snapshot(external).await,
            _ => Err(not_a_table(entry)),
        }
    }

    /// The columns of a file or folder, those of its partitions last.
    ///
    /// Errors: `LocationRefused`, `LocationNotFound`, `EmptyFolder`, `MixedFiles`, `MixedPartitions`, `NoColumns`,
    /// `UnknownOption`, `InvalidOption`, `DataFusion` for a file that is not of the format.
    pub async fn infer_external(
        &self,
        location: &Url,
        format: ExternalFormat,
        options: &BTreeMap<String, String>,
        session: &dyn Session,
    ) -> Result<SchemaRef> {
        let definition = ExternalTableDefinition {
            location: location.to_string(),
            format,
            options: options.clone(),
            schema: None,
            partition_columns: vec![],
        };
        Ok(self.external.open(&definition, session).await?.schema())
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

    /// Removes the files of a managed table, once the catalog names it no more.
    pub async fn remove_managed(&self, id: &str) -> Result<()> {
        self.managed.remove(id).await
    }
}

fn not_a_table(entry: &CatalogEntry) -> Error {
    Error::NotATable {
        name: entry.name.clone(),
        kind: entry.kind(),
    }
}
