//! The items of an array's text: `{1,NULL,"a,b"}`.
//!
//! In: a text; out: the text of each item, `None` for NULL. Items that are arrays keep their braces.

use datafusion::error::{DataFusionError, Result};

use super::super::call::failure;

fn malformed(text: &str) -> DataFusionError {
    failure("22P02", format!("malformed array literal: \"{text}\""))
}

/// Takes an array's text apart; `keeps_braces` where its items are arrays.
pub(super) fn split(text: &str, keeps_braces: bool) -> Result<Vec<Option<String>>> {
    let inner = text
        .trim()
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .ok_or_else(|| malformed(text))?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    let mut item = Item::default();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            _ if item.depth > 0 => item.nested(c),
            '\\' => {
                item.text.push(chars.next().ok_or_else(|| malformed(text))?);
                item.is_quoted = true;
            }
            '"' => {
                item.in_quotes = !item.in_quotes;
                item.is_quoted = true;
            }
            c if item.in_quotes => item.text.push(c),
            '{' if keeps_braces && item.text.trim().is_empty() => {
                item.text.clear();
                item.nested(c);
            }
            '{' if !keeps_braces => {
                let message = "arrays of more than one dimension are not supported here";
                return Err(failure("0A000", message));
            }
            '{' | '}' => return Err(malformed(text)),
            ',' => items.push(
                std::mem::take(&mut item)
                    .end()
                    .ok_or_else(|| malformed(text))?,
            ),
            c => item.text.push(c),
        }
    }
    if item.in_quotes || item.depth > 0 {
        return Err(malformed(text));
    }
    items.push(item.end().ok_or_else(|| malformed(text))?);
    Ok(items)
}

#[derive(Default)]
struct Item {
    text: String,
    in_quotes: bool,
    is_quoted: bool,
    /// Of braces, in an item that is an array.
    depth: usize,
}

impl Item {
    /// Keeps a character of an array within the array.
    fn nested(&mut self, c: char) {
        self.text.push(c);
        match c {
            '"' => self.in_quotes = !self.in_quotes,
            '{' if !self.in_quotes => self.depth += 1,
            '}' if !self.in_quotes => self.depth -= 1,
            _ => {}
        }
    }

    /// The item; `None` if nothing is written.
    fn end(self) -> Option<Option<String>> {
        if self.is_quoted {
            return Some(Some(self.text));
        }
        let word = self.text.trim();
        match word {
            "" => None,
            word if word.eq_ignore_ascii_case("null") => Some(None),
            word => Some(Some(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for wrong in ["1,2", "{1,}", "{\"a}", "{{1}", "{1}}"] {
            assert_eq!(items(wrong, true), None, "{wrong}");
        }
        assert_eq!(items("{{1},{2}}", false), None);
    }
}
