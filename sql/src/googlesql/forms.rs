//! Forms of GoogleSQL that PostgreSQL's grammar has no place for, settled on the tokens.
//!
//! In: tokens of one statement; out: the same with `SELECT AS STRUCT a, b` as `SELECT STRUCT(a, b)`, `ARRAY<INT64>[1]`
//! as `ARRAY[1]`, `EXTRACT(WEEK(MONDAY) FROM x)` as `EXTRACT(WEEK_MONDAY FROM x)`, `INTERVAL n + 1 DAY` with its sum in
//! brackets. Rewritten tokens keep their place.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, bare_word, closing, is_token, is_word};

/// Words that end a select list.
const ENDS: [&str; 12] = [
    "FROM",
    "WHERE",
    "GROUP",
    "HAVING",
    "QUALIFY",
    "WINDOW",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "UNION",
    "INTERSECT",
    "FETCH",
];

/// Settles the forms.
pub(super) fn settle(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    safe(intervals(weeks(typed_arrays(rows_as_values(tokens)))))
}

fn made(token: Token, at: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan {
        token,
        span: at.span,
    }
}

/// `SELECT AS STRUCT a, b FROM t`, `SELECT AS VALUE x FROM t`.
fn rows_as_values(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["SELECT", "AS", "VALUE"]) {
            tokens.drain(at + 1..at + 3);
        } else if are_words(&tokens, at, &["SELECT", "AS", "STRUCT"]) {
            let end = list_end(&tokens, at + 3);
            let close = made(Token::RParen, &tokens[end - 1]);
            tokens.insert(end, close);
            let open = made(Token::LParen, &tokens[at + 2]);
            tokens.insert(at + 3, open);
            tokens.remove(at + 1);
        }
        at += 1;
    }
    tokens
}

/// The place behind the select list that starts at `from`.
fn list_end(tokens: &[TokenWithSpan], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket if depth == 0 => return at,
            Token::RParen | Token::RBracket => depth -= 1,
            _ if depth == 0 && ENDS.iter().any(|word| is_word(Some(token), word)) => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// `ARRAY<T>[a, b]` has its type from its items; `ARRAY<T>[]` is cast to it.
fn typed_arrays(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let is_typed = is_word(tokens.get(at), "ARRAY")
            && is_token(&tokens, at + 1, &Token::Lt)
            && bare_word(tokens.get(at + 2)).is_some()
            && is_token(&tokens, at + 3, &Token::Gt)
            && is_token(&tokens, at + 4, &Token::LBracket);
        if !is_typed {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        if is_token(&tokens, at + 5, &Token::RBracket) {
            let place = &tokens[at];
            out.push(made(Token::make_word("CAST", None), place));
            out.push(made(Token::LParen, place));
            out.extend_from_slice(&tokens[at + 4..at + 6]);
            out.push(made(Token::make_word("AS", None), place));
            out.extend_from_slice(&tokens[at..at + 4]);
            out.push(made(Token::RParen, place));
            at += 6;
        } else {
            out.push(tokens[at].clone());
            at += 4;
        }
    }
    out
}

/// The week of `EXTRACT` that begins on a named day.
fn weeks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        let opens = is_word(tokens.get(at), "EXTRACT")
            && is_token(&tokens, at + 1, &Token::LParen)
            && is_word(tokens.get(at + 2), "WEEK");
        if opens
            && closing(&tokens, at + 3) == Some(at + 5)
            && let Some(day) = bare_word(tokens.get(at + 4))
        {
            let name = format!("WEEK_{}", day.value.to_ascii_uppercase());
            tokens[at + 2].token = Token::make_word(&name, None);
            tokens.drain(at + 3..at + 6);
        }
        at += 1;
    }
    tokens
}

/// `SAFE.SUBSTR(x, 1)`: the name behind the dot is no keyword.
fn safe(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for at in 2..tokens.len() {
        let is_safe = is_word(tokens.get(at - 2), "SAFE")
            && is_token(&tokens, at - 1, &Token::Period)
            && is_token(&tokens, at + 1, &Token::LParen);
        if is_safe && let Some(name) = bare_word(tokens.get(at)) {
            tokens[at].token = Token::make_word(&name.value.to_ascii_lowercase(), Some('"'));
        }
    }
    tokens
}

/// Units of an interval.
const UNITS: [&str; 10] = [
    "MICROSECOND",
    "MILLISECOND",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "WEEK",
    "MONTH",
    "QUARTER",
    "YEAR",
];

/// `INTERVAL n + 1 DAY` counts a whole expression, which ends at the unit.
fn intervals(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if is_word(tokens.get(at), "INTERVAL")
            && let Some(end) = unit_of(&tokens, at + 1)
            && end > at + 2
        {
            let close = made(Token::RParen, &tokens[end]);
            tokens.insert(end, close);
            let open = made(Token::LParen, &tokens[at]);
            tokens.insert(at + 1, open);
        }
        at += 1;
    }
    tokens
}

/// Words that no count holds outside of brackets.
const NO_COUNT: [&str; 10] = [
    "AND", "AS", "ELSE", "END", "FROM", "IN", "IS", "OR", "THEN", "WHERE",
];

/// The unit that ends the count which starts at `from`, if it is counted by an expression at all.
fn unit_of(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        let is_any = |words: &[&str]| words.iter().any(|word| is_word(Some(token), word));
        match &token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            _ if depth > 0 => {}
            Token::Word(_) if is_any(&UNITS) => return Some(at),
            Token::Word(_) if is_any(&NO_COUNT) => return None,
            Token::Word(_) | Token::Number(..) | Token::Period | Token::Minus => {}
            Token::Plus | Token::Mul | Token::Div if at > from => {}
            _ => return None,
        }
    }
    None
}
