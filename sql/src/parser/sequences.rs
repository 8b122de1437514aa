//! `CREATE SEQUENCE`, `ALTER SEQUENCE`: the options come in any order.
//!
//! In: the statement's tokens; out: `SequenceStatement`. Whether the numbers go together is the planner's question.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, is_word};
use crate::parser::cursor::Cursor;
use crate::sequence_statement::{SequenceAction, SequenceOptions, SequenceStatement};
use crate::statement::Statement;

/// Whether the tokens open such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    let creates = is_word(tokens.first(), "CREATE");
    let kinds = ["TEMP", "TEMPORARY", "UNLOGGED"];
    let has_kind = creates && kinds.iter().any(|kind| is_word(tokens.get(1), kind));
    let at = if has_kind { 2 } else { 1 };
    let opens = creates || is_word(tokens.first(), "ALTER");
    opens && are_words(tokens, at, &["SEQUENCE"])
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let statement = match cursor.eat_word("CREATE") {
        true => create(cursor)?,
        false => alter(cursor)?,
    };
    Ok(Statement::Sequence(Box::new(statement)))
}

fn create(cursor: &mut Cursor<'_>) -> Result<SequenceStatement, ParseError> {
    let temporary = cursor.eat_word("TEMP") || cursor.eat_word("TEMPORARY");
    cursor.eat_word("UNLOGGED");
    cursor.expect_words(&["SEQUENCE"])?;
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let name = cursor.name("a sequence's name")?;
    let at = cursor.clone();
    let options = options(cursor)?;
    if options.restart.is_some() {
        return Err(at.unexpected("an option of CREATE SEQUENCE, which has no RESTART"));
    }
    Ok(SequenceStatement::Create {
        temporary,
        name,
        if_not_exists,
        options,
    })
}

fn alter(cursor: &mut Cursor<'_>) -> Result<SequenceStatement, ParseError> {
    cursor.expect_words(&["ALTER", "SEQUENCE"])?;
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let name = cursor.name("a sequence's name")?;
    let action = if cursor.eat_words(&["RENAME", "TO"]) {
        SequenceAction::Rename(cursor.word("a sequence's name")?)
    } else if cursor.eat_words(&["SET", "SCHEMA"]) {
        SequenceAction::SetSchema(cursor.word("a schema")?)
    } else if cursor.is_empty() {
        return Err(cursor.unexpected("what to change"));
    } else {
        SequenceAction::Set(options(cursor)?)
    };
    Ok(SequenceStatement::Alter {
        name,
        if_exists,
        action,
    })
}

fn options(cursor: &mut Cursor<'_>) -> Result<SequenceOptions, ParseError> {
    let mut options = SequenceOptions::default();
    while !cursor.is_empty() {
        let start = cursor.start();
        if !option(cursor, &mut options)? {
            let message = "conflicting or redundant options".to_owned();
            return Err(ParseError::new(
                ParseErrorKind::Malformed(message),
                Some(start),
            ));
        }
    }
    Ok(options)
}

/// Reads one option; `false`: it was given before.
pub(super) fn option(
    cursor: &mut Cursor<'_>,
    options: &mut SequenceOptions,
) -> Result<bool, ParseError> {
    Ok(if cursor.eat_word("AS") {
        let mut word = cursor.any_word("a type of whole numbers")?.value;
        word.make_ascii_lowercase();
        options.data_type.replace(word).is_none()
    } else if cursor.eat_word("INCREMENT") {
        cursor.eat_word("BY");
        options.increment.replace(signed(cursor)?).is_none()
    } else if cursor.eat_word("MINVALUE") {
        options.min.replace(Some(signed(cursor)?)).is_none()
    } else if cursor.eat_word("MAXVALUE") {
        options.max.replace(Some(signed(cursor)?)).is_none()
    } else if cursor.eat_words(&["NO", "MINVALUE"]) {
        options.min.replace(None).is_none()
    } else if cursor.eat_words(&["NO", "MAXVALUE"]) {
        options.max.replace(None).is_none()
    } else if cursor.eat_words(&["NO", "CYCLE"]) {
        options.cycle.replace(false).is_none()
    } else if cursor.eat_word("CYCLE") {
        options.cycle.replace(true).is_none()
    } else if cursor.eat_word("START") {
        cursor.eat_word("WITH");
        options.start.replace(signed(cursor)?).is_none()
    } else if cursor.eat_word("RESTART") {
        let is_given = cursor.eat_word("WITH")
            || cursor.at_token(0, &Token::Minus)
            || matches!(cursor.peek(0).map(|t| &t.token), Some(Token::Number(..)));
        let number = is_given.then(|| signed(cursor)).transpose()?;
        options.restart.replace(number).is_none()
    } else if cursor.eat_word("CACHE") {
        options.cache.replace(signed(cursor)?).is_none()
    } else if cursor.eat_words(&["OWNED", "BY"]) {
        let owner = match cursor.eat_word("NONE") {
            true => None,
            false => Some(cursor.name("a column of a table, or NONE")?),
        };
        options.owned_by.replace(owner).is_none()
    } else {
        return Err(cursor.unexpected("an option of a sequence"));
    })
}

/// A whole number with or without a sign.
fn signed(cursor: &mut Cursor<'_>) -> Result<i64, ParseError> {
    const WHAT: &str = "a whole number of 64 bits";
    let is_negative = cursor.eat_token(&Token::Minus);
    if !is_negative {
        cursor.eat_token(&Token::Plus);
    }
    let at = cursor.clone();
    let number = i128::from(cursor.integer(WHAT)?);
    let number = if is_negative { -number } else { number };
    i64::try_from(number).map_err(|_| at.out_of_range(&number.to_string(), WHAT))
}
