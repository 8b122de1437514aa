//! Statements about the versions of a table: `DESCRIBE HISTORY`, `DESCRIBE DETAIL`, `RESTORE TABLE`, `VACUUM`.
//!
//! In: the statement's tokens; out: a table's name and what is wanted of it. PostgreSQL's own forms of VACUUM are read
//! too, since tools send them.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::statement::{Restore, RestorePoint, Statement, Vacuum};

const TABLE: &str = "a table's name";

pub(super) fn parse_describe(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let history = cursor.peek(1).is_some() && {
        cursor.advance(1);
        cursor.eat_word("HISTORY")
    };
    if !history {
        cursor.expect_words(&["DETAIL"])?;
    }
    cursor.eat_word("TABLE");
    let table = cursor.name(TABLE)?;
    Ok(match history {
        true => Statement::TableHistory(table),
        false => Statement::TableDetail(table),
    })
}

pub(super) fn parse_restore(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["RESTORE"])?;
    cursor.eat_word("TABLE");
    let table = cursor.name(TABLE)?;
    cursor.eat_word("TO");
    let to = if cursor.eat_words(&["VERSION", "AS", "OF"]) {
        RestorePoint::Version(cursor.integer("a version's number")?)
    } else if cursor.eat_words(&["TIMESTAMP", "AS", "OF"]) {
        cursor.eat_word("TIMESTAMP");
        RestorePoint::Time(cursor.string("a time in quotes")?)
    } else {
        return Err(cursor.unexpected("VERSION AS OF or TIMESTAMP AS OF"));
    };
    Ok(Statement::Restore(Restore { table, to }))
}

pub(super) fn parse_vacuum(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["VACUUM"])?;
    if cursor.at_token(0, &Token::LParen) {
        // PostgreSQL's options say how hard it shall work; there is nothing to tune.
        cursor.group("options")?;
    }
    while ["FULL", "FREEZE", "VERBOSE", "ANALYZE"]
        .iter()
        .any(|word| cursor.eat_word(word))
    {}
    let mut vacuum = Vacuum::default();
    while !cursor.is_empty() && !cursor.at_words(&["RETAIN"]) && !cursor.at_words(&["DRY", "RUN"]) {
        vacuum.tables.push(cursor.name(TABLE)?);
        if cursor.at_token(0, &Token::LParen) {
            cursor.group("columns")?;
        }
        if !cursor.eat_token(&Token::Comma) {
            break;
        }
    }
    if cursor.eat_word("RETAIN") {
        vacuum.retain_hours = Some(cursor.integer("a number of hours")?);
        if !cursor.eat_word("HOURS") {
            cursor.expect_words(&["HOUR"])?;
        }
    }
    vacuum.dry_run = cursor.eat_words(&["DRY", "RUN"]);
    let bare = vacuum.tables.is_empty();
    if bare && (vacuum.retain_hours.is_some() || vacuum.dry_run) {
        return Err(cursor.unexpected(TABLE));
    }
    Ok(Statement::Vacuum(vacuum))
}
