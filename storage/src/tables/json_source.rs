//! The source of scans of JSON files, lines or arrays.
//!
//! Files, or ranges of them, flow in; batches of the projected columns flow out. It is the library's source but for what
//! is read: all streams of compressed files, arrays whatever their lines, and only values that their columns hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::boundary_stream::AlignedBoundaryStream;
use datafusion_datasource::decoder::{DecoderDeserializer, deserialize_stream};
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};

use crate::tables::json_array::json_text;
use crate::tables::json_rows::JsonRows;
use crate::tables::plain_bytes::{body, plain};
use crate::tables::text_input::TextInput;

/// Rows of a batch where no session says it.
const BATCH_ROWS: usize = 8192;

/// What is known of JSON files before they are read.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JsonForm {
    /// Whether the first one is an array, so that none is read in ranges.
    pub(crate) is_array: bool,
    /// Whether a statement declares the columns, so that a text is meant where it says so.
    #[serde(default)]
    pub(crate) is_declared: bool,
    /// Whether the columns are those of some rows only, so that a row with another key must not lose it.
    pub(crate) is_sampled: bool,
    /// The keys of columns that have other names.
    #[serde(default)]
    pub(crate) keys: BTreeMap<String, String>,
}

/// Reads JSON files.
#[derive(Clone)]
pub(crate) struct JsonSource {
    table_schema: TableSchema,
    projection: SplitProjection,
    form: JsonForm,
    /// What has the last word on the texts of declared columns.
    input: Option<TextInput>,
    batch_size: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl JsonSource {
    pub(crate) fn new(table_schema: TableSchema, form: JsonForm, input: Option<TextInput>) -> Self {
        Self {
            input,
            projection: SplitProjection::unprojected(&table_schema),
            table_schema,
            form,
            batch_size: BATCH_ROWS,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// What reads the texts of declared columns.
    pub(crate) fn input(&self) -> Option<&TextInput> {
        self.input.as_ref()
    }

    /// What is known of the files.
    pub(crate) fn form(&self) -> JsonForm {
        self.form.clone()
    }

    /// How the lines of the files become the columns that are asked for.
    pub(crate) fn rows(&self) -> Result<JsonRows> {
        let columns = self.table_schema.file_schema();
        let wanted = Arc::new(columns.project(&self.projection.file_indices)?);
        // Who names columns asks for no others.
        let is_whole = wanted.fields().len() == columns.fields().len();
        let rows = JsonRows::new(wanted, self.form.is_sampled && is_whole);
        Ok(match self.form.is_declared {
            true => rows.of_declared(&self.form.keys, self.input.clone()),
            false => rows,
        })
    }
}

impl FileSource for JsonSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let opener = JsonOpener {
            store,
            rows: self.rows()?,
            batch_size: self.batch_size,
            compression: config.file_compression_type,
        };
        ProjectionOpener::try_new(
            self.projection.clone(),
            Arc::new(opener),
            self.table_schema.file_schema(),
        )
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table_schema
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let mut source = self.clone();
        source.batch_size = batch_size;
        Arc::new(source)
    }

    fn supports_repartitioning(&self) -> bool {
        !self.form.is_array
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let mut source = self.clone();
        let merged = self.projection.source.try_merge(projection)?;
        source.projection = SplitProjection::new(self.table_schema.file_schema(), &merged);
        Ok(Some(Arc::new(source)))
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "json"
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(self.projection.source.iter(), f)
    }
}

#[derive(Clone)]
struct JsonOpener {
    store: Arc<dyn ObjectStore>,
    rows: JsonRows,
    batch_size: usize,
    compression: FileCompressionType,
}

impl JsonOpener {
    /// The lines of a file or of a range of it.
    async fn lines(&self, file: &PartitionedFile) -> Result<BoxStream<'static, Result<Bytes>>> {
        let path = &file.object_meta.location;
        let Some(range) = &file.range else {
            let whole = body(self.store.get(path).await?.payload);
            return Ok(json_text(plain(whole, self.compression)).await?.lines);
        };
        let damaged = |_| DataFusionError::Internal("a range of a file is below zero".to_owned());
        let start = u64::try_from(range.start).map_err(damaged)?;
        let end = u64::try_from(range.end).map_err(damaged)?;
        let size = file.object_meta.size;
        let (store, path) = (Arc::clone(&self.store), path.clone());
        let part = AlignedBoundaryStream::new(store, path, start, end, size, b'\n').await?;
        match start {
            0 => Ok(json_text(part.boxed()).await?.lines),
            _ => Ok(part.map_err(DataFusionError::from).boxed()),
        }
    }
}

impl FileOpener for JsonOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let opener = self.clone();
        let opened = async move {
            let lines = opener.rows.prepared(opener.lines(&file).await?);
            let reader = opener.rows.reader(opener.batch_size)?;
            let batches = deserialize_stream(lines.fuse(), DecoderDeserializer::new(reader));
            Ok(batches.map_err(DataFusionError::from).boxed())
        };
        Ok(opened.boxed())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::RecordBatch;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion_datasource::FileRange;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    async fn n_rows(opener: &JsonOpener, file: PartitionedFile) -> usize {
        let batches = opener.open(file).unwrap().await.unwrap();
        let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
        batches.iter().map(RecordBatch::num_rows).sum()
    }

    #[tokio::test]
    async fn ranges_share_the_lines_of_a_file() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.ndjson");
        let lines: String = (0..20).map(|i| format!("{{\"a\": {i}}}\n")).collect();
        let text = format!("\u{feff}{lines}");
        store.put(&path, text.clone().into()).await.unwrap();
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let opener = JsonOpener {
            store,
            rows: JsonRows::new(Arc::new(schema), false),
            batch_size: 3,
            compression: FileCompressionType::UNCOMPRESSED,
        };
        let size = text.len() as i64;
        let file = || PartitionedFile::new("a.ndjson", text.len() as u64);
        assert_eq!(n_rows(&opener, file()).await, 20);
        for n_ranges in [1, 2, 3, 7] {
            let mut total = 0;
            for i in 0..n_ranges {
                let mut part = file();
                let (start, end) = (i * size / n_ranges, (i + 1) * size / n_ranges);
                part.range = Some(FileRange { start, end });
                total += n_rows(&opener, part).await;
            }
            assert_eq!(total, 20, "{n_ranges}");
        }
    }
}
