//! Folders whose path is one name: `SELECT * FROM 'sales'`.
//!
//! In: a statement and the error that planning it met; out: the statement with a path in place of names in single quotes
//! that no table has. PostgreSQL has no such names, so that they can mean nothing else.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, ObjectNamePart, TableFactor, VisitMut, VisitorMut,
};

use super::change::table_alias;

/// Writes the relation that `error` did not find as a path; false if it is not in single quotes.
pub(super) fn adopt(statement: &mut ast::Statement, error: &DataFusionError) -> bool {
    let DataFusionError::Plan(message) = error.find_root() else {
        return false;
    };
    let Some(missing) = message
        .strip_prefix("table '")
        .and_then(|rest| rest.strip_suffix("' not found"))
    else {
        return false;
    };
    let mut paths = Paths {
        missing,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut paths);
    paths.is_changed
}

struct Paths<'a> {
    missing: &'a str,
    is_changed: bool,
}

impl VisitorMut for Paths<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let schema = self.missing.strip_suffix(ident.value.as_str());
        let is_it = schema.is_some_and(|schema| schema.is_empty() || schema.ends_with('.'));
        if ident.quote_style == Some('\'') && is_it {
            // Its columns are qualified as they were.
            let written = Ident::with_quote('"', ident.value.as_str());
            let path = Ident::with_quote('"', format!("./{}", written.value));
            *name = ObjectName::from(vec![path]);
            alias.get_or_insert_with(|| table_alias(written));
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}
