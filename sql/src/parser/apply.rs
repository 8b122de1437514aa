//! `EVALUATE`, `PREDICT`, `EXPLAIN_PREDICT` and `FORECAST`: a model, rows, options.
//!
//! In: the statement's tokens; out: `Evaluate`, `Apply`, `Forecast`.

use crate::error::ParseError;
use crate::parser::cursor::Cursor;
use crate::parser::{options, source};
use crate::statement::{Apply, Evaluate, Forecast, ModelOption, ModelRef, SourceQuery, Statement};

pub(super) fn parse_evaluate(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let model = model(cursor, "EVALUATE")?;
    let (rows, options) = rows_and_options(cursor, "ON, WITH (…) or end of statement")?;
    Ok(Statement::Evaluate(Box::new(Evaluate {
        model,
        rows,
        options,
    })))
}

pub(super) fn parse_predict(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    apply(cursor, "PREDICT").map(|apply| Statement::Predict(Box::new(apply)))
}

pub(super) fn parse_explain_predict(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    apply(cursor, "EXPLAIN_PREDICT").map(|apply| Statement::ExplainPredict(Box::new(apply)))
}

pub(super) fn parse_forecast(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let model = model(cursor, "FORECAST")?;
    let horizon = if cursor.eat_word("HORIZON") {
        Some(cursor.integer("a whole number")?)
    } else {
        None
    };
    let (rows, options) = rows_and_options(cursor, "HORIZON, ON, WITH (…) or end of statement")?;
    Ok(Statement::Forecast(Box::new(Forecast {
        model,
        horizon,
        rows,
        options,
    })))
}

fn model(cursor: &mut Cursor<'_>, verb: &str) -> Result<ModelRef, ParseError> {
    cursor.expect_words(&[verb])?;
    cursor.eat_optional_model();
    cursor.model_ref()
}

fn apply(cursor: &mut Cursor<'_>, verb: &str) -> Result<Apply, ParseError> {
    let model = model(cursor, verb)?;
    if !cursor.at_words(&["ON"]) {
        let hint = format!("Write {verb} MODEL {model} ON (SELECT …) or ON and a table's name.");
        return Err(cursor
            .unexpected("ON and the rows to predict")
            .with_hint(hint));
    }
    let place = cursor.clone();
    let (rows, options) = rows_and_options(cursor, "end of statement")?;
    match rows {
        Some(rows) => Ok(Apply {
            model,
            rows,
            options,
        }),
        None => Err(place.unexpected("ON and the rows to predict")),
    }
}

/// `[ON source] [WITH (…)]`, up to the end.
fn rows_and_options(
    cursor: &mut Cursor<'_>,
    what: &str,
) -> Result<(Option<SourceQuery>, Vec<ModelOption>), ParseError> {
    let options = match cursor.cut_trailing_group("WITH") {
        Some(group) => options::options(group)?,
        None => vec![],
    };
    let rows = if cursor.eat_word("ON") {
        Some(source::source(cursor.take(cursor.rest().len()))?)
    } else {
        None
    };
    if cursor.is_empty() {
        Ok((rows, options))
    } else {
        Err(cursor.unexpected(what))
    }
}
