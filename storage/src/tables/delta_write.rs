//! Rows become data files of a Delta table, which no commit names yet.
//!
//! Streams flow in, each written by a task of its own; what a commit needs to name the files flows out, in the order of
//! the streams. A failure removes what was written, also files that were full before it.

use std::num::NonZeroU64;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::partition;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::schema::types::ColumnPath;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use deltalake::logstore::ObjectStoreRef;
use deltalake::operations::write::configs::WriterStatsConfig;
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::StreamExt as _;
use object_store::prefix::PrefixStore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::tables::delta_files::without_metadata;
use crate::tables::delta_log::DeltaVersion;
use crate::tables::dictionaries::{SAMPLE_ROWS, overflowing};
use crate::tables::far_dates;
use crate::tables::log_bounds::without_unsure;
use crate::tables::partition_values;
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;
use crate::tables::text_limits::{self, TextLimit};
use crate::tables::time_columns::{stored_columns, stored_rows};
use crate::tables::types::conform;
use crate::tables::written_names::WrittenNames;

/// A row group is what a writer holds in memory; all writers share this.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Bounds the row groups of narrow tables, so that a scan can be divided.
const ROW_GROUP_ROWS: usize = 256 << 10;
/// A page is read whole for the sake of one row of it: a look-up by key reads one of each column.
const PAGE_ROWS: usize = 4 << 10;
/// Columns with larger dictionaries are stored plain; each writer holds one for each column.
const DICTIONARY_BYTES: usize = 512 << 10;
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(256 << 20).unwrap();
/// First rows are written at once where they take more.
const SAMPLE_BYTES: usize = 4 << 20;
/// Rows between two looks at the size of a file.
const SLICE_ROWS: usize = 16 << 10;

/// What is written of rows, and how they are checked before.
#[derive(Clone)]
pub(crate) struct DeltaSink {
    store: ObjectStoreRef,
    written: WrittenNames,
    config: WriterConfig,
    /// The columns as rows have them, and as files do.
    schema: SchemaRef,
    files: SchemaRef,
    partition_columns: Vec<String>,
    stats: WriterStatsConfig,
    pub(crate) checks: Arc<RowChecks>,
    text_limits: Vec<(usize, TextLimit)>,
    /// The places of the partition columns.
    partitions: Vec<usize>,
    /// How many share the memory of writers; `None`: columns are stored as Parquet's writers have it.
    n_writers: Option<usize>,
    /// The partition column by which rows come, one partition after the other: the files of one are open at a time.
    ordered_by: Option<usize>,
}

impl DeltaSink {
    /// For rows of the table as `shape` has it, on top of a version.
    pub(crate) fn new(
        version: &DeltaVersion,
        shape: &TableShape,
        checks: Arc<RowChecks>,
        n_writers: usize,
    ) -> Result<Self> {
        let snapshot = version.snapshot()?;
        let schema = shape.row_schema();
        let files = without_metadata(&stored_columns(&schema));
        let files = partition_values::named_columns(&files, &shape.partition_columns);
        let places = shape.partition_columns.iter();
        let places = places.filter_map(|column| shape.position(column));
        let stats = WriterStatsConfig::from_config(snapshot.table_configuration());
        let (store, written) = WrittenNames::of(version.table.object_store());
        let config = WriterConfig::new(
            Arc::clone(&files),
            shape.partition_columns.clone(),
            Some(properties(&schema, n_writers, &[])),
            Some(FILE_BYTES),
            Some(SLICE_ROWS),
            stats.num_indexed_cols,
            stats.stats_columns.clone(),
        );
        Ok(Self {
            store,
            written,
            config,
            schema,
            files,
            partition_columns: shape.partition_columns.clone(),
            stats,
            checks,
            text_limits: shape.text_limits(),
            partitions: places.collect(),
            n_writers: Some(n_writers),
            ordered_by: None,
        })
    }

    /// The same for rows in the order of a column, which counts if it alone divides the table.
    pub(crate) fn ordered_by(mut self, column: Option<usize>) -> Self {
        self.ordered_by = column.filter(|column| self.partitions == [*column]);
        self
    }

    /// Writes all rows; returns the files in the order of the streams, and the number of rows.
    pub(crate) async fn write(
        &self,
        streams: Vec<SendableRecordBatchStream>,
    ) -> Result<(Vec<Add>, u64)> {
        let written = self.write_all(streams).await;
        if written.is_err() {
            self.written.remove().await;
        }
        written
    }

