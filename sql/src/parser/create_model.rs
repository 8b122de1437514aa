//! `CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name clauses… [AS source | FROM 'file'] [WITH NO TRAIN]`.
//!
//! In: the statement's tokens; out: `CreateModel`. Clauses may stand in any order, each once.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, closing, is_token, is_word, string_value};
use crate::parser::cursor::Cursor;
use crate::parser::{options, source, sql};
use crate::statement::{
    Connection, CreateModel, ModelOption, Name, SourceQuery, Statement, TrainingSource, TypedName,
    Word,
};

/// What may stand behind the model's name; for hints.
const CLAUSES: &str = "The clauses of CREATE MODEL are TRANSFORM (…), INPUT (…), OUTPUT (…), \
     REMOTE WITH CONNECTION …, PREDICT …, TARGET …, USING …, OF TYPE …, FEATURES …, ORDER BY …, \
     PARTITION BY …, HORIZON …, OPTIONS (…), WITH (…), WITH NO TRAIN, FROM 'file' and AS query.";

const KEYWORDS: [&str; 15] = [
    "TRANSFORM",
    "INPUT",
    "OUTPUT",
    "REMOTE",
    "PREDICT",
    "TARGET",
    "USING",
    "OF",
    "FEATURES",
    "ORDER",
    "PARTITION",
    "HORIZON",
    "OPTIONS",
    "WITH",
    "AS",
];

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["CREATE"])?;
    let or_replace = cursor.eat_words(&["OR", "REPLACE"]);
    cursor.expect_words(&["MODEL"])?;
    let if_not_exists = cursor.eat_words(&["IF", "NOT", "EXISTS"]);
    let mut model = empty(cursor.model_name()?);
    model.or_replace = or_replace;
    model.if_not_exists = if_not_exists;
    if are_words(
        cursor.rest(),
        cursor.rest().len().saturating_sub(3),
        &["WITH", "NO", "TRAIN"],
    ) {
        cursor.cut_tail(3);
        model.no_train = true;
    }
    let mut seen: BTreeSet<_> = model
        .no_train
        .then_some("WITH NO TRAIN")
        .into_iter()
        .collect();
    while !cursor.is_empty() && !cursor.at_words(&["AS"]) {
        let place = cursor.start();
        let clause = clause(cursor, &mut model)?;
        if !seen.insert(clause) {
            let kind = ParseErrorKind::RepeatedClause(clause.to_owned());
            return Err(ParseError::new(kind, Some(place)));
        }
    }
    if cursor.at_words(&["AS"]) {
        if let Some(TrainingSource::File(_)) = model.source {
            return Err(cursor
                .unexpected("end of statement")
                .with_hint("A model comes from a file or from a query, not from both."));
        }
        cursor.advance(1);
        model.source = Some(training_source(cursor)?);
    }
    check_source(cursor, &model)?;
    Ok(Statement::CreateModel(Box::new(model)))
}

fn empty(name: Name) -> CreateModel {
    CreateModel {
        name,
        or_replace: false,
        if_not_exists: false,
        transform: None,
        input: vec![],
        output: vec![],
        connection: None,
        labels: vec![],
        model_type: None,
        features: None,
        order_by: None,
        partition_by: vec![],
        horizon: None,
        options: vec![],
        source: None,
        no_train: false,
    }
}

/// A model without rows must come from somewhere else: a file, another service, or nowhere yet.
fn check_source(cursor: &Cursor<'_>, model: &CreateModel) -> Result<(), ParseError> {
    let imported = model
        .options
        .iter()
        .any(|option| option.name.value == "model_path");
    let complete =
        model.source.is_some() || model.no_train || model.connection.is_some() || imported;
    if complete {
        return Ok(());
    }
    Err(cursor.unexpected("AS query").with_hint(
        "A model needs the rows to learn from: AS SELECT …, AS TABLE t, or FROM 'file'. WITH NO \
         TRAIN stores the definition only.",
    ))
}

