//! Clauses of PostgreSQL that ask for nothing which is not so here: `UNLOGGED`, `[NOT] DEFERRABLE` of a transaction,
//! `WITH DATA`, `ONLY` before a table, `WITHOUT OIDS`, and what is weaker in `FOR NO KEY UPDATE` than in `FOR UPDATE`.
//!
//! In: tokens of one statement; out: the tokens without them, and with locks behind LIMIT. A table is as durable as any, and
//! a block never waits for others before its first statement; whether it would is told beside the tokens, since `SHOW` says it.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};
use crate::parser::materialized;
use crate::reference::{read_name, read_word};

/// Leaves the clauses out.
pub(super) fn leave_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let tokens = not_deferred(without_oids(unlogged(only(tokens))));
    late_locks(weak_locks(tokens))
}

/// `FROM ONLY t` and `FROM ONLY (t)` are `FROM t`: no table inherits from another.
fn only(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const BEFORE: [&str; 5] = ["FROM", "JOIN", "UPDATE", "TRUNCATE", "TABLE"];
    let mut at = 1;
    while at + 1 < tokens.len() {
        let is_only = is_word(tokens.get(at), "ONLY")
            && BEFORE.iter().any(|word| is_word(tokens.get(at - 1), word));
        at += 1;
        if !is_only {
            continue;
        }
        let bracketed = closing(&tokens, at)
            .filter(|close| read_name(&tokens, at + 1).is_some_and(|(_, end)| end == *close));
        if let Some(close) = bracketed {
            tokens.remove(close);
            tokens.drain(at - 1..=at);
        } else if read_word(tokens.get(at)).is_some() {
            tokens.remove(at - 1);
        }
    }
    tokens
}

/// `CREATE TABLE t (…) WITHOUT OIDS`: there are none.
fn without_oids(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if is_word(tokens.first(), "CREATE") {
        let found = (1..tokens.len()).find(|at| are_words(&tokens, *at, &["WITHOUT", "OIDS"]));
        if let Some(at) = found {
            tokens.drain(at..at + 2);
        }
    }
    tokens
}

/// `CREATE UNLOGGED TABLE` is `CREATE TABLE`.
fn unlogged(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if are_words(&tokens, 0, &["CREATE", "UNLOGGED", "TABLE"]) {
        tokens.remove(1);
    }
    tokens
}

/// Whether a statement may have queries that lock rows.
fn may_lock(tokens: &[TokenWithSpan]) -> bool {
    let mut words = ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].into_iter();
    words.any(|word| is_word(tokens.first(), word))
}

/// `FOR NO KEY UPDATE` is `FOR UPDATE`, `FOR KEY SHARE` is `FOR SHARE`: no row is locked.
fn weak_locks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !may_lock(&tokens) {
        return tokens;
    }
    let mut at = 1;
    while at < tokens.len() {
        if are_words(&tokens, at, &["FOR", "NO", "KEY", "UPDATE"]) {
            tokens.drain(at + 1..at + 3);
        } else if are_words(&tokens, at, &["FOR", "KEY", "SHARE"]) {
            tokens.remove(at + 1);
        }
        at += 1;
    }
    tokens
}

/// `FOR UPDATE SKIP LOCKED LIMIT 1` is `LIMIT 1 FOR UPDATE SKIP LOCKED`.
fn late_locks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const LIMITS: [&str; 3] = ["LIMIT", "OFFSET", "FETCH"];
    if !may_lock(&tokens) {
        return tokens;
    }
    for at in 1..tokens.len() {
        if let Some(end) = lock_end(&tokens, at)
            && LIMITS.iter().any(|word| is_word(tokens.get(end), word))
        {
            let stop = query_end(&tokens, end);
            tokens[at..stop].rotate_left(end - at);
        }
    }
    tokens
}

/// Where a clause that locks rows ends; `None`: none begins here.
fn lock_end(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut locks = ["UPDATE", "SHARE"].into_iter();
    let is_lock = locks.any(|lock| are_words(tokens, at, &["FOR", lock]));
    let mut end = is_lock.then_some(at + 2)?;
    if is_word(tokens.get(end), "OF") {
        (_, end) = read_name(tokens, end + 1)?;
        while is_token(tokens, end, &Token::Comma) {
            (_, end) = read_name(tokens, end + 1)?;
        }
    }
    if is_word(tokens.get(end), "NOWAIT") {
        end += 1;
    } else if are_words(tokens, end, &["SKIP", "LOCKED"]) {
        end += 2;
    }
    Some(end)
}

/// Where the query ends that a token is of.
fn query_end(tokens: &[TokenWithSpan], from: usize) -> usize {
    let mut depth = 0_usize;
    for (idx, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return idx,
            Token::RParen => depth -= 1,
            Token::SemiColon | Token::EOF => return idx,
            _ => {}
        }
    }
    tokens.len()
}

/// Whether a statement says that transactions are deferrable or not.
pub(super) fn deferrable(tokens: &[TokenWithSpan]) -> Option<bool> {
    let at = deferral(tokens)?;
    Some(!is_word(tokens.get(at - 1), "NOT"))
}

/// Where a statement about transactions says `DEFERRABLE`, behind its opening words.
fn deferral(tokens: &[TokenWithSpan]) -> Option<usize> {
    const OPENINGS: [&[&str]; 4] = [
        &["BEGIN"],
        &["START", "TRANSACTION"],
        &["SET", "TRANSACTION"],
        &["SET", "SESSION", "CHARACTERISTICS"],
    ];
    let opens = OPENINGS.iter().any(|words| are_words(tokens, 0, words));
    let mut places = 1..tokens.len();
    let found = opens.then(|| places.find(|at| is_word(tokens.get(*at), "DEFERRABLE")));
    found.flatten()
}

/// `BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE` and its kin.
fn not_deferred(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let Some(at) = deferral(&tokens) else {
        return tokens;
    };
    let first = match is_word(tokens.get(at - 1), "NOT") {
        true => at - 1,
        false => at,
    };
    let is_comma = |at: usize| is_token(&tokens, at, &Token::Comma);
    let (first, end) = match (is_comma(first - 1), is_comma(at + 1)) {
        (true, _) => (first - 1, at + 1),
        (false, true) => (first, at + 2),
        (false, false) => (first, at + 1),
    };
    tokens.drain(first..end);
    tokens
}

/// What the end of a `CREATE TABLE … AS` or `CREATE MATERIALIZED VIEW` says of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// Nothing.
    Unsaid,
    /// `WITH DATA`.
    Wanted,
    /// `WITH NO DATA`.
    Unwanted,
}

impl Data {
    /// What the tokens of a statement end with.
    pub(super) fn of(tokens: &[TokenWithSpan]) -> Data {
        let ends = |words: &[&str]| {
            let at = tokens.len().checked_sub(words.len());
            at.is_some_and(|at| are_words(tokens, at, words))
        };
        // Before it there may be OR REPLACE, TEMPORARY and their kin.
        let makes_table = (1..=4).any(|at| is_word(tokens.get(at), "TABLE"));
        let has_rows = makes_table || materialized::creates(tokens);
        match is_word(tokens.first(), "CREATE") && has_rows {
            true if ends(&["WITH", "NO", "DATA"]) => Data::Unwanted,
            true if ends(&["WITH", "DATA"]) => Data::Wanted,
            _ => Data::Unsaid,
        }
    }

    /// How many tokens say it.
    pub(super) fn n_tokens(self) -> usize {
        match self {
            Data::Unsaid => 0,
            Data::Wanted => 2,
            Data::Unwanted => 3,
        }
    }
}
