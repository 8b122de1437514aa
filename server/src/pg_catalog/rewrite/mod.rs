//! From the dialect of PostgreSQL's catalog queries to what the planner knows.
//!
//! In and out: a statement's syntax tree. Every step keeps the meaning: `syntax` spells the same thing
//! otherwise, `empty` takes out what joins a table that never has a row, `subqueries` writes arrays of
//! subqueries and correlated lookups as aggregates, `duplicates` tells columns of one name apart.
//! Other SQL passes through unchanged. Plans nothing, and compares no text.

mod duplicates;
mod empty;
mod subqueries;
mod syntax;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Statement};
use datafusion::sql::sqlparser::dialect::{Dialect, DuckDbDialect, GenericDialect};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

pub(crate) use duplicates::displayed_name;

use super::PG_CATALOG;

/// Rewrites a statement in place.
pub(super) fn rewrite(statement: &mut Statement) {
    syntax::rewrite(statement);
    empty::rewrite(statement);
    subqueries::rewrite(statement);
    if let Statement::Query(query) = statement {
        duplicates::rewrite(query);
    }
}

/// The name of a table that is, or without a schema may be, of `pg_catalog`.
fn catalog_table(name: &ObjectName) -> Option<String> {
    let mut parts = name
        .0
        .iter()
        .map(|part| part.as_ident().map(|ident| ident.value.to_lowercase()));
    match (parts.next()??, parts.next()) {
        (schema, Some(Some(table))) if schema == PG_CATALOG && name.0.len() == 2 => Some(table),
        (table, None) if table.starts_with("pg_") => Some(table),
        _ => None,
    }
}

/// An expression of a text; `None` when it is none, which leaves what it was to replace.
fn parsed(text: &str) -> Option<Expr> {
    parsed_as(&GenericDialect {}, text)
}

/// As [`parsed`], of a text with lambdas, which only some dialects have.
fn parsed_with_lambdas(text: &str) -> Option<Expr> {
    parsed_as(&DuckDbDialect {}, text)
}

fn parsed_as(dialect: &dyn Dialect, text: &str) -> Option<Expr> {
    let mut parser = Parser::new(dialect).try_with_sql(text).ok()?;
    let expr = parser.parse_expr().ok()?;
    (parser.peek_token().token == Token::EOF).then_some(expr)
}
