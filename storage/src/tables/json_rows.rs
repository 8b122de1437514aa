//! Rows of JSON lines: what a line must be, and how a value comes out of it.
//!
//! Lines flow in, batches of the wanted columns flow out. Scalars of any type become text where a column is text; a number
//! with a fraction is an error where it is an integer; a key that no column has is one where the columns are all that
//! there should be.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::Decoder;
use datafusion::error::Result as DataFusionResult;
use futures::stream::BoxStream;

use crate::error::Error;
use crate::tables::json_texts::with_texts;
use crate::tables::strict_values::{Fault, Reader, type_in_json};
use crate::tables::text_input::TextInput;

type Result<T> = std::result::Result<T, ArrowError>;

/// How lines become rows.
#[derive(Debug, Clone)]
pub(crate) struct JsonRows {
    wanted: SchemaRef,
    /// The columns as the library's reader makes them.
    read: SchemaRef,
    refuses_other_keys: bool,
    /// The columns of texts that hold objects and lists as they are written.
    texts: Arc<[String]>,
    /// What has the last word on texts.
    input: Option<TextInput>,
}

impl JsonRows {
    pub(crate) fn new(wanted: SchemaRef, refuses_other_keys: bool) -> Self {
        Self {
            read: as_read(&wanted, &BTreeMap::new(), false),
            wanted,
            refuses_other_keys,
            texts: Arc::default(),
            input: None,
        }
    }

    /// The same where texts were asked for, whatever the values are, and `input` has the last word on them; `keys` are those
    /// of columns that have other names.
    pub(crate) fn of_declared(
        mut self,
        keys: &BTreeMap<String, String>,
        input: Option<TextInput>,
    ) -> Self {
        self.read = as_read(&self.wanted, keys, input.is_some());
        self.input = input;
        let wanted = self.wanted.fields().iter().zip(self.read.fields());
        let texts = wanted.filter(|(field, _)| field.data_type().is_string());
        let texts = texts.map(|(_, field)| field);
        self.texts = texts.map(|field| field.name().clone()).collect();
        self
    }

    /// Lines as the reader takes them.
    pub(crate) fn prepared(
        &self,
        lines: BoxStream<'static, DataFusionResult<Bytes>>,
    ) -> BoxStream<'static, DataFusionResult<Bytes>> {
        with_texts(lines, &self.texts)
    }

    /// A reader of so many rows at once.
    pub(crate) fn reader(&self, batch_size: usize) -> Result<RowReader> {
        let decoder = ReaderBuilder::new(Arc::clone(&self.read))
            .with_batch_size(batch_size)
            .with_coerce_primitive(true)
            .with_strict_mode(self.refuses_other_keys)
            .build_decoder()?;
        Ok(RowReader {
            rows: self.clone(),
            decoder,
        })
    }

    fn values(&self, read: &RecordBatch) -> Result<RecordBatch> {
        let reader = Reader {
            is_declared: true,
            takes_whole: true,
            takes_digits: true,
            others: self.input.as_ref(),
        };
        let mut columns = Vec::with_capacity(read.num_columns());
        for (column, field) in read.columns().iter().zip(self.wanted.fields()) {
            let column = reader.values(column, field);
            let column = column.map_err(|fault| named(fault, field.name()));
            columns.push(column?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(read.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)
    }
}

/// The columns as the library's reader is to make them.
fn as_read(wanted: &Schema, keys: &BTreeMap<String, String>, is_asked: bool) -> SchemaRef {
    let read = |field: &FieldRef| -> Field {
        let data_type = type_in_json(field, is_asked);
        let key = keys.get(field.name()).unwrap_or(field.name());
        let read = field.as_ref().clone().with_data_type(data_type);
        read.with_name(key)
    };
    Arc::new(Schema::new(
        wanted.fields().iter().map(read).collect::<Vec<_>>(),
    ))
}

/// The error that a text is no value of a column.
fn named(fault: Fault, column: &str) -> ArrowError {
    match fault {
        Fault::Other(error) => error,
        Fault::Value {
            text,
            data_type,
            said,
            ..
        } => {
            let what = format!(
                "whilst decoding field '{column}': failed to parse \"{text}\" as {data_type}"
            );
            match said {
                None => ArrowError::JsonError(what),
                Some(said) => {
                    let reason = format!("{what}: {}", said.message);
                    ArrowError::from_external_error(Box::new(Error::bad_value(
                        reason,
                        said.sqlstate,
                    )))
                }
            }
        }
    }
}

/// Reads rows of lines that come piece by piece.
#[derive(Debug)]
pub(crate) struct RowReader {
    rows: JsonRows,
    decoder: Decoder,
}

impl RowReader {
    /// Takes bytes up to the end of a batch; returns how many.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<usize> {
        self.decoder.decode(bytes)
    }

    /// The rows since the last call.
    pub(crate) fn flush(&mut self) -> Result<Option<RecordBatch>> {
        let read = self.decoder.flush().map_err(with_advice)?;
        read.map(|read| self.rows.values(&read)).transpose()
    }
}

