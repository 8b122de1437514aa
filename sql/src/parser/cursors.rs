//! `FETCH` and `MOVE`, of which sqlparser reads too few forms.
//!
//! In: the statement's tokens; out: a cursor's name and how many rows of it are wanted.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::statement::{Fetch, FetchCount, Statement};

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let moves = cursor.eat_word("MOVE");
    if !moves {
        cursor.expect_words(&["FETCH"])?;
    }
    // A name alone may also be one of the words below.
    let count = match cursor.rest().len() {
        0 | 1 => FetchCount::Rows(1),
        _ => direction(cursor)?,
    };
    if !cursor.eat_word("FROM") {
        cursor.eat_word("IN");
    }
    let name = cursor.word("a cursor's name")?;
    Ok(Statement::Fetch(Fetch {
        cursor: name.value,
        count,
        moves,
    }))
}

fn direction(cursor: &mut Cursor<'_>) -> Result<FetchCount, ParseError> {
    if cursor.eat_word("ALL") {
        return Ok(FetchCount::All);
    }
    if cursor.eat_word("NEXT") {
        return Ok(FetchCount::Rows(1));
    }
    if cursor.eat_word("FORWARD") {
        return match cursor.eat_word("ALL") {
            true => Ok(FetchCount::All),
            false => count(cursor),
        };
    }
    if cursor.eat_word("RELATIVE") {
        return count(cursor);
    }
    for word in ["PRIOR", "FIRST", "LAST"] {
        if cursor.eat_word(word) {
            return Ok(FetchCount::Back);
        }
    }
    if cursor.eat_word("BACKWARD") {
        if !cursor.eat_word("ALL") {
            count(cursor)?;
        }
        return Ok(FetchCount::Back);
    }
    if cursor.eat_word("ABSOLUTE") {
        count(cursor)?;
        return Ok(FetchCount::Back);
    }
    count(cursor)
}

/// A number, or one row where none stands.
fn count(cursor: &mut Cursor<'_>) -> Result<FetchCount, ParseError> {
    let is_number =
        |at: usize| matches!(cursor.peek(at).map(|t| &t.token), Some(Token::Number(..)));
    if cursor.at_token(0, &Token::Minus) && is_number(1) {
        cursor.advance(1);
        cursor.integer("a number of rows")?;
        return Ok(FetchCount::Back);
    }
    match is_number(0) {
        true => Ok(FetchCount::Rows(cursor.integer("a number of rows")?)),
        false => Ok(FetchCount::Rows(1)),
    }
}
