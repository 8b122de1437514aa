//! `x = ANY (VALUES (1), (2))` and `ARRAY(TABLE t)`: queries in brackets that sqlparser takes for expressions.
//!
//! In: tokens of one statement; out: tokens with `SELECT * FROM` before such a query.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{closing, is_token, is_word};
use crate::postgres_forms::made;
use crate::reference::read_name;

/// The words behind which brackets may hold a query. Behind the last three sqlparser knows the rows of VALUES.
const BEFORE: [&str; 6] = ["ALL", "ANY", "SOME", "ARRAY", "EXISTS", "IN"];

/// Puts the words before the queries.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at + 1 < tokens.len() {
        if is_token(&tokens, at + 1, &Token::LParen)
            && let Some(word) = BEFORE.iter().position(|word| is_word(tokens.get(at), word))
            && !joins_queries(&tokens, at)
        {
            settle_one(&mut tokens, at + 1, word < 3);
        }
        at += 1;
    }
    tokens
}

/// Whether a word is the ALL of `UNION ALL (…)`.
fn joins_queries(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    ["UNION", "EXCEPT", "INTERSECT"]
        .iter()
        .any(|word| is_word(before, word))
}

/// The same of the query in the brackets that open there, if it is one, also of rows of VALUES if `may_be_rows`.
fn settle_one(tokens: &mut Vec<TokenWithSpan>, open: usize, may_be_rows: bool) {
    let first = open + 1;
    let Some(place) = tokens.get(first).cloned() else {
        return;
    };
    let select = ["SELECT", "*", "FROM"].map(|word| match word {
        "*" => made(Token::Mul, &place),
        word => made(Token::make_keyword(word), &place),
    });
    if is_word(Some(&place), "TABLE") && read_name(tokens, first + 1).is_some() {
        tokens.splice(first..=first, select);
        return;
    }
    let is_list = may_be_rows && is_word(Some(&place), "VALUES");
    if is_list
        && is_token(tokens, first + 1, &Token::LParen)
        && let Some(close) = closing(tokens, open)
    {
        let end = made(Token::RParen, &tokens[close]);
        tokens.insert(close, end);
        let opened = select.into_iter().chain([made(Token::LParen, &place)]);
        tokens.splice(first..first, opened);
    }
}
