//! Calls whose model or query is a parameter: `SELECT * FROM ml.predict($1, $2)`.
//!
//! In: a statement; out: whether it can be bound only once the values are known, and then the statement with the values
//! in place of those parameters. What its columns are depends on them.

use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, TableFactor, Value,
    VisitMut as _, VisitorMut,
};

use crate::error::{Error, Result};

/// A statement that must be bound with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LateNames {
    /// The number of all its parameters.
    pub(crate) n_parameters: usize,
}

/// Whether a query must be bound with its values.
pub(crate) fn late_names(statement: &ast::Statement) -> Option<LateNames> {
    let mut visit = Visit {
        values: None,
        found: false,
        n_parameters: 0,
    };
    let _ = statement.clone().visit(&mut visit);
    visit.found.then_some(LateNames {
        n_parameters: visit.n_parameters,
    })
}

/// The statement with the values of such parameters written in their place.
pub(crate) fn with_values(
    parsed: &ParsedStatement,
    values: &[ScalarValue],
) -> Result<ParsedStatement> {
    let Statement::Sql(statement) = &parsed.statement else {
        return Ok(parsed.clone());
    };
    let SqlStatement::Statement(statement) = statement.as_ref() else {
        return Ok(parsed.clone());
    };
    let mut statement = statement.clone();
    let mut visit = Visit {
        values: Some(values),
        found: false,
        n_parameters: 0,
    };
    if let ControlFlow::Break(error) = statement.visit(&mut visit) {
        return Err(error);
    }
    Ok(ParsedStatement {
        statement: Statement::Sql(Box::new(SqlStatement::Statement(statement))),
        ..parsed.clone()
    })
}

/// Values of the types that a statement turned out to need.
pub(crate) fn cast_values(
    values: &[ScalarValue],
    types: &[datafusion::arrow::datatypes::DataType],
) -> Result<Vec<ScalarValue>> {
    let cast = |(value, data_type): (&ScalarValue, _)| Ok(value.cast_to(data_type)?);
    values.iter().zip(types).map(cast).collect()
}

/// Finds such parameters, and writes their values where these are known.
struct Visit<'a> {
    values: Option<&'a [ScalarValue]>,
    found: bool,
    n_parameters: usize,
}

/// The place of a parameter, counted from 0.
fn place(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Placeholder(name) = &value.value else {
        return None;
    };
    name.strip_prefix('$')?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

fn is_ml(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [schema, _] => schema
            .as_ident()
            .is_some_and(|schema| schema.value.eq_ignore_ascii_case("ml")),
        _ => false,
    }
}

impl Visit<'_> {
    fn arguments<'a>(&mut self, args: impl Iterator<Item = &'a mut FunctionArg>) -> Result<()> {
        for arg in args {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
                continue;
            };
            let Some(place) = place(expr) else {
                continue;
            };
            self.found = true;
            let Some(values) = self.values else {
                continue;
            };
            let value = values.get(place).unwrap_or(&ScalarValue::Null);
            let text = match value.cast_to(&datafusion::arrow::datatypes::DataType::Utf8)? {
                ScalarValue::Utf8(Some(text)) => text,
                _ => {
                    let message = format!("parameter ${} names nothing: it is NULL", place + 1);
                    return Err(Error::invalid("22004", message, None));
                }
            };
            *expr = Expr::Value(Value::SingleQuotedString(text).into());
        }
        Ok(())
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Visit<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let args = match factor {
            TableFactor::Table {
                name,
                args: Some(list),
                ..
            } if is_ml(name) => &mut list.args,
            TableFactor::Function { name, args, .. } if is_ml(name) => args,
            _ => return ControlFlow::Continue(()),
        };
        // A model and the text of a query.
        flow(self.arguments(args.iter_mut().take(2)))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(place) = place(expr) {
            self.n_parameters = self.n_parameters.max(place + 1);
        }
        match expr {
            Expr::Function(function) if is_ml(&function.name) => match &mut function.args {
                FunctionArguments::List(list) => flow(self.arguments(list.args.iter_mut().take(1))),
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}
