//! Fields of CSV files that would mean NULL, were they not in quotes.
//!
//! Bytes flow in; as many flow out, with a mark in the place of both quotes of each such field, which the reader would else
//! take for NULL, since it forgets which fields had quotes. The mark is a character that no text has. [`QuotedNulls`] looks
//! at a file from its beginning, [`LineNulls`] at any lines of one whose quotes hold no line breaks.

use std::sync::Arc;

use datafusion::arrow::array::StringViewArray;
use memchr::{memmem, memrchr};

use crate::tables::csv_quotes::{Dialect, Quotes, may_begin_line};

/// What stands in the place of a quote.
const MARK: u8 = 0;
/// The mark of an empty text, as the reader gives it.
const MARKED_EMPTY: &str = "\0\0";
/// The same as a view: two bytes, which are zero.
const VIEW_OF_MARKED_EMPTY: u128 = 2;

/// Whether a text is one for NULL that was quoted.
pub(crate) fn was_quoted(text: &str, null_text: &str) -> bool {
    let inner = text
        .strip_prefix('\0')
        .and_then(|text| text.strip_suffix('\0'));
    inner == Some(null_text)
}

/// A text as it is written within quotes.
pub(crate) fn within_quotes(text: &str, escape: Option<u8>) -> String {
    match escape.map(char::from) {
        Some(escape) => text.replace(escape, &format!("{escape}{escape}")),
        None => text.to_owned(),
    }
}

/// Texts with those that were empty and quoted as they are.
pub(crate) fn with_empty_texts(texts: &StringViewArray) -> StringViewArray {
    if !texts.views().contains(&VIEW_OF_MARKED_EMPTY) {
        return texts.clone();
    }
    texts
        .iter()
        .map(|text| text.map(|text| if text == MARKED_EMPTY { "" } else { text }))
        .collect()
}

/// The columns whose fields are marked, by their place in the file; `None`: all.
pub(crate) type Columns = Option<Arc<[bool]>>;

/// What looks for fields of these columns.
fn quotes(dialect: Dialect, columns: &Columns) -> Quotes {
    match columns {
        Some(_) => Quotes::new(dialect).counting_fields(),
        None => Quotes::new(dialect),
    }
}

/// Whether a field begins here that is to be marked.
fn is_wanted(quotes: &Quotes, columns: &Columns) -> bool {
    quotes.begins_field()
        && columns.as_ref().is_none_or(|columns| {
            let is_wanted = quotes.field().and_then(|field| columns.get(field));
            is_wanted.copied().unwrap_or(false)
        })
}

/// The quoted texts for NULL of the file so far.
#[derive(Debug)]
pub(crate) struct QuotedNulls {
    /// The text in its quotes.
    pattern: Vec<u8>,
    dialect: Dialect,
    /// Of the bytes that are certain.
    quotes: Quotes,
    columns: Columns,
    /// Bytes that may be the beginning of such a field.
    held: Vec<u8>,
    n_marked: usize,
}

impl QuotedNulls {
    /// `None` if there is nothing to look for: no text, or one that is written only within quotes.
    pub(crate) fn new(dialect: Dialect, null_text: Option<&str>, columns: Columns) -> Option<Self> {
        let text = null_text?;
        let is_special = |byte: u8| byte == dialect.quote || dialect.ends_field(byte);
        if text.bytes().any(is_special) {
            return None;
        }
        let text = within_quotes(text, dialect.escape);
        let quote = [dialect.quote];
        Some(Self {
            pattern: [&quote, text.as_bytes(), &quote].concat(),
            dialect,
            quotes: quotes(dialect, &columns),
            columns,
            held: Vec::new(),
            n_marked: 0,
        })
    }

    /// How many fields were marked.
    pub(crate) fn n_marked(&self) -> usize {
        self.n_marked
    }