/// Reads one clause and gives the name under which it may stand once.
fn clause(cursor: &mut Cursor<'_>, model: &mut CreateModel) -> Result<&'static str, ParseError> {
    Ok(if cursor.at_words(&["WITH", "NO"]) {
        cursor.expect_words(&["WITH", "NO", "TRAIN"])?;
        model.no_train = true;
        "WITH NO TRAIN"
    } else if cursor.eat_word("OPTIONS") {
        add_options(cursor, model)?;
        "OPTIONS"
    } else if cursor.eat_word("WITH") {
        add_options(cursor, model)?;
        "WITH"
    } else if cursor.eat_word("PREDICT") || cursor.eat_word("TARGET") {
        model.labels = cursor.words("the column to predict")?;
        "PREDICT"
    } else if cursor.eat_word("USING") || cursor.eat_words(&["OF", "TYPE"]) {
        model.model_type = Some(cursor.any_word("a model type")?);
        "USING"
    } else if cursor.eat_word("TRANSFORM") {
        model.transform = Some(source::select_list(&cursor.group("a select list")?)?);
        "TRANSFORM"
    } else if cursor.eat_word("FEATURES") {
        let length = features_length(cursor.rest());
        let is_bracketed = closing(cursor.rest(), 0).is_some_and(|close| close + 1 == length);
        let list = match is_bracketed {
            true => cursor.group("a select list")?,
            false => cursor.take(length),
        };
        model.features = Some(source::select_list(&list)?);
        "FEATURES"
    } else if cursor.eat_word("INPUT") {
        model.input = typed_names(cursor)?;
        "INPUT"
    } else if cursor.eat_word("OUTPUT") {
        model.output = typed_names(cursor)?;
        "OUTPUT"
    } else if cursor.eat_word("REMOTE") {
        cursor.expect_words(&["WITH", "CONNECTION"])?;
        model.connection = Some(connection(cursor)?);
        "REMOTE WITH CONNECTION"
    } else {
        return series_clause(cursor, model);
    })
}

/// The clauses of time series, and `FROM 'file'`.
fn series_clause(
    cursor: &mut Cursor<'_>,
    model: &mut CreateModel,
) -> Result<&'static str, ParseError> {
    Ok(if cursor.eat_words(&["ORDER", "BY"]) {
        model.order_by = Some(cursor.word("a column")?);
        "ORDER BY"
    } else if cursor.eat_words(&["PARTITION", "BY"]) {
        model.partition_by = cursor.words("a column")?;
        "PARTITION BY"
    } else if cursor.eat_word("HORIZON") {
        model.horizon = Some(cursor.integer("a whole number")?);
        "HORIZON"
    } else if cursor.eat_word("FROM") {
        let file = cursor.string("a file's name in quotes").map_err(|error| {
            error.with_hint(
                "FROM takes a file. To learn from rows, write AS SELECT … or AS TABLE t.",
            )
        })?;
        model.source = Some(TrainingSource::File(file));
        "FROM"
    } else {
        return Err(unknown_clause(cursor));
    })
}

fn unknown_clause(cursor: &Cursor<'_>) -> ParseError {
    let error = cursor.unexpected("a clause of CREATE MODEL or AS query");
    let written = cursor
        .peek(0)
        .map(|token| token.token.to_string().to_ascii_uppercase());
    if written.as_deref() == Some("SELECT") {
        return error.with_hint("Write AS before the query.");
    }
    match written.and_then(|written| sql::nearest(&written, &KEYWORDS)) {
        Some(keyword) => error.with_hint(format!("Perhaps you mean {keyword}. {CLAUSES}")),
        None => error.with_hint(CLAUSES),
    }
}

fn add_options(cursor: &mut Cursor<'_>, model: &mut CreateModel) -> Result<(), ParseError> {
    let options = options::options(cursor.group("options")?)?;
    for option in options {
        if model
            .options
            .iter()
            .any(|known: &ModelOption| known.name.value == option.name.value)
        {
            let kind = ParseErrorKind::RepeatedOption(option.name.value);
            return Err(ParseError::new(kind, Some(option.name.span.start)));
        }
        model.options.push(option);
    }
    Ok(())
}

/// `(x FLOAT64, y ARRAY<STRUCT<a INT64>>)`
fn typed_names(cursor: &mut Cursor<'_>) -> Result<Vec<TypedName>, ParseError> {
    let mut group = cursor.group("columns with their types")?;
    let mut columns = Vec::new();
    loop {
        let name = group.any_word("a column's name")?;
        let length = type_length(group.rest());
        let data_type = group.take(length);
        if data_type.is_empty() {
            return Err(group.unexpected("the column's type"));
        }
        let data_type = data_type.rest_span().of(data_type.text).to_owned();
        columns.push(TypedName { name, data_type });
        if group.is_empty() {
            return Ok(columns);
        }
        group.expect_token(&Token::Comma, "a comma or )")?;
    }
}

/// The number of tokens before the comma that ends a type.
fn type_length(tokens: &[TokenWithSpan]) -> usize {
    let mut depth = 0_i32;
    for (length, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Lt | Token::LParen => depth += 1,
            Token::Gt | Token::RParen => depth -= 1,
            Token::ShiftRight => depth -= 2,
            Token::Comma if depth <= 0 => return length,
            _ => {}
        }
    }
    tokens.len()
}

