//! PostgreSQL's binary format of COPY: a signature, then rows of values with their lengths.
//!
//! In: bytes that may end anywhere; out: the bytes of the values of one row.

use super::decoder::{Found, RowValues, Wrong};

/// What each copy begins with.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Reads rows of the binary format.
#[derive(Default)]
pub(super) struct BinaryRows {
    has_header: bool,
    line: u64,
}

impl BinaryRows {
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn next(
        &mut self,
        input: &[u8],
        at_end: bool,
        row: &mut RowValues,
    ) -> Result<Found, Wrong> {
        let found = match self.has_header {
            true => self.row(input, row)?,
            false => self.header(input)?,
        };
        match found {
            Some(found) => Ok(found),
            // Some clients leave the trailer out, and PostgreSQL takes the end of the data for it.
            None if at_end && self.has_header && input.is_empty() => Ok(Found::End),
            // Within a row, the copy was cut.
            None if at_end => Err(cut()),
            None => Ok(Found::Partial),
        }
    }

    fn header(&mut self, input: &[u8]) -> Result<Option<Found>, Wrong> {
        let known = input.len().min(SIGNATURE.len());
        if input[..known] != SIGNATURE[..known] {
            return Err(("22P04", "COPY file signature not recognized".to_owned()));
        }
        let (Some(flags), Some(extension)) = (i32_at(input, 11), i32_at(input, 15)) else {
            return Ok(None);
        };
        if flags & 0x7fff_0000 != 0 || flags < 0 {
            return Err((
                "22P04",
                "unrecognized critical flags in COPY file header".to_owned(),
            ));
        }
        let Ok(extension) = usize::try_from(extension) else {
            return Err((
                "22P04",
                "invalid COPY file header (wrong length)".to_owned(),
            ));
        };
        let length = 19 + extension;
        if input.len() < length {
            return Ok(None);
        }
        self.has_header = true;
        Ok(Some(Found::Skip(length)))
    }

    fn row(&mut self, input: &[u8], row: &mut RowValues) -> Result<Option<Found>, Wrong> {
        let Some(count) = input.first_chunk::<2>() else {
            return Ok(None);
        };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Some(Found::End));
        }
        row.clear();
        let mut at = 2;
        for _ in 0..count {
            let Some(length) = i32_at(input, at) else {
                return Ok(None);
            };
            at += 4;
            let start = row.bytes.len();
            if length == -1 {
                row.end_value(start, true);
                continue;
            }
            let Ok(length) = usize::try_from(length) else {
                return Err(("22P04", "invalid field size".to_owned()));
            };
            let Some(value) = input.get(at..at + length) else {
                return Ok(None);
            };
            row.bytes.extend_from_slice(value);
            row.end_value(start, false);
            at += length;
        }
        self.line += 1;
        Ok(Some(Found::Row(at)))
    }
}

fn cut() -> Wrong {
    ("22P04", "unexpected EOF in COPY data".to_owned())
}

fn i32_at(input: &[u8], at: usize) -> Option<i32> {
    let bytes = input.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}