    /// The line where a quote opened that has not closed, once the file has ended.
    pub(crate) fn open(&self) -> Option<u64> {
        self.quotes.open()
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

    /// At least so many of the bytes that were held back, behind which a whole pattern is known, or the end.
    fn marked(&mut self, n_certain: usize) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        let starts: Vec<usize> = memmem::find_iter(&text, &self.pattern).collect();
        let (mut at, mut n_certain) = (0, n_certain);
        for start in starts {
            if start >= n_certain {
                break;
            }
            self.quotes.feed(&text[at..start]);
            at = start;
            let end = start + self.pattern.len();
            let next = text.get(end);
            let is_whole = next.is_none_or(|next| self.dialect.ends_field(*next));
            if is_whole && is_wanted(&self.quotes, &self.columns) {
                (text[start], text[end - 1]) = (MARK, MARK);
                self.n_marked += 1;
                n_certain = n_certain.max(end);
            }
        }
        self.quotes.feed(&text[at..n_certain]);
        self.held = text.split_off(n_certain);
        text
    }
}

/// What marks empty texts in lines that are records, wherever they stand in their file.
#[derive(Debug, Clone)]
pub(crate) struct LineNulls {
    dialect: Dialect,
    columns: Columns,
}

impl LineNulls {
    pub(crate) fn new(dialect: Dialect, columns: Columns) -> Self {
        Self { dialect, columns }
    }

    /// Marks the fields of some lines, of which the first one is there from its beginning.
    pub(crate) fn mark(&self, lines: &mut [u8]) {
        let quote = self.dialect.quote;
        let pairs: Vec<usize> = memmem::find_iter(lines, &[quote, quote])
            .filter(|at| self.may_be_field(lines, *at))
            .collect();
        // An escaped quote in a text looks the same, so what stands before it in its line is read.
        let mut before = quotes(self.dialect, &self.columns);
        let mut at = 0;
        for start in pairs {
            if let Some(end) = memrchr(b'\n', &lines[at..start]) {
                before = quotes(self.dialect, &self.columns);
                at += end + 1;
            }
            before.feed(&lines[at..start]);
            at = start;
            if is_wanted(&before, &self.columns) {
                lines[start..start + 2].fill(MARK);
            }
        }
    }

