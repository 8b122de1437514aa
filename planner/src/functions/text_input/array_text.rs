//! The items of an array's text: `{1,NULL,"a,b"}`.
//!
//! In: a text; out: its items. Items that are arrays keep their braces.

use datafusion::error::{DataFusionError, Result};

use super::super::call::failure;

/// An item of an array's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrayItem {
    /// NULL.
    Null,
    /// A value, without the quotes that it may have had.
    Value(String),
    /// An array, with its braces.
    Array(String),
}

pub(super) fn malformed(text: &str) -> DataFusionError {
    failure("22P02", format!("malformed array literal: \"{text}\""))
}

/// Takes an array's text apart: the text of each item, `None` for NULL; `keeps_braces` where its items are arrays.
pub(super) fn split(text: &str, keeps_braces: bool) -> Result<Vec<Option<String>>> {
    let items = split_array(text).ok_or_else(|| malformed(text))?;
    let text_of = |item| match item {
        ArrayItem::Null => Ok(None),
        ArrayItem::Array(_) if !keeps_braces => {
            let message = "arrays of more than one dimension are not supported here";
            Err(failure("0A000", message))
        }
        ArrayItem::Value(_) if keeps_braces => Err(malformed(text)),
        ArrayItem::Value(item) | ArrayItem::Array(item) => Ok(Some(item)),
    };
    items.into_iter().map(text_of).collect()
}

/// The most dimensions that an array has. Readers go down one at a time, so that a text must not have any number.
pub(in super::super) const MAX_DIMENSIONS: usize = 6;

/// Takes an array's text apart; `None`: it is malformed.
pub fn split_array(text: &str) -> Option<Vec<ArrayItem>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut items = Vec::new();
    let mut item = Item::default();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if item.depth >= MAX_DIMENSIONS {
            return None;
        }
        match c {
            _ if item.depth > 0 => item.nested(c),
            '\\' => {
                item.quote();
                item.text.push(chars.next()?);
            }
            '"' => {
                item.quote();
                item.in_quotes = !item.in_quotes;
                item.has_quotes = true;
            }
            c if item.in_quotes => item.text.push(c),
            '{' if item.text.trim().is_empty() && !item.is_quoted => {
                item.text.clear();
                item.nested(c);
            }
            '{' | '}' => return None,
            ',' => items.push(std::mem::take(&mut item).end()?),
            // White space around quotes is none of the value.
            c if item.has_quotes && c.is_whitespace() => {}
            c => item.text.push(c),
        }
    }
    if item.in_quotes || item.depth > 0 {
        return None;
    }
    items.push(item.end()?);
    Some(items)
}

#[derive(Default)]
struct Item {
    text: String,
    in_quotes: bool,
    has_quotes: bool,
    /// Whether white space at its ends and the word NULL mean themselves.
    is_quoted: bool,
    /// Of braces, in an item that is an array.
    depth: usize,
    is_array: bool,
    /// Whether the last character of an array was a backslash.
    is_escaped: bool,
}

impl Item {
    /// What follows is meant as it is written; white space before it is not.
    fn quote(&mut self) {
        if !self.is_quoted && self.text.trim().is_empty() {
            self.text.clear();
        }
        self.is_quoted = true;
    }

    /// Keeps a character of an array within the array.
    fn nested(&mut self, c: char) {
        self.text.push(c);
        self.is_array = true;
        if std::mem::take(&mut self.is_escaped) {
            return;
        }
        match c {
            '\\' => self.is_escaped = true,
            '"' => self.in_quotes = !self.in_quotes,
            '{' if !self.in_quotes => self.depth += 1,
            '}' if !self.in_quotes => self.depth -= 1,
            _ => {}
        }
    }

    /// The item; `None` if nothing is written.
    fn end(self) -> Option<ArrayItem> {
        if self.is_quoted {
            return Some(ArrayItem::Value(self.text));
        }
        match self.text.trim() {
            "" => None,
            array if self.is_array => array
                .ends_with('}')
                .then(|| ArrayItem::Array(array.to_owned())),
            word if word.eq_ignore_ascii_case("null") => Some(ArrayItem::Null),
            word => Some(ArrayItem::Value(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_too_many_dimensions_are_malformed() {
        let nested = |n: usize| format!("{}1{}", "{".repeat(n), "}".repeat(n));
        assert!(split_array(&nested(MAX_DIMENSIONS)).is_some());
        assert!(split_array(&nested(MAX_DIMENSIONS + 1)).is_none());
        assert!(split_array(&"{".repeat(1 << 20)).is_none());
        assert!(split_array(&nested(100_000)).is_none());
    }

    #[test]
    fn arrays_are_taken_apart() {
        let items = |text: &str, nested: bool| {
            let items = split(text, nested).ok()?.into_iter();
            let shown = items.map(|item| item.unwrap_or_else(|| "∅".to_owned()));
            Some(shown.collect::<Vec<_>>().join("|"))
        };
        assert_eq!(items("{1, 2}", false).as_deref(), Some("1|2"));
        assert_eq!(items(" {} ", false).as_deref(), Some(""));
        assert_eq!(
            items(r#"{"a,b",c\"d,NULL,"NULL",""}"#, false).as_deref(),
            Some("a,b|c\"d|∅|NULL|")
        );
        assert_eq!(
            items(r#"{{1,2},{"}",3}}"#, true).as_deref(),
            Some(r#"{1,2}|{"}",3}"#)
        );
        assert_eq!(
            items(r#"{ {"\"}",x} , {y} }"#, true).as_deref(),
            Some(r#"{"\"}",x}|{y}"#)
        );
        assert_eq!(
            items(r#"{a, "b c" ,"d\"e",NULL}"#, false).as_deref(),
            Some("a|b c|d\"e|∅")
        );
        for wrong in ["1,2", "{1,}", "{\"a}", "{{1}", "{1}}", "{{1}2}", "{1,{2}}"] {
            assert_eq!(items(wrong, true), None, "{wrong}");
        }
        assert_eq!(items("{{1},{2}}", false), None);
    }
}
