//! Blank lines of CSV files of one column, which are rows of NULL.
//!
//! The bytes of a file flow in from its beginning; the same flow out with an empty field in quotes in each blank line, which
//! the reader would else pass over. There are more of them then, so that such a file is read as a whole. Blank lines before
//! the header, and in files of several columns, are no rows.

use bytes::Bytes;
use datafusion::datasource::physical_plan::{CsvSource, FileSource as _};
use memchr::memchr2_iter;

use crate::tables::csv_quotes::{Dialect, Quotes, may_begin_line};

/// The blank lines of a file so far.
#[derive(Debug, Clone)]
pub(crate) struct BlankLines {
    quotes: Quotes,
    quote: u8,
    awaits_header: bool,
}

impl BlankLines {
    /// Those of the files of a scan; `None` where they are no rows.
    pub(crate) fn of(csv: &CsvSource) -> Option<Self> {
        let is_whole = csv.newlines_in_values() && csv.terminator().is_none();
        let has_one_column = csv.table_schema().file_schema().fields().len() == 1;
        (is_whole && has_one_column).then(|| Self::new(Dialect::of(csv), csv.has_header()))
    }

    fn new(dialect: Dialect, has_header: bool) -> Self {
        Self {
            quotes: Quotes::new(dialect),
            quote: dialect.quote,
            awaits_header: has_header,
        }
    }

    /// The next piece of the file as the reader is to see it.
    pub(crate) fn filled(&mut self, piece: Bytes) -> Bytes {
        let mut seen = 0;
        while self.awaits_header && seen < piece.len() {
            self.quotes.feed(&piece[seen..=seen]);
            self.awaits_header = !self.quotes.is_in_record();
            seen += 1;
        }
        let behind_header = seen;
        let mut filled = Vec::new();
        let mut from = 0;
        for at in memchr2_iter(b'\n', b'\r', &piece[behind_header..]) {
            let at = behind_header + at;
            let before = match at.checked_sub(1) {
                Some(before) => Some(piece[before]),
                None => self.quotes.last(),
            };
            // Most lines are not blank, so that what stands in them is not looked at for their ends.
            let is_second = before == Some(b'\r') && piece[at] == b'\n';
            if is_second || !may_begin_line(before) {
                continue;
            }
            self.quotes.feed(&piece[seen..at]);
            seen = at;
            if self.quotes.begins_line() {
                filled.extend_from_slice(&piece[from..at]);
                filled.extend([self.quote; 2]);
                from = at;
            }
        }
        self.quotes.feed(&piece[seen..]);
        if filled.is_empty() {
            return piece;
        }
        filled.extend_from_slice(&piece[from..]);
        filled.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as the reader sees it, however it is cut.
    fn filled(comment: Option<u8>, has_header: bool, text: &str) -> String {
        let dialect = Dialect {
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment,
        };
        let fill = |pieces: &[&[u8]]| {
            let mut lines = BlankLines::new(dialect, has_header);
            let pieces = pieces.iter();
            let filled: Vec<Bytes> = pieces
                .map(|piece| lines.filled(Bytes::copy_from_slice(piece)))
                .collect();
            String::from_utf8(filled.concat()).unwrap()
        };
        let whole = fill(&[text.as_bytes()]);
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(fill(&[first, second]), whole, "{text:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn blank_lines_are_rows() {
        for (text, expected) in [
            ("", ""),
            ("\n", "\"\"\n"),
            ("5\n\n7\n", "5\n\"\"\n7\n"),
            ("5\r\n\r\n7\r\n", "5\r\n\"\"\r\n7\r\n"),
            ("5\r\r7\r", "5\r\"\"\r7\r"),
            // The end of the file is no line.
            ("5\n\n", "5\n\"\"\n"),
            ("\n\n5", "\"\"\n\"\"\n5"),
            ("\u{feff}\n5\n", "\u{feff}\"\"\n5\n"),
            // Neither is a blank nor what stands in quotes.
            (
                " \n\"\"\n\"a\n\n\"\"\n\nb\"\n\n",
                " \n\"\"\n\"a\n\n\"\"\n\nb\"\n\"\"\n",
            ),
            ("\"a\r\"\n\n", "\"a\r\"\n\"\"\n"),
            // A text for NULL whose quotes are marked.
            ("\0NA\0\n\n", "\0NA\0\n\"\"\n"),
        ] {
            assert_eq!(filled(None, false, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_header_is_the_first_line_that_is_not_blank() {
        let text = "\n\r\n#\n\na\n\n1\n#\n\n";
        let expected = "\n\r\n#\n\na\n\"\"\n1\n#\n\"\"\n";
        assert_eq!(filled(Some(b'#'), true, text), expected);
        let expected = "\"\"\n\"\"\r\n#\n\"\"\na\n\"\"\n1\n#\n\"\"\n";
        assert_eq!(filled(Some(b'#'), false, text), expected);
    }
}
