//! `DROP MODEL`, `EXPORT MODEL`, `SHOW …` and `DESCRIBE MODEL`.
//!
//! In: the statement's tokens; out: the statement of the same name.

use datafusion::sql::sqlparser::tokenizer::Token;

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::parser::options;
use crate::statement::{DropModel, ExportModel, ModelRef, Statement};

pub(super) fn parse_drop(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["DROP", "MODEL"])?;
    let if_exists = cursor.eat_words(&["IF", "EXISTS"]);
    let mut models = vec![cursor.model_ref()?];
    while cursor.eat_token(&Token::Comma) {
        models.push(cursor.model_ref()?);
    }
    let cascade = cursor.eat_word("CASCADE");
    if !cascade {
        cursor.eat_word("RESTRICT");
    }
    Ok(Statement::DropModel(DropModel {
        if_exists,
        models,
        cascade,
    }))
}

pub(super) fn parse_export(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["EXPORT", "MODEL"])?;
    let model = cursor.model_ref()?;
    let mut export = ExportModel {
        model,
        target: None,
        options: vec![],
    };
    if cursor.eat_word("OPTIONS") {
        export.options = options::options(cursor.group("options")?)?;
    } else if cursor.eat_word("TO") {
        export.target = Some(cursor.string("a file's name in quotes")?);
        if cursor.eat_word("WITH") {
            export.options = options::options(cursor.group("options")?)?;
        }
    } else {
        return Err(cursor.unexpected("TO 'file' or OPTIONS (…)"));
    }
    Ok(Statement::ExportModel(Box::new(export)))
}

pub(super) fn parse_show(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["SHOW"])?;
    if cursor.eat_word("MODELS") {
        return Ok(Statement::ShowModels);
    }
    if cursor.eat_word("DEVICES") {
        return Ok(Statement::ShowDevices);
    }
    if cursor.eat_word("WORKERS") {
        return Ok(Statement::ShowWorkers);
    }
    cursor.expect_words(&["MODEL"])?;
    if cursor.rest().len() == 1 && cursor.eat_word("ALL") {
        return Ok(Statement::ShowModels);
    }
    let model = cursor.model_ref().map_err(|error| {
        error.with_hint("SHOW MODELS lists all models; SHOW MODEL m describes one.")
    })?;
    Ok(Statement::DescribeModel(model))
}

/// `DESCRIBE MODEL m`, `… m.part`, `… m@3.part`.
///
/// Whether `a.b` is a model in a schema or a part of a model only the catalog knows. So a part is the last part of
/// the name, also where a version stands between: `m@3.part` is the name `m.part` at version 3.
pub(super) fn parse_describe(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.advance(2);
    let mut model: ModelRef = cursor.model_ref()?;
    let versioned = model.version.is_some();
    // `3.part` is cut as `3.` and `part`: the dot is already taken.
    let dot = cursor.eat_token(&Token::Period) || (versioned && cursor.peek(0).is_some());
    if dot {
        let part = cursor.any_word("a part of the model")?;
        model.name.span.end = part.span.end;
        model.name.parts.push(part.value);
    }
    Ok(Statement::DescribeModel(model))
}