    async fn write_all(
        &self,
        mut streams: Vec<SendableRecordBatchStream>,
    ) -> Result<(Vec<Add>, u64)> {
        let mut written = Vec::with_capacity(streams.len());
        if streams.len() == 1
            && let Some(stream) = streams.pop()
        {
            let never = CancellationToken::new();
            written.push(self.clone().write_one(stream, never).await?);
        } else {
            // Dropped with this statement, the set ends its tasks.
            let mut tasks = JoinSet::new();
            let stop = CancellationToken::new();
            for (idx, stream) in streams.into_iter().enumerate() {
                let (sink, stop) = (self.clone(), stop.clone());
                tasks.spawn(async move {
                    let written = sink.write_one(stream, stop).await;
                    Ok::<_, Error>((idx, written?))
                });
            }
            let mut done = Vec::new();
            let mut failure = None;
            // To the last one, so that nothing is written any more when the files go.
            while let Some(task) = tasks.join_next().await {
                let early = |error| Error::Internal {
                    what: format!("a task that writes a table ended early: {error}"),
                };
                match task.map_err(early).flatten() {
                    Ok(files) => done.push(files),
                    Err(error) => {
                        failure.get_or_insert(error);
                        stop.cancel();
                    }
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
            done.sort_by_key(|(idx, _)| *idx);
            written.extend(done.into_iter().map(|(_, files)| files));
        }
        let n_rows = written.iter().map(|(_, n_rows)| n_rows).sum();
        Ok((
            written.into_iter().flat_map(|(adds, _)| adds).collect(),
            n_rows,
        ))
    }

    /// Starts one file, or one in each partition that occurs.
    pub(crate) fn start(&self) -> OpenFiles {
        OpenFiles {
            writer: DeltaWriter::new(Arc::clone(&self.store), self.config.clone()),
            sink: self.clone(),
            n_rows: 0,
            first: vec![],
            first_bytes: 0,
            is_begun: false,
        }
    }

    /// The same for files below a folder of the table, whose rows have one more column behind the others.
    pub(crate) fn below(&self, folder: &str, column: Field) -> Self {
        let mut fields = self.schema.fields().to_vec();
        fields.push(Arc::new(column));
        let schema = Arc::new(Schema::new(fields));
        let files = without_metadata(&stored_columns(&schema));
        let files = partition_values::named_columns(&files, &self.partition_columns);
        Self {
            store: Arc::new(PrefixStore::new(Arc::clone(&self.store), folder)),
            written: self.written.clone(),
            config: WriterConfig::new(
                Arc::clone(&files),
                self.partition_columns.clone(),
                None,
                Some(FILE_BYTES),
                Some(SLICE_ROWS),
                self.stats.num_indexed_cols,
                self.stats.stats_columns.clone(),
            ),
            schema,
            files,
            checks: Arc::default(),
            text_limits: vec![],
            partitions: vec![],
            n_writers: None,
            ordered_by: None,
            partition_columns: self.partition_columns.clone(),
            stats: self.stats.clone(),
        }
    }

    /// The same for rows that stay as they are, written by several writers.
    pub(crate) fn copying(&self, n_writers: usize) -> Self {
        Self {
            config: WriterConfig::new(
                Arc::clone(&self.files),
                self.partition_columns.clone(),
                Some(properties(&self.schema, n_writers, &[])),
                Some(FILE_BYTES),
                Some(SLICE_ROWS),
                self.stats.num_indexed_cols,
                self.stats.stats_columns.clone(),
            ),
            checks: Arc::default(),
            n_writers: Some(n_writers),
            ..self.clone()
        }
    }

    /// Rows as the table stores them, once they have passed its checks: columns count by their place.
    ///
    /// Errors: those of `conform` and of the checks, and that a date is too far away.
    pub(crate) fn checked(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let checks = &self.checks;
        let conforming = conform(rows, &self.schema);
        let rows =
            conforming.map_err(|error| error.of_relation(&checks.schema, &checks.relation))?;
        far_dates::check(&rows)?;
        text_limits::check(&rows, &self.text_limits, checks)?;
        partition_values::check(&rows, &self.partitions)?;
        checks.check(&rows)?;
        Ok(rows)
    }

    /// Writes the rows of one stream, unless those of another one failed meanwhile.
    async fn write_one(
        self,
        mut rows: SendableRecordBatchStream,
        stop: CancellationToken,
    ) -> Result<(Vec<Add>, u64)> {
        let mut files = StreamFiles {
            open: self.start(),
            partition: None,
            closed: (Vec::new(), 0),
        };
        loop {
            // Encoding a batch is work without a pause: a cancelled statement ends here.
            tokio::task::yield_now().await;
            let next = tokio::select! {
                next = rows.next() => next,
                () = stop.cancelled() => Some(Err(given_up())),
            };
            let written = match next {
                None => break,
                Some(Err(error)) => Err(error.into()),
                Some(Ok(batch)) => files.write(&batch).await,
            };
            if let Err(error) = written {
                files.open.discard().await;
                return Err(error);
            }
        }
        files.close_open().await?;
        Ok(files.closed)
    }
}

fn given_up() -> DataFusionError {
    DataFusionError::Execution("the rows of another stream failed".to_owned())
}

/// How columns are stored. Floating-point numbers seldom repeat, so that a dictionary of them is as large
/// as they are, and costs its writer and every reader the memory of a hash table and of a page; so do columns of which
/// this is known (`plain`).
fn properties(schema: &Schema, n_writers: usize, plain: &[String]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES / n_writers.max(1)));
    for field in schema
        .fields()
        .iter()
        .filter(|field| field.data_type().is_floating() || plain.contains(field.name()))
    {
        let column = ColumnPath::new(vec![field.name().clone()]);
        properties = properties.set_column_dictionary_enabled(column, false);
    }
    properties.build()
}

