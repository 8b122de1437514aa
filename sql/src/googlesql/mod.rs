//! GoogleSQL's text in a PostgreSQL grammar: which statements it applies to, and what is rewritten.
//!
//! In: a statement's tokens; out: tokens that the one `AuspexDialect` reads. `names` settles quotes and names, `forms`
//! what PostgreSQL's grammar has no place for; in the finished tree `meaning` qualifies names that PostgreSQL gives
//! another meaning, `types` turns type names. What functions compute belongs to the planner.

mod forms;
mod meaning;
mod names;
mod types;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::Dialect;
use crate::error::ParseError;
use crate::lexer::{Grammar, are_words, closing, is_token, is_word, span_of};
use crate::parser::opens_model_statement;
pub(crate) use meaning::{settle, settle_statement};
pub(crate) use types::{normalize_select_item, normalize_statement, normalize_types};

/// Chooses the grammar of a statement by what it holds.
pub(crate) fn evidence(tokens: &[TokenWithSpan], dialect: Dialect) -> Grammar {
    match dialect {
        Dialect::Postgres => Grammar::Postgres,
        Dialect::GoogleSql => Grammar::GoogleSql,
        Dialect::Auto if tokens.iter().any(is_backtick) => Grammar::GoogleSql,
        Dialect::Auto if opens_model_statement(tokens) || calls_ml(tokens) => Grammar::Lenient,
        Dialect::Auto => Grammar::Postgres,
    }
}

fn is_backtick(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style == Some('`'))
}

/// Whether `ML.name(` or `AI.name(` occurs.
fn calls_ml(tokens: &[TokenWithSpan]) -> bool {
    (0..tokens.len()).any(|at| is_ml_call(tokens, at))
}

/// Whether `ML.name(` or `AI.name(` starts at `at`.
pub(crate) fn is_ml_call(tokens: &[TokenWithSpan], at: usize) -> bool {
    (is_word(tokens.get(at), "ML") || is_word(tokens.get(at), "AI"))
        && is_token(tokens, at + 1, &Token::Period)
        && matches!(
            tokens.get(at + 2).map(|token| &token.token),
            Some(Token::Word(_))
        )
        && is_token(tokens, at + 3, &Token::LParen)
        && !(at > 0 && is_token(tokens, at - 1, &Token::Period))
}

/// Rewrites a statement's tokens into what PostgreSQL's grammar can read.
pub(crate) fn rewrite(
    text: &str,
    tokens: Vec<TokenWithSpan>,
    grammar: Grammar,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    // Strings first: a split backtick name is in double quotes, too.
    let tokens = strings(tokens, grammar);
    if grammar == Grammar::Postgres {
        return match tokens.iter().find(|token| is_backtick(token)) {
            None => Ok(subscripts(tokens)),
            Some(token) => Err(ParseError::at_token(text, token, "")
                .with_hint("Backticks quote names in GoogleSQL only: SET ml.dialect = auto.")),
        };
    }
    let tokens = names::split_backticks(text, tokens)?;
    Ok(subscripts(forms::settle(names::join_hyphens(text, tokens))))
}

/// The tokens with every string in single quotes.
pub(crate) fn strings(tokens: Vec<TokenWithSpan>, grammar: Grammar) -> Vec<TokenWithSpan> {
    let tokens = names::unify_strings(tokens);
    match grammar {
        Grammar::Postgres => tokens,
        Grammar::Lenient => names::strings_in_groups(tokens),
        Grammar::GoogleSql => names::strings_everywhere(tokens),
    }
}

/// `a[OFFSET(i)]` counts from 0 and `a[ORDINAL(i)]` from 1, as do PostgreSQL's subscripts: `a[(i) + 1]`, `a[(i)]`.
fn subscripts(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut skip = None;
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut behind = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if skip == Some(at) {
            continue;
        }
        out.push(token.clone());
        if behind.last() == Some(&at) {
            behind.pop();
            let made = |made: Token| TokenWithSpan {
                token: made,
                span: token.span,
            };
            out.push(made(Token::Plus));
            out.push(made(Token::Number("1".into(), false)));
        }
        let zero_based =
            are_words(&tokens, at + 1, &["OFFSET"]) || are_words(&tokens, at + 1, &["SAFE_OFFSET"]);
        let one_based = are_words(&tokens, at + 1, &["ORDINAL"])
            || are_words(&tokens, at + 1, &["SAFE_ORDINAL"]);
        if token.token == Token::LBracket
            && (zero_based || one_based)
            && is_token(&tokens, at + 2, &Token::LParen)
            && let Some(close) = closing(&tokens, at + 2)
            && is_token(&tokens, close + 1, &Token::RBracket)
        {
            skip = Some(at + 1);
            if zero_based {
                behind.push(close);
            }
        }
    }
    out
}

/// The first byte of a token.
pub(crate) fn start_of(token: &TokenWithSpan) -> usize {
    span_of(token.span).start
}
