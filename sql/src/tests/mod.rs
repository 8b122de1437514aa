//! Tests of the crate: each form of SQL.md §1, BigQuery ML's published text, errors, and random text.

mod access;
mod domains;
mod errors;
mod forms;
mod functions;
mod googlesql;
mod long_texts;
mod materialized;
mod random;
mod sequences;
mod sql;
mod tables;

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Function, Statement as AstStatement, TableFactor, Visit, Visitor,
};
use std::ops::ControlFlow;

use crate::{Dialect, ModelOption, OptionValue, ParseError, ParsedStatement, Statement, parse};

/// The only statement of a text.
pub(crate) fn one(text: &str) -> Statement {
    let mut all = all(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0).statement
}

pub(crate) fn all(text: &str) -> Vec<ParsedStatement> {
    match parse(text, Dialect::Auto) {
        Ok(statements) => statements,
        Err(error) => panic!(
            "{error} at {:?} (hint {:?}) in:\n{text}",
            error.position, error.hint
        ),
    }
}

pub(crate) fn fails(text: &str) -> ParseError {
    match parse(text, Dialect::Auto) {
        Ok(statements) => panic!("{text}\nwas read as {statements:?}"),
        Err(error) => error,
    }
}

/// `name=value` for each option, in order.
pub(crate) fn options(options: &[ModelOption]) -> Vec<(String, OptionValue)> {
    options
        .iter()
        .map(|option| (option.name.value.clone(), option.value.clone()))
        .collect()
}

/// The tree of an ordinary statement.
pub(crate) fn ast(statement: &Statement) -> &AstStatement {
    match statement {
        Statement::Sql(statement) => match statement.as_ref() {
            SqlStatement::Statement(statement) => statement,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Every relation and function of a tree.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) relations: Vec<TableFactor>,
    pub(crate) functions: Vec<Function>,
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.relations.push(factor.clone());
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &datafusion::sql::sqlparser::ast::Expr) -> ControlFlow<()> {
        if let datafusion::sql::sqlparser::ast::Expr::Function(function) = expr {
            self.functions.push(function.clone());
        }
        ControlFlow::Continue(())
    }
}

pub(crate) fn find<T: Visit>(tree: &T) -> Found {
    let mut found = Found::default();
    let _ = tree.visit(&mut found);
    found
}
