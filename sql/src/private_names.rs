//! The engine's own names begin with U+001E, so that none of them is a client's: no name of a client's text holds it.
//!
//! In: tokens of one statement of a client, before anything is made of them; out: the same, or an error at the first name
//! that holds the character. What the engine writes, and what it stored, is not looked at.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::googlesql;
use crate::lexer::{Grammar, span_of};

/// What the engine's own names begin with.
pub const PRIVATE: char = '\u{1e}';

/// Who wrote a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Client,
    Engine,
}

/// The tokens of a client's statement, whose strings alone hold [`PRIVATE`].
///
/// sqlparser takes `'x'` for a name where it looks for one, and `E'x'` nowhere: such strings are read as the latter.
pub(crate) fn with_clean_names(
    tokens: Vec<TokenWithSpan>,
    grammar: Grammar,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    if !tokens.iter().any(holds_private) {
        return Ok(tokens);
    }
    let mut tokens = googlesql::strings(tokens, grammar);
    for token in tokens.iter_mut().filter(|token| holds_private(token)) {
        match &mut token.token {
            Token::Word(word) => {
                let kind = ParseErrorKind::InvalidName(std::mem::take(&mut word.value));
                let error = ParseError::new(kind, Some(span_of(token.span).start));
                return Err(error.with_hint("The character U+001E stands in strings alone."));
            }
            Token::SingleQuotedString(value) => {
                token.token = Token::EscapedStringLiteral(std::mem::take(value));
            }
            _ => {}
        }
    }
    Ok(tokens)
}

/// Whether a token that may be read as a name holds the character.
fn holds_private(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) => word.value.contains(PRIVATE),
        Token::SingleQuotedString(value)
        | Token::DoubleQuotedString(value)
        | Token::TripleSingleQuotedString(value)
        | Token::TripleDoubleQuotedString(value)
        | Token::SingleQuotedRawStringLiteral(value)
        | Token::DoubleQuotedRawStringLiteral(value)
        | Token::TripleSingleQuotedRawStringLiteral(value)
        | Token::TripleDoubleQuotedRawStringLiteral(value) => value.contains(PRIVATE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{ast, fails, one};
    use crate::{Dialect, parse_own, parse_query};

    #[test]
    fn no_name_of_a_client_is_private() {
        for (text, position) in [
            ("SELECT \"a\u{1e}\"", 7),
            ("SELECT 1; SELECT t.\"\u{1e}3\" FROM t", 19),
            ("SELECT * FROM \"\u{1e}rows from\"(f(1))", 14),
            ("PREPARE p AS SELECT \"\u{1e}0\"", 20),
            ("SELECT * FROM `\u{1e}0`", 14),
            ("SELECT \"\u{1e}\", `b\u{1e}` FROM t", 12),
            ("COPY t FROM STDIN WHERE \"\u{1e}0\" = 1", 24),
        ] {
            let error = fails(text);
            let found = (error.sqlstate(), error.position);
            assert_eq!(found, ("42602", Some(position)), "{text}: {error}");
            assert!(!error.to_string().contains('\u{1e}'), "{error}");
        }
        let text = "DO $$ BEGIN CREATE VIEW v AS SELECT \"\u{1e}0\"; END $$";
        let error = fails(text);
        let found = (error.sqlstate(), error.position);
        assert_eq!(found, ("42602", text.find('"')));
        assert_eq!(fails("SELECT \u{1e}a").sqlstate(), "42601");
    }

    #[test]
    fn strings_hold_the_character_and_are_no_names() {
        for text in [
            "SELECT a AS b, '\u{1e}' FROM t",
            "SELECT \"\u{1e}\", `a` FROM t",
        ] {
            let written = ast(&one(text)).to_string();
            assert!(written.contains("E'\u{1e}'"), "{written}");
        }
        one("COPY t FROM STDIN WITH (FORMAT csv, DELIMITER '\u{1e}')");
        one("COPY t FROM STDIN DELIMITER '\u{1e}'");
        one("COPY t TO 'a.csv' STORED AS CSV OPTIONS ('format.delimiter' '\u{1e}')");
        for text in [
            "SELECT 1 AS '\u{1e}0'",
            "SELECT * FROM '\u{1e}0'",
            "SELECT CAST(a AS mood('\u{1e}enum:')) FROM t",
        ] {
            assert_eq!(fails(text).sqlstate(), "42601", "{text}");
        }
    }

    #[test]
    fn texts_of_the_engine_have_private_names() {
        let text = "SELECT \"\u{1e}3\" FROM \"\u{1e}0\"";
        assert_eq!(parse_own(text).unwrap().len(), 1);
        let query = parse_query(text, Dialect::Auto).unwrap();
        assert_eq!(query.to_string(), text);
    }
}
