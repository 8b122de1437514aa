//! CSV as PostgreSQL's COPY reads it: quotes may hold breaks, and a quoted text is never NULL.
//!
//! In: bytes that may end anywhere; out: the values of one row.

use auspex_planner::CopyOptions;
use datafusion::arrow::datatypes::Schema;

use super::decoder::{Found, RowValues, Wrong};
use super::header::{check_header, expected_header};
use super::line_break::LineBreak;

/// How a column takes the text that means NULL.
#[derive(Debug, Clone, Copy, Default)]
struct NullRule {
    never: bool,
    also_quoted: bool,
}

/// Reads rows of CSV.
pub(super) struct CsvRows {
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Vec<u8>,
    rules: Vec<NullRule>,
    skips_header: bool,
    /// The names that the header must have.
    header: Option<Vec<String>>,
    line: u64,
    line_break: LineBreak,
    /// Bytes of the row at hand that were looked through, and whether a quote is open behind them.
    seen: usize,
    in_quotes: bool,
}

impl CsvRows {
    pub(super) fn new(options: &CopyOptions, columns: &Schema) -> CsvRows {
        let rule = |name: &str| NullRule {
            never: options.force_not_null.contains(name),
            also_quoted: options.force_null.contains(name),
        };
        CsvRows {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null: options.null.clone().into_bytes(),
            rules: columns.fields().iter().map(|f| rule(f.name())).collect(),
            skips_header: options.has_header,
            header: expected_header(options, columns),
            line: 0,
            line_break: LineBreak::default(),
            seen: 0,
            in_quotes: false,
        }
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Whether a quote is open behind what was looked through.
    pub(super) fn is_in_quotes(&self) -> bool {
        self.in_quotes
    }

    pub(super) fn next(
        &mut self,
        input: &[u8],
        at_end: bool,
        row: &mut RowValues,
    ) -> Result<Found, Wrong> {
        let (line, length) = match self.line_end(input, at_end) {
            Some(end) => (&input[..end], end + 1),
            None if at_end && self.in_quotes => {
                // The row may have begun on any line before.
                self.line += 1 + input.iter().filter(|byte| **byte == b'\n').count() as u64;
                return Err(("22P04", "unterminated CSV quoted field".to_owned()));
            }
            None if at_end && !input.is_empty() => (input, input.len()),
            None => return Ok(Found::Partial),
        };
        self.seen = 0;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.line += 1 + line.iter().filter(|byte| **byte == b'\n').count() as u64;
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
        while let Some(byte) = input.get(at) {
            if self.in_quotes && *byte == self.escape && self.escape != self.quote {
                // What stands behind the escape may come with the next piece.
                if at + 1 == input.len() {
                    break;
                }
                at += 2;
                continue;
            }
            if *byte == self.quote {
                // A doubled quote closes and opens again.
                self.in_quotes = !self.in_quotes;
            } else if LineBreak::may_be(*byte) && !self.in_quotes {
                match self.line_break.ends(input, at, at_end) {
                    Some(true) => return Some(at),
                    Some(false) => {}
                    None => break,
                }
            }
            at += 1;
        }
        self.seen = at;
        None
    }

    fn split(&self, line: &[u8], row: &mut RowValues) {
        row.clear();
        let mut at = 0;
        loop {
            let from = row.bytes.len();
            let (mut quoted, mut in_quotes) = (false, false);
            while let Some(byte) = line.get(at) {
                let next = line.get(at + 1);
                if in_quotes {
                    let is_kept = |next: &u8| *next == self.quote || *next == self.escape;
                    if *byte == self.escape && next.is_some_and(is_kept) {
                        row.bytes.extend(next);
                        at += 1;
                    } else if *byte == self.quote {
                        in_quotes = false;
                    } else {
                        row.bytes.push(*byte);
                    }
                } else if *byte == self.quote {
                    (quoted, in_quotes) = (true, true);
                } else if *byte == self.delimiter {
                    break;
                } else {
                    row.bytes.push(*byte);
                }
                at += 1;
            }
            let rule = self.rules.get(row.places.len()).copied();
            let rule = rule.unwrap_or_default();
            let is_null =
                row.bytes[from..] == *self.null && !rule.never && (!quoted || rule.also_quoted);
            row.end_value(from, is_null);
            match at < line.len() {
                true => at += 1,
                false => return,
            }
        }
    }
}
