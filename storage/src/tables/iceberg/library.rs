//! Files that the Iceberg library reads, because rows in them were deleted or their columns have other names than now.
//!
//! Planned tasks flow in; batches flow out, with the columns of the table now and without the rows that were deleted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use iceberg::arrow::ArrowReader;
use iceberg::scan::FileScanTask;
use iceberg::table::Table;

use crate::tables::iceberg::equality_deletes::EqualityFilter;
use crate::tables::iceberg::nested_columns::FileColumns;
use crate::tables::iceberg::{arrow_bridge, failed_at};

/// One file of a scan.
#[derive(Clone)]
pub(super) struct LibraryTask {
    /// What the library does.
    pub(super) task: FileScanTask,
    /// The columns that are read: those of the scan, and after them those that only deletes need.
    pub(super) read: SchemaRef,
    /// The rows that are removed then.
    pub(super) deletes: EqualityFilter,
}

/// Tasks that are read one after the other.
pub(super) struct LibraryScan {
    pub(super) table: Table,
    pub(super) tasks: Vec<LibraryTask>,
    pub(super) schema: SchemaRef,
    /// The columns that files may hold with other fields within them.
    pub(super) changed: Arc<BTreeSet<i32>>,
}

impl fmt::Debug for LibraryScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LibraryScan({} files)", self.tasks.len())
    }
}

impl PartitionStream for LibraryScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = self
            .table
            .reader_builder()
            .with_batch_size(context.session_config().batch_size())
            .with_data_file_concurrency_limit(1)
            .build();
        let source = Source {
            table: self.table.clone(),
            reader,
            changed: Arc::clone(&self.changed),
            schema: Arc::clone(&self.schema),
            context,
        };
        let batches = futures::stream::iter(self.tasks.clone())
            .then(move |task| source.clone().read(task))
            .try_flatten();
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

/// What reads the tasks of a scan; the library's reader keeps the position deletes that it has read.
#[derive(Clone)]
struct Source {
    table: Table,
    reader: ArrowReader,
    changed: Arc<BTreeSet<i32>>,
    schema: SchemaRef,
    context: Arc<TaskContext>,
}

impl Source {
    async fn read(self, task: LibraryTask) -> DfResult<BoxStream<'static, DfResult<RecordBatch>>> {
        let LibraryTask {
            mut task,
            read,
            deletes,
        } = task;
        let location = self.table.metadata().location().to_owned();
        let failed = move |error| DataFusionError::from(failed_at(&location, error));
        let deletes = deletes.load(&self.table, &self.context).await?;
        let columns = FileColumns::of(&self.table, &mut task, &read, &self.changed).await?;
        let tasks = futures::stream::iter([Ok(task)]).boxed();
        let batches = self.reader.read(tasks).map_err(&failed)?.stream();
        let schema = self.schema;
        let batches = batches.map(move |batch| {
            let batch = batch.map_err(&failed)?;
            let batch = arrow_bridge::batch(batch, columns.given())?;
            let batch = deletes.remaining(columns.wanted(&batch)?)?;
            // The library has several types for bytes and for moments, of which the scan has one (see `settled_types`).
            let (read, n_rows) = (batch.columns(), batch.num_rows());
            Ok(arrow_bridge::as_columns_of(&schema, read, n_rows)?)
        });
        Ok(batches.boxed())
    }
}
