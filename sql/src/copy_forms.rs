//! Options of COPY that sqlparser lacks: `HEADER MATCH`, `*` for all columns behind `FORCE_QUOTE`, and a WHERE at the end.
//!
//! In: tokens of one statement; out: tokens in which names that no client's text can bring into a statement mean
//! them.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_token, is_word, span_of, string_value};
use crate::token_edits::Groups;

/// The column that stands for all of them.
pub const EVERY_COPY_COLUMN: &str = "\u{1e}every column";
/// The column of a `FORCE_NULL` that means `HEADER MATCH`.
pub const HEADER_MATCH: &str = "\u{1e}header match";

/// How the column of a `FORCE_NULL` begins that holds the condition of `COPY t FROM … WHERE …`.
pub const COPY_CONDITION: &str = "\u{1e}where ";

/// Settles the options.
pub(crate) fn settle(text: &str, mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "COPY") {
        return tokens;
    }
    condition(text, &mut tokens);
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

/// Makes an option of the condition behind `WHERE`, as it is written.
fn condition(text: &str, tokens: &mut Vec<TokenWithSpan>) -> Option<()> {
    let groups = Groups::of(tokens);
    let from = groups.outside(tokens, 1, "FROM")?;
    let target = tokens.get(from + 1)?;
    let is_target = is_word(Some(target), "STDIN") || string_value(&target.token).is_some();
    is_target.then_some(())?;
    let place = groups.outside(tokens, from + 2, "WHERE")?;
    let (first, last) = (tokens.get(place + 1)?, tokens.last()?);
    let written = text.get(span_of(first.span).start..span_of(last.span).end)?;
    let column = Token::make_word(&format!("{COPY_CONDITION}{written}"), Some('"'));
    let option = [
        Token::make_keyword("FORCE_NULL"),
        Token::LParen,
        column,
        Token::RParen,
    ];
    let span = tokens.get(place)?.span;
    tokens.truncate(place);
    let mut at = from + 2;
    at += usize::from(is_word(tokens.get(at), "WITH"));
    let (at, before, behind) = match is_token(tokens, at, &Token::LParen) {
        true => (at + 1, None, Token::Comma),
        false => (at, Some(Token::LParen), Token::RParen),
    };
    let option = before.into_iter().chain(option).chain([behind]);
    let option = option.map(|token| TokenWithSpan { token, span });
    tokens.splice(at..at, option);
    Some(())
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
            (
                "COPY t (a, b) FROM STDIN WHERE a > 1 AND b <> 'x''y'",
                "STDIN (FORCE_NULL (\"\u{1e}where a > 1 AND b <> 'x''y'\"))",
            ),
            (
                "COPY t FROM 'a.csv' WITH (FORMAT csv) WHERE (a IN (1, 2))",
                "(FORCE_NULL (\"\u{1e}where (a IN (1, 2))\"), FORMAT csv)",
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
