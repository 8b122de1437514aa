//! Files of text that `COPY … TO 'file'` writes: rows become bytes by a serializer of the format.
//!
//! In: a bound query, the place of a file and what makes lines of rows; out: the number of rows.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::file_format::write::BatchSerializer;
use datafusion::datasource::file_format::write::demux::DemuxedStreamReceiver;
use datafusion::datasource::file_format::write::orchestration::spawn_writer_tasks_and_join;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileOutputMode, FileSink, FileSinkConfig};
use datafusion::datasource::sink::DataSink;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::object_store::ObjectStore;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};

use crate::bind::BoundQuery;
use crate::error::Result;
use crate::session::Session;
use crate::statement_run::StatementControl;
use crate::streams::stream;

/// How rows become a file.
pub(super) struct TextForm {
    pub(super) serializer: Arc<dyn BatchSerializer>,
    pub(super) compression: CompressionTypeVariant,
    pub(super) compression_level: Option<u32>,
}

/// Writes the rows of a query into a file; returns their number.
pub(super) async fn write(
    session: &Arc<Session>,
    query: &BoundQuery,
    (place, form): (&str, TextForm),
    control: &StatementControl,
) -> Result<u64> {
    let url = ListingTableUrl::parse(place)?;
    let rows = stream(session, query, Vec::new(), control).await?;
    let file = TextFile {
        config: FileSinkConfig {
            original_url: place.to_owned(),
            object_store_url: url.object_store(),
            file_group: FileGroup::default(),
            table_paths: vec![url],
            output_schema: rows.schema(),
            table_partition_cols: Vec::new(),
            insert_op: InsertOp::Append,
            keep_partition_by_columns: false,
            file_extension: "txt".to_owned(),
            file_output_mode: FileOutputMode::SingleFile,
        },
        form,
    };
    let task = Arc::new(TaskContext::from(query.state.as_ref()));
    Ok(DataSink::write_all(&file, rows, &task).await?)
}

/// The file.
struct TextFile {
    config: FileSinkConfig,
    form: TextForm,
}

impl fmt::Debug for TextFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextFile({})", self.config.original_url)
    }
}

impl DisplayAs for TextFile {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextFile")
    }
}

#[async_trait]
impl FileSink for TextFile {
    fn config(&self) -> &FileSinkConfig {
        &self.config
    }

    async fn spawn_writer_tasks_and_join(
        &self,
        context: &Arc<TaskContext>,
        demux_task: SpawnedTask<DfResult<()>>,
        file_stream_rx: DemuxedStreamReceiver,
        object_store: Arc<dyn ObjectStore>,
    ) -> DfResult<u64> {
        spawn_writer_tasks_and_join(
            context,
            Arc::clone(&self.form.serializer),
            self.form.compression.into(),
            self.form.compression_level,
            object_store,
            demux_task,
            file_stream_rx,
        )
        .await
    }
}

#[async_trait]
impl DataSink for TextFile {
    fn schema(&self) -> &datafusion::arrow::datatypes::SchemaRef {
        self.config.output_schema()
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> DfResult<u64> {
        FileSink::write_all(self, rows, context).await
    }
}
