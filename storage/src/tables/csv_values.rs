//! Values of CSV files that the library's reader would cut or refuse, or that a text for NULL stands among.
//!
//! A source of CSV files flows in; one flows out that reads such columns as texts and makes values of them, or
//! nothing, if the library's own loses nothing. A text that is no value is an error with its column and line.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::CsvOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    CsvSource, FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use futures::{FutureExt as _, StreamExt as _};
use object_store::ObjectStore;

use crate::tables::csv_nulls::{Columns, was_quoted, with_empty_texts};
use crate::tables::strict_values::{Fault, field_in_csv, is_text_in_csv, values, without_nulls};

/// How a scan reads texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct CsvTexts {
    /// What means NULL beside the empty field.
    pub(crate) null_text: Option<Arc<str>>,
    /// Rows of a batch; none before the scan is run.
    pub(crate) batch_size: Option<usize>,
}

impl CsvTexts {
    /// The columns of a file in which quoted empty fields are looked for by lines; `None` if each field of a file may be one
    /// that means NULL unless it is quoted, or if none is.
    ///
    /// A line break in quotes would take a line for a record. Only texts can be empty: elsewhere what is empty is NULL, also
    /// in quotes.
    pub(crate) fn by_lines(&self, csv: &CsvSource) -> Columns {
        let is_empty = self.null_text.as_ref().is_some_and(|text| text.is_empty());
        if !is_empty || csv.newlines_in_values() || csv.terminator().is_some() {
            return None;
        }
        let fields = csv.table_schema().file_schema().fields().iter();
        Some(fields.map(|field| field.data_type().is_string()).collect())
    }

    /// The source of a scan in which texts become values; `None` if the library's own does it right.
    pub(crate) fn source(
        &self,
        csv: &CsvSource,
        store: &Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let (Some(projection), Some(batch_size)) = (csv.projection(), self.batch_size) else {
            return Ok(None);
        };
        let schema = csv.table_schema().file_schema();
        let split = SplitProjection::new(schema, projection);
        let wanted = Arc::new(schema.project(&split.file_indices)?);
        let is_by_lines = self.by_lines(csv).is_some();
        let is_text = |field: &FieldRef| match is_by_lines {
            true => is_text_in_csv(field.data_type()) || field.data_type().is_string(),
            false => is_text_in_csv(field.data_type()) || self.null_text.is_some(),
        };
        if !wanted.fields().iter().any(is_text) {
            return Ok(None);
        }
        let as_read = |field: &FieldRef| field_in_csv(field, is_text(field));
        let as_read = Schema::new(schema.fields().iter().map(as_read).collect::<Vec<_>>());
        let columns = ProjectionExprs::from_indices(&split.file_indices, &as_read);
        let texts = CsvSource::new(Arc::new(as_read)).with_csv_options(options_of(csv));
        let Some(texts) = texts.try_pushdown_projection(&columns)? else {
            return Ok(None);
        };
        let texts = texts.with_batch_size(batch_size);
        let rows = TextRows {
            wanted,
            places: split.file_indices.clone(),
            null_text: self.null_text.clone(),
            is_by_lines,
        };
        let opener = TextOpener {
            inner: texts.create_file_opener(Arc::clone(store), config, partition)?,
            rows: Arc::new(rows),
            has_header: csv.has_header(),
        };
        let opener = ProjectionOpener::try_new(split, Arc::new(opener), schema)?;
        let csv = csv.clone();
        Ok(Some(Arc::new(TextSource { csv, opener })))
    }
}

fn options_of(csv: &CsvSource) -> CsvOptions {
    CsvOptions {
        has_header: Some(csv.has_header()),
        delimiter: csv.delimiter(),
        quote: csv.quote(),
        escape: csv.escape(),
        comment: csv.comment(),
        terminator: csv.terminator(),
        truncated_rows: Some(csv.truncate_rows()),
        newlines_in_values: Some(csv.newlines_in_values()),
        ..CsvOptions::default()
    }
}

/// A source whose files are opened otherwise; it is made when a scan begins, so nothing more is pushed into it.
struct TextSource {
    csv: CsvSource,
    opener: Arc<dyn FileOpener>,
}

impl FileSource for TextSource {
    fn create_file_opener(
        &self,
        _store: Arc<dyn ObjectStore>,
        _config: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        Ok(Arc::clone(&self.opener))
    }

    fn table_schema(&self) -> &TableSchema {
        self.csv.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.csv.with_batch_size(batch_size)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.csv.metrics()
    }

    fn file_type(&self) -> &str {
        self.csv.file_type()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.csv.apply_expressions(f)
    }
}

struct TextOpener {
    inner: Arc<dyn FileOpener>,
    rows: Arc<TextRows>,
    has_header: bool,
}

impl FileOpener for TextOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let starts_file = file.range.as_ref().is_none_or(|range| range.start == 0);
        let mut n_before = usize::from(self.has_header && starts_file);
        let rows = Arc::clone(&self.rows);
        let opened = self.inner.open(file)?;
        let values = async move {
            let batches = opened.await?;
            let batches = batches.map(move |batch| {
                let batch = batch?;
                let values = rows.values(&batch, n_before)?;
                n_before += batch.num_rows();
                Ok(values)
            });
            Ok(batches.boxed())
        };
        Ok(values.boxed())
    }
}

/// What texts become.
struct TextRows {
    wanted: SchemaRef,
    /// The places of the wanted columns in the file.
    places: Vec<usize>,
    null_text: Option<Arc<str>>,
    /// Whether the reader knows what is NULL, and only empty texts are marked.
    is_by_lines: bool,
}

impl TextRows {
    /// The rows behind so many of the file, with values in the place of texts.
    fn values(&self, read: &RecordBatch, n_before: usize) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(read.num_columns());
        let wanted = self.wanted.fields().iter().zip(&self.places);
        for (column, (field, place)) in read.columns().iter().zip(wanted) {
            let found = values(&self.without_nulls(column, field), field.data_type());
            columns.push(found.map_err(|fault| match fault {
                Fault::Other(error) => error,
                // The same words as the library's for the columns that it reads.
                Fault::Value {
                    row,
                    text,
                    data_type,
                } => ArrowError::ParseError(format!(
                    "Error while parsing value '{text}' as type '{data_type}' for column {place} \
                     at line {}",
                    n_before + row
                )),
            })?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.wanted), columns)?)
    }

    fn without_nulls(&self, column: &ArrayRef, field: &FieldRef) -> ArrayRef {
        match (&self.null_text, column.as_string_view_opt()) {
            (_, Some(texts)) if self.is_by_lines => match field.data_type().is_string() {
                true => Arc::new(with_empty_texts(texts)),
                false => Arc::clone(column),
            },
            // What is empty, also in quotes, is a value of texts alone.
            (Some(null_text), Some(texts))
                if null_text.is_empty() && !field.data_type().is_string() =>
            {
                let is_value = |text: &&str| !was_quoted(text, "");
                let values = texts.iter().map(|text| text.filter(is_value));
                Arc::new(values.collect::<StringViewArray>())
            }
            (Some(null_text), Some(texts)) => Arc::new(without_nulls(texts, null_text)),
            _ => Arc::clone(column),
        }
    }
}
