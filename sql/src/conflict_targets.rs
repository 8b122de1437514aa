//! What `ON CONFLICT` infers an index from beyond names of columns: `ON CONFLICT (lower(email)) WHERE active DO NOTHING`.
//!
//! In: tokens of one statement; out: tokens in which a constraint of a name that no client's text can bring into a
//! statement means such a target. Targets of columns alone stay.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_word, span_of};
use crate::postgres_forms::made;
use crate::token_edits::Groups;

/// How the name of the constraint begins that holds the elements and the condition, as a query writes them behind SELECT.
pub const CONFLICT_TARGET: &str = "\u{1e}conflict target ";

/// Puts such a constraint in the place of each target that is more than names.
pub(crate) fn settle(text: &str, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let opens = |at: &usize| *at > 1 && are_words(&tokens, at - 2, &["ON", "CONFLICT"]);
    let opens: Vec<usize> = (0..tokens.len()).filter(opens).collect();
    if opens.is_empty() {
        return tokens;
    }
    let groups = Groups::of(&tokens);
    let mut settled = Vec::with_capacity(tokens.len());
    let mut at = 0;
    for (number, open) in opens.iter().copied().enumerate() {
        // A target ends before the next one begins.
        let before = &tokens[..opens.get(number + 1).map_or(tokens.len(), |next| *next)];
        if let Some((written, end)) = target(text, before, &groups, open) {
            let constraint = [
                Token::make_keyword("ON"),
                Token::make_keyword("CONSTRAINT"),
                Token::make_word(&format!("{CONFLICT_TARGET}{written}"), Some('"')),
            ];
            settled.extend_from_slice(&tokens[at..open]);
            settled.extend(constraint.map(|token| made(token, &tokens[open])));
            at = end;
        }
    }
    settled.extend_from_slice(&tokens[at..]);
    settled
}

/// The elements and the condition of a target that opens at a token, and its end; `None`: it names columns alone.
fn target(
    text: &str,
    tokens: &[TokenWithSpan],
    groups: &Groups,
    open: usize,
) -> Option<(String, usize)> {
    let close = groups.closing(open)?;
    let written = |first: usize, last: usize| {
        let (first, last) = (tokens.get(first)?, tokens.get(last)?);
        text.get(span_of(first.span).start..span_of(last.span).end)
    };
    let within = tokens.get(open + 1..close)?;
    let is_name = |token: &TokenWithSpan| matches!(token.token, Token::Word(_));
    let mut parts = within.iter().enumerate();
    let are_names = parts.all(|(place, token)| match place % 2 {
        0 => is_name(token),
        _ => token.token == Token::Comma,
    });
    let elements = written(open + 1, close - 1).filter(|_| !within.is_empty())?;
    if !is_word(tokens.get(close + 1), "WHERE") {
        return (!are_names).then(|| (elements.to_owned(), close + 1));
    }
    let end = groups.outside(tokens, close + 2, "DO")?;
    let condition = written(close + 2, end - 1).filter(|_| end > close + 2)?;
    Some((format!("{elements} WHERE {condition}"), end))
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

    #[test]
    fn many_targets_are_read_at_once() {
        let targets = "ON CONFLICT (lower(a)) WHERE ".repeat(100_000);
        assert!(parse(&format!("SELECT {targets}"), Dialect::Postgres).is_err());
    }
}
