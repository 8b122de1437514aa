//! CSV files of `COPY … TO 'file'`: rows become bytes as DataFusion writes them, with the quotes of PostgreSQL.
//!
//! In: a bound query and the place of a file; out: the number of rows. A text that equals the one for NULL stands in
//! quotes, which DataFusion's writer, to which both are the same, leaves out.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::file_options::csv_writer::CsvWriterOptions;
use datafusion::common::runtime::SpawnedTask;
use datafusion::config::ConfigFileType;
use datafusion::datasource::file_format::csv::CsvSerializer;
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

/// What stands for a text to be quoted until its bytes are written: a code point that Unicode keeps free of characters.
const QUOTED: &str = "\u{ffff}";

/// Writes the rows of a query into a file; returns their number.
pub(super) async fn write(
    session: &Arc<Session>,
    query: &BoundQuery,
    (place, options): (&str, &HashMap<String, String>),
    control: &StatementControl,
) -> Result<u64> {
    let mut table_options = query.state.default_table_options();
    table_options.set_config_format(ConfigFileType::CSV);
    table_options.alter_with_string_hash_map(options)?;
    let csv = table_options.csv;
    let url = ListingTableUrl::parse(place)?;
    let rows = stream(session, query, Vec::new(), control).await?;
    let file = CsvFile {
        config: FileSinkConfig {
            original_url: place.to_owned(),
            object_store_url: url.object_store(),
            file_group: FileGroup::default(),
            table_paths: vec![url],
            output_schema: rows.schema(),
            table_partition_cols: Vec::new(),
            insert_op: InsertOp::Append,
            keep_partition_by_columns: false,
            file_extension: "csv".to_owned(),
            file_output_mode: FileOutputMode::SingleFile,
        },
        options: CsvWriterOptions::try_from(&csv)?,
        null: csv.null_value.unwrap_or_default(),
        quote: char::from(csv.quote),
    };
    let task = Arc::new(TaskContext::from(&query.state));
    Ok(DataSink::write_all(&file, rows, &task).await?)
}

/// The file.
#[derive(Debug)]
struct CsvFile {
    config: FileSinkConfig,
    options: CsvWriterOptions,
    /// The text for NULL.
    null: String,
    quote: char,
}

impl DisplayAs for CsvFile {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CsvFile")
    }
}

#[async_trait]
impl FileSink for CsvFile {
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
        let builder = self.options.writer_options.clone();
        let header = builder.header();
        let lines = CsvSerializer::new().with_builder(builder);
        let quote = self.quote.to_string();
        let inner = self.null.replace(self.quote, &quote.repeat(2));
        let serializer = QuotedTexts {
            lines: lines.with_header(header),
            null: self.null.clone(),
            quoted: format!("{quote}{inner}{quote}"),
        };
        spawn_writer_tasks_and_join(
            context,
            Arc::new(serializer),
            self.options.compression.into(),
            self.options.compression_level,
            object_store,
            demux_task,
            file_stream_rx,
        )
        .await
    }
}

#[async_trait]
impl DataSink for CsvFile {
    fn schema(&self) -> &SchemaRef {
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

/// Lines in which texts that equal the one for NULL stand in quotes.
struct QuotedTexts {
    lines: CsvSerializer,
    null: String,
    /// The text for NULL in quotes.
    quoted: String,
}

impl BatchSerializer for QuotedTexts {
    fn serialize(&self, rows: RecordBatch, initial: bool) -> DfResult<Bytes> {
        let Some(marked) = self.marked(&rows)? else {
            return self.lines.serialize(rows, initial);
        };
        let lines = self.lines.serialize(marked, initial)?;
        let mut quoted = Vec::with_capacity(lines.len());
        let mut rest: &[u8] = &lines;
        let mark = QUOTED.as_bytes();
        while let Some(at) = rest.windows(mark.len()).position(|bytes| bytes == mark) {
            quoted.extend_from_slice(&rest[..at]);
            quoted.extend_from_slice(self.quoted.as_bytes());
            rest = &rest[at + mark.len()..];
        }
        quoted.extend_from_slice(rest);
        Ok(Bytes::from(quoted))
    }
}

impl QuotedTexts {
    /// The rows with marks in the place of the texts that need quotes; `None`: there are none.
    fn marked(&self, rows: &RecordBatch) -> DfResult<Option<RecordBatch>> {
        let mut is_changed = false;
        let mut columns = Vec::with_capacity(rows.num_columns());
        let mut fields = Vec::with_capacity(rows.num_columns());
        let schema = rows.schema();
        for (column, field) in rows.columns().iter().zip(schema.fields()) {
            let column = match is_text(column.data_type()) {
                true => self.marked_column(column)?,
                false => None,
            };
            is_changed |= column.is_some();
            fields.push(match column {
                Some(_) => Field::new(field.name(), DataType::Utf8, true),
                None => field.as_ref().clone(),
            });
            columns.push(column);
        }
        if !is_changed {
            return Ok(None);
        }
        let all = columns.into_iter().zip(rows.columns());
        let all = all.map(|(marked, column)| marked.unwrap_or_else(|| Arc::clone(column)));
        let schema = Arc::new(Schema::new(fields));
        Ok(Some(RecordBatch::try_new(schema, all.collect())?))
    }

    fn marked_column(&self, column: &ArrayRef) -> DfResult<Option<ArrayRef>> {
        let texts = cast(column, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        if !texts.iter().any(|text| text == Some(self.null.as_str())) {
            return Ok(None);
        }
        let marked = texts.iter().map(|text| match text {
            Some(text) if text == self.null => Some(QUOTED),
            text => text,
        });
        Ok(Some(Arc::new(marked.collect::<StringArray>())))
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;

    use super::*;

    fn lines(null: &str, quoted: &str) -> String {
        let texts = StringArray::from(vec![Some("NULL"), None, Some(""), Some("a,b")]);
        let numbers = Int64Array::from(vec![Some(1), None, Some(3), Some(4)]);
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Utf8, true),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let builder = datafusion::arrow::csv::WriterBuilder::new().with_null(null.to_owned());
        let serializer = QuotedTexts {
            lines: CsvSerializer::new().with_builder(builder),
            null: null.to_owned(),
            quoted: quoted.to_owned(),
        };
        let bytes = serializer.serialize(rows, true).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_text_for_null_is_quoted() {
        let found = lines("NULL", "\"NULL\"");
        assert_eq!(found, "n,t\n1,\"NULL\"\nNULL,NULL\n3,\n4,\"a,b\"\n");
        assert_eq!(lines("", "\"\""), "n,t\n1,NULL\n,\n3,\"\"\n4,\"a,b\"\n");
    }
}
