//! `SELECT t.* IS NULL FROM t`: sqlparser takes a star for all of an item of a SELECT.
//!
//! In: tokens of one statement; out: tokens with `ROW(t.*) IS NULL`, which asks the same of a row.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{is_token, is_word};
use crate::postgres_forms::made;
use crate::token_edits::with_put;

/// Writes rows that are tested so.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_tested = |at: &usize| {
        is_token(&tokens, *at, &Token::Period)
            && is_token(&tokens, at + 1, &Token::Mul)
            && is_word(tokens.get(at + 2), "IS")
    };
    let mut put = Vec::new();
    for period in (0..tokens.len()).filter(is_tested) {
        if let Some(first) = name_before(&tokens, period) {
            let open = [Token::make_keyword("ROW"), Token::LParen];
            put.extend(open.map(|token| (first, made(token, &tokens[first]))));
            put.push((period + 2, made(Token::RParen, &tokens[period + 1])));
        }
    }
    with_put(tokens, put)
}

/// The first token of the name that ends before a period.
fn name_before(tokens: &[TokenWithSpan], period: usize) -> Option<usize> {
    let is_name = |at: usize| matches!(tokens.get(at).map(|at| &at.token), Some(Token::Word(_)));
    let mut first = period.checked_sub(1).filter(|at| is_name(*at))?;
    while first >= 2 && is_token(tokens, first - 1, &Token::Period) && is_name(first - 2) {
        first -= 2;
    }
    Some(first)
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, parse_query};

    fn read(text: &str) -> String {
        parse_query(text, Dialect::Postgres).unwrap().to_string()
    }

    #[test]
    fn stars_that_are_tested_are_rows() {
        assert_eq!(
            read("SELECT t.* IS NULL, s.t.* IS NOT NULL AS x FROM s.t WHERE NOT \"t\".* IS NULL"),
            "SELECT ROW(t.*) IS NULL, ROW(s.t.*) IS NOT NULL AS x FROM s.t WHERE NOT ROW(\"t\".*) IS NULL"
        );
    }

    #[test]
    fn many_tests_are_written_at_once() {
        let tested = ", t.* IS NULL".repeat(50_000);
        let written = read(&format!("SELECT 1{tested} FROM t"));
        assert_eq!(written.matches("ROW(t.*) IS NULL").count(), 50_000);
    }

    #[test]
    fn other_stars_stay() {
        for text in [
            "SELECT t.*, t.x IS NULL FROM t",
            "SELECT count(t.*) IS NULL FROM t",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
