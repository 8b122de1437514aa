//! `SELECT t.* IS NULL FROM t`: sqlparser takes a star for all of an item of a SELECT.
//!
//! In: tokens of one statement; out: tokens with `ROW(t.*) IS NULL`, which asks the same of a row.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{is_token, is_word};
use crate::postgres_forms::made;

/// Writes rows that are tested so.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 1;
    while at + 2 < tokens.len() {
        if is_token(&tokens, at, &Token::Period)
            && is_token(&tokens, at + 1, &Token::Mul)
            && is_word(tokens.get(at + 2), "IS")
            && let Some(first) = name_before(&tokens, at)
        {
            let (begin, end) = (&tokens[first], &tokens[at + 1]);
            let close = made(Token::RParen, end);
            let open = [Token::make_keyword("ROW"), Token::LParen].map(|token| made(token, begin));
            // From the end, since what is put in moves what follows.
            tokens.insert(at + 2, close);
            tokens.splice(first..first, open);
            at += 3;
        }
        at += 1;
    }
    tokens
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
    fn other_stars_stay() {
        for text in [
            "SELECT t.*, t.x IS NULL FROM t",
            "SELECT count(t.*) IS NULL FROM t",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
