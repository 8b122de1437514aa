//! `(f(x)).*` among results: all columns of a record. sqlparser reads stars of names alone.
//!
//! In: tokens of one statement; out: the same with a name in the place of such a star that no client's text can bring into a
//! statement, and `(r).*` as the star `r.*` of a relation. In trees that are written as text, the name is a star again.

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{closing, is_token, is_word};

/// What the star becomes.
pub const RECORD_COLUMNS: &str = "\u{1e}record columns";

/// Settles such stars.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 1;
    while at < tokens.len() {
        if begins_item(&tokens[at - 1])
            && let Some(close) = closing(&tokens, at)
            && is_token(&tokens, close + 1, &Token::Period)
            && is_token(&tokens, close + 2, &Token::Mul)
        {
            let is_name = close == at + 2 && matches!(tokens[at + 1].token, Token::Word(_));
            if is_name {
                tokens.remove(close);
                tokens.remove(at);
            } else {
                tokens[close + 2].token = Token::make_word(RECORD_COLUMNS, Some('"'));
            }
        }
        at += 1;
    }
    tokens
}

/// Whether an item of a list of results may begin behind a token.
fn begins_item(token: &TokenWithSpan) -> bool {
    let words = ["SELECT", "DISTINCT", "ALL", "RETURNING"];
    token.token == Token::Comma || words.iter().any(|word| is_word(Some(token), word))
}

/// Whether an expression is all columns of a record.
pub fn is_record_columns(access: &[AccessExpr]) -> bool {
    matches!(access, [AccessExpr::Dot(Expr::Identifier(name))] if name.value == RECORD_COLUMNS)
}

/// Makes a star of the name.
pub(crate) fn write(expr: &mut Expr) {
    if let Expr::CompoundFieldAccess { access_chain, .. } = expr
        && is_record_columns(access_chain)
    {
        *access_chain = vec![AccessExpr::Dot(Expr::Identifier(Ident::new("*")))];
    }
}
