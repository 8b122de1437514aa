//! Rows of record batches as the data of a `COPY … TO STDOUT`.
//!
//! In: batches; out: one piece of data a row, as PostgreSQL sends it and its clients expect it.

use auspex_planner::{CopyFormat, CopyOptions};
use bytes::{BufMut as _, Bytes, BytesMut};
use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::binary::SIGNATURE;
use crate::protocol::types::{RowEncoder, TimeZone, WireColumn};

/// Bytes that are set aside for rows at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Fewer bytes than these are not worth keeping for the next row.
const SPARE_BYTES: usize = 1 << 10;

/// Writes the rows of one COPY.
pub(super) struct CopyWriter {
    options: CopyOptions,
    columns: Vec<WireColumn>,
    formats: Vec<FieldFormat>,
    /// Of each column, whether its values may hold what must be escaped.
    may_escape: Vec<bool>,
    zone: TimeZone,
    out: BytesMut,
    cell: BytesMut,
}

impl CopyWriter {
    pub(super) fn new(
        options: CopyOptions,
        columns: Vec<WireColumn>,
        zone: TimeZone,
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
        let mut out = BytesMut::with_capacity(CHUNK_BYTES);
        if options.format == CopyFormat::Binary {
            // As PostgreSQL has it, the header comes together with the first row.
            out.put_slice(SIGNATURE);
            out.put_i32(0);
            out.put_i32(0);
        }
        CopyWriter {
            formats: vec![format; columns.len()],
            may_escape,
            options,
            columns,
            zone,
            out,
            cell: BytesMut::new(),
        }
    }

    /// The line with the names of the columns.
    pub(super) fn header(&mut self) -> Option<Bytes> {
        if !self.options.has_header {
            return None;
        }
        for idx in 0..self.columns.len() {
            if idx > 0 {
                self.out.put_u8(self.options.delimiter);
            }
            self.cell.clear();
            let name = self.columns[idx].name.clone();
            self.cell.put_slice(name.as_bytes());
            match self.options.format {
                CopyFormat::Csv => self.put_csv(false),
                _ => self.put_text(),
            }
        }
        Some(self.ended())
    }

    /// What writes the values of a batch.
    pub(super) fn encoder(&self, batch: &RecordBatch) -> Result<RowEncoder> {
        RowEncoder::try_new(batch, &self.columns, &self.formats, self.zone)
    }

    /// The data of one row.
    pub(super) fn row(&mut self, encoder: &RowEncoder, row: usize) -> Bytes {
        if self.options.format == CopyFormat::Binary {
            // Lossless: a schema of more columns is refused before.
            self.out.put_i16(self.columns.len() as i16);
            encoder.put_row(row, &mut self.out);
            let data = self.out.split().freeze();
            if self.out.capacity() < SPARE_BYTES {
                self.out.reserve(CHUNK_BYTES);
            }
            return data;
        }
        for idx in 0..self.columns.len() {
            if idx > 0 {
                self.out.put_u8(self.options.delimiter);
            }
            if encoder.is_null(idx, row) {
                self.out.put_slice(self.options.null.as_bytes());
                continue;
            }
            if !self.may_escape[idx] {
                encoder.put_cell(idx, row, &mut self.out);
                continue;
            }
            self.cell.clear();
            encoder.put_cell(idx, row, &mut self.cell);
            match self.options.format {
                CopyFormat::Csv => {
                    let forced = self.options.force_quote.contains(&self.columns[idx].name);
                    self.put_csv(forced);
                }
                _ => self.put_text(),
            }
        }
        self.ended()
    }

    /// What stands behind the last row; also the header, if there was no row.
    pub(super) fn trailer(&mut self) -> Option<Bytes> {
        if self.options.format != CopyFormat::Binary {
            return None;
        }
        self.out.put_i16(-1);
        Some(self.out.split().freeze())
    }

    fn ended(&mut self) -> Bytes {
        self.out.put_u8(b'\n');
        let data = self.out.split().freeze();
        if self.out.capacity() < SPARE_BYTES {
            self.out.reserve(CHUNK_BYTES);
        }
        data
    }

    fn put_text(&mut self) {
        for byte in &self.cell {
            let escaped = match *byte {
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                b'\\' => b'\\',
                byte if byte == self.options.delimiter => byte,
                byte => {
                    self.out.put_u8(byte);
                    continue;
                }
            };
            self.out.put_u8(b'\\');
            self.out.put_u8(escaped);
        }
    }

    fn put_csv(&mut self, forced: bool) {
        let options = &self.options;
        let special = |byte: &u8| {
            matches!(*byte, b'\n' | b'\r') || *byte == options.delimiter || *byte == options.quote
        };
        let is_end_mark = self.columns.len() == 1 && self.cell[..] == *b"\\.";
        let quoted = forced
            || is_end_mark
            || self.cell[..] == *options.null.as_bytes()
            || self.cell.iter().any(special);
        if !quoted {
            self.out.put_slice(&self.cell);
            return;
        }
        self.out.put_u8(options.quote);
        for byte in &self.cell {
            if *byte == options.quote || *byte == options.escape {
                self.out.put_u8(options.escape);
            }
            self.out.put_u8(*byte);
        }
        self.out.put_u8(options.quote);
    }
}
