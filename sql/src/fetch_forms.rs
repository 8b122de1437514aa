//! `FETCH FIRST (expression) ROWS ONLY`, of which sqlparser reads values alone.
//!
//! In: tokens of one statement; out: `LIMIT (expression)`, which means the same. One with ties is `LIMIT (expression) FETCH
//! FIRST ROW WITH TIES`, whose number the planner takes from the limit.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_word};

/// Settles the clauses.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    // What stands in the place of a token; clauses may stand within the brackets of others.
    let mut made: BTreeMap<usize, Vec<TokenWithSpan>> = BTreeMap::new();
    for at in 1..tokens.len() {
        let Some((open, close)) = quantity(&tokens, at) else {
            continue;
        };
        let word = |word: &str, place: usize| TokenWithSpan {
            token: Token::make_keyword(word),
            span: tokens[place].span,
        };
        made.insert(at, vec![word("LIMIT", at)]);
        made.insert(open - 1, vec![]);
        if are_words(&tokens, close + 2, &["ONLY"]) {
            made.extend([(close + 1, vec![]), (close + 2, vec![])]);
        } else {
            let fetch = [("FETCH", at), ("FIRST", open - 1), ("ROW", close + 1)];
            let fetch = fetch.map(|(keyword, place)| word(keyword, place));
            made.insert(close + 1, fetch.to_vec());
        }
    }
    if made.is_empty() {
        return tokens;
    }
    let mut settled = Vec::with_capacity(tokens.len() + made.len());
    for (at, token) in tokens.into_iter().enumerate() {
        match made.remove(&at) {
            Some(instead) => settled.extend(instead),
            None => settled.push(token),
        }
    }
    settled
}

/// The brackets around the number of rows of a clause that begins at a place.
fn quantity(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize)> {
    let opens =
        are_words(tokens, at, &["FETCH", "FIRST"]) || are_words(tokens, at, &["FETCH", "NEXT"]);
    let open = at + 2;
    let close = opens.then(|| closing(tokens, open)).flatten()?;
    let mut rows = ["ROW", "ROWS"].iter();
    let counts_rows = rows.any(|word| is_word(tokens.get(close + 1), word));
    let mut ends = [&["ONLY"][..], &["WITH", "TIES"]].into_iter();
    let is_whole = counts_rows && ends.any(|words| are_words(tokens, close + 2, words));
    is_whole.then_some((open, close))
}
