//! `x BETWEEN SYMMETRIC a AND b`, which sqlparser does not read, as `x BETWEEN between_symmetric(a) AND b`.
//!
//! In: tokens of one statement; out: tokens with a call around the lower bound, which the planner takes away. Trees that are
//! written have the two words again.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, is_word};

const SYMMETRIC: &str = "between_symmetric";

/// Puts the call around the lower bounds.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 0;
    while at < tokens.len() {
        if are_words(&tokens, at, &["BETWEEN", "SYMMETRIC"])
            && let Some(end) = bound_end(&tokens, at + 2)
        {
            let made = |token: Token, at: usize| TokenWithSpan {
                token,
                span: tokens[at].span,
            };
            let (open, close) = (made(Token::LParen, at + 1), made(Token::RParen, end));
            tokens.insert(end, close);
            tokens[at + 1].token = Token::make_word(SYMMETRIC, None);
            tokens.insert(at + 2, open);
        }
        at += 1;
    }
    tokens
}

/// The `AND` behind the lower bound, in which none can stand outside of brackets.
fn bound_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            _ if depth == 0 && is_word(Some(token), "AND") => return (at > from).then_some(at),
            _ => {}
        }
    }
    None
}

/// Writes the words in the place of the call.
pub(crate) fn write(expr: &mut Expr) {
    if let Expr::Between { low, .. } = expr
        && let Some(bound) = bound_of(low)
    {
        **low = Expr::Prefixed {
            prefix: Ident::new("SYMMETRIC"),
            value: Box::new(bound),
        };
    }
}

/// The lower bound within the call.
fn bound_of(low: &Expr) -> Option<Expr> {
    let Expr::Function(function) = low else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match (function.name.0.as_slice(), list.args.as_slice()) {
        ([name], [FunctionArg::Unnamed(FunctionArgExpr::Expr(bound))])
            if name.as_ident().is_some_and(|name| name.value == SYMMETRIC) =>
        {
            Some(bound.clone())
        }
        _ => None,
    }
}
