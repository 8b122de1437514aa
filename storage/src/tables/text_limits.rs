//! Texts of at most so many characters: `VARCHAR(n)` and `CHAR(n)`; and `VARCHAR`, which clients tell from `TEXT`.
//!
//! A definition flows in and becomes a note of a column, under the key that Spark has for it; batches on their way to a
//! table flow in, and nothing or the first text that is too long flows out.

use std::collections::HashMap;
use std::fmt::{Display, Formatter};

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field};

use crate::error::{Error, Result};
use crate::tables::row_checks::RowChecks;
use crate::tables::shape::TableShape;

/// Where Spark keeps the type that a text column was declared with.
const NOTE: &str = "__CHAR_VARCHAR_TYPE_STRING";
/// The length of a `VARCHAR` without one, the largest that Spark has; it reads none without.
const ANY_LENGTH: usize = i32::MAX as usize;

/// How long the texts of a column may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    /// `CHAR(n)` rather than `VARCHAR(n)`. Texts are not filled up with blanks.
    pub is_fixed: bool,
    /// Characters; `None`: as many as there are.
    pub length: Option<usize>,
}

impl TextLimit {
    /// The limit that a column's note tells.
    pub fn of_note(note: &str) -> Option<TextLimit> {
        let (kind, length) = note.strip_suffix(')')?.split_once('(')?;
        let length: usize = length.parse().ok()?;
        Some(TextLimit {
            is_fixed: kind == "char",
            length: (length < ANY_LENGTH).then_some(length),
        })
    }

    /// How long the texts of a field may be.
    pub fn of_field(field: &Field) -> Option<TextLimit> {
        TextLimit::of_note(field.metadata().get(NOTE)?)
    }

    /// The metadata of fields with such texts.
    pub fn marks(self) -> HashMap<String, String> {
        HashMap::from([(NOTE.to_owned(), self.note())])
    }

    /// Whether a text is longer; blanks at its end do not count, as in PostgreSQL.
    pub fn is_exceeded_by(self, text: &str) -> bool {
        self.length.is_some_and(|length| {
            text.len() > length && text.trim_end_matches(' ').chars().count() > length
        })
    }

    /// The text without the blanks at its end that are too many; the whole text, if it is too long without them.
    pub fn kept(self, text: &str) -> &str {
        let end = self.length.filter(|length| text.len() > *length);
        let end = end.and_then(|length| text.char_indices().nth(length));
        let cut = end.map(|(end, _)| text.split_at(end));
        match cut {
            Some((kept, rest)) if rest.bytes().all(|byte| byte == b' ') => kept,
            _ => text,
        }
    }

    /// What a column's note tells of it.
    pub fn note(self) -> String {
        let kind = if self.is_fixed { "char" } else { "varchar" };
        format!("{kind}({})", self.length.unwrap_or(ANY_LENGTH))
    }
}

/// As PostgreSQL names the type.
impl Display for TextLimit {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let kind = match self.is_fixed {
            true => "character",
            false => "character varying",
        };
        match self.length {
            Some(length) => write!(f, "{kind}({length})"),
            None => f.write_str(kind),
        }
    }
}

impl TableShape {
    /// How long the texts of a column may be.
    pub fn text_limit_of(&self, column: &Field) -> Option<TextLimit> {
        TextLimit::of_field(column)
    }

    /// Sets or removes the limit of a column's texts.
    pub fn set_text_limit(&mut self, idx: usize, limit: Option<TextLimit>) {
        let note = limit.map(TextLimit::note);
        self.set_note(idx, NOTE, note.as_deref());
    }

    /// The limits by place, of columns that hold texts.
    pub(crate) fn text_limits(&self) -> Vec<(usize, TextLimit)> {
        let columns = self.columns().iter().enumerate();
        let limited = columns.filter(|(_, field)| *field.data_type() == DataType::Utf8);
        limited
            .filter_map(|(idx, field)| Some((idx, self.text_limit_of(field)?)))
            .collect()
    }
}

/// Fails at the first text that is longer than its column allows; blanks at the end do not count, as in PostgreSQL.
///
/// Errors: `TextTooLong`.
pub(crate) fn check(
    rows: &RecordBatch,
    limits: &[(usize, TextLimit)],
    place: &RowChecks,
) -> Result<()> {
    for (idx, limit) in limits {
        let Some(texts) = rows.column(*idx).as_string_opt::<i32>() else {
            continue;
        };
        if texts
            .iter()
            .flatten()
            .any(|text| limit.is_exceeded_by(text))
        {
            return Err(Error::TextTooLong {
                schema: place.schema.clone(),
                relation: place.relation.clone(),
                column: rows.schema().field(*idx).name().clone(),
                data_type: limit.to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        let column = |texts: &[Option<&str>]| {
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            RecordBatch::try_from_iter([("s", texts)]).unwrap()
        };
        let limit = TextLimit {
            is_fixed: false,
            length: Some(3),
        };
        assert_eq!(TextLimit::of_note(&limit.note()), Some(limit));
        let any = TextLimit {
            is_fixed: false,
            length: None,
        };
        assert_eq!(any.note(), "varchar(2147483647)");
        assert_eq!(TextLimit::of_note(&any.note()), Some(any));
        assert_eq!(any.to_string(), "character varying");
        let place = RowChecks::default();
        let limits = [(0, limit)];
        for (text, kept) in [
            ("äöü  ", "äöü"),
            ("a    ", "a  "),
            ("ab", "ab"),
            ("abcd ", "abcd "),
        ] {
            assert_eq!(limit.kept(text), kept);
            assert_eq!(any.kept(text), text);
        }
        let fits = column(&[Some("äöü"), None, Some("ab    ")]);
        check(&fits, &limits, &place).unwrap();
        let error = check(&column(&[Some("abcd")]), &limits, &place).unwrap_err();
        assert_eq!(error.sqlstate(), "22001");
        assert_eq!(
            error.to_string(),
            "value too long for type character varying(3)"
        );
    }
}
