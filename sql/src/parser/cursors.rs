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
        0 | 1 => FetchCount::Forward(1),
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
    for (word, count) in [
        ("ALL", FetchCount::ForwardAll),
        ("NEXT", FetchCount::Forward(1)),
        ("PRIOR", FetchCount::Backward(1)),
        ("FIRST", FetchCount::Absolute(1)),
        ("LAST", FetchCount::Absolute(-1)),
    ] {
        if cursor.eat_word(word) {
            return Ok(count);
        }
    }
    if cursor.eat_word("RELATIVE") {
        return Ok(FetchCount::Relative(distance(cursor)?));
    }
    if cursor.eat_word("ABSOLUTE") {
        return Ok(FetchCount::Absolute(distance(cursor)?));
    }
    if cursor.eat_word("BACKWARD") {
        return match cursor.eat_word("ALL") {
            true => Ok(FetchCount::BackwardAll),
            false => Ok(steps(-count(cursor)?)),
        };
    }
    if cursor.eat_word("FORWARD") && cursor.eat_word("ALL") {
        return Ok(FetchCount::ForwardAll);
    }
    Ok(steps(count(cursor)?))
}

/// So many rows ahead, or behind if there are less than none; none is the same row again.
fn steps(count: i64) -> FetchCount {
    match count {
        0 => FetchCount::Relative(0),
        count if count > 0 => FetchCount::Forward(count.unsigned_abs()),
        count => FetchCount::Backward(count.unsigned_abs()),
    }
}

/// A number, or one row where none stands.
fn count(cursor: &mut Cursor<'_>) -> Result<i64, ParseError> {
    let is_number =
        |at: usize| matches!(cursor.peek(at).map(|t| &t.token), Some(Token::Number(..)));
    let has_sign = cursor.at_token(0, &Token::Minus) || cursor.at_token(0, &Token::Plus);
    let is_signed = has_sign && is_number(1);
    match is_signed || is_number(0) {
        true => distance(cursor),
        false => Ok(1),
    }
}

/// A whole number with or without a sign.
fn distance(cursor: &mut Cursor<'_>) -> Result<i64, ParseError> {
    let is_negative = cursor.eat_token(&Token::Minus);
    if !is_negative {
        cursor.eat_token(&Token::Plus);
    }
    // Beyond this there are no rows.
    let number = i64::try_from(cursor.integer("a number of rows")?).unwrap_or(i64::MAX);
    Ok(if is_negative { -number } else { number })
}
