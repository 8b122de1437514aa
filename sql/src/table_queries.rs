//! `TABLE t`, which sqlparser reads as a statement alone.
//!
//! In: tokens of one statement; out: `SELECT * FROM t` in its place.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_word};
use crate::postgres_forms::made;
use crate::reference::read_name;

/// `TABLE t` is `SELECT * FROM t`, also where it fills a table.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some(at) = table_query(&tokens).filter(|at| read_name(&tokens, at + 1).is_some()) else {
        return tokens;
    };
    let select = [
        Token::make_word("SELECT", None),
        Token::Mul,
        Token::make_word("FROM", None),
    ];
    let select = select.map(|token| made(token, &tokens[at]));
    tokens.splice(at..=at, select);
    tokens
}

/// The words that may stand before the TABLE of CREATE TABLE.
const KINDS: [&str; 7] = [
    "OR",
    "REPLACE",
    "GLOBAL",
    "LOCAL",
    "TEMP",
    "TEMPORARY",
    "UNLOGGED",
];

/// Where a statement's `TABLE t` may stand: alone, behind the `AS` of a table that is made, or behind the target of INSERT and its
/// `OVERRIDING … VALUE`.
fn table_query(tokens: &[TokenWithSpan]) -> Option<usize> {
    let is_table = |at: &usize| is_word(tokens.get(*at), "TABLE");
    if is_table(&0) {
        return Some(0);
    }
    if are_words(tokens, 0, &["INSERT", "INTO"]) {
        let (_, end) = read_name(tokens, 2)?;
        let behind = closing(tokens, end).map_or(end, |close| close + 1);
        let is_overriding = is_word(tokens.get(behind), "OVERRIDING");
        let behind = if is_overriding { behind + 3 } else { behind };
        return Some(behind).filter(is_table);
    }
    let is_kind = |token: &&TokenWithSpan| KINDS.iter().any(|kind| is_word(Some(token), kind));
    let kinds = tokens.iter().skip(1).take_while(is_kind);
    let made = 1 + kinds.count();
    let makes = is_word(tokens.first(), "CREATE") && is_table(&made);
    let mut places = made + 1..tokens.len();
    let found = makes.then(|| places.find(|at| are_words(tokens, *at, &["AS", "TABLE"])));
    found.flatten().map(|at| at + 1)
}
