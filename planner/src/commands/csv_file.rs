//! CSV files of `COPY … TO 'file'`: rows become bytes as DataFusion writes them, with the quotes of PostgreSQL.
//!
//! In: options; out: what makes lines of rows. A text that equals the one for NULL stands in
//! quotes, which DataFusion's writer, to which both are the same, leaves out.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::file_options::csv_writer::CsvWriterOptions;
use datafusion::config::{ConfigFileType, TableOptions};
use datafusion::datasource::file_format::csv::CsvSerializer;
use datafusion::datasource::file_format::write::BatchSerializer;
use datafusion::error::Result as DfResult;

use super::text_file::TextForm;
use crate::error::Result;

/// What stands for a text to be quoted until its bytes are written: a code point that Unicode keeps free of characters.
const QUOTED: &str = "\u{ffff}";

/// How rows become CSV.
pub(super) fn form(
    mut defaults: TableOptions,
    options: &HashMap<String, String>,
) -> Result<TextForm> {
    defaults.set_config_format(ConfigFileType::CSV);
    defaults.alter_with_string_hash_map(options)?;
    let csv = defaults.csv;
    let options = CsvWriterOptions::try_from(&csv)?;
    let builder = options.writer_options.clone();
    let header = builder.header();
    let lines = CsvSerializer::new().with_builder(builder);
    let quote = char::from(csv.quote).to_string();
    let null = csv.null_value.unwrap_or_default();
    let inner = null.replace(&quote, &quote.repeat(2));
    let serializer = QuotedTexts {
        lines: lines.with_header(header),
        null,
        quoted: format!("{quote}{inner}{quote}"),
    };
    Ok(TextForm {
        serializer: Arc::new(serializer),
        compression: options.compression,
        compression_level: options.compression_level,
    })
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
