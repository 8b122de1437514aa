//! Values of CSV files that the library's reader would cut or refuse, or that a text for NULL stands among.
//!
//! A source of CSV files flows in; one flows out that reads such columns as texts and makes values of them, or
//! nothing, if the library's own loses nothing. A text that is no value is an error with its column and line. Where a
//! statement declares the columns and the library refuses a text, the file is read on with all columns as texts.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Float32Type, Float64Type, Schema, SchemaRef,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::CsvOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    CsvSource, FileOpenFuture, FileOpener, FileScanConfig, FileSource,
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use object_store::ObjectStore;

use crate::error::Error;
use crate::tables::csv_nulls::{Columns, was_quoted, with_empty_texts, within_quotes};
use crate::tables::strict_values::{Fault, Reader, field_in_csv, is_text_in_csv, without_nulls};
use crate::tables::text_input::TextInput;

/// How a scan reads texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct CsvTexts {
    /// What means NULL beside the empty field.
    pub(crate) null_text: Option<Arc<str>>,
    /// Rows of a batch; none before the scan is run.
    pub(crate) batch_size: Option<usize>,
    /// Whether a statement declares the columns.
    pub(crate) is_declared: bool,
    /// What has the last word on the texts of declared columns.
    pub(crate) input: Option<TextInput>,
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

    /// The source of a scan in which texts become values; `None` if the library's own does it right. `is_by_lines` tells
    /// whether quoted empty fields are looked for by lines.
    pub(crate) fn source(
        &self,
        csv: &CsvSource,
        is_by_lines: bool,
        (store, config, partition): (&Arc<dyn ObjectStore>, &FileScanConfig, usize),
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let (Some(projection), Some(batch_size)) = (csv.projection(), self.batch_size) else {
            return Ok(None);
        };
        let schema = csv.table_schema().file_schema();
        let split = SplitProjection::new(schema, projection);
        let wanted = Arc::new(schema.project(&split.file_indices)?);
        let is_asked = self.input.is_some();
        let is_text = |field: &FieldRef| {
            let is_marked = match is_by_lines {
                true => field.data_type().is_string(),
                false => self.null_text.is_some(),
            };
            is_marked || is_text_in_csv(field, is_asked)
        };
        // Where rows are only counted there is no text that becomes a value.
        let has_texts = match is_asked {
            true => !wanted.fields().is_empty(),
            false => wanted.fields().iter().any(is_text),
        };
        if !has_texts {
            return Ok(None);
        }
        let opener = |is_text: &dyn Fn(&FieldRef) -> bool| {
            let as_read = |field: &FieldRef| field_in_csv(field, is_text(field));
            let as_read = Schema::new(schema.fields().iter().map(as_read).collect::<Vec<_>>());
            let columns = ProjectionExprs::from_indices(&split.file_indices, &as_read);
            let texts = CsvSource::new(Arc::new(as_read)).with_csv_options(options_of(csv));
            let Some(texts) = texts.try_pushdown_projection(&columns)? else {
                return Ok(None);
            };
            let texts = texts.with_batch_size(batch_size);
            let opener = texts.create_file_opener(Arc::clone(store), config, partition)?;
            Ok::<_, DataFusionError>(Some(opener))
        };
        let Some(inner) = opener(&is_text)? else {
            return Ok(None);
        };
        let careful = match is_asked {
            true => opener(&|_| true)?,
            false => None,
        };
        let rows = TextRows {
            wanted,
            places: split.file_indices.clone(),
            quoted: self
                .null_text
                .as_deref()
                .map(|text| within_quotes(text, csv.escape())),
            texts: self.clone(),
            is_by_lines,
        };
        let opener = TextOpener {
            inner,
            careful,
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
    /// Reads all columns as texts.
    careful: Option<Arc<dyn FileOpener>>,
    rows: Arc<TextRows>,
    has_header: bool,
}

impl FileOpener for TextOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let starts_file = file.range.as_ref().is_none_or(|range| range.start == 0);
        let rows = Arc::clone(&self.rows);
        let n_before = usize::from(self.has_header && starts_file);
        let careful = self.careful.clone().map(|opener| (opener, file.clone()));
        let opened = self.inner.open(file)?;
        let values = async move {
            let reading = Reading {
                batches: opened.await?,
                careful,
                rows,
                n_before,
                n_rows: 0,
                n_known: 0,
            };
            let batches = futures::stream::try_unfold(reading, |mut reading| async move {
                let batch = reading.next().await?;
                Ok(batch.map(|batch| (batch, reading)))
            });
            Ok(batches.boxed())
        };
        Ok(values.boxed())
    }
}

