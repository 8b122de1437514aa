//! `ALTER MODEL [IF EXISTS] name action`, and `COMMENT ON MODEL name IS text`.
//!
//! In: the statement's tokens; out: `AlterModel`.

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::parser::{options, source};
use crate::statement::{AlterAction, AlterModel, Statement};

const ACTIONS: &str = "The actions of ALTER MODEL are RENAME TO name, SET OPTIONS (…), OWNER TO \
     role, SET ALIAS name TO version, DROP ALIAS name, DROP VERSION n, SET RETRAIN EVERY interval, \
     SET RETRAIN WHEN (query) and SET RETRAIN OFF.";

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["ALTER", "MODEL"])?;
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let name = cursor.model_name()?;
    let action = action(cursor)?;
    Ok(Statement::AlterModel(Box::new(AlterModel {
        if_exists,
        name,
        action,
    })))
}

/// `COMMENT ON MODEL name IS 'text' | NULL`.
pub(super) fn parse_comment(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["COMMENT", "ON", "MODEL"])?;
    let name = cursor.model_name()?;
    cursor.expect_words(&["IS"])?;
    let comment = if cursor.eat_word("NULL") {
        None
    } else {
        Some(cursor.string("the comment's text")?)
    };
    Ok(Statement::AlterModel(Box::new(AlterModel {
        if_exists: false,
        name,
        action: AlterAction::Comment(comment),
    })))
}

fn action(cursor: &mut Cursor<'_>) -> Result<AlterAction, ParseError> {
    if cursor.eat_word("RENAME") {
        cursor.expect_words(&["TO"])?;
        return cursor.word("the new name").map(AlterAction::Rename);
    }
    if cursor.eat_word("OWNER") {
        cursor.expect_words(&["TO"])?;
        return cursor.word("a role").map(AlterAction::Owner);
    }
    if cursor.eat_words(&["DROP", "ALIAS"]) {
        return cursor.any_word("an alias").map(AlterAction::DropAlias);
    }
    if cursor.eat_words(&["DROP", "VERSION"]) {
        return cursor
            .integer("a version's number")
            .map(AlterAction::DropVersion);
    }
    if cursor.eat_word("DROP") {
        return Err(cursor.unexpected("ALIAS or VERSION").with_hint(ACTIONS));
    }
    if cursor.eat_word("SET") {
        return set(cursor);
    }
    Err(cursor
        .unexpected("an action of ALTER MODEL")
        .with_hint(ACTIONS))
}

fn set(cursor: &mut Cursor<'_>) -> Result<AlterAction, ParseError> {
    if cursor.eat_word("ALIAS") {
        let alias = cursor.any_word("an alias")?;
        cursor.expect_words(&["TO"])?;
        return Ok(AlterAction::SetAlias(
            alias,
            cursor.integer("a version's number")?,
        ));
    }
    if cursor.eat_word("RETRAIN") {
        return retrain(cursor);
    }
    let named = cursor.eat_word("OPTIONS");
    if !named
        && cursor
            .peek(0)
            .is_none_or(|token| token.token.to_string() != "(")
    {
        return Err(cursor
            .unexpected("OPTIONS (…), ALIAS or RETRAIN")
            .with_hint(ACTIONS));
    }
    options::options(cursor.group("options")?).map(AlterAction::SetOptions)
}

fn retrain(cursor: &mut Cursor<'_>) -> Result<AlterAction, ParseError> {
    if cursor.eat_word("OFF") {
        return Ok(AlterAction::RetrainOff);
    }
    if cursor.eat_word("EVERY") {
        cursor.eat_word("INTERVAL");
        return options::interval(cursor).map(AlterAction::RetrainEvery);
    }
    if cursor.eat_word("WHEN") {
        return source::query(&cursor.group("a query")?).map(AlterAction::RetrainWhen);
    }
    Err(cursor.unexpected("EVERY, WHEN or OFF").with_hint(ACTIONS))
}
