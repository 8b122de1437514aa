//! Options of COPY that sqlparser lacks: `HEADER MATCH`, and `*` for all columns behind `FORCE_QUOTE`.
//!
//! In: tokens of one statement; out: tokens in which names that no text can bring into a statement mean them.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_token, is_word};

/// The column that stands for all of them.
pub const EVERY_COPY_COLUMN: &str = "\u{1e}every column";
/// The column of a `FORCE_NULL` that means `HEADER MATCH`.
pub const HEADER_MATCH: &str = "\u{1e}header match";

/// Settles the options.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "COPY") {
        return tokens;
    }
    let mut at = 1;
    while at < tokens.len() {
        let span = tokens[at].span;
        let made = |token| TokenWithSpan { token, span };
        let column = |name: &str| {
            let name = Token::make_word(name, Some('"'));
            [Token::LParen, name, Token::RParen]
        };
        let is_forced = is_word(tokens.get(at - 1), "FORCE_QUOTE")
            || (at > 1 && are_words(&tokens, at - 2, &["FORCE", "QUOTE"]));
        if is_forced && is_token(&tokens, at, &Token::Mul) {
            let [open, name, close] = column(EVERY_COPY_COLUMN);
            // The older form has no brackets.
            match is_word(tokens.get(at - 1), "FORCE_QUOTE") {
                true => drop(tokens.splice(at..=at, [open, name, close].map(made))),
                false => tokens[at].token = name,
            }
        } else if are_words(&tokens, at, &["HEADER", "MATCH"]) {
            let [open, name, close] = column(HEADER_MATCH);
            let rest = [
                Token::Comma,
                Token::make_keyword("FORCE_NULL"),
                open,
                name,
                close,
            ];
            tokens.splice(at + 1..=at + 1, rest.map(made));
        }
        at += 1;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Statement, parse};

    #[test]
    fn options_become_what_the_parser_knows() {
        for (text, expected) in [
            (
                "COPY t FROM STDIN WITH (FORMAT csv, HEADER MATCH)",
                "HEADER, FORCE_NULL (\"\u{1e}header match\")",
            ),
            (
                "COPY t TO STDOUT WITH (FORMAT csv, FORCE_QUOTE *)",
                "FORCE_QUOTE (\"\u{1e}every column\")",
            ),
            (
                "COPY t TO STDOUT CSV HEADER FORCE QUOTE *",
                "\"\u{1e}every column\"",
            ),
        ] {
            let statements = parse(text, Dialect::Postgres).unwrap();
            let Statement::Sql(statement) = &statements[0].statement else {
                unreachable!("a statement of SQL")
            };
            let written = statement.to_string();
            assert!(written.contains(expected), "{written}");
        }
    }
}
