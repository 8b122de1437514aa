//! Brackets that belong together and tokens that are put in or left out, each in one pass over a statement: a text may have a
//! hundred thousand places that are settled.
//!
//! In: tokens of one statement, and places in them; out: tokens. Never looks at what they mean.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{is_token, is_word};

/// Which `)` closes each `(`.
pub(crate) struct Groups(Vec<Option<usize>>);

impl Groups {
    /// Those of a statement.
    pub(crate) fn of(tokens: &[TokenWithSpan]) -> Groups {
        let mut closing = vec![None; tokens.len()];
        let mut open = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match token.token {
                Token::LParen => open.push(at),
                Token::RParen => {
                    if let Some(first) = open.pop() {
                        closing[first] = Some(at);
                    }
                }
                _ => {}
            }
        }
        Groups(closing)
    }

    /// The place of a word from `at` on that stands in no brackets.
    pub(crate) fn outside(
        &self,
        tokens: &[TokenWithSpan],
        mut at: usize,
        word: &str,
    ) -> Option<usize> {
        while at < tokens.len() {
            if is_word(tokens.get(at), word) {
                return Some(at);
            }
            at = match is_token(tokens, at, &Token::LParen) {
                true => self.closing(at)? + 1,
                false => at + 1,
            };
        }
        None
    }

    /// The `)` that closes the `(` at `open`; `None` if no `(` stands there, or it is never closed.
    pub(crate) fn closing(&self, open: usize) -> Option<usize> {
        self.0.get(open).copied().flatten()
    }
}

/// Tokens with others before those at some places, in the order in which these are given.
pub(crate) fn with_put(
    tokens: Vec<TokenWithSpan>,
    mut put: Vec<(usize, TokenWithSpan)>,
) -> Vec<TokenWithSpan> {
    if put.is_empty() {
        return tokens;
    }
    put.sort_by_key(|(at, _)| *at);
    let mut all = Vec::with_capacity(tokens.len() + put.len());
    let mut put = put.into_iter().peekable();
    for (at, token) in tokens.into_iter().enumerate() {
        while let Some((_, new)) = put.next_if(|(place, _)| *place <= at) {
            all.push(new);
        }
        all.push(token);
    }
    all.extend(put.map(|(_, new)| new));
    all
}

/// Tokens without those at some places.
pub(crate) fn without(
    tokens: Vec<TokenWithSpan>,
    left_out: &BTreeSet<usize>,
) -> Vec<TokenWithSpan> {
    if left_out.is_empty() {
        return tokens;
    }
    let placed = tokens.into_iter().enumerate();
    let kept = placed.filter(|(at, _)| !left_out.contains(at));
    kept.map(|(_, token)| token).collect()
}