/// The files of one stream.
struct StreamFiles {
    open: OpenFiles,
    /// The value of the partition whose files are open, where rows come one partition after the other.
    partition: Option<ArrayRef>,
    closed: (Vec<Add>, u64),
}

impl StreamFiles {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = self.open.sink.ordered_by;
        let Some(values) = column.and_then(|column| batch.columns().get(column)) else {
            return self.open.write(batch).await;
        };
        for run in partition(std::slice::from_ref(values))?.ranges() {
            let value = values.slice(run.start, 1);
            if self
                .partition
                .as_ref()
                .is_some_and(|open| open.as_ref() != value.as_ref())
            {
                self.close_open().await?;
            }
            self.partition = Some(value);
            let rows = batch.slice(run.start, run.len());
            self.open.write(&rows).await?;
        }
        Ok(())
    }

    async fn close_open(&mut self) -> Result<()> {
        let next = self.open.sink.start();
        let full = std::mem::replace(&mut self.open, next);
        let (adds, n_rows) = Box::pin(full.close()).await?;
        self.closed.0.extend(adds);
        self.closed.1 += n_rows;
        Ok(())
    }
}

/// Files that are being written.
pub(crate) struct OpenFiles {
    sink: DeltaSink,
    writer: DeltaWriter,
    n_rows: u64,
    /// The first rows, by which it is seen how columns are stored, until they are written.
    first: Vec<RecordBatch>,
    first_bytes: usize,
    is_begun: bool,
}

impl OpenFiles {
    /// Adds new rows. Errors: those of `checked`.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.sink.checked(batch)?;
        self.put(&batch).await
    }

    /// Rows as `write_kept` takes them. Errors: those of the sink's `checked`.
    pub(crate) fn checked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.sink.checked(batch)
    }

    /// Adds rows that were in the table before, or are checked.
    pub(crate) async fn write_kept(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let checks = &self.sink.checks;
        let conforming = conform(batch, &self.sink.schema);
        let batch =
            conforming.map_err(|error| error.of_relation(&checks.schema, &checks.relation))?;
        // Other writers may have put such dates into the table's files.
        far_dates::check(&batch)?;
        self.put(&batch).await
    }

    async fn put(&mut self, batch: &RecordBatch) -> Result<()> {
        self.n_rows += batch.num_rows() as u64;
        let stored = stored_rows(batch, &self.sink.files)?;
        if self.is_begun {
            return Ok(self.writer.write(&stored).await?);
        }
        self.first_bytes += stored.get_array_memory_size();
        self.first.push(stored);
        match self.n_rows >= SAMPLE_ROWS as u64 || self.first_bytes > SAMPLE_BYTES {
            true => self.begin().await,
            false => Ok(()),
        }
    }

    /// Writes the first rows.
    async fn begin(&mut self) -> Result<()> {
        self.is_begun = true;
        let first = std::mem::take(&mut self.first);
        if let Some(n_writers) = self.sink.n_writers {
            let plain = overflowing(&first, DICTIONARY_BYTES)?;
            let sink = &self.sink;
            let properties = properties(&sink.schema, n_writers, &plain);
            let writer = DeltaWriter::new(Arc::clone(&sink.store), sink.config.clone());
            self.writer = writer.with_writer_properties(properties);
        }
        for batch in &first {
            self.writer.write(batch).await?;
        }
        Ok(())
    }

    /// Gives up what was written, with all that other files of the same sink hold.
    pub(crate) async fn discard(self) {
        if let Err(error) = self.writer.abort().await {
            tracing::warn!(%error, "could not discard the rows of a failed statement");
        }
        self.sink.written.remove().await;
    }

    /// What a commit needs to name the files, and the number of their rows. A failure removes what other files of the same
    /// sink hold, too.
    pub(crate) async fn close(mut self) -> Result<(Vec<Add>, u64)> {
        if !self.is_begun
            && let Err(error) = self.begin().await
        {
            self.discard().await;
            return Err(error);
        }
        let mut files = match self.writer.close().await {
            Ok(files) => files,
            Err(error) => {
                self.sink.written.remove().await;
                return Err(error.into());
            }
        };
        for file in &mut files {
            let statistics = file.stats.take();
            file.stats = statistics.and_then(|text| without_unsure(&text, &self.sink.schema));
        }
        Ok((files, self.n_rows))
    }
}

/// What a log calls a commit that only adds rows.
pub(crate) fn append_operation() -> DeltaOperation {
    DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    }
}

/// Gives files times in their order, later than those of a version, so that scans give rows in the order of their
/// statements.
pub(crate) fn in_order(mut adds: Vec<Add>, version: &DeltaVersion) -> Vec<Add> {
    let first = version.next_modified_ms();
    for (idx, add) in adds.iter_mut().enumerate() {
        add.modification_time = first + idx as i64;
    }
    adds
}
