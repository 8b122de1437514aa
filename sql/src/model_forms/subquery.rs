//! `(PREDICT m ON t)` and its kin: a statement of ours that stands for the rows it returns.
//!
//! In: the statement's tokens; out: the tokens of the query that calls the same operator as a table function.

use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan};

use crate::error::ParseError;
use crate::lexer::{closing, is_word, last_group, string_value};
use crate::reference::read_model_ref;

/// The statements that return rows, with the functions behind them.
const VERBS: [(&str, &str); 4] = [
    ("PREDICT", "predict"),
    ("EXPLAIN_PREDICT", "explain_predict"),
    ("EVALUATE", "evaluate"),
    ("FORECAST", "forecast"),
];

pub(super) fn verb_at(tokens: &[TokenWithSpan], at: usize) -> Option<(&'static str, &'static str)> {
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
pub(super) fn select_all(span: SqlSpan) -> Vec<TokenWithSpan> {
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
