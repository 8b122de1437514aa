//! Statements that have no counterpart here: GoogleSQL's variables, scripts, functions of one's own and exports of data,
//! and PostgreSQL's transactions in two phases.
//!
//! In: a statement's tokens; out: the error that names what is missing.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, bare_word, is_word};
use crate::parser::cursor::Cursor;
use crate::statement::Statement;

const PREPARE_TRANSACTION: &str = "PREPARE TRANSACTION";

/// The name of a statement that is known and missing.
fn missing(tokens: &[TokenWithSpan]) -> Option<&'static str> {
    let starts = |words: &[&str]| are_words(tokens, 0, words);
    let holds = |word: &str| tokens.iter().any(|token| is_word(Some(token), word));
    // A cursor's name may be anything; a variable has a type or a default.
    if starts(&["DECLARE"]) && !holds("CURSOR") && bare_word(tokens.get(1)).is_some() {
        return Some("DECLARE of a variable");
    }
    if starts(&["EXECUTE", "IMMEDIATE"]) {
        return Some("EXECUTE IMMEDIATE");
    }
    if starts(&["EXPORT", "DATA"]) {
        return Some("EXPORT DATA");
    }
    if starts(&["LOAD", "DATA"]) {
        return Some("LOAD DATA");
    }
    if starts(&["CREATE", "TEMP", "FUNCTION"]) || starts(&["CREATE", "TEMPORARY", "FUNCTION"]) {
        return Some("CREATE TEMP FUNCTION");
    }
    // A statement may be called so: PREPARE transaction AS ….
    let named = tokens.get(2).map(|token| &token.token);
    if starts(&["PREPARE", "TRANSACTION"]) && matches!(named, Some(Token::SingleQuotedString(_))) {
        return Some(PREPARE_TRANSACTION);
    }
    None
}

/// Whether the tokens are such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    missing(tokens).is_some()
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let what = missing(cursor.rest()).unwrap_or("this statement");
    let error = cursor.unsupported(what);
    Err(match what {
        "DECLARE of a variable" => error.with_hint(
            "Write the value where it is used, or PREPARE the statement and give it as a parameter.",
        ),
        "EXPORT DATA" => error.with_hint("COPY (SELECT ...) TO 'file' writes files."),
        "LOAD DATA" => error.with_hint("COPY table FROM 'file' reads files."),
        // The words by which transaction managers know a server without them.
        PREPARE_TRANSACTION => {
            let kind = ParseErrorKind::Disabled("prepared transactions");
            ParseError::new(kind, None).with_hint("COMMIT ends a transaction in one phase.")
        }
        _ => error,
    })
}
