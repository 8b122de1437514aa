//! Names of models and tables: `s.m`, `m@3`, `"S".m@champion`.
//!
//! In: tokens or a string; out: `Name`, `ModelRef`. Folds what is not quoted to lower case. Never looks a name up.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::Dialect;
use crate::error::ParseError;
use crate::googlesql::rewrite;
use crate::lexer::{Grammar, span_of, split};
use crate::statement::{ModelRef, Name, Span, VersionRef, Word};

/// Words that no name starts with unless it is quoted.
const RESERVED: [&str; 21] = [
    "AND", "AS", "CREATE", "DEFAULT", "FALSE", "FROM", "GROUP", "IN", "IS", "NOT", "NULL", "ON",
    "OR", "ORDER", "SELECT", "TABLE", "TO", "TRUE", "USING", "WHERE", "WITH",
];

/// One identifier, folded unless quoted.
pub(crate) fn read_word(token: Option<&TokenWithSpan>) -> Option<Word> {
    let token = token?;
    let Token::Word(word) = &token.token else {
        return None;
    };
    let value = match word.quote_style {
        None if RESERVED
            .iter()
            .any(|reserved| word.value.eq_ignore_ascii_case(reserved)) =>
        {
            return None;
        }
        None => word.value.to_ascii_lowercase(),
        Some(_) => word.value.clone(),
    };
    Some(Word {
        value,
        span: span_of(token.span),
    })
}

/// A possibly qualified name from `at` on, and the index behind it.
pub(crate) fn read_name(tokens: &[TokenWithSpan], at: usize) -> Option<(Name, usize)> {
    let first = read_word(tokens.get(at))?;
    let mut name = Name {
        parts: vec![first.value],
        span: first.span,
    };
    let mut next = at + 1;
    while tokens
        .get(next)
        .is_some_and(|token| token.token == Token::Period)
    {
        let part = any_word(tokens.get(next + 1)?)?;
        name.span.end = part.span.end;
        name.parts.push(part.value);
        next += 2;
    }
    Some((name, next))
}

/// An identifier behind a dot or an `@`, where keywords are names, too.
pub(crate) fn any_word(token: &TokenWithSpan) -> Option<Word> {
    let Token::Word(word) = &token.token else {
        return None;
    };
    let value = match word.quote_style {
        None => word.value.to_ascii_lowercase(),
        Some(_) => word.value.clone(),
    };
    Some(Word {
        value,
        span: span_of(token.span),
    })
}

/// A model with its version from `at` on, and the index behind it.
pub(crate) fn read_model_ref(tokens: &[TokenWithSpan], at: usize) -> Option<(ModelRef, usize)> {
    let (name, next) = read_name(tokens, at)?;
    if tokens
        .get(next)
        .is_none_or(|token| token.token != Token::AtSign)
    {
        return Some((
            ModelRef {
                name,
                version: None,
            },
            next,
        ));
    }
    let version = match &tokens.get(next + 1)?.token {
        // `m@3.part` is cut as `3.` and `part`; the caller that allows a part looks for the dot.
        Token::Number(digits, _) => {
            VersionRef::Number(digits.strip_suffix('.').unwrap_or(digits).parse().ok()?)
        }
        _ => VersionRef::Alias(read_word(tokens.get(next + 1))?.value),
    };
    Some((
        ModelRef {
            name,
            version: Some(version),
        },
        next + 2,
    ))
}

/// Reads `s.m@champion` from a string.
pub fn parse_model_ref(text: &str) -> Result<ModelRef, ParseError> {
    let mut pieces = split(text, Dialect::Auto)?;
    let tokens = match (pieces.pop(), pieces.is_empty()) {
        (Some(piece), true) => piece.tokens,
        _ => return Err(ParseError::at_end(text.len(), "a model's name")),
    };
    // `"x"` is a name here even where backticks stand beside it.
    let tokens = rewrite(text, tokens, Grammar::Lenient)?;
    match read_model_ref(&tokens, 0) {
        Some((reference, next)) if next == tokens.len() => Ok(reference),
        Some((_, next)) => Err(ParseError::at_token(
            text,
            &tokens[next],
            "the end of the model's name",
        )),
        None => Err(ParseError::at_token(text, &tokens[0], "a model's name")),
    }
}

/// A string literal.
pub(crate) fn quoted_string(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    let is_plain = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && part
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED
            .iter()
            .any(|reserved| part.eq_ignore_ascii_case(reserved));
    if is_plain {
        f.write_str(part)
    } else {
        write!(f, "\"{}\"", part.replace('"', "\"\""))
    }
}

/// The name as it would be written, quoted where it must be.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts.iter().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            write_part(f, part)?;
        }
        Ok(())
    }
}

/// The reference as it would be written, quoted where it must be.
impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.version {
            None => Ok(()),
            Some(VersionRef::Number(number)) => write!(f, "@{number}"),
            Some(VersionRef::Alias(alias)) => {
                f.write_str("@")?;
                write_part(f, alias)
            }
        }
    }
}

impl Name {
    /// The last part: the object's own name.
    pub fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }
}

impl Span {
    /// The text that stands there.
    pub fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}
