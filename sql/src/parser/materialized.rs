//! `CREATE MATERIALIZED VIEW`, `REFRESH MATERIALIZED VIEW`.
//!
//! In: the statement's tokens; out: `CreateMaterializedView`, whose view DataFusion's parser reads, and
//! `RefreshMaterializedView`. Which views exist is nobody's question here.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::error::ParseError;
use crate::lexer::{are_words, is_word};
use crate::materialized_statement::{CreateMaterializedView, RefreshMaterializedView};
use crate::parser::cursor::Cursor;
use crate::parser::silent_clauses::Data;
use crate::parser::sql;
use crate::statement::Statement;

/// Whether the tokens open such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    is_word(tokens.first(), "REFRESH") || creates(tokens)
}

/// Whether the tokens open a `CREATE MATERIALIZED VIEW`.
pub(super) fn creates(tokens: &[TokenWithSpan]) -> bool {
    let replaces = are_words(tokens, 1, &["OR", "REPLACE"]);
    let at = if replaces { 3 } else { 1 };
    is_word(tokens.first(), "CREATE") && are_words(tokens, at, &["MATERIALIZED", "VIEW"])
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    match cursor.at_words(&["REFRESH"]) {
        true => refresh(cursor),
        false => create(cursor),
    }
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let tokens = cursor.rest();
    let with_data = Data::of(tokens) != Data::Unwanted;
    let statement = sql::parse(cursor)?;
    if let SqlStatement::Statement(statement) = statement
        && let ast::Statement::CreateView(view) = *statement
    {
        cursor.advance(tokens.len());
        let create = CreateMaterializedView { view, with_data };
        return Ok(Statement::CreateMaterializedView(Box::new(create)));
    }
    Err(cursor.unexpected("CREATE MATERIALIZED VIEW"))
}

fn refresh(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    cursor.expect_words(&["REFRESH", "MATERIALIZED", "VIEW"])?;
    let concurrently = cursor.eat_word("CONCURRENTLY");
    let name = cursor.name("a materialized view's name")?;
    let mut with_data = true;
    if cursor.eat_word("WITH") {
        with_data = !cursor.eat_word("NO");
        cursor.expect_words(&["DATA"])?;
    }
    let refresh = RefreshMaterializedView {
        name,
        concurrently,
        with_data,
    };
    Ok(Statement::RefreshMaterializedView(refresh))
}