/// A file that is read.
struct Reading {
    batches: BoxStream<'static, Result<RecordBatch>>,
    /// How it is read once the library refuses a text, unless it is read so.
    careful: Option<(Arc<dyn FileOpener>, PartitionedFile)>,
    rows: Arc<TextRows>,
    /// Lines before the first row.
    n_before: usize,
    /// Rows that were read.
    n_rows: usize,
    /// Those that come once more.
    n_known: usize,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(read) = self.batches.next().await {
            let values = match read {
                Ok(batch) if self.n_known >= batch.num_rows() => {
                    self.n_known -= batch.num_rows();
                    continue;
                }
                Ok(batch) => {
                    let n_known = std::mem::take(&mut self.n_known);
                    let batch = batch.slice(n_known, batch.num_rows() - n_known);
                    self.rows.values(&batch, self.n_before + self.n_rows)
                }
                Err(error) => Err(error),
            };
            let is_refused = match &values {
                Ok(batch) => has_infinite(batch),
                Err(error) => is_of_text(error),
            };
            if is_refused && let Some((opener, file)) = self.careful.take() {
                self.batches = opener.open(file)?.await?;
                self.n_known = self.n_rows;
                continue;
            }
            let values = values?;
            self.n_rows += values.num_rows();
            return Ok(Some(values));
        }
        Ok(None)
    }
}

/// Whether the library took a text for no value.
fn is_of_text(error: &DataFusionError) -> bool {
    let root = error.find_root();
    matches!(root, DataFusionError::ArrowError(error, _) if matches!(**error, ArrowError::ParseError(_)))
}

/// Whether there is a float that may have been a number that is too large.
fn has_infinite(batch: &RecordBatch) -> bool {
    batch
        .columns()
        .iter()
        .any(|column| match column.data_type() {
            DataType::Float32 => {
                let numbers = column.as_primitive::<Float32Type>().values();
                numbers.iter().any(|number| number.is_infinite())
            }
            DataType::Float64 => {
                let numbers = column.as_primitive::<Float64Type>().values();
                numbers.iter().any(|number| number.is_infinite())
            }
            _ => false,
        })
}

/// What texts become.
struct TextRows {
    wanted: SchemaRef,
    /// The places of the wanted columns in the file.
    places: Vec<usize>,
    texts: CsvTexts,
    /// What means NULL, as it is written within quotes.
    quoted: Option<String>,
    /// Whether the reader knows what is NULL, and only empty texts are marked.
    is_by_lines: bool,
}

impl TextRows {
    /// The rows behind so many lines of the file, with values in the place of texts.
    fn values(&self, read: &RecordBatch, n_before: usize) -> Result<RecordBatch> {
        let reader = Reader {
            is_declared: self.texts.is_declared,
            takes_whole: self.texts.input.is_none(),
            takes_digits: false,
            others: self.texts.input.as_ref(),
        };
        let mut columns = Vec::with_capacity(read.num_columns());
        let wanted = self.wanted.fields().iter().zip(&self.places);
        for (column, (field, place)) in read.columns().iter().zip(wanted) {
            let found = reader.values(&self.without_nulls(column, field), field);
            columns.push(found.map_err(|fault| located(fault, *place, n_before))?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.wanted), columns)?)
    }

    fn without_nulls(&self, column: &ArrayRef, field: &FieldRef) -> ArrayRef {
        match (&self.texts.null_text, column.as_string_view_opt()) {
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
            (Some(null_text), Some(texts)) => {
                let quoted = self.quoted.as_deref().unwrap_or(null_text);
                Arc::new(without_nulls(texts, null_text, quoted))
            }
            _ => Arc::clone(column),
        }
    }
}

/// The error that a text is no value, in the library's words for the columns that it reads.
fn located(fault: Fault, place: usize, n_before: usize) -> DataFusionError {
    match fault {
        Fault::Other(error) => error.into(),
        Fault::Value {
            row,
            text,
            data_type,
            said,
        } => {
            let what = format!(
                "Error while parsing value '{text}' as type '{data_type}' for column {place}"
            );
            let line = n_before + row;
            match said {
                None => ArrowError::ParseError(format!("{what} at line {line}")).into(),
                // The library counts the first line as line zero.
                Some(said) => {
                    let message = said.message;
                    let reason = format!("{what} at line {}: {message}", line + 1);
                    Error::bad_value(reason, said.sqlstate).into()
                }
            }
        }
    }
}
