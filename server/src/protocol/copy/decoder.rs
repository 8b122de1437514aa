//! Bytes in pieces of any size as record batches.
//!
//! In: pieces of a COPY; out: batches of its rows, each bounded in rows and bytes. An error names the line.

use auspex_planner::{CopyFormat, CopyOptions};
use bytes::{Buf, BytesMut};

use super::CopyRequest;
use super::binary::BinaryRows;
use super::columns::{Columns, Place};
use super::csv::CsvRows;
use super::line_break::LineBreak;
use super::sent::SentBatch;
use super::text::TextRows;
use crate::protocol::client_encoding::ClientEncoding;
use crate::protocol::types::WireColumn;
use crate::sqlstate::Failure;

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of values in a batch beyond which it is not filled further.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes that are converted at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of one row, at most.
const ROW_BYTES: usize = 256 << 20;

/// The values of one row: bytes without marks, and where each value lies in them; `None` is NULL.
#[derive(Debug, Default)]
pub(super) struct RowValues {
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<Option<std::ops::Range<usize>>>,
}

impl RowValues {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Ends the value that begins at byte `start`.
    pub(super) fn end_value(&mut self, start: usize, is_null: bool) {
        let place = start..self.bytes.len();
        self.places.push((!is_null).then_some(place));
    }

    /// The values in order.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.places
            .iter()
            .map(|place| place.clone().map(|place| &self.bytes[place]))
    }
}

/// What a reader of rows found at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A row, which takes so many bytes; the values are in [`RowValues`].
    Row(usize),
    /// Bytes that hold no row, as a header.
    Skip(usize),
    /// The mark behind the last row.
    End,
    /// More bytes are needed.
    Partial,
}

/// Reads the rows of one format.
enum Reader {
    Text(TextRows),
    Csv(CsvRows),
    Binary(BinaryRows),
}

/// Makes batches of what a client sends.
pub(super) struct RowDecoder {
    reader: Reader,
    input: BytesMut,
    /// Converts what the client sends, where it is not in UTF-8.
    encoding: Option<ClientEncoding>,
    row: RowValues,
    columns: Columns,
    /// Nothing will come any more.
    at_end: bool,
    /// All rows were read.
    finished: bool,
}

impl RowDecoder {
    pub(super) fn new(request: &CopyRequest, columns: Vec<WireColumn>, zone: String) -> RowDecoder {
        let options: &CopyOptions = &request.options;
        let reader = match options.format {
            CopyFormat::Text => Reader::Text(TextRows::new(options, &request.columns)),
            CopyFormat::Csv => Reader::Csv(CsvRows::new(options, &request.columns)),
            CopyFormat::Binary => Reader::Binary(BinaryRows::default()),
        };
        let is_binary = options.format == CopyFormat::Binary;
        RowDecoder {
            reader,
            input: BytesMut::new(),
            encoding: None,
            row: RowValues::default(),
            columns: Columns::new(request, columns, zone, is_binary),
            at_end: false,
            finished: false,
        }
    }

    /// From now on, pieces are in this encoding, or the texts in binary rows.
    pub(super) fn converts_from(&mut self, encoding: Option<ClientEncoding>) {
        match self.reader {
            Reader::Binary(_) => self.columns.converts_from(encoding),
            Reader::Text(_) | Reader::Csv(_) => self.encoding = encoding,
        }
    }

