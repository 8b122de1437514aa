//! `concat_ws(',', VARIADIC names)`: an array in the place of a call's last arguments. sqlparser does not read the word.
//!
//! In: tokens of one statement; out: the same with a call around the array whose name no client's text can bring into a
//! statement. In trees that are written as text, the call is the word again.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::is_word;

/// The name of the call.
const VARIADIC: &str = "\u{1e}variadic";

/// Puts the call in the place of the word.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut at = 1;
    while at < tokens.len() {
        if is_word(tokens.get(at), "VARIADIC")
            && matches!(tokens[at - 1].token, Token::LParen | Token::Comma)
            && tokens.get(at + 1).is_some_and(begins_array)
            && let Some(end) = arguments_end(&tokens, at + 1)
        {
            let made = |token: Token, place: usize| TokenWithSpan {
                token,
                span: tokens[place].span,
            };
            let (open, close) = (made(Token::LParen, at), made(Token::RParen, end));
            tokens.insert(end, close);
            tokens[at].token = Token::make_word(VARIADIC, Some('"'));
            tokens.insert(at + 1, open);
        }
        at += 1;
    }
    tokens
}

/// Whether an array may begin with a token. Behind a column that is called so, an operator stands.
fn begins_array(token: &TokenWithSpan) -> bool {
    matches!(
        token.token,
        Token::Word(_)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::Placeholder(_)
            | Token::LParen
    )
}

/// The `)` behind the argument that begins at `from`, if it is the last one.
fn arguments_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen if depth == 0 => return (at > from).then_some(at),
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            Token::Comma | Token::SemiColon if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The array of such a call.
pub fn variadic_array(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match (function.name.0.as_slice(), list.args.as_slice()) {
        ([name], [FunctionArg::Unnamed(FunctionArgExpr::Expr(array))])
            if name.as_ident().is_some_and(|name| name.value == VARIADIC) =>
        {
            Some(array)
        }
        _ => None,
    }
}

/// Makes the word of the call.
pub(crate) fn write(expr: &mut Expr) {
    if let Some(array) = variadic_array(expr) {
        *expr = Expr::Identifier(Ident::new(format!("VARIADIC {array}")));
    }
}
