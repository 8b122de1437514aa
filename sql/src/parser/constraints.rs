//! `SET CONSTRAINTS ALL | name, … DEFERRED | IMMEDIATE`.
//!
//! In: the statement's tokens; out: that it was said. Which constraints there are is nobody's question here.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::statement::Statement;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["SET", "CONSTRAINTS"])?;
    if !cursor.eat_word("ALL") {
        cursor.name("ALL or a constraint's name")?;
        while cursor.eat_token(&Token::Comma) {
            cursor.name("a constraint's name")?;
        }
    }
    if !cursor.eat_word("DEFERRED") && !cursor.eat_word("IMMEDIATE") {
        return Err(cursor.unexpected("DEFERRED or IMMEDIATE"));
    }
    Ok(Statement::SetConstraints)
}
