//! Clauses of PostgreSQL that ask for nothing which is not so here: `UNLOGGED`, `[NOT] DEFERRABLE` of a transaction,
//! `WITH DATA`, `ONLY` before a table, `WITHOUT OIDS`, and what is weaker in `FOR NO KEY UPDATE` than in `FOR UPDATE`.
//!
//! In: tokens of one statement; out: the tokens without them. A table is as durable as any, and a block never waits for
//! others before its first statement.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, closing, is_token, is_word};
use crate::parser::materialized;
use crate::reference::{read_name, read_word};

/// Leaves the clauses out.
pub(super) fn leave_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    weak_locks(deferrable(without_oids(unlogged(only(tokens)))))
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

/// `FOR NO KEY UPDATE` is `FOR UPDATE`, `FOR KEY SHARE` is `FOR SHARE`: no row is locked.
fn weak_locks(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !is_word(tokens.first(), "SELECT") && !is_word(tokens.first(), "WITH") {
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

/// `BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE` and its kin.
fn deferrable(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    const OPENINGS: [&[&str]; 4] = [
        &["BEGIN"],
        &["START", "TRANSACTION"],
        &["SET", "TRANSACTION"],
        &["SET", "SESSION", "CHARACTERISTICS"],
    ];
    if !OPENINGS.iter().any(|words| are_words(&tokens, 0, words)) {
        return tokens;
    }
    let found = (1..tokens.len()).find(|at| is_word(tokens.get(*at), "DEFERRABLE"));
    let Some(at) = found else {
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
