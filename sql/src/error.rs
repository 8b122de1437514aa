//! What can go wrong while reading a text.
//!
//! In: the parser's own findings and sqlparser's errors; out: one `ParseError` in PostgreSQL's style, with the byte
//! position in the whole text. Never formats for a client: the server maps it to the wire.

use std::fmt;

use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::lexer::span_of;

/// A text that could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// The cause; its `Display` is the message.
    pub kind: ParseErrorKind,
    /// Byte offset in the whole text.
    pub position: Option<usize>,
    /// A sentence that says what to do.
    pub hint: Option<String>,
}

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// A token that cannot stand here.
    Unexpected {
        /// The token as written.
        found: String,
        /// What could stand here.
        expected: Option<String>,
    },
    /// The text ends too early.
    UnexpectedEnd {
        /// What was missing.
        expected: Option<String>,
    },
    /// A quote or comment that never ends, or a character that starts nothing.
    Lexical {
        /// What is wrong.
        message: String,
        /// The text from there on, shortened.
        near: String,
    },
    /// A clause that may stand once stands twice.
    RepeatedClause(String),
    /// An option that may stand once stands twice.
    RepeatedOption(String),
    /// A value out of its range.
    OutOfRange {
        /// The value as written.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Recognised, but not supported.
    Unsupported(String),
    /// What PostgreSQL has, too, and lets nobody use unless it is switched on.
    Disabled(&'static str),
    /// A parameter, as written, whose number none can have.
    NoSuchParameter(String),
    /// A name that only the engine may write.
    InvalidName(String),
    /// Nested deeper than the parser's limit.
    TooDeep,
    /// Whoever had it read wants no more of it.
    Stopped,
    /// Any other finding, already worded.
    Malformed(String),
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { found, expected } => {
                write!(f, "syntax error at or near \"{found}\"")?;
                expectation(f, expected)
            }
            Self::UnexpectedEnd { expected } => {
                f.write_str("syntax error at end of input")?;
                expectation(f, expected)
            }
            Self::Lexical { message, near } => write!(f, "{message} at or near \"{near}\""),
            Self::RepeatedClause(clause) => write!(f, "clause {clause} is written more than once"),
            Self::RepeatedOption(name) => write!(f, "option \"{name}\" is written more than once"),
            Self::OutOfRange { value, expected } => {
                write!(f, "value \"{value}\" is out of range, expected {expected}")
            }
            Self::Unsupported(what) => write!(f, "{what} is not supported"),
            Self::Disabled(what) => write!(f, "{what} are disabled"),
            Self::NoSuchParameter(name) => write!(f, "there is no parameter {name}"),
            Self::InvalidName(name) => write!(f, "invalid name \"{}\"", name.escape_default()),
            Self::TooDeep => f.write_str("statement is nested too deeply"),
            Self::Stopped => f.write_str("the statement is not read to its end"),
            Self::Malformed(message) => f.write_str(message),
        }
    }
}

fn expectation(f: &mut fmt::Formatter<'_>, expected: &Option<String>) -> fmt::Result {
    match expected {
        Some(expected) => write!(f, ", expected {expected}"),
        None => Ok(()),
    }
}

impl ParseError {
    /// The five characters by which clients recognise the error.
    pub fn sqlstate(&self) -> &'static str {
        match self.kind {
            ParseErrorKind::Unsupported(_) => "0A000",
            ParseErrorKind::Disabled(_) => "55000",
            ParseErrorKind::TooDeep => "54001",
            ParseErrorKind::Stopped => "57014",
            ParseErrorKind::NoSuchParameter(_) => "42P02",
            ParseErrorKind::InvalidName(_) => "42602",
            ParseErrorKind::OutOfRange { .. } => "22003",
            _ => "42601",
        }
    }

    pub(crate) fn new(kind: ParseErrorKind, position: Option<usize>) -> Self {
        Self {
            kind,
            position,
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Moves the position: for a text that was cut out of a longer one.
    pub(crate) fn shifted(mut self, offset: usize) -> Self {
        self.position = self.position.map(|position| position + offset);
        self
    }

    /// `syntax error at or near` a token of `text`.
    pub(crate) fn at_token(text: &str, token: &TokenWithSpan, expected: &str) -> Self {
        let span = span_of(token.span);
        let found = match text.get(span.start..span.end) {
            Some(found) if !found.is_empty() => found.to_owned(),
            _ => token.token.to_string(),
        };
        let kind = ParseErrorKind::Unexpected {
            found,
            expected: some(expected),
        };
        Self::new(kind, Some(span.start))
    }

    /// `syntax error at end of input`.
    pub(crate) fn at_end(end: usize, expected: &str) -> Self {
        Self::new(
            ParseErrorKind::UnexpectedEnd {
                expected: some(expected),
            },
            Some(end),
        )
    }

    /// A tokenizer's finding, `at` being the byte where it was made.
    pub(crate) fn lexical(text: &str, at: usize, message: &str) -> Self {
        let message = match message {
            m if m.starts_with("Unterminated dollar") => "unterminated dollar-quoted string".into(),
            m if m.contains("omment") => "unterminated /* comment".into(),
            m if m.starts_with("Expected close delimiter") => {
                "unterminated quoted identifier".into()
            }
            m if m.contains("nterminated") => "unterminated quoted string".into(),
            m => lower_first(m),
        };
        let near = text
            .get(at..)
            .unwrap_or_default()
            .chars()
            .take(40)
            .collect();
        Self::new(ParseErrorKind::Lexical { message, near }, Some(at))
    }

    /// Rewords sqlparser's error. `tokens` are what it read; `end` stands for the end of its input.
    pub(crate) fn from_sqlparser(
        error: ParserError,
        text: &str,
        tokens: &[TokenWithSpan],
        end: impl Fn(&str) -> ParseError,
    ) -> Self {
        let message = match error {
            ParserError::RecursionLimitExceeded => return Self::new(ParseErrorKind::TooDeep, None),
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let (body, position) = split_location(&message);
        let expected = body
            .strip_prefix("Expected: ")
            .and_then(|rest| rest.split_once(", found: "))
            .map(|(expected, _)| lower_first(expected));
        match (expected, position) {
            (Some(expected), Some(position)) => {
                match tokens
                    .iter()
                    .find(|token| span_of(token.span).start == position)
                {
                    Some(token) => Self::at_token(text, token, &expected),
                    None => end(&expected),
                }
            }
            (Some(expected), None) => end(&expected),
            (None, position) => Self::new(ParseErrorKind::Malformed(lower_first(body)), position),
        }
    }
}

fn some(expected: &str) -> Option<String> {
    (!expected.is_empty()).then(|| expected.to_owned())
}

/// Takes ` at Line: 1, Column: 8` off a message; our tokens carry the byte offset as the column.
fn split_location(message: &str) -> (&str, Option<usize>) {
    let Some((body, location)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    match location
        .split_once(", Column: ")
        .and_then(|(_, column)| column.parse::<usize>().ok())
    {
        Some(column) => (body, Some(column.saturating_sub(1))),
        None => (message, None),
    }
}

/// Lowers the first letter unless the first word is a keyword in capitals.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => first
            .to_lowercase()
            .chain(message.chars().skip(1))
            .collect(),
        _ => message.to_owned(),
    }
}
