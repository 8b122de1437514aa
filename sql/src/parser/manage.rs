//! `DROP MODEL`, `EXPORT MODEL`, `SHOW …`, `DESCRIBE MODEL`, and `GRANT`/`REVOKE` on models.
//!
//! In: the statement's tokens; out: the statement of the same name.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::ParseError;
use crate::lexer::{are_words, is_word};
use crate::parser::cursor::Cursor;
use crate::parser::options;
use crate::reference::read_word;
use crate::statement::{DropModel, ExportModel, ModelPrivilege, ModelRef, Statement};

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

/// Whether a `GRANT` or `REVOKE` is about models: `… ON MODEL m …`, `… CREATE MODEL ON SCHEMA s …`.
pub(super) fn is_privilege(tokens: &[TokenWithSpan]) -> bool {
    if !(is_word(tokens.first(), "GRANT") || is_word(tokens.first(), "REVOKE")) {
        return false;
    }
    let on_model = |at: usize| {
        // `ON model TO bob` is about a table named model.
        are_words(tokens, at, &["ON", "MODEL"]) && read_word(tokens.get(at + 2)).is_some()
    };
    (0..tokens.len()).any(|at| on_model(at) || are_words(tokens, at, &["CREATE", "MODEL", "ON"]))
}

pub(super) fn parse_privilege(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    const ONE: &str = "Grant one privilege on one model to one role in each statement.";
    let grant = cursor.eat_word("GRANT");
    if !grant {
        cursor.expect_words(&["REVOKE"])?;
        if cursor.at_words(&["GRANT", "OPTION"]) {
            return Err(cursor.unsupported("GRANT OPTION of a model"));
        }
    }
    let privilege = if cursor.eat_words(&["CREATE", "MODEL"]) {
        cursor.expect_words(&["ON", "SCHEMA"])?;
        "CREATE MODEL"
    } else {
        let privilege = privilege(cursor)?;
        if cursor.at_token(0, &Token::Comma) {
            return Err(cursor
                .unsupported("a list of privileges on a model")
                .with_hint(ONE));
        }
        cursor.expect_words(&["ON", "MODEL"])?;
        privilege
    };
    let object = cursor.name("a model's or schema's name")?;
    if cursor.at_token(0, &Token::Comma) {
        return Err(cursor
            .unsupported("a list of models in one statement")
            .with_hint(ONE));
    }
    cursor.expect_words(&[if grant { "TO" } else { "FROM" }])?;
    cursor.eat_word("ROLE");
    let role = cursor.word("a role")?;
    if cursor.at_token(0, &Token::Comma) {
        return Err(cursor
            .unsupported("a list of roles in one statement")
            .with_hint(ONE));
    }
    if cursor.at_words(&["WITH"]) {
        return Err(cursor.unsupported("GRANT OPTION of a model"));
    }
    if !grant && !cursor.eat_word("RESTRICT") && cursor.at_words(&["CASCADE"]) {
        return Err(cursor.unsupported("CASCADE of a model's privileges"));
    }
    let privilege = privilege.to_owned();
    Ok(Statement::ModelPrivilege(ModelPrivilege {
        grant,
        privilege,
        object,
        role,
    }))
}

fn privilege(cursor: &mut Cursor<'_>) -> Result<&'static str, ParseError> {
    if cursor.eat_word("EXECUTE") {
        Ok("EXECUTE")
    } else if cursor.eat_word("SELECT") {
        Ok("SELECT")
    } else if cursor.eat_word("ALL") {
        cursor.eat_word("PRIVILEGES");
        Ok("ALL")
    } else {
        Err(cursor.unexpected("EXECUTE, SELECT or ALL").with_hint(
            "The privileges of a model are EXECUTE, to predict, SELECT, to read it, and ALL.",
        ))
    }
}
