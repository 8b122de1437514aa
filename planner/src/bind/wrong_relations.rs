//! What is wrong with the relations of a statement: a column of one that is nowhere in it, and two of one name.
//!
//! In: a statement and what the planner found of a column; out: SQLSTATE and message, if a relation is to blame.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::sql::sqlparser::ast::{ObjectName, Select, Statement, TableFactor, Visit, Visitor};

use super::relation_columns::{is_called, relations};
use crate::commands::{folded, name_parts};

/// Relations that statements have without naming them.
const IMPLIED: [&str; 3] = ["excluded", "new", "old"];

/// What PostgreSQL says of it.
pub(super) fn explained(
    statement: &Statement,
    cause: &SchemaError,
) -> Option<(&'static str, String)> {
    match cause {
        SchemaError::FieldNotFound { field, .. } => {
            let name = field.relation.as_ref()?.table();
            let is_there = IMPLIED.contains(&name) || statement.visit(&mut Named(name)).is_break();
            let message = format!("missing FROM-clause entry for table \"{name}\"");
            (!is_there).then_some(("42P01", message))
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            let name = qualifier.table();
            let is_twice = statement.visit(&mut NamedTwice(name)).is_break();
            let message = format!("table name \"{name}\" specified more than once");
            is_twice.then_some(("42712", message))
        }
        _ => None,
    }
}

fn found(is_it: bool) -> ControlFlow<()> {
    match is_it {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Looks for a relation of the name, as what is read or as what is changed.
struct Named<'a>(&'a str);

impl Visitor for Named<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = name_parts(relation);
        found(parts.last().is_some_and(|last| last == self.0))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        found(match factor {
            TableFactor::NestedJoin {
                alias: Some(alias), ..
            } => folded(&alias.name) == self.0,
            TableFactor::UNNEST { alias: None, .. } => self.0 == "unnest",
            TableFactor::Function {
                alias: None, name, ..
            } => name_parts(name).last().is_some_and(|last| last == self.0),
            factor => is_called(factor, self.0),
        })
    }

    /// The table of an INSERT has its other name beside it.
    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let alias = match statement {
            Statement::Insert(insert) => insert.table_alias.as_ref(),
            _ => None,
        };
        found(alias.is_some_and(|alias| folded(&alias.alias) == self.0))
    }
}

/// Looks for a FROM that has two relations of the name.
struct NamedTwice<'a>(&'a str);

impl Visitor for NamedTwice<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let called = relations(&select.from).filter(|relation| is_called(relation, self.0));
        found(called.count() > 1)
    }
}
