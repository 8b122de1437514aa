//! The columns that CSV files have, from their first rows.
//!
//! A file's bytes and the options of its format flow in; a schema flows out. The library finds the fields, in one go over
//! the rows, so that a quoted line break at the end of a piece is none of a row. A column without a value has no type yet.

use std::io::{Error as IoError, Read, Result as IoResult};

use bytes::{Buf as _, Bytes};
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::CsvOptions;
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt as _;
use regex::Regex;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, channel};

use crate::tables::plain_bytes::{Body, failed};
use crate::tables::text_kinds::Kind;

/// Pieces that wait to be looked at.
const PIECES_IN_FLIGHT: usize = 2;
/// Files of all statements that are looked at together. Each holds one of the process's 512 threads for blocking work
/// while it waits for the next piece, which another of these reads.
static LOOKS: Semaphore = Semaphore::const_new(24);

/// The columns of so many rows of a file.
pub(crate) async fn csv_columns(
    mut body: Body,
    options: &CsvOptions,
    n_rows: usize,
) -> Result<Schema> {
    let look = Look::of(options, n_rows)?;
    let (sender, receiver) = channel(PIECES_IN_FLIGHT);
    let turn = LOOKS.acquire().await.map_err(failed)?;
    let look = move || {
        let _turn = turn;
        let pieces = Pieces {
            receiver,
            piece: Bytes::new(),
        };
        look.columns(pieces)
    };
    let looked = tokio::task::spawn_blocking(look);
    while let Some(piece) = body.try_next().await? {
        // Enough was seen.
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(looked.await.map_err(failed)??)
}

/// How rows are looked at.
struct Look {
    fields: ReaderBuilder,
    has_header: bool,
    /// What else than the empty field has no value.
    nulls: Option<Regex>,
    n_rows: usize,
}

impl Look {
    fn of(options: &CsvOptions, n_rows: usize) -> Result<Self> {
        let has_header = options.has_header.unwrap_or(true);
        let mut fields = ReaderBuilder::new();
        fields
            .has_headers(has_header)
            .flexible(options.truncated_rows.unwrap_or(false))
            .delimiter(options.delimiter)
            .quote(options.quote)
            .escape(options.escape)
            .comment(options.comment);
        let nulls = options.null_regex.as_deref().map(Regex::new).transpose();
        Ok(Self {
            fields,
            has_header,
            nulls: nulls.map_err(|error| DataFusionError::External(Box::new(error)))?,
            n_rows,
        })
    }

    fn columns(&self, pieces: Pieces) -> std::result::Result<Schema, ArrowError> {
        let mut rows: Reader<Pieces> = self.fields.from_reader(pieces);
        let first = rows.headers().map_err(unreadable)?;
        let names: Vec<String> = match self.has_header {
            true => first.iter().map(ToOwned::to_owned).collect(),
            false => (1..=first.len()).map(|n| format!("column_{n}")).collect(),
        };
        let mut kinds = vec![Kind::default(); names.len()];
        let mut row = StringRecord::new();
        let mut n_rows = 0;
        while n_rows < self.n_rows && rows.read_record(&mut row).map_err(unreadable)? {
            n_rows += 1;
            for (kind, text) in kinds.iter_mut().zip(&row) {
                if !self.is_null(text) {
                    *kind = kind.and(text);
                }
            }
        }
        let columns = names.iter().zip(kinds);
        let columns = columns.map(|(name, kind)| Field::new(name, kind.data_type(), true));
        Ok(Schema::new(columns.collect::<Vec<_>>()))
    }

    fn is_null(&self, text: &str) -> bool {
        match &self.nulls {
            Some(nulls) => nulls.is_match(text),
            None => text.is_empty(),
        }
    }
}

/// What the rows cannot be divided into fields for.
fn unreadable(error: csv::Error) -> ArrowError {
    let place = error.position().map(|place| place.line());
    let place = place.map_or_else(String::new, |line| format!(" at line {line}"));
    ArrowError::CsvError(match error.kind() {
        ErrorKind::Utf8 { err, .. } => format!("{err}{place}"),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "rows have different numbers of fields: expected {expected_len} records, found {len} \
             records{place}"
        ),
        _ => error.to_string(),
    })
}

/// Pieces that come from a task, for one that waits.
struct Pieces {
    receiver: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let n_bytes = buffer.len().min(self.piece.len());
        let taken = self
            .piece
            .get(..n_bytes)
            .ok_or_else(|| IoError::other("no piece"))?;
        buffer[..n_bytes].copy_from_slice(taken);
        self.piece.advance(n_bytes);
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    async fn types(text: &str, options: &CsvOptions, n_rows: usize) -> Vec<String> {
        // Cut anywhere, also within quotes.
        let pieces: Vec<_> = text.as_bytes().chunks(3).collect();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(piece.to_vec().into()))
            .collect();
        let body = futures::stream::iter(pieces).boxed();
        let schema = csv_columns(body, options, n_rows).await.unwrap();
        let fields = schema.fields().iter();
        fields.map(|field| field.data_type().to_string()).collect()
    }

    #[tokio::test]
    async fn a_type_holds_all_values() {
        let options = CsvOptions::default();
        for (values, expected) in [
            ("1,\n2,", ["Int64", "Null"]),
            (
                "1,2026-01-01\n2,2026-01-01 10:00:00",
                ["Int64", "Timestamp(µs)"],
            ),
            ("1,2026-01-01\n2.5,2026-01-02", ["Float64", "Date32"]),
            ("1,\"x\ny\"\n2,\"\nz\"", ["Int64", "Utf8"]),
            (
                "01234,2026-01-01T10:00:00Z\n94103,2026-01-01T10:00:00+05:00",
                ["Utf8", "Timestamp(µs, \"UTC\")"],
            ),
            ("1,2026-01-01\n2,0000-00-00", ["Int64", "Utf8"]),
        ] {
            let text = format!("a,b\n{values}\n");
            assert_eq!(types(&text, &options, 100).await, expected, "{values}");
        }
        // What comes later is not looked at.
        assert_eq!(types("a\n1\nx\n", &options, 1).await, ["Int64"]);
    }

    /// Pieces that are read by other threads of the runtime than the one that looks at them.
    fn read_elsewhere() -> Body {
        let piece = |n: i64| async move {
            let read = tokio::task::spawn_blocking(move || Bytes::from(format!("{n}\n")));
            let piece = read.await.map_err(failed)?;
            Ok((n < 5).then_some((piece, n + 1)))
        };
        futures::stream::try_unfold(0, piece).boxed()
    }

    #[test]
    fn many_files_do_not_wait_for_each_other() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(32).build();
        let options = CsvOptions::default().with_has_header(false);
        let looks = (0..100).map(|_| csv_columns(read_elsewhere(), &options, usize::MAX));
        let looks = futures::future::try_join_all(looks);
        let looks = async { tokio::time::timeout(std::time::Duration::from_secs(60), looks).await };
        let found = runtime.unwrap().block_on(looks);
        assert_eq!(found.expect("they wait for each other").unwrap().len(), 100);
    }

    #[tokio::test]
    async fn texts_for_null_have_no_type() {
        let options = CsvOptions {
            null_regex: Some("^(?:NA)?$".to_owned()),
            quote: b'\'',
            has_header: Some(false),
            ..CsvOptions::default()
        };
        let found = types("NA,NA,'x\ny'\n1,,z\n", &options, 100).await;
        assert_eq!(found, ["Int64", "Null", "Utf8"]);
    }
}
