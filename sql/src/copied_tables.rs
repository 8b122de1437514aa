//! `CREATE TABLE x (LIKE t INCLUDING ALL EXCLUDING INDEXES, extra int)`: the parser knows `DEFAULTS` alone, and no columns beside.
//!
//! In: tokens of one statement; out: tokens in which the parts to take are one more part of the table's name, and columns
//! stand in brackets behind it.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};
use crate::reference::read_name;

/// How the part of the name begins that lists what `LIKE` takes; no client's text can bring it into a statement.
pub const LIKE_PARTS: &str = "\u{1e}like ";

const PARTS: [&str; 5] = [
    "defaults",
    "generated",
    "identity",
    "constraints",
    "indexes",
];
/// Parts of a table that there are not, or not to copy.
const IGNORED: [&str; 4] = ["comments", "compression", "statistics", "storage"];

/// Settles the clause.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "CREATE") {
        return tokens;
    }
    let opens =
        |at: &usize| is_token(&tokens, *at, &Token::LParen) && is_word(tokens.get(at + 1), "LIKE");
    let Some(open) = (2..tokens.len().min(12)).find(opens) else {
        return tokens;
    };
    let (Some(close), Some((_, name_end))) = (closing(&tokens, open), read_name(&tokens, open + 2))
    else {
        return tokens;
    };
    let comma = (name_end..close).find(|at| is_token(&tokens, *at, &Token::Comma));
    let Some(included) = included(&tokens, name_end, comma.unwrap_or(close)) else {
        return tokens;
    };
    let place = tokens[name_end - 1].span;
    let made = |token| TokenWithSpan { token, span: place };
    let list = format!("{LIKE_PARTS}{}", included.join(" "));
    let part = [Token::Period, Token::make_word(&list, Some('"'))];
    match comma {
        None => {
            tokens.splice(name_end..close, part.map(made));
        }
        // The bracket before LIKE comes to stand before the columns.
        Some(comma) => {
            let bracket = tokens.remove(open);
            let part = part.map(made).into_iter().chain([bracket]);
            tokens.splice(name_end - 1..comma, part);
        }
    }
    tokens
}

/// The parts to take; `None` if the clause goes on in another way.
fn included(tokens: &[TokenWithSpan], from: usize, close: usize) -> Option<Vec<&'static str>> {
    let mut taken = [false; PARTS.len()];
    let mut at = from;
    while at < close {
        let takes = is_word(tokens.get(at), "INCLUDING");
        if !takes && !is_word(tokens.get(at), "EXCLUDING") {
            return None;
        }
        let is_named = |part: &&str| are_words(tokens, at + 1, &[&part.to_uppercase()]);
        if are_words(tokens, at + 1, &["ALL"]) {
            taken = [takes; PARTS.len()];
        } else if let Some(idx) = PARTS.iter().position(&is_named) {
            taken[idx] = takes;
        } else if !IGNORED.iter().any(&is_named) {
            return None;
        }
        at += 2;
    }
    let parts = PARTS.into_iter().zip(taken);
    Some(
        parts
            .filter_map(|(part, taken)| taken.then_some(part))
            .collect(),
    )
}
