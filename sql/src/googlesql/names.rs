//! Quotes and names: which token is a string, which a name, and of how many parts.
//!
//! In: tokens of one statement; out: the same with every string in single quotes and every name in plain or double
//! quotes, one token per part. Rewritten tokens keep the place of what they replace.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::ParseError;
use crate::googlesql::start_of;
use crate::lexer::{bare_word, closing, is_token, is_word, sql_span};
use crate::statement::Span;

/// Raw, triple-quoted and GoogleSQL's double-quoted strings become plain ones.
pub(super) fn unify_strings(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for token in &mut tokens {
        let value = match &mut token.token {
            Token::DoubleQuotedString(value)
            | Token::TripleSingleQuotedString(value)
            | Token::TripleDoubleQuotedString(value)
            | Token::SingleQuotedRawStringLiteral(value)
            | Token::DoubleQuotedRawStringLiteral(value)
            | Token::TripleSingleQuotedRawStringLiteral(value)
            | Token::TripleDoubleQuotedRawStringLiteral(value) => std::mem::take(value),
            _ => continue,
        };
        token.token = Token::SingleQuotedString(value);
    }
    tokens
}

/// `` `a.b-c.d` `` becomes `"a"."b-c"."d"`.
pub(super) fn split_backticks(
    text: &str,
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let path = match &token.token {
            Token::Word(word) if word.quote_style == Some('`') => word.value.clone(),
            _ => {
                out.push(token);
                continue;
            }
        };
        if path.split('.').any(|part| part.trim().is_empty()) {
            return Err(ParseError::at_token(text, &token, "a name")
                .with_hint("A name in backticks is made of parts with dots between them."));
        }
        for (n, part) in path.split('.').enumerate() {
            if n > 0 {
                out.push(TokenWithSpan {
                    token: Token::Period,
                    span: token.span,
                });
            }
            out.push(TokenWithSpan {
                token: Token::make_word(part, Some('"')),
                span: token.span,
            });
        }
    }
    Ok(out)
}

/// Words behind which a table, model or connection is named.
const NAMING: [&str; 6] = ["FROM", "JOIN", "TABLE", "INTO", "MODEL", "CONNECTION"];

/// `FROM my-project.ds.t`: an unquoted project name may hold hyphens where a table is named.
pub(super) fn join_hyphens(text: &str, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether it belongs to a function, where FROM names no table.
    let mut in_function = Vec::new();
    let mut skip_until = 0;
    for (at, token) in tokens.iter().enumerate() {
        if start_of(token) < skip_until {
            continue;
        }
        match token.token {
            Token::LParen => in_function.push(at > 0 && is_from_function(&tokens[at - 1])),
            Token::RParen => {
                in_function.pop();
            }
            _ => {}
        }
        let named = at > 0
            && NAMING
                .iter()
                .any(|keyword| is_word(tokens.get(at - 1), keyword))
            && bare_word(Some(token)).is_some()
            && !(at > 1 && is_word(tokens.get(at - 2), "DISTINCT"))
            && in_function.last() != Some(&true);
        match named.then(|| hyphenated(text, start_of(token))).flatten() {
            Some(end) => {
                let start = start_of(token);
                let word = Token::make_word(&text[start..end], Some('"'));
                out.push(TokenWithSpan {
                    token: word,
                    span: sql_span(Span { start, end }),
                });
                let dot = sql_span(Span {
                    start: end,
                    end: end + 1,
                });
                out.push(TokenWithSpan {
                    token: Token::Period,
                    span: dot,
                });
                skip_until = end + 1;
            }
            None => out.push(token.clone()),
        }
    }
    out
}

fn is_from_function(token: &TokenWithSpan) -> bool {
    ["EXTRACT", "TRIM", "SUBSTRING", "OVERLAY"]
        .iter()
        .any(|name| is_word(Some(token), name))
}

/// The end of a hyphenated name with a dot behind it that starts at `start`.
fn hyphenated(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))?;
    let name = &rest[..length];
    let is_name = name.contains('-')
        && !name.contains("--")
        && !name.ends_with('-')
        && rest[length..].starts_with('.');
    is_name.then_some(start + length)
}

/// Every `"x"` becomes a string.
pub(super) fn strings_everywhere(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    tokens.iter_mut().for_each(to_string);
    tokens
}

/// `"x"` becomes a string within `OPTIONS (…)` and `STRUCT(…)`; behind `AS` it stays a name.
pub(super) fn strings_in_groups(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut until = 0;
    for at in 0..tokens.len() {
        let opens = is_word(tokens.get(at), "OPTIONS") || is_word(tokens.get(at), "STRUCT");
        if opens && is_token(&tokens, at + 1, &Token::LParen) {
            until = until.max(closing(&tokens, at + 1).unwrap_or(0));
        }
        if at < until && !(at > 0 && is_word(tokens.get(at - 1), "AS")) {
            to_string(&mut tokens[at]);
        }
    }
    tokens
}

fn to_string(token: &mut TokenWithSpan) {
    if let Token::Word(word) = &mut token.token
        && word.quote_style == Some('"')
    {
        token.token = Token::SingleQuotedString(std::mem::take(&mut word.value));
    }
}
