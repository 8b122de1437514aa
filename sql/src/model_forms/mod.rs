//! Model forms inside ordinary SQL: `MODEL m@3` and `TABLE t` as arguments, `PREDICT(m USING …)`, `(PREDICT m ON t)`.
//!
//! In: a statement's tokens; out: tokens that sqlparser's grammar can read. A form that sqlparser lacks is marked by
//! words in backticks, a quote that no token carries at this stage, so that a column or function of the same name is
//! never mistaken for it.

mod marked;
mod subquery;

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{
    Span as SqlSpan, Token, TokenWithSpan, Word as SqlWord,
};

use crate::error::ParseError;
use crate::googlesql::is_ml_call;
use crate::lexer::{
    are_words, bare_word, closing, is_token, is_word, span_of, sql_span, string_value,
};
use crate::reference::{parse_model_ref, quoted_string, read_model_ref, read_name};
use crate::statement::Span;
pub(crate) use marked::{PredictHead, located, parse_marked, predict_head};
pub(crate) use subquery::statement_as_query;
use subquery::{select_all, verb_at};

/// Rewrites every model form in a statement's tokens.
pub(crate) fn rewrite(
    text: &str,
    mut tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    // From right to left, so that an inner statement is rewritten before the one around it.
    for open in (0..tokens.len()).rev() {
        if tokens[open].token == Token::LParen
            && verb_at(&tokens, open + 1).is_some()
            && let Some(close) = closing(&tokens, open)
            && let Some(query) = statement_as_query(text, &tokens[open + 1..close])
        {
            tokens.splice(open + 1..close, query?);
        }
    }
    if let Some(at) = definition(&tokens)
        && let Some(query) = statement_as_query(text, &tokens[at..])
    {
        tokens.splice(at.., query?);
    }
    Ok(mark(tokens))
}

/// Where a statement of ours defines a view or table: behind the `AS` of `CREATE VIEW v AS PREDICT m ON t`.
fn definition(tokens: &[TokenWithSpan]) -> Option<usize> {
    let creates = is_word(tokens.first(), "CREATE")
        && (1..tokens.len().min(5))
            .any(|at| is_word(tokens.get(at), "VIEW") || is_word(tokens.get(at), "TABLE"));
    let behind_as = |at: &usize| is_word(tokens.get(at - 1), "AS");
    (2..tokens.len())
        .filter(|_| creates)
        .find(|at| verb_at(tokens, *at).is_some() && behind_as(at))
}

/// Marks the forms that stand where an expression can.
fn mark(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let arguments = argument_starts(&tokens);
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let form = if arguments.contains(&at) {
            argument(&tokens, at)
        } else {
            None
        };
        match form.or_else(|| predict_call(&tokens, at)) {
            Some((marked, next)) => {
                out.extend(marked);
                at = next;
            }
            None => {
                out.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    out
}

/// Where the arguments of `ML.` and `AI.` functions start.
fn argument_starts(tokens: &[TokenWithSpan]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    // For each open bracket, whether it holds the arguments of such a function.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => {
                let holds_arguments = at >= 3 && is_ml_call(tokens, at - 3);
                if holds_arguments {
                    starts.insert(at + 1);
                }
                open.push(holds_arguments);
            }
            Token::LBracket => open.push(false),
            Token::RParen | Token::RBracket => {
                open.pop();
            }
            Token::Comma if open.last() == Some(&true) => {
                starts.insert(at + 1);
            }
            _ => {}
        }
    }
    starts
}

fn ends_argument(tokens: &[TokenWithSpan], at: usize) -> bool {
    is_token(tokens, at, &Token::Comma) || is_token(tokens, at, &Token::RParen)
}

/// `MODEL m@3` or `TABLE t` as a whole argument.
fn argument(tokens: &[TokenWithSpan], at: usize) -> Option<(Vec<TokenWithSpan>, usize)> {
    if is_word(tokens.get(at), "MODEL") {
        let (reference, next) = read_model_ref(tokens, at + 1)?;
        let marked = vec![
            marker("MODEL", tokens[at].span),
            marker(
                &reference.to_string(),
                sql_span(reference_span(tokens, at + 1, next)),
            ),
        ];
        return ends_argument(tokens, next).then_some((marked, next));
    }
    if is_word(tokens.get(at), "TABLE") {
        let is_file = tokens
            .get(at + 1)
            .is_some_and(|file| string_value(&file.token).is_some());
        let next = if is_file {
            at + 2
        } else {
            read_name(tokens, at + 1)?.1
        };
        let mut query = select_all(tokens[at].span);
        query.extend_from_slice(&tokens[at + 1..next]);
        query.push(TokenWithSpan {
            token: Token::RParen,
            span: tokens[next - 1].span,
        });
        return ends_argument(tokens, next).then_some((query, next));
    }
    None
}

/// `PREDICT(m USING` or `PREDICT_PROBA(m, 'label' USING`.
fn predict_call(tokens: &[TokenWithSpan], at: usize) -> Option<(Vec<TokenWithSpan>, usize)> {
    let function = bare_word(tokens.get(at))?.value.to_ascii_lowercase();
    let called = matches!(function.as_str(), "predict" | "predict_proba")
        && is_token(tokens, at + 1, &Token::LParen)
        && !(at > 0 && is_token(tokens, at - 1, &Token::Period));
    if !called {
        return None;
    }
    let (reference, mut next) = match string_value(&tokens.get(at + 2)?.token) {
        Some(reference) => (parse_model_ref(reference).ok()?, at + 3),
        None => read_model_ref(tokens, at + 2)?,
    };
    let place = sql_span(reference_span(tokens, at + 2, next));
    let mut head = reference.to_string();
    if function == "predict_proba" && is_token(tokens, next, &Token::Comma) {
        let label = label_text(&tokens.get(next + 1)?.token)?;
        head = format!("{head}, {}", quoted_string(&label));
        next += 2;
    }
    are_words(tokens, next, &["USING"]).then(|| {
        let open = tokens[at + 1].clone();
        (
            vec![
                marker(&function, tokens[at].span),
                open,
                marker(&head, place),
            ],
            next,
        )
    })
}

/// The literal that names a class.
fn label_text(token: &Token) -> Option<String> {
    match token {
        Token::Number(number, _) => Some(number.clone()),
        Token::Word(word) if word.quote_style == Some('"') => Some(word.value.clone()),
        Token::Word(SqlWord {
            keyword: Keyword::TRUE,
            ..
        }) => Some("true".to_owned()),
        Token::Word(SqlWord {
            keyword: Keyword::FALSE,
            ..
        }) => Some("false".to_owned()),
        token => string_value(token).map(str::to_owned),
    }
}

fn reference_span(tokens: &[TokenWithSpan], from: usize, to: usize) -> Span {
    Span {
        start: span_of(tokens[from].span).start,
        end: span_of(tokens[to - 1].span).end,
    }
}

fn marker(value: &str, span: SqlSpan) -> TokenWithSpan {
    TokenWithSpan {
        token: Token::make_word(value, Some('`')),
        span,
    }
}
