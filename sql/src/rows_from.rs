//! `ROWS FROM (f(…), g(…))`, which sqlparser does not read, as one call of a function in FROM.
//!
//! In: tokens of one statement; out: tokens of the same number of calls, with [`ROWS_FROM`] around them. Trees that are
//! written have the two words again.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, TableFactor};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_token, is_word};
use crate::reference::read_name;

/// The function whose arguments stand side by side. No client's text can bring its name into a statement.
pub const ROWS_FROM: &str = "\u{1e}rows from";

/// Puts the function in the place of the two words.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["ROWS", "FROM"]) && calls_functions(&tokens, at) {
            tokens[at].token = Token::make_word(ROWS_FROM, Some('"'));
            tokens.remove(at + 1);
        }
        at += 1;
    }
    tokens
}

/// Whether the two words stand where a relation does, before calls of functions; `SELECT rows FROM (SELECT …)` has a column.
fn calls_functions(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    let is_relation = before.is_some_and(|before| before.token == Token::Comma)
        || ["FROM", "JOIN", "LATERAL"]
            .iter()
            .any(|word| is_word(before, word));
    let is_query = ["SELECT", "VALUES", "WITH", "TABLE"]
        .iter()
        .any(|word| is_word(tokens.get(at + 3), word));
    let called = read_name(tokens, at + 3);
    let calls = called.is_some_and(|(_, behind)| is_token(tokens, behind, &Token::LParen));
    is_relation && is_token(tokens, at + 2, &Token::LParen) && !is_query && calls
}

/// Writes the two words in the place of the function.
pub(crate) fn write(factor: &mut TableFactor) {
    let (TableFactor::Table { name, .. } | TableFactor::Function { name, .. }) = factor else {
        return;
    };
    let is_it = matches!(name.0.as_slice(), [part]
        if part.as_ident().is_some_and(|part| part.value == ROWS_FROM));
    if is_it {
        *name = ObjectName::from(vec![Ident::new("ROWS FROM")]);
    }
}

#[cfg(test)]
mod tests {
    use super::ROWS_FROM;
    use crate::{Dialect, parse_query};

    #[test]
    fn functions_stand_side_by_side() {
        let query = parse_query(
            "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(a)) WITH ORDINALITY AS t (x, y, n)",
            Dialect::Postgres,
        );
        let expected = format!("FROM \"{ROWS_FROM}\"(generate_series(1, 2), unnest(a)) WITH ORD");
        let text = query.unwrap().to_string();
        assert!(text.contains(&expected), "{text}");
    }
}
