//! The quotes of a CSV file: where they open and close, and whether the last one ever closes.
//!
//! The bytes of a file flow in, piece by piece, in order; what stands inside quotes flows out. A quote opens where a field
//! begins and is an ordinary character elsewhere; inside quotes a doubled one is a character too. Nothing is parsed
//! beyond that, so that looking for quotes costs little beside reading.

use datafusion::datasource::physical_plan::CsvSource;
use memchr::{memchr, memchr_iter, memchr2};

/// The characters that mean something in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
}

impl Dialect {
    /// What a scan reads with.
    pub(crate) fn of(source: &CsvSource) -> Self {
        Self {
            delimiter: source.delimiter(),
            quote: source.quote(),
            escape: source.escape(),
            comment: source.comment(),
        }
    }
}

/// What the next byte stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Comment,
    Quoted,
    /// Behind an escape character inside quotes.
    Escaped,
    /// Behind a quote inside quotes, which closes them unless another one follows.
    Closing,
}

/// The quotes of the text so far.
#[derive(Debug)]
pub(crate) struct Quotes {
    dialect: Dialect,
    state: State,
    /// The byte before the next one; none at the start of the file.
    last: Option<u8>,
    /// Bytes and lines before the piece that is looked at.
    n_bytes: u64,
    n_lines: u64,
    /// The line of the quote that opened last, from one.
    opened: u64,
    has_breaks: bool,
}

impl Quotes {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: State::Plain,
            last: None,
            n_bytes: 0,
            n_lines: 0,
            opened: 0,
            has_breaks: false,
        }
    }

    /// Whether a line break stood inside quotes.
    pub(crate) fn has_breaks(&self) -> bool {
        self.has_breaks
    }

    /// The line where a quote opened that has not closed.
    pub(crate) fn open(&self) -> Option<u64> {
        matches!(self.state, State::Quoted | State::Escaped).then_some(self.opened)
    }

    /// Takes the next piece of the file.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut opened_at = None;
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            at += match self.state {
                State::Plain => match self.next_mark(rest) {
                    None => rest.len(),
                    Some(found) => {
                        let before = match (at + found).checked_sub(1) {
                            Some(before) => Some(piece[before]),
                            None => self.last,
                        };
                        let is_first = self.is_first(before, self.n_bytes + (at + found) as u64);
                        if rest[found] == self.dialect.quote {
                            if is_first || before == Some(self.dialect.delimiter) {
                                self.state = State::Quoted;
                                opened_at = Some(at + found);
                            }
                        } else if is_first {
                            self.state = State::Comment;
                        }
                        found + 1
                    }
                },
                State::Comment => self.until(memchr(b'\n', rest), rest, State::Plain),
                State::Quoted => {
                    let escape = self.dialect.escape.unwrap_or(self.dialect.quote);
                    let end = memchr2(self.dialect.quote, escape, rest);
                    let inside = &rest[..end.unwrap_or(rest.len())];
                    self.has_breaks |= memchr(b'\n', inside).is_some();
                    let next = match end.map(|end| rest[end] == self.dialect.quote) {
                        Some(true) => State::Closing,
                        _ => State::Escaped,
                    };
                    self.until(end, rest, next)
                }
                State::Escaped => {
                    self.state = State::Quoted;
                    1
                }
                State::Closing if rest[0] == self.dialect.quote => {
                    self.state = State::Quoted;
                    1
                }
                State::Closing => {
                    self.state = State::Plain;
                    0
                }
            };
        }
        if let Some(at) = opened_at {
            self.opened = self.n_lines + n_breaks(&piece[..at]) + 1;
        }
        self.last = piece.last().copied().or(self.last);
        self.n_bytes += piece.len() as u64;
        self.n_lines += n_breaks(piece);
    }

    fn next_mark(&self, text: &[u8]) -> Option<usize> {
        match self.dialect.comment {
            Some(comment) => memchr2(self.dialect.quote, comment, text),
            None => memchr(self.dialect.quote, text),
        }
    }

    /// Whether a line begins at an offset of the file; a byte order mark is no part of the first one.
    fn is_first(&self, before: Option<u8>, offset: u64) -> bool {
        const MARK: u64 = 3;
        match before {
            None | Some(b'\n' | b'\r') => true,
            Some(0xbf) => offset == MARK,
            _ => false,
        }
    }

    /// Goes on to `next` behind `end`, or stays to the end of the piece.
    fn until(&mut self, end: Option<usize>, rest: &[u8], next: State) -> usize {
        match end {
            Some(end) => {
                self.state = next;
                end + 1
            }
            None => rest.len(),
        }
    }
}

fn n_breaks(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
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

    /// Whether there are breaks inside quotes, and the line of an open quote, however the text is cut.
    fn found(dialect: Dialect, text: &str) -> (bool, Option<u64>) {
        let look = |pieces: &[&[u8]]| {
            let mut quotes = Quotes::new(dialect);
            pieces.iter().for_each(|piece| quotes.feed(piece));
            (quotes.has_breaks(), quotes.open())
        };
        let whole = look(&[text.as_bytes()]);
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(look(&[first, second]), whole, "{text:?} cut at {cut}");
            let (second, third) = second.split_at(1);
            assert_eq!(
                look(&[first, second, third]),
                whole,
                "{text:?} cut at {cut}"
            );
        }
        whole
    }

    #[test]
    fn quotes_open_where_fields_begin() {
        for (text, expected) in [
            ("", (false, None)),
            ("a,b\n1,2\n", (false, None)),
            ("a,b\n\"1\",\"x\"\"y\"\n", (false, None)),
            ("a,b\n1,\"x\ny\"\n", (true, None)),
            // An inch is no quote, nor is one behind a closed field.
            ("a\n5\" pipe\n6\n", (false, None)),
            ("a\n\"5\"\" pipe\"x\"\n6\n", (false, None)),
            ("\"", (false, Some(1))),
            ("a,b\n1,\"x\n2,y\n", (true, Some(2))),
            ("a,b\r\n\"1\r\n2\",\"x\"\"\r\n", (true, Some(3))),
            ("\u{feff}\"a\nb\"\n\"", (true, Some(3))),
            ("\u{feff}a\"\n", (false, None)),
        ] {
            assert_eq!(found(PLAIN, text), expected, "{text:?}");
        }
    }

    #[test]
    fn escapes_and_comments_hide_quotes() {
        let dialect = Dialect {
            quote: b'\'',
            escape: Some(b'\\'),
            comment: Some(b'#'),
            ..PLAIN
        };
        for (text, expected) in [
            ("'it\\'s',1\n", (false, None)),
            ("'it\\\\',1\n", (false, None)),
            ("'it\\'", (false, Some(1))),
            ("#,'\n'a'\n", (false, None)),
            ("1,#,'\n", (true, Some(1))),
            ("\"\n", (false, None)),
        ] {
            assert_eq!(found(dialect, text), expected, "{text:?}");
        }
    }
}
