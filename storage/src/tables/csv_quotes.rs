//! The quotes of a CSV file: where they open and close, and whether the last one ever closes.
//!
//! The bytes of a file flow in, piece by piece, in order; what stands inside quotes flows out, and where lines, records and
//! fields begin. A quote opens where a field begins and is an ordinary character elsewhere; inside quotes a doubled one is
//! a character too. Nothing is parsed beyond that, so that looking for quotes costs little beside reading.

use datafusion::datasource::physical_plan::CsvSource;
use memchr::{memchr, memchr_iter, memchr2};

use crate::tables::plain_bytes::BYTE_ORDER_MARK;

const LAST_OF_MARK: u8 = 0xbf;

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

    /// Whether a byte outside quotes ends the field before it.
    pub(crate) fn ends_field(self, byte: u8) -> bool {
        [self.delimiter, b'\n', b'\r'].contains(&byte)
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
#[derive(Debug, Clone)]
pub(crate) struct Quotes {
    dialect: Dialect,
    state: State,
    /// The byte before the next one; none at the start of the file.
    last: Option<u8>,
    /// Bytes and lines before the piece that is looked at.
    n_bytes: u64,
    n_lines: u64,
    /// The line of the quote that opened last, from one; zero: none has.
    opened: u64,
    has_breaks: bool,
    /// The field's place in its record; `None`: fields are not counted.
    field: Option<usize>,
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
            field: None,
        }
    }

    /// The same that counts the fields of each record.
    pub(crate) fn counting_fields(mut self) -> Self {
        self.field = Some(0);
        self
    }

    /// The quotes of a text behind so many bytes of its file, where a line begins outside of quotes.
    pub(crate) fn behind(dialect: Dialect, n_bytes: u64) -> Self {
        Self {
            last: Some(b'\n'),
            n_bytes,
            ..Self::new(dialect)
        }
    }

    /// The quotes of this text and of the rest of the file, or more of it, that was looked at by itself.
    pub(crate) fn and(self, rest: Self) -> Self {
        let opened = match rest.opened {
            0 => self.opened,
            line => self.n_lines + line,
        };
        Self {
            n_lines: self.n_lines + rest.n_lines,
            opened,
            has_breaks: self.has_breaks || rest.has_breaks,
            ..rest
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

    /// The last byte of the text so far.
    pub(crate) fn last(&self) -> Option<u8> {
        self.last
    }

    /// The place in its record of the field that the next byte belongs to, if they are counted.
    pub(crate) fn field(&self) -> Option<usize> {
        self.field
    }

    /// Whether a field begins with the next byte.
    pub(crate) fn begins_field(&self) -> bool {
        let begins = self.begins_line() || self.last == Some(self.dialect.delimiter);
        begins && self.state == State::Plain
    }

    /// Whether a line that is no part of a field begins with the next byte.
    pub(crate) fn begins_line(&self) -> bool {
        self.state == State::Plain && self.is_first(self.last, self.n_bytes)
    }

    /// Whether bytes of a record stand before the next byte in its line.
    pub(crate) fn is_in_record(&self) -> bool {
        let mark = BYTE_ORDER_MARK.get(..self.n_bytes as usize);
        let is_mark = mark.is_some_and(|mark| mark.last() == self.last.as_ref());
        self.state != State::Comment && !self.begins_line() && !is_mark
    }

    /// Takes the next piece of the file.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut opened_at = None;
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            at += match self.state {
                State::Plain => {
                    let found = self.next_mark(rest);
                    self.count_fields(&rest[..found.unwrap_or(rest.len())]);
                    match found {
                        None => rest.len(),
                        Some(found) => {
                            self.state = self.behind_mark(piece, at + found);
                            if self.state == State::Quoted {
                                opened_at = Some(at + found);
                            }
                            found + 1
                        }
                    }
                }
                State::Comment => self.until(memchr(b'\n', rest), rest, State::Plain),
                State::Quoted => {
                    let escape = self.dialect.escape.unwrap_or(self.dialect.quote);
                    let end = memchr2(self.dialect.quote, escape, rest);
                    let inside = &rest[..end.unwrap_or(rest.len())];
                    self.has_breaks |= inside.contains(&b'\n');
                    let next = match end.map(|end| rest[end] == self.dialect.quote) {
                        Some(true) => State::Closing,
                        _ => State::Escaped,
                    };
                    self.until(end, rest, next)
                }
                State::Escaped => {
                    self.has_breaks |= rest[0] == b'\n';
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

    /// What stands behind a quote or the character of comments outside quotes.
    fn behind_mark(&self, piece: &[u8], at: usize) -> State {
        let before = match at.checked_sub(1) {
            Some(before) => Some(piece[before]),
            None => self.last,
        };
        let is_first = self.is_first(before, self.n_bytes + at as u64);
        match piece[at] == self.dialect.quote {
            true if is_first || before == Some(self.dialect.delimiter) => State::Quoted,
            false if is_first => State::Comment,
            _ => State::Plain,
        }
    }

    /// Counts the fields that end in a text outside quotes, most of which are short.
    fn count_fields(&mut self, text: &[u8]) {
        let Some(field) = &mut self.field else {
            return;
        };
        for byte in text {
            match *byte {
                b'\n' | b'\r' => *field = 0,
                byte if byte == self.dialect.delimiter => *field += 1,
                _ => {}
            }
        }
    }

    /// Whether a line begins at an offset of the file; a byte order mark is no part of the first one.
    fn is_first(&self, before: Option<u8>, offset: u64) -> bool {
        may_begin_line(before)
            && (before != Some(LAST_OF_MARK) || offset == BYTE_ORDER_MARK.len() as u64)
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

/// Whether a line may begin behind a byte; none is at the start of a file.
pub(crate) fn may_begin_line(before: Option<u8>) -> bool {
    matches!(before, None | Some(b'\n' | b'\r' | LAST_OF_MARK))
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
        for (at, _) in text.match_indices('\n') {
            let (first, second) = text.as_bytes().split_at(at + 1);
            let mut begun = Quotes::new(dialect);
            begun.feed(first);
            if begun.has_breaks() {
                break;
            }
            let mut rest = Quotes::behind(dialect, first.len() as u64);
            rest.feed(second);
            let both = begun.and(rest);
            let both = (both.has_breaks(), both.open());
            assert_eq!(both, whole, "{text:?} looked at from {at}");
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

    /// Of each place in a text, the field that begins there, and whether a line does, however the text is fed.
    fn begun(dialect: Dialect, text: &str) -> (Vec<Option<usize>>, Vec<bool>) {
        let mut by_bytes = Quotes::new(dialect).counting_fields();
        let mut found = (vec![], vec![]);
        for at in 0..=text.len() {
            let mut at_once = Quotes::new(dialect).counting_fields();
            at_once.feed(&text.as_bytes()[..at]);
            let field = at_once.begins_field().then(|| at_once.field()).flatten();
            found.0.push(field);
            found.1.push(at_once.begins_line());
            let field = by_bytes.begins_field().then(|| by_bytes.field()).flatten();
            assert_eq!(field, found.0[at], "{text:?} at {at}");
            assert_eq!(by_bytes.begins_line(), found.1[at], "{text:?} at {at}");
            assert_eq!(by_bytes.is_in_record(), at_once.is_in_record());
            by_bytes.feed(text.as_bytes().get(at..=at).unwrap_or_default());
        }
        found
    }

    #[test]
    fn fields_are_counted_outside_quotes() {
        let places = |text: &str| -> Vec<(usize, usize)> {
            let (fields, lines) = begun(PLAIN, text);
            let is_first = |(field, begins): (&Option<usize>, &bool)| !begins || *field == Some(0);
            assert!(fields.iter().zip(&lines).all(is_first), "{text:?}");
            let fields = fields.into_iter().enumerate();
            fields
                .filter_map(|(at, field)| Some((at, field?)))
                .collect()
        };
        assert_eq!(places("a,b\nc,"), [(0, 0), (2, 1), (4, 0), (6, 1)]);
        assert_eq!(places("\"a,\n\",\"\"\"\",c"), [(0, 0), (6, 1), (11, 2)]);
        let expected = [(0, 0), (3, 0), (7, 0), (8, 0)];
        assert_eq!(places("\u{feff}\"a\"\r\n"), expected);
        assert_eq!(places("a\",\"b"), [(0, 0), (3, 1)]);
        let dialect = Dialect {
            comment: Some(b'#'),
            ..PLAIN
        };
        let (fields, _) = begun(dialect, "#,\na#,");
        let expected = [Some(0), None, None, Some(0), None, None, Some(1)];
        assert_eq!(fields, expected);
    }

    #[test]
    fn records_have_bytes_that_are_no_mark() {
        let dialect = Dialect {
            comment: Some(b'#'),
            ..PLAIN
        };
        for (text, expected) in [
            ("", false),
            ("\u{feff}", false),
            ("\u{feff}\n", false),
            ("\u{feff}a", true),
            ("#a", false),
            ("\"", true),
            ("a\n", false),
            ("a\n,", true),
        ] {
            let mut quotes = Quotes::new(dialect);
            quotes.feed(text.as_bytes());
            assert_eq!(quotes.is_in_record(), expected, "{text:?}");
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
            ("1\n'it\\\ns',2\n", (true, None)),
            ("#,'\n'a'\n", (false, None)),
            ("1,#,'\n", (true, Some(1))),
            ("\"\n", (false, None)),
        ] {
            assert_eq!(found(dialect, text), expected, "{text:?}");
        }
    }
}
