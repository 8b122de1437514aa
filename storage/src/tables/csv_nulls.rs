//! Fields of CSV files that would mean NULL, were they not in quotes.
//!
//! The bytes of a file flow in, piece by piece, in order; they flow out with a mark before each such text, which the
//! reader would else take for NULL, since it forgets which fields had quotes. The mark is a character that no text has.

use memchr::memmem;

use crate::tables::csv_quotes::{Dialect, Quotes};

/// What stands before a text for NULL that was quoted: a code point that Unicode keeps free of characters.
pub(crate) const QUOTED: char = '\u{ffff}';

/// The quoted texts for NULL of the file so far.
#[derive(Debug)]
pub(crate) struct QuotedNulls {
    /// The text in its quotes.
    pattern: Vec<u8>,
    delimiter: u8,
    quotes: Quotes,
    /// Bytes that may be the beginning of such a field.
    held: Vec<u8>,
    n_marked: usize,
}

impl QuotedNulls {
    /// `None` if there is nothing to look for: no text, or one that is written otherwise within quotes.
    pub(crate) fn new(dialect: Dialect, null_text: Option<&str>) -> Option<Self> {
        let text = null_text?.as_bytes();
        let is_special = |byte: &u8| *byte == dialect.quote || Some(*byte) == dialect.escape;
        if text.iter().any(is_special) {
            return None;
        }
        let quote = [dialect.quote];
        Some(Self {
            pattern: [&quote, text, &quote].concat(),
            delimiter: dialect.delimiter,
            quotes: Quotes::new(dialect),
            held: Vec::new(),
            n_marked: 0,
        })
    }

    /// How many fields were marked.
    pub(crate) fn n_marked(&self) -> usize {
        self.n_marked
    }

    /// Takes the next piece of the file, and gives what is certain of it.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let n_certain = self.held.len().saturating_sub(self.pattern.len());
        self.marked(n_certain)
    }

    /// The rest of the file.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.marked(self.held.len())
    }

    /// The first bytes of those that were held back.
    fn marked(&mut self, n_certain: usize) -> Vec<u8> {
        let rest = self.held.split_off(n_certain);
        let certain = std::mem::replace(&mut self.held, rest);
        let text = [certain.as_slice(), &self.held].concat();
        let mut marked = Vec::with_capacity(n_certain);
        let mut at = 0;
        for start in memmem::find_iter(&text, &self.pattern) {
            if start >= n_certain {
                break;
            }
            self.quotes.feed(&text[at..start]);
            marked.extend_from_slice(&text[at..=start]);
            let next = text.get(start + self.pattern.len());
            let ends = |byte: &u8| [self.delimiter, b'\n', b'\r'].contains(byte);
            if self.quotes.is_at_field() && next.is_none_or(ends) {
                marked.extend_from_slice(QUOTED.encode_utf8(&mut [0; 4]).as_bytes());
                self.n_marked += 1;
            }
            self.quotes.feed(&text[start..=start]);
            at = start + 1;
        }
        self.quotes.feed(&text[at..n_certain]);
        marked.extend_from_slice(&text[at..n_certain]);
        marked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Dialect = Dialect {
        delimiter: b',',
        quote: b'"',
        escape: None,
        comment: None,
    };

    /// The text with `!` for marks, however it is cut.
    fn marked(dialect: Dialect, text: &str) -> String {
        let mark = |pieces: &[&[u8]]| {
            let mut nulls = QuotedNulls::new(dialect, Some("NA")).unwrap();
            let mut marked: Vec<u8> = pieces.iter().flat_map(|piece| nulls.feed(piece)).collect();
            marked.extend(nulls.end());
            let marked = String::from_utf8(marked).unwrap().replace(QUOTED, "!");
            assert_eq!(marked.len(), text.len() + nulls.n_marked(), "{text:?}");
            marked
        };
        let whole = mark(&[text.as_bytes()]);
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(mark(&[first, second]), whole, "{text:?} cut at {cut}");
            let (second, third) = second.split_at(1);
            let pieces = [first, second, third];
            assert_eq!(mark(&pieces), whole, "{text:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn whole_fields_in_quotes_are_marked() {
        for (text, expected) in [
            ("", ""),
            ("NA,\"NA\"", "NA,\"!NA\""),
            ("\"NA\"\r\n\"NA\",NA\n", "\"!NA\"\r\n\"!NA\",NA\n"),
            ("\u{feff}\"NA\"\n", "\u{feff}\"!NA\"\n"),
            // Others only begin with it, hold it, or are no quoted fields.
            ("\"NA\"\"\",\"NA\"x,x\"NA\"", "\"NA\"\"\",\"NA\"x,x\"NA\""),
            ("\"x,\"\"NA\"\",\"", "\"x,\"\"NA\"\",\""),
            ("\"x,\n\"\"NA\",\"NA\"", "\"x,\n\"\"NA\",\"!NA\""),
            ("\"NAN\",\" NA\"", "\"NAN\",\" NA\""),
        ] {
            assert_eq!(marked(PLAIN, text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_otherwise_in_quotes_is_not_looked_for() {
        let dialect = Dialect {
            quote: b'\'',
            escape: Some(b'\\'),
            ..PLAIN
        };
        assert!(QuotedNulls::new(dialect, Some("\\N")).is_none());
        assert!(QuotedNulls::new(dialect, Some("'")).is_none());
        assert!(QuotedNulls::new(dialect, None).is_none());
        assert_eq!(marked(dialect, "'it\\'s,','NA'"), "'it\\'s,','!NA'");
    }
}
