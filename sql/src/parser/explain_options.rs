//! The options of PostgreSQL's `EXPLAIN (…)`, which its tools send by the handful, in the words of DataFusion's parser.
//!
//! In: the tokens of `EXPLAIN (options) statement`; out: the same with the options that say something here. Those that ask
//! for figures that there are none of (`BUFFERS`, `WAL`), or that are told anyway (`COSTS`, `TIMING`), are checked and left out.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{bare_word, closing, is_token, is_word, span_of, string_value};

/// Options that change nothing that is told.
const WITHOUT_EFFECT: [&str; 9] = [
    "buffers",
    "costs",
    "generic_plan",
    "memory",
    "serialize",
    "settings",
    "summary",
    "timing",
    "wal",
];

/// Options that are the parser's, too.
const KEPT: [&str; 4] = ["analyze", "level", "metrics", "verbose"];

/// Settles the options; a statement of another kind stays as it is.
pub(super) fn settle(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, ParseError> {
    let Some(close) = options_end(&tokens) else {
        return Ok(tokens);
    };
    let mut kept = Vec::new();
    for option in tokens[2..close].split(|token| token.token == Token::Comma) {
        // Nothing between commas is the parser's to refuse.
        if option.is_empty() {
            return Ok(tokens);
        }
        let Some(option) = settled(option)? else {
            continue;
        };
        if let Some(first) = option.first().filter(|_| !kept.is_empty()) {
            let mut comma = first.clone();
            comma.token = Token::Comma;
            kept.push(comma);
        }
        kept.extend(option);
    }
    let place = match kept.is_empty() {
        // The parser wants an option between brackets.
        true => 1..=close,
        false => 2..=close - 1,
    };
    tokens.splice(place, kept);
    Ok(tokens)
}

/// Where the options end; `None`: there are none, a query in brackets among them.
fn options_end(tokens: &[TokenWithSpan]) -> Option<usize> {
    let queries = [
        "SELECT", "WITH", "VALUES", "TABLE", "FROM", "INSERT", "UPDATE", "DELETE", "MERGE",
    ];
    let is_query = queries.iter().any(|word| is_word(tokens.get(2), word));
    let close = closing(tokens, 1)?;
    let is_explain = is_word(tokens.first(), "EXPLAIN") && close > 2;
    (is_explain && !is_query && !is_token(tokens, 2, &Token::LParen)).then_some(close)
}

/// An option in the parser's words; `None` if it has no effect.
fn settled(option: &[TokenWithSpan]) -> Result<Option<Vec<TokenWithSpan>>, ParseError> {
    let (Some(first), Some(word)) = (option.first(), bare_word(option.first())) else {
        return Ok(Some(option.to_vec()));
    };
    let name = word.value.to_ascii_lowercase();
    let malformed = |message: String| {
        let place = span_of(first.span).start;
        ParseError::new(ParseErrorKind::Malformed(message), Some(place))
    };
    if name == "format" {
        return format(option).map(Some);
    }
    if KEPT.contains(&name.as_str()) {
        return Ok(Some(option.to_vec()));
    }
    if !WITHOUT_EFFECT.contains(&name.as_str()) {
        let message = format!("unrecognized EXPLAIN option \"{}\"", word.value);
        return Err(malformed(message));
    }
    let value = option.get(1).map(|value| word_of(value).to_lowercase());
    let is_known = match value.as_deref() {
        None | Some("true" | "false" | "on" | "off" | "0" | "1") => option.len() <= 2,
        // What is serialized, of results that are sent.
        Some("none" | "text" | "binary") => name == "serialize" && option.len() == 2,
        _ => false,
    };
    match is_known {
        true => Ok(None),
        false => Err(malformed(format!("{name} requires a Boolean value"))),
    }
}

/// `FORMAT json` and `text` are DataFusion's `pgjson` and `indent`; `yaml`, which it lacks, takes the word of a format that
/// is not offered.
fn format(option: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>, ParseError> {
    let mut option = option.to_vec();
    if let Some(value) = option.get_mut(1) {
        let own = match word_of(value).to_lowercase().as_str() {
            "json" => "pgjson",
            "yaml" => "graphviz",
            "text" => "indent",
            format @ ("graphviz" | "xml") => {
                let what = format!("EXPLAIN (FORMAT {})", format.to_uppercase());
                let place = span_of(value.span).start;
                let error = ParseError::new(ParseErrorKind::Unsupported(what), Some(place));
                return Err(error.with_hint("Its formats are TEXT, JSON and YAML."));
            }
            _ => return Ok(option),
        };
        value.token = Token::make_word(own, None);
    }
    Ok(option)
}

/// A word, a number or what stands in quotes.
fn word_of(token: &TokenWithSpan) -> String {
    match (string_value(&token.token), &token.token) {
        (Some(text), _) => text.to_owned(),
        (None, Token::Word(word)) => word.value.clone(),
        (None, other) => other.to_string(),
    }
}
