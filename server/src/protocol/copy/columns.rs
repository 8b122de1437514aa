//! The values of rows as columns of a record batch.
//!
//! In: rows of text or bytes; out: a batch of the columns' types. A column is converted as a whole; only where that
//! fails, or has other rules than PostgreSQL's, value by value, so that an error names its line.

use std::borrow::Cow;
use std::sync::Arc;

use auspex_planner::{holds_numerics, read_texts, rounded_numeric};
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, RecordBatch, StringArray, StringBuilder, new_empty_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::CopyRequest;
use super::decoder::RowValues;
use super::sent::{LineTexts, SentBatch, line_context, shown};
use crate::protocol::client_encoding::{ClientEncoding, Untranslatable};
use crate::protocol::types::{ParameterError, WireColumn, ZERO_IN_TEXT, decode_parameter};
use crate::sqlstate::Failure;

/// Where a row stands in the copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) line: u64,
}

/// The values of a column so far.
enum Values {
    Text(StringBuilder),
    Binary(Vec<ScalarValue>),
}

/// The columns of a batch while it is filled.
pub(super) struct Columns {
    table: String,
    schema: SchemaRef,
    wire: Vec<WireColumn>,
    zone: String,
    /// What texts in binary values are converted from.
    encoding: Option<ClientEncoding>,
    values: Vec<Values>,
    lines: Vec<u64>,
    /// The texts of the rows; none has one in the binary form.
    texts: LineTexts,
    n_bytes: usize,
}

impl Columns {
    pub(super) fn new(
        request: &CopyRequest,
        wire: Vec<WireColumn>,
        zone: String,
        is_binary: bool,
    ) -> Columns {
        let values = wire.iter().map(|_| match is_binary {
            true => Values::Binary(Vec::new()),
            false => Values::Text(StringBuilder::new()),
        });
        Columns {
            table: request.table.clone(),
            schema: Arc::clone(&request.columns),
            values: values.collect(),
            wire,
            zone,
            encoding: None,
            lines: Vec::new(),
            texts: LineTexts::default(),
            n_bytes: 0,
        }
    }

    /// From now on, the texts in binary values are in this encoding.
    pub(super) fn converts_from(&mut self, encoding: Option<ClientEncoding>) {
        self.encoding = encoding;
    }

    pub(super) fn n_rows(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Adds a row, with its text if it has one.
    pub(super) fn push(
        &mut self,
        row: &RowValues,
        place: Place,
        text: Option<&[u8]>,
    ) -> Result<(), Failure> {
        self.check_count(row.places.len(), place, text)?;
        for (idx, value) in row.values().enumerate() {
            match &mut self.values[idx] {
                Values::Text(builder) => {
                    let text = value.map(std::str::from_utf8).transpose();
                    match text {
                        Ok(Some(text)) if text.contains('\0') => {
                            let message = ZERO_IN_TEXT.to_owned();
                            return Err(self.value_failure("22021", message, place, idx, None));
                        }
                        Ok(text) => builder.append_option(text),
                        Err(_) => {
                            let message = "invalid byte sequence for encoding \"UTF8\"".to_owned();
                            return Err(self.value_failure("22021", message, place, idx, None));
                        }
                    }
                }
                Values::Binary(_) => {
                    let value = self.in_utf8(value, idx).map_err(|wrong| {
                        let message = wrong.to_string();
                        self.value_failure(wrong.sqlstate(), message, place, idx, None)
                    })?;
                    let decoded = self.decoded(value.as_deref(), idx, FieldFormat::Binary);
                    let decoded = decoded.map_err(|error| self.wrong(&error, place, idx, None))?;
                    if let Values::Binary(values) = &mut self.values[idx] {
                        values.push(decoded);
                    }
                }
            }
        }
        self.lines.push(place.line);
        if let Some(text) = text {
            self.texts.push(text);
        }
        self.n_bytes += row.bytes.len();
        Ok(())
    }

    fn check_count(&self, found: usize, place: Place, text: Option<&[u8]>) -> Result<(), Failure> {
        let message = match self.wire.get(found) {
            Some(column) => format!("missing data for column \"{}\"", column.name),
            None if found > self.wire.len() => "extra data after last expected column".to_owned(),
            None => return Ok(()),
        };
        Err(self.failure("22P04", message, place, text))
    }

    /// The batch; begins a new one.
    pub(super) fn take(&mut self) -> Result<SentBatch, Failure> {
        let mut arrays = Vec::with_capacity(self.values.len());
        for idx in 0..self.values.len() {
            let data_type = self.schema.field(idx).data_type().clone();
            arrays.push(match &mut self.values[idx] {
                Values::Text(builder) => {
                    let text = builder.finish();
                    self.converted(text, idx, &data_type)?
                }
                Values::Binary(values) => collected(std::mem::take(values), &data_type)?,
            });
        }
        self.n_bytes = 0;
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Failure::error("XX000", error.to_string()))?;
        Ok(SentBatch {
            rows,
            lines: std::mem::take(&mut self.lines),
            texts: std::mem::take(&mut self.texts),
        })
    }