fn connection(cursor: &mut Cursor<'_>) -> Result<Connection, ParseError> {
    if cursor.eat_word("DEFAULT") {
        return Ok(Connection::Default);
    }
    cursor
        .name("a connection's name or DEFAULT")
        .map(Connection::Named)
}

/// The number of tokens before the clause that ends a FEATURES list.
fn features_length(tokens: &[TokenWithSpan]) -> usize {
    let mut at = 0;
    while at < tokens.len() {
        if at > 0 && ends_item(&tokens[at - 1]) && starts_clause(tokens, at) {
            return at;
        }
        // A bracketed part belongs to the list as a whole.
        at = closing(tokens, at).unwrap_or(at) + 1;
    }
    tokens.len()
}

/// Whether an item of a select list can end with this token. A name behind a comma is a feature, never a clause.
fn ends_item(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Comma | Token::Period | Token::LBracket => false,
        Token::Word(word) => word.quote_style.is_some() || !word.value.eq_ignore_ascii_case("AS"),
        _ => true,
    }
}

fn starts_clause(tokens: &[TokenWithSpan], at: usize) -> bool {
    let next_is_word = matches!(tokens.get(at + 1).map(|t| &t.token), Some(Token::Word(_)));
    let next_is_group = is_token(tokens, at + 1, &Token::LParen);
    let next_is_string = tokens
        .get(at + 1)
        .is_some_and(|t| string_value(&t.token).is_some());
    let pair = |second: &str| is_word(tokens.get(at + 1), second);
    let is = |keyword: &str| is_word(tokens.get(at), keyword);
    (is("PREDICT") || is("TARGET") || is("USING")) && next_is_word
        || (is("TRANSFORM") || is("INPUT") || is("OUTPUT") || is("OPTIONS")) && next_is_group
        || is("WITH") && (next_is_group || pair("NO"))
        || is("OF") && pair("TYPE")
        || is("REMOTE") && pair("WITH")
        || (is("ORDER") || is("PARTITION")) && pair("BY")
        || is("HORIZON")
            && matches!(
                tokens.get(at + 1).map(|t| &t.token),
                Some(Token::Number(..))
            )
        || is("FROM") && next_is_string
        || is("AS")
            && (next_is_group
                || ["SELECT", "WITH", "TABLE", "VALUES"]
                    .iter()
                    .any(|word| pair(word)))
}

/// What stands behind `AS`, up to the end.
fn training_source(cursor: &mut Cursor<'_>) -> Result<TrainingSource, ParseError> {
    let mut rest = cursor.take(cursor.rest().len());
    if rest.eat_word("TABLE") {
        return source::table(rest, "a table's name").map(TrainingSource::Query);
    }
    if rest.is_one_group() {
        let inside = rest.clone().group("a query")?;
        let is_named = is_word(inside.peek(1), "AS") && inside.at_token(2, &Token::LParen);
        return if is_named {
            named_sources(inside).map(TrainingSource::Named)
        } else {
            source::query(&inside).map(TrainingSource::Query)
        };
    }
    if !source::starts_query(&rest) {
        let error = rest.unexpected("a query");
        return Err(if rest.is_empty() {
            error
        } else {
            error.with_hint("Write AS SELECT … or AS TABLE t.")
        });
    }
    source::query(&rest)
        .map(TrainingSource::Query)
        .map_err(|error| misplaced(&rest, error))
}

/// A hint for options behind the query.
fn misplaced(query: &Cursor<'_>, error: ParseError) -> ParseError {
    let ends_in = |keyword: &str| query.clone().cut_trailing_group(keyword).is_some();
    if ends_in("OPTIONS") || ends_in("WITH") {
        return error.with_hint("Write OPTIONS (…) or WITH (…) before AS.");
    }
    error
}

/// `training_data AS (query), custom_holiday AS (query)`
fn named_sources(mut group: Cursor<'_>) -> Result<Vec<(Word, SourceQuery)>, ParseError> {
    let mut sources: Vec<(Word, SourceQuery)> = Vec::new();
    loop {
        let name = group.word("training_data or custom_holiday")?;
        if sources.iter().any(|(known, _)| known.value == name.value) {
            let kind = ParseErrorKind::RepeatedClause(name.value);
            return Err(ParseError::new(kind, Some(name.span.start)));
        }
        group.expect_words(&["AS"])?;
        sources.push((name, source::query(&group.group("a query")?)?));
        if group.is_empty() {
            return Ok(sources);
        }
        group.expect_token(&Token::Comma, "a comma or )")?;
    }
}
