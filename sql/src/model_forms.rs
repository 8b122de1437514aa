//! Model forms inside ordinary SQL: `MODEL m@3` and `TABLE t` as arguments, `PREDICT(m USING …)`, `(PREDICT m ON t)`.
//!
//! In: a statement's tokens; out: tokens that sqlparser's grammar can read, and the expressions made of them. A form
//! that sqlparser lacks is marked by words in backticks, a quote that no token carries at this stage, so that a column
//! or function of the same name is never mistaken for it. The expressions print as the text they were read from.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word as SqlWord};

use crate::error::ParseError;
use crate::googlesql::is_ml_call;
use crate::lexer::{
    are_words, bare_word, closing, is_token, is_word, last_group, span_of, sql_span, string_value,
};
use crate::reference::{parse_model_ref, quoted_string, read_model_ref, read_name};
use crate::statement::{ModelRef, Span};

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
    Ok(mark(tokens))
}

/// The statements that return rows, with the functions behind them.
const VERBS: [(&str, &str); 4] = [
    ("PREDICT", "predict"),
    ("EXPLAIN_PREDICT", "explain_predict"),
    ("EVALUATE", "evaluate"),
    ("FORECAST", "forecast"),
];

fn verb_at(tokens: &[TokenWithSpan], at: usize) -> Option<(&'static str, &'static str)> {
    VERBS
        .into_iter()
        .find(|(verb, _)| is_word(tokens.get(at), verb))
}

/// `PREDICT MODEL m ON t WITH (a = 1)` as `SELECT * FROM ml.predict(MODEL m, TABLE t, STRUCT(1 AS a))`.
///
/// `None` if the tokens are not such a statement.
pub(crate) fn statement_as_query(
    text: &str,
    tokens: &[TokenWithSpan],
) -> Option<Result<Vec<TokenWithSpan>, ParseError>> {
    let (verb, function) = verb_at(tokens, 0)?;
    let has_model = is_word(tokens.get(1), "MODEL") && read_model_ref(tokens, 2).is_some();
    let reference_at = if has_model { 2 } else { 1 };
    let (_, mut at) = read_model_ref(tokens, reference_at)?;
    let reference = &tokens[reference_at..at];
    let mut horizon = None;
    if verb == "FORECAST" && is_word(tokens.get(at), "HORIZON") {
        horizon = tokens.get(at + 1);
        at += 2;
    }
    let rest = tokens.get(at..)?;
    let (rest, options) = match last_group(rest).and_then(|open| open.checked_sub(1)) {
        Some(with) if is_word(rest.get(with), "WITH") => {
            (&rest[..with], Some(&rest[with + 2..rest.len() - 1]))
        }
        _ => (rest, None),
    };
    let needs_rows = matches!(verb, "PREDICT" | "EXPLAIN_PREDICT");
    let rows = match rest {
        [on, rows @ ..] if is_word(Some(on), "ON") && !rows.is_empty() => Some(rows),
        [] if !needs_rows && (has_model || options.is_some() || horizon.is_some()) => None,
        _ => return None,
    };
    let here = tokens[0].span;
    let made = |token: Token| TokenWithSpan { token, span: here };
    let word = |value: &str| made(Token::make_word(value, None));
    let mut out = vec![word("SELECT"), made(Token::Mul), word("FROM"), word("ml")];
    out.extend([
        made(Token::Period),
        word(function),
        made(Token::LParen),
        word("MODEL"),
    ]);
    out.extend_from_slice(reference);
    let settings = match settings(text, options.unwrap_or_default(), horizon) {
        Ok(settings) => settings,
        Err(error) => return Some(Err(error)),
    };
    let rows = rows.map(as_argument).unwrap_or_default();
    // BigQuery's FORECAST takes its settings before the rows, all others after them.
    let arguments = if verb == "FORECAST" {
        [settings, rows]
    } else {
        [rows, settings]
    };
    for argument in arguments
        .into_iter()
        .filter(|argument| !argument.is_empty())
    {
        out.push(made(Token::Comma));
        out.extend(argument);
    }
    // The last token's place, so that the query's own text ends where the statement's does.
    let end = tokens.last().map_or(here, |token| token.span);
    out.push(TokenWithSpan {
        token: Token::RParen,
        span: end,
    });
    Some(Ok(out))
}

/// The rows of a statement as an argument: a query in parentheses, or `TABLE t`.
fn as_argument(rows: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let place = rows[0].span;
    let made = |token: Token| TokenWithSpan { token, span: place };
    let wrapped = rows[0].token == Token::LParen && closing(rows, 0) == Some(rows.len() - 1);
    let is_query = rows[0].token == Token::LParen
        || ["SELECT", "WITH", "VALUES", "FROM"]
            .iter()
            .any(|word| is_word(rows.first(), word));
    let (before, after) = if wrapped || is_word(rows.first(), "TABLE") {
        (vec![], vec![])
    } else if is_query {
        (vec![made(Token::LParen)], vec![made(Token::RParen)])
    } else if string_value(&rows[0].token).is_some() {
        (select_all(place), vec![made(Token::RParen)])
    } else {
        (vec![made(Token::make_word("TABLE", None))], vec![])
    };
    before
        .into_iter()
        .chain(rows.iter().cloned())
        .chain(after)
        .collect()
}

/// `( SELECT * FROM`
fn select_all(span: datafusion::sql::sqlparser::tokenizer::Span) -> Vec<TokenWithSpan> {
    let word = |value: &str| Token::make_word(value, None);
    [Token::LParen, word("SELECT"), Token::Mul, word("FROM")]
        .map(|token| TokenWithSpan { token, span })
        .into()
}

