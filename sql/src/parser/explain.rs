//! `EXPLAIN [ANALYZE] [VERBOSE] [(options)]` of a model statement.
//!
//! In: the statement's tokens; out: `Explain`. `EXPLAIN` of any other SQL is DataFusion's.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::ParseError;
use crate::lexer::{closing, is_token, is_word, span_of};
use crate::parser::cursor::Cursor;
use crate::parser::{model_statement, options, parse_statement};
use crate::statement::{Explain, ModelOption, OptionValue, Span, Statement, Word};

/// Where the model statement starts that these tokens explain, if they do.
pub(super) fn subject(tokens: &[TokenWithSpan]) -> Option<usize> {
    if !is_word(tokens.first(), "EXPLAIN") {
        return None;
    }
    let mut at = 1;
    while is_word(tokens.get(at), "ANALYZE") || is_word(tokens.get(at), "VERBOSE") {
        at += 1;
    }
    if is_word(tokens.get(at), "FORMAT") {
        at += 2;
    }
    if is_token(tokens, at, &Token::LParen) {
        at = closing(tokens, at)? + 1;
    }
    let explained = [
        "CREATE",
        "TRAIN",
        "EVALUATE",
        "PREDICT",
        "EXPLAIN_PREDICT",
        "FORECAST",
    ];
    let may = explained
        .iter()
        .any(|keyword| is_word(tokens.get(at), keyword));
    (may && model_statement(tokens.get(at..)?).is_some()).then_some(at)
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["EXPLAIN"])?;
    let mut analyze = false;
    let mut explain_options = Vec::new();
    loop {
        let place = cursor
            .peek(0)
            .map(|token| span_of(token.span))
            .unwrap_or_default();
        if cursor.eat_word("ANALYZE") {
            analyze = true;
        } else if cursor.eat_word("VERBOSE") {
            explain_options.push(option("verbose", OptionValue::Bool(true), place));
        } else if cursor.eat_word("FORMAT") {
            let format = cursor.any_word("a format")?;
            let value = OptionValue::Name(format.value);
            explain_options.push(option("format", value, format.span));
        } else if cursor.at_token(0, &Token::LParen) {
            explain_options.extend(options::explain_options(cursor.group("options")?)?);
        } else {
            break;
        }
    }
    explain_options.retain(|option| {
        let is_analyze = option.name.value == "analyze";
        analyze |= is_analyze && is_on(&option.value);
        !is_analyze
    });
    let (statement, _) = parse_statement(cursor.take(cursor.rest().len()))?;
    Ok(Statement::Explain(Box::new(Explain {
        analyze,
        options: explain_options,
        statement,
    })))
}

fn option(name: &str, value: OptionValue, span: Span) -> ModelOption {
    ModelOption {
        name: Word {
            value: name.to_owned(),
            span,
        },
        value,
        value_span: span,
    }
}

fn is_on(value: &OptionValue) -> bool {
    match value {
        OptionValue::Bool(value) => *value,
        OptionValue::Integer(number) => *number != 0,
        OptionValue::Name(word) | OptionValue::String(word) => {
            !word.eq_ignore_ascii_case("off") && !word.eq_ignore_ascii_case("false")
        }
        _ => true,
    }
}