    /// Whether two quotes stand here alone between ends of fields.
    fn may_be_field(&self, lines: &[u8], at: usize) -> bool {
        let before = at.checked_sub(1).map(|before| lines[before]);
        let next = lines.get(at + 2);
        next.is_none_or(|next| self.dialect.ends_field(*next))
            && (may_begin_line(before) || before == Some(self.dialect.delimiter))
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
            let mut nulls = QuotedNulls::new(dialect, Some("NA"), None).unwrap();
            let mut marked: Vec<u8> = pieces.iter().flat_map(|piece| nulls.feed(piece)).collect();
            marked.extend(nulls.end());
            let n_marks = marked.iter().filter(|byte| **byte == MARK).count();
            assert_eq!(n_marks, 2 * nulls.n_marked(), "{text:?}");
            assert_eq!(marked.len(), text.len(), "{text:?}");
            let mut quotes = Quotes::new(dialect);
            quotes.feed(text.as_bytes());
            assert_eq!(nulls.open(), quotes.open(), "{text:?}");
            String::from_utf8(marked).unwrap().replace('\0', "!")
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
            ("NA,\"NA\"", "NA,!NA!"),
            ("\"NA\"\r\n\"NA\",NA\n", "!NA!\r\n!NA!,NA\n"),
            ("\u{feff}\"NA\"\n", "\u{feff}!NA!\n"),
            // Others only begin with it, hold it, or are no quoted fields.
            ("\"NA\"\"\",\"NA\"x,x\"NA\"", "\"NA\"\"\",\"NA\"x,x\"NA\""),
            ("\"x,\"\"NA\"\",\"", "\"x,\"\"NA\"\",\""),
            ("\"x,\n\"\"NA\",\"NA\"", "\"x,\n\"\"NA\",!NA!"),
            ("\"NAN\",\" NA\"", "\"NAN\",\" NA\""),
        ] {
            assert_eq!(marked(PLAIN, text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_only_in_quotes_is_not_looked_for() {
        let dialect = Dialect {
            quote: b'\'',
            escape: Some(b'\\'),
            ..PLAIN
        };
        let marks = |text| QuotedNulls::new(dialect, text, None).is_some();
        assert!(!marks(None) && !marks(Some("it's")));
        // It is written otherwise within quotes.
        let mut nulls = QuotedNulls::new(dialect, Some("\\N"), None).unwrap();
        let text = [nulls.feed(b"\\N,'\\\\N','\\N'"), nulls.end()].concat();
        assert_eq!(text, b"\\N,\0\\\\N\0,'\\N'");
        assert!(was_quoted("\0\\\\N\0", &within_quotes("\\N", Some(b'\\'))));
        assert!(!marks(Some("a,b")) && !marks(Some("\n")));
        assert!(marks(Some("")));
        let text = "'NA','a\\'',NA','NA'\n#'NA'";
        assert_eq!(marked(dialect, text), "!NA!,'a\\'',NA',!NA!\n#'NA'");
    }

    #[test]
    fn comments_have_no_fields() {
        let dialect = Dialect {
            comment: Some(b'#'),
            ..PLAIN
        };
        let text = "#,\"NA\"\n\"NA\",#\"NA\"\n";
        assert_eq!(marked(dialect, text), "#,\"NA\"\n!NA!,#\"NA\"\n");
    }

    #[test]
    fn lines_are_marked_as_the_file_is() {
        let columns: Columns = Some(Arc::from([true, false, true]));
        for (text, expected) in [
            ("\"\",\"\",\"\"\n", "!!,\"\",!!\n"),
            ("\"a\",1,\"\"\r\n\"\"\n", "\"a\",1,!!\r\n!!\n"),
            ("\u{feff}\"\",x", "\u{feff}!!,x"),
            // An escaped quote, a comma within quotes, a fourth column.
            ("\"x,\"\",\",2,\"\"", "\"x,\"\",\",2,!!"),
            ("\"a,b\",\"\",\"\",\"\"", "\"a,b\",\"\",!!,\"\""),
            ("a\"\",\"\"\"\",\"\"\"\"", "a\"\",\"\"\"\",\"\"\"\""),
            // Several in a line, and lines behind it.
            (
                "\"\",\"\",\"\"\"\"\n\"\",\",\",\"\"\n1\n\"\",2,\"\"\n",
                "!!,\"\",\"\"\"\"\n!!,\",\",!!\n1\n!!,2,!!\n",
            ),
        ] {
            let mut lines = text.as_bytes().to_vec();
            LineNulls::new(PLAIN, columns.clone()).mark(&mut lines);
            let found = String::from_utf8(lines).unwrap().replace('\0', "!");
            assert_eq!(found, expected, "{text:?}");
            let mut nulls = QuotedNulls::new(PLAIN, Some(""), columns.clone()).unwrap();
            let mut whole = nulls.feed(text.as_bytes());
            whole.extend(nulls.end());
            let whole = String::from_utf8(whole).unwrap().replace('\0', "!");
            assert_eq!(whole, expected, "{text:?}");
        }
    }

    #[test]
    fn marks_are_taken_back() {
        assert!(was_quoted("\0\0", "") && was_quoted("\0NA\0", "NA"));
        assert!(!was_quoted("", "") && !was_quoted("\0", "") && !was_quoted("NA", "NA"));
        let texts: StringViewArray = [Some("\0\0"), None, Some("a"), Some("\0\0")]
            .into_iter()
            .collect();
        let found = with_empty_texts(&texts);
        let found: Vec<_> = found.iter().collect();
        assert_eq!(found, [Some(""), None, Some("a"), Some("")]);
    }
}
