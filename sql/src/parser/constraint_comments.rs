//! `COMMENT ON CONSTRAINT`, which the parser's own statement of comments does not know.
//!
//! In: the statement's tokens; out: `ConstraintComment`. Whether there is such a constraint is nobody's question here.

use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::error::ParseError;
use crate::lexer::are_words;
use crate::parser::cursor::Cursor;
use crate::statement::{ConstraintComment, Statement};

const OPENING: [&str; 3] = ["COMMENT", "ON", "CONSTRAINT"];

/// Whether the tokens open such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    are_words(tokens, 0, &OPENING)
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&OPENING)?;
    let constraint = cursor.word("a constraint's name")?;
    cursor.expect_words(&["ON"])?;
    let is_of_domain = cursor.at_words(&["DOMAIN"]) && !cursor.at_words(&["DOMAIN", "IS"]);
    if is_of_domain {
        cursor.advance(1);
    }
    let owner = cursor.name("a table's or domain's name")?;
    cursor.expect_words(&["IS"])?;
    let comment = match cursor.eat_word("NULL") {
        true => None,
        false => Some(cursor.string("the comment's text")?),
    };
    Ok(Statement::ConstraintComment(Box::new(ConstraintComment {
        constraint,
        is_of_domain,
        owner,
        comment,
    })))
}
