//! PostgreSQL's text format of COPY: a line a row, values apart by a mark, everything special behind a backslash.
//!
//! In: bytes that may end anywhere; out: the values of one row.

use auspex_planner::CopyOptions;
use datafusion::arrow::datatypes::Schema;

use super::decoder::{Found, RowValues, Wrong};
use super::header::{check_header, expected_header};
use super::line_break::LineBreak;

/// Reads rows of the text format.
pub(super) struct TextRows {
    delimiter: u8,
    null: Vec<u8>,
    skips_header: bool,
    /// The names that the header must have.
    header: Option<Vec<String>>,
    line: u64,
    line_break: LineBreak,
    /// Bytes of the row at hand that were looked through without finding its end.
    seen: usize,
}

impl TextRows {
    pub(super) fn new(options: &CopyOptions, columns: &Schema) -> TextRows {
        TextRows {
            delimiter: options.delimiter,
            null: options.null.clone().into_bytes(),
            skips_header: options.has_header,
            header: expected_header(options, columns),
            line: 0,
            line_break: LineBreak::default(),
            seen: 0,
        }
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn next(
        &mut self,
        input: &[u8],
        at_end: bool,
        row: &mut RowValues,
    ) -> Result<Found, Wrong> {
        let (line, length) = match self.line_end(input, at_end) {
            Some(end) => (&input[..end], end + 1),
            None if at_end && !input.is_empty() => (input, input.len()),
            None => return Ok(Found::Partial),
        };
        self.seen = 0;
        self.line += 1;
        // A carriage return before the break belongs to the break, unless a backslash keeps it.
        let line = match line.strip_suffix(b"\r") {
            Some(stripped) if !ends_with_backslash(stripped) => stripped,
            _ => line,
        };
        if line == b"\\." {
            return Ok(Found::End);
        }
        if std::mem::take(&mut self.skips_header) {
            if let Some(names) = &self.header {
                self.split(line, row);
                check_header(row, names)?;
            }
            return Ok(Found::Skip(length));
        }
        self.split(line, row);
        Ok(Found::Row(length))
    }

    /// Where the line break behind the first row stands; else keeps how far it looked.
    fn line_end(&mut self, input: &[u8], at_end: bool) -> Option<usize> {
        let mut at = self.seen;
        while let Some(found) = input[at..].iter().position(|byte| LineBreak::may_be(*byte)) {
            at += found;
            if !ends_with_backslash(&input[..at]) {
                match self.line_break.ends(input, at, at_end) {
                    Some(true) => return Some(at),
                    Some(false) => {}
                    None => {
                        self.seen = at;
                        return None;
                    }
                }
            }
            at += 1;
        }
        self.seen = input.len();
        None
    }

    fn split(&self, line: &[u8], row: &mut RowValues) {
        row.clear();
        let mut start = 0;
        loop {
            let end = self.value_end(line, start);
            let raw = &line[start..end];
            let from = row.bytes.len();
            if raw == self.null.as_slice() {
                row.end_value(from, true);
            } else {
                unescape(raw, &mut row.bytes);
                row.end_value(from, false);
            }
            match end < line.len() {
                true => start = end + 1,
                false => return,
            }
        }
    }

    fn value_end(&self, line: &[u8], start: usize) -> usize {
        let mut at = start;
        while at < line.len() {
            match line[at] {
                b'\\' => at += 2,
                byte if byte == self.delimiter => return at,
                _ => at += 1,
            }
        }
        line.len()
    }
}

/// Whether an odd number of backslashes ends the bytes, so that the next byte is kept by one.
fn ends_with_backslash(bytes: &[u8]) -> bool {
    let n = bytes
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count();
    !n.is_multiple_of(2)
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        at += 1;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let Some(escaped) = raw.get(at) else {
            out.push(b'\\');
            return;
        };
        at += 1;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => at = number(raw, at - 1, 3, 8, out),
            b'x' if raw.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                at = number(raw, at, 2, 16, out);
            }
            other => out.push(*other),
        }
    }
}

/// A byte by its digits; returns the place behind them.
fn number(raw: &[u8], start: usize, most: usize, base: u32, out: &mut Vec<u8>) -> usize {
    let digits = raw[start..].iter().take(most);
    let digits = digits.map_while(|byte| char::from(*byte).to_digit(base));
    let (mut value, mut end) = (0_u32, start);
    for digit in digits {
        value = value * base + digit;
        end += 1;
    }
    // As in PostgreSQL, \777 keeps its low byte.
    out.push(value as u8);
    end
}
