//! `GROUP BY DISTINCT ROLLUP (a, b), CUBE (a, c)`, which sqlparser does not read, as a list whose first key is a mark.
//!
//! In: tokens of one statement; out: tokens with the mark in the place of the word, which the planner takes away. Trees that are
//! written have the word again.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Ident, Select};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::are_words;

/// The mark, which no client's text can hold.
const MARK: &str = "\u{1e}distinct";

/// Puts the mark in the place of the word.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["GROUP", "BY", "DISTINCT"]) {
            let word = &mut tokens[at + 2];
            word.token = Token::make_word(MARK, Some('"'));
            let comma = TokenWithSpan {
                token: Token::Comma,
                span: word.span,
            };
            tokens.insert(at + 3, comma);
        }
        at += 1;
    }
    tokens
}

/// Takes the mark away; whether it was there.
pub fn take_distinct_groups(keys: &mut Vec<Expr>) -> bool {
    let is_marked = matches!(keys.first(), Some(Expr::Identifier(name)) if name.value == MARK);
    if is_marked {
        keys.remove(0);
    }
    is_marked
}

/// Writes the word in the place of the mark.
pub(crate) fn write(select: &mut Select) {
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by
        && take_distinct_groups(keys)
        && let Some(first) = keys.first_mut()
    {
        *first = Expr::Prefixed {
            prefix: Ident::new("DISTINCT"),
            value: Box::new(first.clone()),
        };
    }
}
