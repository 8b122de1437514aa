//! Cuts a text into statements, so that each can be sent, timed and blamed on its own.
//!
//! In: SQL text; out: its statements as they stand, and whether the last one is finished. Knows quotes
//! and comments, no grammar.

/// The statements of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// The finished statements, without their semicolons.
    pub(super) statements: Vec<String>,
    /// What stands behind the last semicolon; empty when it is only white space and comments.
    pub(super) rest: String,
}

impl Script {
    /// Cuts a text.
    pub(super) fn cut(text: &str) -> Script {
        let mut script = Script::default();
        let mut start = 0;
        let mut at = 0;
        let mut has_code = false;
        while let Some(c) = text[at..].chars().next() {
            let end = at + token_length(&text[at..], c);
            let token = &text[at..end];
            if token == ";" {
                if has_code {
                    script.statements.push(text[start..at].trim().to_owned());
                }
                (start, has_code) = (end, false);
            } else if !is_blank(token) {
                has_code = true;
            }
            at = end;
        }
        if has_code {
            text[start..].trim().clone_into(&mut script.rest);
        }
        script
    }

    /// All statements; the end of the text finishes the last one.
    pub(super) fn into_statements(self) -> Vec<String> {
        let rest = (!self.rest.is_empty()).then_some(self.rest);
        self.statements.into_iter().chain(rest).collect()
    }
}

fn is_blank(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*") || token.trim().is_empty()
}

/// The length of the quoted text, comment or character that `text` begins with.
fn token_length(text: &str, first: char) -> usize {
    match first {
        '\'' | '"' | '`' => quoted_length(text, first),
        '-' if text.starts_with("--") => text.find('\n').unwrap_or(text.len()),
        '/' if text.starts_with("/*") => comment_length(text),
        '$' => dollar_quoted_length(text).unwrap_or(1),
        // A name keeps its digits and dollars, so that a$1$ is no quote.
        c if c.is_alphanumeric() || c == '_' => {
            let in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            let end = text.find(|c| !in_name(c)).unwrap_or(text.len());
            let is_escape_prefix = end == 1 && (first == 'e' || first == 'E');
            if is_escape_prefix && text[1..].starts_with('\'') {
                1 + escaped_length(&text[1..])
            } else {
                end
            }
        }
        c => c.len_utf8(),
    }
}

/// A quote ends at the next one; a doubled quote is read as two quoted texts, which is the same here.
fn quoted_length(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

/// As [`quoted_length`], where a backslash protects the next character.
fn escaped_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Comments of this kind nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `$tag$ … $tag$`; `None` when the dollar begins no such quote.
fn dollar_quoted_length(text: &str) -> Option<usize> {
    let tag_end = text[1..].find('$')? + 2;
    let tag = &text[..tag_end];
    let name = &tag[1..tag_end - 1];
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| {
        text[tag_end..]
            .find(tag)
            .map_or(text.len(), |end| tag_end + end + tag_end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_quotes_and_comments() {
        let text = "SELECT ';' ; -- a; comment\nSELECT \"a;b\", `c;d`, $x$ ; $x$, E'\\';' /* ; /* ; */ */; SELECT 3";
        let script = Script::cut(text);
        assert_eq!(script.statements.len(), 2);
        assert_eq!(script.statements[0], "SELECT ';'");
        assert!(script.statements[1].starts_with("-- a; comment\nSELECT"));
        assert!(script.statements[1].ends_with("*/"));
        assert_eq!(script.rest, "SELECT 3");
        assert_eq!(Script::cut(text).into_statements().len(), 3);
    }

    #[test]
    fn what_is_not_finished_is_the_rest() {
        assert_eq!(Script::cut("SELECT 'a;").rest, "SELECT 'a;");
        assert_eq!(Script::cut("SELECT $1;").statements, ["SELECT $1"]);
        assert_eq!(Script::cut(" ; ;; -- nothing\n"), Script::default());
        assert_eq!(Script::cut("/* open").rest, "");
    }
}
