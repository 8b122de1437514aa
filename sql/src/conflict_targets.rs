//! What `ON CONFLICT` infers an index from beyond names of columns: `ON CONFLICT (lower(email)) WHERE active DO NOTHING`.
//!
//! In: tokens of one statement; out: tokens in which a constraint of a name that no client's text can bring into a
//! statement means such a target. Targets of columns alone stay.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word, span_of};

/// How the name of the constraint begins that holds the elements and the condition, as a query writes them behind SELECT.
pub const CONFLICT_TARGET: &str = "\u{1e}conflict target ";

/// Puts such a constraint in the place of each target that is more than names.
pub(crate) fn settle(text: &str, mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["ON", "CONFLICT"])
            && let Some((written, end)) = target(text, &tokens, at + 2)
        {
            let span = tokens[at + 2].span;
            let constraint = [
                Token::make_keyword("ON"),
                Token::make_keyword("CONSTRAINT"),
                Token::make_word(&format!("{CONFLICT_TARGET}{written}"), Some('"')),
            ];
            let constraint = constraint.map(|token| TokenWithSpan { token, span });
            tokens.splice(at + 2..end, constraint);
        }
        at += 1;
    }
    tokens
}

/// The elements and the condition of a target that opens at a token, and its end; `None`: it names columns alone.
fn target(text: &str, tokens: &[TokenWithSpan], open: usize) -> Option<(String, usize)> {
    let close = closing(tokens, open)?;
    let written = |first: usize, last: usize| {
        let (first, last) = (tokens.get(first)?, tokens.get(last)?);
        text.get(span_of(first.span).start..span_of(last.span).end)
    };
    let within = &tokens[open + 1..close];
    let is_name = |token: &TokenWithSpan| matches!(token.token, Token::Word(_));
    let are_names = within
        .iter()
        .enumerate()
        .all(|(place, token)| match place % 2 {
            0 => is_name(token),
            _ => token.token == Token::Comma,
        });
    let elements = written(open + 1, close - 1).filter(|_| !within.is_empty())?;
    if !is_word(tokens.get(close + 1), "WHERE") {
        return (!are_names).then(|| (elements.to_owned(), close + 1));
    }
    let end = outside(tokens, close + 2, "DO")?;
    let condition = written(close + 2, end - 1).filter(|_| end > close + 2)?;
    Some((format!("{elements} WHERE {condition}"), end))
}

/// The place of a word from `at` on that stands in no brackets.
fn outside(tokens: &[TokenWithSpan], mut at: usize, word: &str) -> Option<usize> {
    while at < tokens.len() {
        if is_word(tokens.get(at), word) {
            return Some(at);
        }
        at = match is_token(tokens, at, &Token::LParen) {
            true => closing(tokens, at)? + 1,
            false => at + 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Statement, parse};

    #[test]
    fn targets_of_expressions_become_constraints() {
        const INSERT: &str = "INSERT INTO t (a) VALUES ('x')";
        for (target, expected) in [
            ("(a, b)", "ON CONFLICT(a, b) DO"),
            (
                "(lower(a), b)",
                "ON CONFLICT ON CONSTRAINT \"\u{1e}conflict target lower(a), b\" DO",
            ),
            (
                "(a) WHERE b <> '' AND (c)",
                "ON CONFLICT ON CONSTRAINT \"\u{1e}conflict target a WHERE b <> '' AND (c)\" DO",
            ),
        ] {
            let text = format!("{INSERT} ON CONFLICT {target} DO NOTHING");
            let statements = parse(&text, Dialect::Postgres).unwrap();
            let Statement::Sql(statement) = &statements[0].statement else {
                unreachable!("a statement of SQL")
            };
            let written = statement.to_string();
            assert!(written.contains(expected), "{written}");
        }
    }
}
