//! Rows of record batches as the data of a `COPY … TO STDOUT`.
//!
//! In: batches; out: one message of data a row, as PostgreSQL sends it and its clients expect it.

use auspex_planner::{CopyFormat, CopyOptions};
use bytes::{BufMut as _, BytesMut};
use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::binary::SIGNATURE;
use crate::protocol::client_encoding::{ClientEncoding, Untranslatable};
use crate::protocol::types::{RowEncoder, TextForms, WireColumn, put_message};

/// The kind of the message that holds data.
const COPY_DATA: u8 = b'd';

/// Writes the rows of one COPY.
pub(super) struct CopyWriter {
    options: CopyOptions,
    columns: Vec<WireColumn>,
    formats: Vec<FieldFormat>,
    /// Of each column, whether its values may hold what must be escaped.
    may_escape: Vec<bool>,
    /// Of each column, whether its values are in quotes whatever they are.
    is_forced: Vec<bool>,
    special: [bool; 256],
    forms: TextForms,
    /// Whether the header was written.
    is_begun: bool,
}

impl CopyWriter {
    pub(super) fn new(
        options: CopyOptions,
        columns: Vec<WireColumn>,
        forms: TextForms,
    ) -> CopyWriter {
        let format = match options.format {
            CopyFormat::Binary => FieldFormat::Binary,
            CopyFormat::Text | CopyFormat::Csv => FieldFormat::Text,
        };
        let usual = matches!(options.delimiter, b'\t' | b',' | b'|' | b';');
        let may_escape = columns.iter().map(|column| {
            let plain = [
                Type::BOOL,
                Type::INT2,
                Type::INT4,
                Type::INT8,
                Type::FLOAT4,
                Type::FLOAT8,
            ];
            let forced = options.force_quote.contains(&column.name);
            // A number may look like what stands for NULL, and must then be in quotes.
            let may_be_null = options.format == CopyFormat::Csv && !options.null.is_empty();
            forced || !usual || !plain.contains(&column.pg_type) || may_be_null
        });
        let may_escape = may_escape.collect();
        let is_forced = columns.iter();
        let is_forced = is_forced.map(|column| options.force_quote.contains(&column.name));
        CopyWriter {
            formats: vec![format; columns.len()],
            may_escape,
            is_forced: is_forced.collect(),
            special: special_bytes(&options),
            options,
            columns,
            forms,
            is_begun: false,
        }
    }

    /// The line with the names of the columns, if there is to be one.
    pub(super) fn put_header(&self, out: &mut BytesMut) {
        if !self.options.has_header {
            return;
        }
        put_message(COPY_DATA, out, |out| {
            for (idx, column) in self.columns.iter().enumerate() {
                if idx > 0 {
                    out.put_u8(self.options.delimiter);
                }
                let start = out.len();
                out.put_slice(column.name.as_bytes());
                self.escape(start, false, out);
            }
            out.put_u8(b'\n');
        });
    }

    /// What writes the values of a batch.
    pub(super) fn encoder(&self, batch: &RecordBatch) -> Result<RowEncoder, DataFusionError> {
        RowEncoder::try_new(batch, &self.columns, &self.formats, self.forms)
    }

    /// The data of one row.
    pub(super) fn put_row(&mut self, rows: &RowEncoder, row: usize, out: &mut BytesMut) {
        put_message(COPY_DATA, out, |out| match self.options.format {
            CopyFormat::Binary => {
                self.put_signature(out);
                rows.put_row(row, out);
            }
            CopyFormat::Text | CopyFormat::Csv => self.put_line(rows, row, out),
        });
    }

    /// The data of one binary row, with the texts of its values in an encoding.
    pub(super) fn put_row_in(
        &mut self,
        encoding: ClientEncoding,
        rows: &RowEncoder,
        row: usize,
        out: &mut BytesMut,
    ) -> Result<(), Untranslatable> {
        let mut values = BytesMut::new();
        rows.put_row(row, &mut values);
        let values = encoding.row(&values, rows.columns())?;
        put_message(COPY_DATA, out, |out| {
            self.put_signature(out);
            out.put_slice(&values);
        });
        Ok(())
    }

    /// What stands behind the last row; also the header, if there was no row.
    pub(super) fn put_trailer(&mut self, out: &mut BytesMut) {
        if self.options.format == CopyFormat::Binary {
            put_message(COPY_DATA, out, |out| {
                self.put_signature(out);
                out.put_i16(-1);
            });
        }
    }

    /// As PostgreSQL has it, the header comes together with the first row.
    fn put_signature(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.is_begun, true) {
            out.put_slice(SIGNATURE);
            out.put_i32(0);
            out.put_i32(0);
        }
    }

    fn put_line(&mut self, rows: &RowEncoder, row: usize, out: &mut BytesMut) {
        for idx in 0..self.columns.len() {
            if idx > 0 {
                out.put_u8(self.options.delimiter);
            }
            if rows.is_null(idx, row) {
                out.put_slice(self.options.null.as_bytes());
                continue;
            }
            let start = out.len();
            rows.put_cell(idx, row, out);
            if self.may_escape[idx] {
                self.escape(start, self.is_forced[idx], out);
            }
        }
        out.put_u8(b'\n');
    }

    /// Gives the value at the end of `out` the form that reads back as the same; `forced`: in quotes in any case.
    fn escape(&self, start: usize, forced: bool, out: &mut BytesMut) {
        let value = &out[start..];
        let has_special = value.iter().any(|byte| self.special[usize::from(*byte)]);
        match self.options.format {
            CopyFormat::Csv => {
                let is_end_mark = self.columns.len() == 1 && value == b"\\.";
                let is_null = value == self.options.null.as_bytes();
                if forced || has_special || is_end_mark || is_null {
                    let value = value.to_vec();
                    out.truncate(start);
                    put_quoted(&value, &self.options, out);
                }
            }
            _ if has_special => {
                let value = value.to_vec();
                out.truncate(start);
                put_escaped(&value, self.options.delimiter, out);
            }
            _ => {}
        }
    }
}

/// The bytes for which a value must be given another form.
fn special_bytes(options: &CopyOptions) -> [bool; 256] {
    let mut special = [false; 256];
    let bytes: &[u8] = match options.format {
        CopyFormat::Csv => &[b'\n', b'\r', options.delimiter, options.quote],
        _ => &[8, 9, 10, 11, 12, 13, b'\\', options.delimiter],
    };
    for byte in bytes {
        special[usize::from(*byte)] = true;
    }
    special
}

fn put_escaped(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    for byte in value {
        let escaped = match *byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            byte if byte == delimiter => byte,
            byte => {
                out.put_u8(byte);
                continue;
            }
        };
        out.put_u8(b'\\');
        out.put_u8(escaped);
    }
}

fn put_quoted(value: &[u8], options: &CopyOptions, out: &mut BytesMut) {
    out.put_u8(options.quote);
    for byte in value {
        if *byte == options.quote || *byte == options.escape {
            out.put_u8(options.escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(options.quote);
}
