//! `TRAIN [MODEL] name [ON source | ON SNAPSHOT OF m@3 | RESUME] [WITH (…)] [IN BACKGROUND]`.
//!
//! In: the statement's tokens; out: `Train`.

use crate::error::ParseError;
use crate::lexer::are_words;
use crate::parser::cursor::Cursor;
use crate::parser::{options, source};
use crate::reference::read_word;
use crate::statement::{Statement, Train, TrainRows};

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["TRAIN"])?;
    cursor.eat_optional_model();
    let name = cursor.model_name()?;
    let mut train = Train {
        name,
        rows: TrainRows::Own,
        options: vec![],
        in_background: false,
    };
    let length = cursor.rest().len();
    if length >= 2 && are_words(cursor.rest(), length - 2, &["IN", "BACKGROUND"]) {
        cursor.cut_tail(2);
        train.in_background = true;
    }
    if cursor.eat_word("RESUME") {
        train.rows = TrainRows::Resume;
        return Ok(Statement::Train(Box::new(train)));
    }
    if let Some(group) = cursor.cut_trailing_group("WITH") {
        train.options = options::options(group)?;
    }
    if cursor.eat_word("ON") {
        let snapshot = cursor.at_words(&["SNAPSHOT", "OF"]) && read_word(cursor.peek(2)).is_some();
        train.rows = if snapshot {
            cursor.advance(2);
            TrainRows::Snapshot(cursor.model_ref()?)
        } else {
            TrainRows::On(source::source(cursor.take(cursor.rest().len()))?)
        };
    }
    if cursor.is_empty() {
        return Ok(Statement::Train(Box::new(train)));
    }
    Err(cursor.unexpected("ON, WITH (…), IN BACKGROUND, RESUME or end of statement"))
}
