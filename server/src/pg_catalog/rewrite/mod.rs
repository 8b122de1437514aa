//! From the dialect of PostgreSQL's catalog queries to what the planner knows.
//!
//! In and out: a statement's syntax tree. Every step keeps the meaning: `postgres` and `syntax` spell the same
//! thing otherwise, `empty` takes out what joins a table that never has a row, `array_subqueries` writes arrays of subqueries and `subqueries`
//! correlated lookups as aggregates, `subscripts` counts elements of arrays, `acl` takes lists of privileges apart, `json_aggregates` gathers json in arrays, `standard` writes out functions of `information_schema`, `duplicates` tells columns of one name apart.
//! Other SQL passes through unchanged. Plans nothing, and compares no text.

mod acl;
mod array_subqueries;
mod duplicates;
mod empty;
mod json_aggregates;
mod postgres;
mod standard;
mod subqueries;
mod subscripts;
mod syntax;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, ObjectName, Statement, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::dialect::{Dialect, DuckDbDialect, GenericDialect};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

pub(crate) use duplicates::displayed_name;

use super::PG_CATALOG;

/// `SHOW TABLES`: what the users have.
const TABLES: &str = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
    WHERE table_schema NOT IN ('ml', 'pg_catalog', 'information_schema') ORDER BY 1, 2";

/// `SHOW FUNCTIONS`: those about models and those of PostgreSQL.
const FUNCTIONS: &str = "SELECT n.nspname AS schema, p.proname AS name, \
    pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    ORDER BY 1, 2, 3";

fn statement_of(text: &str) -> Option<Statement> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).ok()?;
    parser.parse_statement().ok()
}

/// Rewrites a statement in place.
pub(super) fn rewrite(statement: &mut Statement) {
    let list = match statement {
        Statement::ShowTables { .. } => statement_of(TABLES),
        Statement::ShowFunctions { .. } => statement_of(FUNCTIONS),
        _ => None,
    };
    if let Some(list) = list {
        *statement = list;
    }
    postgres::rewrite(statement);
    syntax::rewrite(statement);
    empty::rewrite(statement);
    subqueries::rewrite(statement);
    if let Statement::Query(query) = statement {
        duplicates::rewrite(query);
    }
}

/// The name of a table that is, or without a schema may be, of `pg_catalog`.
pub(crate) fn catalog_table(name: &ObjectName) -> Option<String> {
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

/// Whether a name is that of a function of `pg_catalog`, with the schema or without.
fn is_of_catalog(name: &ObjectName, function: &str) -> bool {
    let mut parts = name.0.iter().rev();
    let last = parts.next().and_then(|part| part.as_ident());
    let schema = parts.next().and_then(|part| part.as_ident());
    last.is_some_and(|last| last.value.eq_ignore_ascii_case(function))
        && schema.is_none_or(|schema| schema.value.eq_ignore_ascii_case(PG_CATALOG))
}

/// A function that is called in FROM for columns without numbers of rows: its name, arguments and alias.
fn called(factor: &TableFactor) -> Option<(&ObjectName, &[FunctionArg], Option<&TableAlias>)> {
    match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality: false,
            ..
        } => Some((name, args.args.as_slice(), alias.as_ref())),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality: false,
            ..
        } => Some((name, args.as_slice(), alias.as_ref())),
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