impl datafusion_datasource::decoder::Decoder for RowReader {
    fn decode(&mut self, bytes: &[u8]) -> Result<usize> {
        self.decode(bytes)
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>> {
        self.flush()
    }

    fn can_flush_early(&self) -> bool {
        false
    }
}

/// What can be done about a key that the first rows do not have.
fn with_advice(error: ArrowError) -> ArrowError {
    match error {
        ArrowError::JsonError(text) if text.ends_with("' missing from schema") => {
            let text = text.trim_end_matches(" missing from schema");
            ArrowError::JsonError(format!(
                "{text} does not occur in the rows that the columns were found in; \
                 declare the columns, or look at more rows with the option infer_rows"
            ))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray as _;
    use datafusion::arrow::datatypes::{DataType, Int64Type};

    use super::*;

    fn read(lines: &str, wanted: &Schema, refuses_other_keys: bool) -> Result<RecordBatch> {
        let rows = JsonRows::new(Arc::new(wanted.clone()), refuses_other_keys);
        let mut reader = rows.reader(100)?;
        reader.decode(lines.as_bytes())?;
        let rows = reader.flush()?;
        Ok(rows.unwrap_or_else(|| RecordBatch::new_empty(Arc::new(wanted.clone()))))
    }

    #[test]
    fn numbers_are_integers_or_errors() {
        let wanted = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let lines = "{\"a\": 9223372036854775807}\n{\"a\": 5.0}\n{}\n{\"a\": 1e3}\n";
        let rows = read(lines, &wanted, false).unwrap();
        let numbers: Vec<_> = rows.column(0).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(i64::MAX), Some(5), None, Some(1000)]);
        let error = read("{\"a\": 1.5}", &wanted, false)
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("failed to parse \"1.5\" as Int64"),
            "{error}"
        );
    }

    #[test]
    fn texts_hold_all_scalars() {
        let wanted = Schema::new(vec![Field::new("a", DataType::Utf8, true)]);
        let lines = "{\"a\": 18446744073709551615}\n{\"a\": true}\n{\"a\": \"x\"}\n{\"a\": null}";
        let rows = read(lines, &wanted, false).unwrap();
        let texts: Vec<_> = rows.column(0).as_string::<i32>().iter().collect();
        let expected = [Some("18446744073709551615"), Some("true"), Some("x"), None];
        assert_eq!(texts, expected);
        assert!(read("{\"a\": [1]}", &wanted, false).is_err());
    }

    #[test]
    fn other_keys_are_refused_where_the_columns_are_a_guess() {
        let wanted = Schema::new(vec![Field::new("a", DataType::Utf8, true)]);
        assert!(read("{\"b\": 1}", &wanted, false).is_ok());
        let error = read("{\"b\": 1}", &wanted, true).unwrap_err().to_string();
        assert!(error.contains("column 'b' does not occur in"), "{error}");
        // No column at all is a count of rows.
        let rows = read("{\"b\": 1}\n{}", &Schema::empty(), false).unwrap();
        assert_eq!(rows.num_rows(), 2);
    }
}
