//! `CREATE TABLE t (a, b) AS query`: names for the columns of the query. sqlparser reads columns that have types alone.
//!
//! In: tokens of one statement; out: tokens in which each of these names has a type that no client's text can bring into a
//! statement.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};
use crate::reference::read_name;

/// The type of a column that is named alone.
pub const NAMED_COLUMN: &str = "\u{1e}of the query";

/// Settles the list.
pub(crate) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some(open) = list(&tokens) else {
        return tokens;
    };
    let Some(close) = closing(&tokens, open) else {
        return tokens;
    };
    let mut names = tokens[open + 1..close].chunks(2);
    let is_name = |chunk: &[TokenWithSpan]| match chunk {
        [name] | [name, _] if !matches!(name.token, Token::Word(_)) => false,
        [_, comma] => comma.token == Token::Comma,
        _ => true,
    };
    let is_list = (close - open).is_multiple_of(2) && names.all(is_name);
    if !is_list || !has_query(&tokens[close + 1..]) {
        return tokens;
    }
    let n_names = (close - open) / 2;
    let mut typed = Vec::with_capacity(tokens.len() + n_names);
    for (at, token) in tokens.into_iter().enumerate() {
        let span = token.span;
        typed.push(token);
        // Names stand at every second place of the list.
        if at > open && at < close && (at - open) % 2 == 1 {
            let token = Token::make_word(NAMED_COLUMN, Some('"'));
            typed.push(TokenWithSpan { token, span });
        }
    }
    typed
}

/// The `(` behind the name of a table that is created.
fn list(tokens: &[TokenWithSpan]) -> Option<usize> {
    if !is_word(tokens.first(), "CREATE") {
        return None;
    }
    // Before it there may be OR REPLACE, TEMPORARY and their kin.
    let table = (1..=4).find(|at| is_word(tokens.get(*at), "TABLE"))?;
    let name = match are_words(tokens, table + 1, &["IF", "NOT", "EXISTS"]) {
        true => table + 4,
        false => table + 1,
    };
    let (_, end) = read_name(tokens, name)?;
    is_token(tokens, end, &Token::LParen).then_some(end)
}

/// Whether an `AS` follows outside of brackets.
fn has_query(tokens: &[TokenWithSpan]) -> bool {
    let mut at = 0;
    while at < tokens.len() {
        // STORED AS is that of a folder of files.
        let is_stored = at > 0 && is_word(tokens.get(at - 1), "STORED");
        if is_word(tokens.get(at), "AS") && !is_stored {
            return true;
        }
        at = closing(tokens, at).unwrap_or(at) + 1;
    }
    false
}
