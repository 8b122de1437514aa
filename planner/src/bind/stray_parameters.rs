//! Parameters in statements that nobody gives values for: those of the simple protocol, and of definitions.
//!
//! In: a statement; out: the error about its first parameter, as PostgreSQL words it.

use std::ops::ControlFlow;

use auspex_sql::ParsedStatement;
use datafusion::sql::sqlparser::ast::{Expr, Value, Visit as _, Visitor};

use crate::error::{Error, Result};
use crate::session::Prepared;

impl Prepared {
    /// Fails unless it can be run without values. Errors: 42P02.
    pub fn refuse_parameters(&self) -> Result<()> {
        if self.parameter_types().is_empty() {
            return Ok(());
        }
        refuse_parameters(&self.statement)?;
        // It stands in a statement of ours.
        Err(no_parameter("$1", None))
    }
}

/// Fails if a statement has parameters. Errors: 42P02.
pub(crate) fn refuse_parameters(parsed: &ParsedStatement) -> Result<()> {
    let Some(statement) = parsed.sql() else {
        return Ok(());
    };
    let ControlFlow::Break((name, column)) = statement.visit(&mut FirstParameter) else {
        return Ok(());
    };
    // A token's column is its byte in the statement's text, counted from 1.
    let column = usize::try_from(column).unwrap_or_default();
    Err(no_parameter(&name, column.checked_sub(1)))
}

/// The error about a parameter that has no value.
fn no_parameter(name: &str, position: Option<usize>) -> Error {
    Error::Invalid {
        sqlstate: "42P02",
        message: format!("there is no parameter {name}"),
        hint: None,
        position,
    }
}

struct FirstParameter;

impl Visitor for FirstParameter {
    type Break = (String, u64);

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => {
                    ControlFlow::Break((name.clone(), value.span.start.column))
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}