    /// Adds a piece. Error: it is no text in its encoding.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), Failure> {
        if self.finished {
            return Ok(());
        }
        let Some(encoding) = self.encoding else {
            self.input.extend_from_slice(data);
            return Ok(());
        };
        for piece in data.chunks(PIECE_BYTES) {
            let text = encoding.decode(piece).map_err(|wrong| {
                let (message, place) = (wrong.to_string(), self.place());
                self.columns.failure(wrong.sqlstate(), message, place, None)
            })?;
            self.input.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    /// Says that no piece will come any more.
    pub(super) fn finish(&mut self) {
        self.at_end = true;
    }

    /// Whether the client has said that it is done, and every row was taken.
    pub(super) fn is_finished(&self) -> bool {
        self.at_end
    }

    /// The next full batch, or, at the end, the last one; `None`: more pieces are needed.
    pub(super) fn next_batch(&mut self) -> Result<Option<SentBatch>, Failure> {
        while !self.finished && !self.is_full() {
            match self.read_row()? {
                Found::Row(length) => {
                    let place = self.place();
                    let text = match &self.reader {
                        Reader::Binary(_) => None,
                        Reader::Text(_) | Reader::Csv(_) => Some(line_text(&self.input[..length])),
                    };
                    self.columns.push(&self.row, place, text)?;
                    self.input.advance(length);
                }
                Found::Skip(length) => self.input.advance(length),
                Found::End => {
                    self.finished = true;
                    self.input.clear();
                }
                Found::Partial if self.at_end => self.finished = true,
                Found::Partial if self.input.len() > ROW_BYTES => {
                    let message = format!("a row of COPY has more than {ROW_BYTES} bytes");
                    return Err(self.columns.failure("54000", message, self.place(), None));
                }
                Found::Partial => return Ok(None),
            }
        }
        match self.is_full() || (self.at_end && self.columns.n_rows() > 0) {
            true => self.columns.take().map(Some),
            false => Ok(None),
        }
    }

    fn is_full(&self) -> bool {
        self.columns.n_rows() >= BATCH_ROWS || self.columns.n_bytes() >= BATCH_BYTES
    }

    fn read_row(&mut self) -> Result<Found, Failure> {
        let (row, input, at_end) = (&mut self.row, &self.input[..], self.at_end);
        let found = match &mut self.reader {
            Reader::Text(rows) => rows.next(input, at_end, row),
            Reader::Csv(rows) => rows.next(input, at_end, row),
            Reader::Binary(rows) => rows.next(input, at_end, row),
        };
        found.map_err(|(sqlstate, message)| {
            let text = self.text_at_hand();
            self.columns.failure(sqlstate, message, self.place(), text)
        })
    }

    /// The text of a line that could not be read: all that is there where a quote is not closed.
    fn text_at_hand(&self) -> Option<&[u8]> {
        let first_line = || {
            let end = self.input.iter().position(|byte| LineBreak::may_be(*byte));
            &self.input[..end.unwrap_or(self.input.len())]
        };
        match &self.reader {
            Reader::Binary(_) => None,
            Reader::Csv(rows) if rows.is_in_quotes() => Some(&self.input[..]),
            Reader::Text(_) | Reader::Csv(_) => Some(first_line()),
        }
    }

    /// The line that was read last, or is being read.
    fn place(&self) -> Place {
        Place {
            line: match &self.reader {
                Reader::Text(rows) => rows.line(),
                Reader::Csv(rows) => rows.line(),
                Reader::Binary(rows) => rows.line(),
            },
        }
    }
}

/// A line without its break.
fn line_text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What is wrong with bytes: SQLSTATE and message.
pub(super) type Wrong = (&'static str, String);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use auspex_planner::{CopiedLines, CopyColumns};
    use datafusion::arrow::array::AsArray as _;
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::protocol::types::wire_columns;

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { "" } else { "\\N" }.to_owned(),
            has_header: false,
            matches_header: false,
            quote: b'"',
            escape: b'"',
            force_quote: CopyColumns::None,
            force_not_null: CopyColumns::None,
            force_null: CopyColumns::None,
            encoding: None,
        }
    }

    type Row = (Option<i64>, Option<String>);

    /// Rows of (a BIGINT, b TEXT), read from pieces of some size.
    fn rows(options: CopyOptions, text: &[u8], piece: usize) -> Result<Vec<Row>, Failure> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]));
        let columns = wire_columns(&schema).unwrap();
        let request = CopyRequest {
            table: "t".to_owned(),
            columns: schema,
            options,
            lines: CopiedLines::default(),
            rows: tokio::sync::mpsc::channel(1).0,
        };
        let mut decoder = RowDecoder::new(&request, columns, "UTC".to_owned());
        let mut rows = Vec::new();
        let mut take = |decoder: &mut RowDecoder| {
            while let Some(batch) = decoder.next_batch()? {
                let batch = batch.rows;
                let a = batch.column(0).as_primitive::<Int64Type>();
                let b = batch.column(1).as_string::<i32>();
                let b = b.iter().map(|text| text.map(ToOwned::to_owned));
                rows.extend(a.iter().zip(b));
            }
            Ok::<_, Failure>(())
        };
        for piece in text.chunks(piece) {
            decoder.push(piece)?;
            take(&mut decoder)?;
        }
        decoder.finish();
        take(&mut decoder)?;
        assert!(decoder.is_finished());
        Ok(rows)
    }

    fn row(a: impl Into<Option<i64>>, b: &str) -> (Option<i64>, Option<String>) {
        (a.into(), Some(b.to_owned()))
    }

    #[test]
    fn text_in_pieces_of_any_size() {
        let text = b"1\tone\n\\N\ta\\tb\\\\c\\x41\\101\n3\t\\N\n4\tline\\\nbreak\r\n5\tno end";
        for piece in 1..text.len() {
            let found = rows(options(CopyFormat::Text), text, piece).unwrap();
            let wanted = [
                row(1, "one"),
                row(None, "a\tb\\cAA"),
                (Some(3), None),
                // The carriage return belongs to the break.
                row(4, "line\nbreak"),
                row(5, "no end"),
            ];
            assert_eq!(found, wanted, "{piece}");
        }
    }

    #[test]
    fn the_mark_of_the_end_ends_the_rows() {
        let text = b"1\tone\n\\.\n2\ttwo\n";
        for piece in [1, 100] {
            let found = rows(options(CopyFormat::Text), text, piece).unwrap();
            assert_eq!(found, [row(1, "one")]);
        }
    }

    #[test]
    fn csv_in_pieces_of_any_size() {
        let text = b"a,b\r\n1,\"x,\"\"y\"\"\r\nz\"\r\n2,\r\n3,\"\"\r\n,plain\r\n";
        let options = CopyOptions {
            has_header: true,
            ..options(CopyFormat::Csv)
        };
        for piece in 1..text.len() {
            let found = rows(options.clone(), text, piece).unwrap();
            let wanted = [
                row(1, "x,\"y\"\r\nz"),
                (Some(2), None),
                row(3, ""),
                row(None, "plain"),
            ];
            assert_eq!(found, wanted, "{piece}");
        }
    }

    #[test]
    fn lines_may_end_with_carriage_returns_alone() {
        let options = CopyOptions {
            has_header: true,
            ..options(CopyFormat::Csv)
        };
        let text = b"a,b\r1,\"x\ny\"\r2,\r3,z";
        for piece in 1..=text.len() {
            let found = rows(options.clone(), text, piece).unwrap();
            let wanted = [row(1, "x\ny"), (Some(2), None), row(3, "z")];
            assert_eq!(found, wanted, "{piece}");
        }
        let text = b"1\tone\\\rtwo\r2\t\\N\r";
        for piece in 1..=text.len() {
            let found = rows(self::options(CopyFormat::Text), text, piece).unwrap();
            assert_eq!(found, [row(1, "one\rtwo"), (Some(2), None)], "{piece}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let failure = rows(options(CopyFormat::Text), b"1\tx\ntwo\ty\n", 3).unwrap_err();
        let info = failure.into_info();
        assert_eq!(info.code, "22P02");
        assert_eq!(
            info.message,
            "invalid input syntax for type bigint: \"two\""
        );
        let context = info.where_context.unwrap();
        assert_eq!(context, "COPY t, line 2, column a: \"two\"");
        let failure = rows(options(CopyFormat::Csv), b"1,x\n2\n", 3).unwrap_err();
        let info = failure.into_info();
        assert_eq!(info.message, "missing data for column \"b\"");
        assert_eq!(info.where_context.unwrap(), "COPY t, line 2: \"2\"");
        let failure = rows(options(CopyFormat::Csv), b"1,x,y\n", 3).unwrap_err();
        let info = failure.into_info();
        assert_eq!(info.message, "extra data after last expected column");
        assert_eq!(info.where_context.unwrap(), "COPY t, line 1: \"1,x,y\"");
        let failure = rows(options(CopyFormat::Text), b"1\tx\n2\ta\\000b\n", 3).unwrap_err();
        let info = failure.into_info();
        assert_eq!(info.code, "22021");
        assert_eq!(info.where_context.unwrap(), "COPY t, line 2, column b");
        let failure = rows(options(CopyFormat::Csv), b"1,x\n1,\"x\ny\n", 3).unwrap_err();
        assert_eq!(failure.message(), "unterminated CSV quoted field");
        let context = failure.into_info().where_context.unwrap();
        assert_eq!(context, "COPY t, line 4: \"1,\"x\ny\n\"");
    }

    #[test]
    fn binary_rows_have_lengths() {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x02ab");
        bytes.extend(b"\0\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
        for piece in 1..bytes.len() {
            let found = rows(options(CopyFormat::Binary), &bytes, piece).unwrap();
            assert_eq!(found, [row(7, "ab"), (None, None)], "{piece}");
            // The trailer may be left out.
            let found = rows(
                options(CopyFormat::Binary),
                &bytes[..bytes.len() - 2],
                piece,
            );
            assert_eq!(found.unwrap(), [row(7, "ab"), (None, None)], "{piece}");
        }
        let found = rows(options(CopyFormat::Binary), &bytes[..19], 5).unwrap();
        assert_eq!(found, []);
        let failure = rows(options(CopyFormat::Binary), b"not a copy at all, really", 5);
        assert_eq!(
            failure.unwrap_err().message(),
            "COPY file signature not recognized"
        );
        let failure = rows(options(CopyFormat::Binary), &bytes[..25], 5).unwrap_err();
        assert_eq!(failure.message(), "unexpected EOF in COPY data");
    }
}