/// `a = 1, b = auto` as `STRUCT(1 AS a, 'auto' AS b)`; nothing if there is nothing to say.
fn settings(
    text: &str,
    options: &[TokenWithSpan],
    horizon: Option<&TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    let mut items: Vec<Vec<TokenWithSpan>> = Vec::new();
    for option in split_at_commas(options) {
        let (name, value) = match option {
            [name, equals, value @ ..] if equals.token == Token::Eq && !value.is_empty() => {
                (name, value)
            }
            [_, second, ..] => return Err(ParseError::at_token(text, second, "= and a value")),
            [only] => return Err(ParseError::at_token(text, only, "name = value")),
            [] => return Err(ParseError::at_end(text.len(), "name = value")),
        };
        items.push(named_item(value, name));
    }
    if let Some(horizon) = horizon {
        let name = Token::make_word("horizon", None);
        let name = TokenWithSpan {
            token: name,
            span: horizon.span,
        };
        items.push(named_item(std::slice::from_ref(horizon), &name));
    }
    let Some(place) = items
        .first()
        .and_then(|item| item.first())
        .map(|token| token.span)
    else {
        return Ok(vec![]);
    };
    let made = |token: Token| TokenWithSpan { token, span: place };
    let mut out = vec![made(Token::make_word("STRUCT", None)), made(Token::LParen)];
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(made(Token::Comma));
        }
        out.extend(item);
    }
    out.push(made(Token::RParen));
    Ok(out)
}

/// `value AS name`; a bare word or a word in double quotes is a string, as it is in `OPTIONS`.
fn named_item(value: &[TokenWithSpan], name: &TokenWithSpan) -> Vec<TokenWithSpan> {
    let mut item = value.to_vec();
    if let [TokenWithSpan { token, .. }] = item.as_mut_slice()
        && let Token::Word(word) = token
        && !["TRUE", "FALSE", "NULL"]
            .iter()
            .any(|known| word.value.eq_ignore_ascii_case(known))
    {
        *token = Token::SingleQuotedString(std::mem::take(&mut word.value));
    }
    item.push(TokenWithSpan {
        token: Token::make_word("AS", None),
        span: name.span,
    });
    item.push(name.clone());
    item
}

/// The parts between the commas outside any bracket.
fn split_at_commas(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !tokens.is_empty() {
        parts.push(&tokens[start..]);
    }
    parts
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
        let (_, next) = read_name(tokens, at + 1)?;
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

fn marker(value: &str, span: datafusion::sql::sqlparser::tokenizer::Span) -> TokenWithSpan {
    TokenWithSpan {
        token: Token::make_word(value, Some('`')),
        span,
    }
}

/// Reads a marked form; `None` if none stands here.
pub(crate) fn parse_marked(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let first = parser.peek_token_ref();
    let (Token::Word(word), span) = (&first.token, first.span) else {
        return None;
    };
    if word.quote_style != Some('`') {
        return None;
    }
    let name = word.value.clone();
    parser.next_token();
    Some(if name == "MODEL" {
        marked_word(parser).map(|value| Expr::Prefixed {
            prefix: Ident::with_span(span, name),
            value: Box::new(Expr::Identifier(value)),
        })
    } else {
        parse_predict(parser, Ident::with_span(span, name))
    })
}

fn marked_word(parser: &mut Parser) -> Result<Ident, ParserError> {
    let token = parser.next_token();
    match token.token {
        Token::Word(word) => Ok(Ident::with_span(token.span, word.value)),
        _ => parser.expected("a model", token),
    }
}

/// `PREDICT(m USING a, b + 1 AS c)`: a call whose first argument carries `m USING` as its prefix.
fn parse_predict(parser: &mut Parser, function: Ident) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let mut head = marked_word(parser)?;
    parser.expect_keyword(Keyword::USING)?;
    let args = if parser.consume_token(&Token::Mul) {
        head.value.push_str(" USING *");
        vec![Expr::Identifier(head)]
    } else {
        head.value.push_str(" USING");
        let mut args = parser.parse_comma_separated(|parser| {
            let item = parser.parse_expr_with_alias()?;
            Ok(match item.alias {
                Some(name) => Expr::Named {
                    expr: Box::new(item.expr),
                    name,
                },
                None => item.expr,
            })
        })?;
        if let Some(first) = args.first_mut() {
            let value = std::mem::replace(first, Expr::Identifier(Ident::new("")));
            *first = Expr::Prefixed {
                prefix: head,
                value: Box::new(value),
            };
        }
        args
    };
    parser.expect_token(&Token::RParen)?;
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Ok(Expr::Function(Function {
        name: ObjectName::from(vec![function]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    }))
}

/// What a marked call's head says: the model, the class, and whether `*` stands behind `USING`.
pub(crate) struct PredictHead {
    pub(crate) model: ModelRef,
    pub(crate) label: Option<String>,
    pub(crate) all: bool,
}

/// Takes a head apart again; `None` if the identifier is not one.
pub(crate) fn predict_head(ident: &Ident) -> Option<PredictHead> {
    if ident.quote_style.is_some() {
        return None;
    }
    let (rest, all) = match ident.value.strip_suffix(" USING *") {
        Some(rest) => (rest, true),
        None => (ident.value.strip_suffix(" USING")?, false),
    };
    let (model, label) = match rest
        .strip_suffix('\'')
        .and_then(|rest| rest.split_once(", '"))
    {
        Some((model, label)) => (model, Some(label.replace("''", "'"))),
        None => (rest, None),
    };
    let model = located(model, ident)?;
    Some(PredictHead { model, label, all })
}

/// The model that a marked identifier names, with the place of the identifier.
pub(crate) fn located(text: &str, ident: &Ident) -> Option<ModelRef> {
    let mut model = parse_model_ref(text).ok()?;
    model.name.span = span_of(ident.span);
    Some(model)
}
