//! Bounds on what one statement may cost to read: depth, stack and work.
//!
//! In: a statement's tokens; out: an error for what is too deep, and a stack that is large enough for the rest.
//! sqlparser recurses on the nesting of a text, tries some forms twice, and chains operators into trees as deep as the
//! chain is long; without bounds a short text could end the process or keep it busy for hours.

use std::io;
use std::panic::resume_unwind;
use std::thread;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{bare_word, is_word, span_of};

/// How deep expressions and queries may nest: reports nest a CASE in the ELSE of another for each of their cases, and
/// planning takes the cube of the depth.
pub(crate) const RECURSION_LIMIT: usize = 250;

/// Brackets that are read on the caller's stack. An unoptimised build takes up to 150 kB for each.
const DEPTH_ON_CALLERS_STACK: usize = 3;

/// Tokens that are read on the caller's stack: statements can nest without brackets, as `PREPARE a AS PREPARE b AS …`.
const TOKENS_ON_CALLERS_STACK: usize = 64;

/// Enough for `RECURSION_LIMIT` in an unoptimised build; only what is touched becomes memory.
const LARGE_STACK_BYTES: usize = 128 << 20;

/// How deep a tree may become. Operators and joins that follow one another without a comma make it one deeper each, and
/// brackets as deep as what they hold.
const CHAIN_LIMIT: usize = 5_000;

/// How often a word may follow itself, as `INTERVAL INTERVAL …`, on which sqlparser recurses without a count; `END END`
/// closes what was counted.
const REPETITION_LIMIT: usize = 20;

/// How many parameters a statement may have: messages count them in two bytes.
const MAX_PARAMETERS: u32 = 65_535;

/// Checks a statement and says whether it needs a large stack.
pub(crate) fn check(tokens: &[TokenWithSpan]) -> Result<bool, ParseError> {
    let mut deepest = 0;
    let mut types = 0_usize;
    let mut repetitions = 0;
    // For each open bracket.
    let mut chains = vec![Chain::default()];
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(Chain::default()),
            Token::RParen | Token::RBracket if chains.len() > 1 => {
                let inner = chains.pop().map_or(0, |chain| chain.depth());
                if let Some(outer) = chains.last_mut() {
                    outer.inner = outer.inner.max(inner);
                }
                let again = tokens
                    .get(at + 1)
                    .is_some_and(|next| matches!(next.token, Token::LParen | Token::LBracket));
                lengthen(&mut chains, usize::from(again));
            }
            Token::Lt if is_word(tokens.get(at.wrapping_sub(1)), "ARRAY") => types += 1,
            Token::Lt if is_word(tokens.get(at.wrapping_sub(1)), "STRUCT") => types += 1,
            Token::Gt => types = types.saturating_sub(1),
            Token::ShiftRight => types = types.saturating_sub(2),
            Token::Comma => chains.last_mut().into_iter().for_each(Chain::next),
            Token::Placeholder(name) => check_parameter(name, token)?,
            token if is_operator(token) => lengthen(&mut chains, 1),
            _ => {}
        }
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        let repeated = bare_word(before).is_some_and(|word| is_word(Some(token), &word.value))
            && !is_word(Some(token), "END");
        repetitions = if repeated { repetitions + 1 } else { 0 };
        let depth = chains.len() - 1 + types;
        deepest = deepest.max(depth);
        let chain = chains.last().map_or(0, Chain::depth);
        if depth > RECURSION_LIMIT || chain > CHAIN_LIMIT || repetitions > REPETITION_LIMIT {
            return Err(too_deep(span_of(token.span).start));
        }
    }
    Ok(deepest > DEPTH_ON_CALLERS_STACK || tokens.len() > TOKENS_ON_CALLERS_STACK)
}

/// The error for what is nested too deeply at a byte.
pub(crate) fn too_deep(place: usize) -> ParseError {
    ParseError::new(ParseErrorKind::TooDeep, Some(place))
}

/// Refuses parameters by numbers that no message can give values for; a value is kept for each number below the highest.
fn check_parameter(name: &str, token: &TokenWithSpan) -> Result<(), ParseError> {
    let Some(digits) = name.strip_prefix('$') else {
        return Ok(());
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_known = matches!(digits.parse(), Ok(1..=MAX_PARAMETERS));
    if !is_number || is_known {
        return Ok(());
    }
    let kind = ParseErrorKind::NoSuchParameter(name.to_owned());
    Err(ParseError::new(kind, Some(span_of(token.span).start)))
}

/// What stands between two brackets, so far.
#[derive(Debug, Default, Clone, Copy)]
struct Chain {
    /// Operators since the last comma.
    operators: usize,
    /// How deep the brackets since the last comma are.
    inner: usize,
    /// How deep what stands before the last comma is.
    before: usize,
}

impl Chain {
    fn depth(&self) -> usize {
        self.before.max(self.operators + self.inner)
    }

    fn next(&mut self) {
        *self = Chain {
            before: self.depth(),
            ..Chain::default()
        };
    }
}

fn lengthen(chains: &mut [Chain], by: usize) {
    if let Some(chain) = chains.last_mut() {
        chain.operators += by;
    }
}

/// Whether the token joins two operands. Names and literals between operators do not break a chain.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && [
                    "AND",
                    "OR",
                    "UNION",
                    "EXCEPT",
                    "INTERSECT",
                    "JOIN",
                    "IS",
                    "LIKE",
                    "ILIKE",
                    "COLLATE",
                    "AT",
                    "BETWEEN",
                    "IN",
                    "SIMILAR",
                    "NOTNULL",
                    "ISNULL",
                ]
                .iter()
                .any(|operator| word.value.eq_ignore_ascii_case(operator))
        }
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::Comma
        | Token::SemiColon => false,
        _ => true,
    }
}

/// Runs `read` on a large stack.
pub(crate) fn on_large_stack<T: Send>(read: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("sql-parser".to_owned())
            .stack_size(LARGE_STACK_BYTES)
            .spawn_scoped(scope, read)?;
        Ok(reader.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