    fn converted(
        &self,
        text: StringArray,
        idx: usize,
        data_type: &DataType,
    ) -> Result<ArrayRef, Failure> {
        // Texts of these have more than one form.
        let is_read = [Type::UUID, Type::INET, Type::CIDR].contains(&self.wire[idx].pg_type);
        if *data_type == DataType::Utf8 && !is_read {
            return Ok(Arc::new(text));
        }
        if is_plain(data_type) {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            if let Ok(array) = cast_with_options(&text, data_type, &options)
                && array.null_count() == text.null_count()
                && !holds_infinity(&array)
            {
                return Ok(array);
            }
        }
        if is_read_whole(data_type)
            && let Ok(array) = read_texts(&text, data_type, &self.zone)
        {
            return Ok(array);
        }
        let mut values = Vec::with_capacity(text.len());
        for (row, value) in text.iter().enumerate() {
            let place = Place {
                line: self.lines.get(row).copied().unwrap_or_default(),
            };
            let bytes = value.map(str::as_bytes);
            let decoded = self.decoded(bytes, idx, FieldFormat::Text);
            values.push(decoded.map_err(|error| self.wrong(&error, place, idx, value))?);
        }
        collected(values, data_type)
    }

    /// A binary value with its texts in UTF-8.
    fn in_utf8<'a>(
        &self,
        value: Option<&'a [u8]>,
        idx: usize,
    ) -> Result<Option<Cow<'a, [u8]>>, Untranslatable> {
        let Some(encoding) = self.encoding else {
            return Ok(value.map(Cow::Borrowed));
        };
        let pg_type = &self.wire[idx].pg_type;
        let converted = value.map(|value| encoding.parameter(value, pg_type, FieldFormat::Binary));
        converted.transpose()
    }

    fn decoded(
        &self,
        value: Option<&[u8]>,
        idx: usize,
        format: FieldFormat,
    ) -> Result<ScalarValue, ParameterError> {
        let data_type = self.schema.field(idx).data_type();
        let pg_type: &Type = &self.wire[idx].pg_type;
        let decoded = decode_parameter(value, pg_type, format, data_type, &self.zone)?;
        match holds_numerics(data_type) {
            true => Ok(rounded_numeric(&decoded, data_type)?),
            false => Ok(decoded),
        }
    }

    fn wrong(
        &self,
        error: &ParameterError,
        place: Place,
        idx: usize,
        value: Option<&str>,
    ) -> Failure {
        self.value_failure(error.sqlstate(), error.to_string(), place, idx, value)
    }

    fn value_failure(
        &self,
        sqlstate: &str,
        message: String,
        place: Place,
        idx: usize,
        value: Option<&str>,
    ) -> Failure {
        let shown = value.map(|text| format!(": \"{}\"", shown(text)));
        let context = format!(
            "COPY {}, line {}, column {}{}",
            self.table,
            place.line,
            self.wire[idx].name,
            shown.unwrap_or_default()
        );
        Failure::error(sqlstate, message).with_context(context)
    }

    /// A failure of a whole row.
    pub(super) fn failure(
        &self,
        sqlstate: &str,
        message: String,
        place: Place,
        text: Option<&[u8]>,
    ) -> Failure {
        let context = line_context(&self.table, place.line, text);
        Failure::error(sqlstate, message).with_context(context)
    }
}

fn collected(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef, Failure> {
    let array = match values.is_empty() {
        true => Ok(new_empty_array(data_type)),
        false => ScalarValue::iter_to_array(values),
    };
    array.map_err(|error| Failure::error("XX000", error.strip_backtrace()))
}

/// Whether Arrow reads the texts of a type as PostgreSQL does.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Date32)
}

/// Whether a column's texts are read at once, as literals are.
fn is_read_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::Time64(_) | DataType::Binary | DataType::Decimal128(..)
    )
}

/// Whether a column has an infinite number, which Arrow takes numbers for that are too large.
fn holds_infinity(array: &ArrayRef) -> bool {
    let doubles = array.as_primitive_opt::<Float64Type>();
    let singles = array.as_primitive_opt::<Float32Type>();
    doubles.is_some_and(|values| values.values().iter().any(|value| value.is_infinite()))
        || singles.is_some_and(|values| values.values().iter().any(|value| value.is_infinite()))
}
