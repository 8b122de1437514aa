//! Calls whose model or query is a parameter, and tables whose version is one: `SELECT * FROM ml.predict($1, $2)`,
//! `SELECT * FROM t VERSION AS OF $1`.
//!
//! In: a statement; out: whether it can be bound only once the values are known, and then the statement with the values
//! in place of those parameters. What its columns are depends on them.

use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, TableFactor,
    TableVersion, TimezoneInfo, Value, VisitMut as _, VisitorMut,
};

use super::typed_values::is_declared;
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::read_array;

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
pub(crate) fn cast_values(values: &[ScalarValue], types: &[DataType]) -> Result<Vec<ScalarValue>> {
    let cast = |(value, data_type): (&ScalarValue, &DataType)| {
        Ok(match (value.try_as_str().flatten(), data_type) {
            (Some(text), DataType::List(_)) => read_array(text, data_type)?,
            _ => value.cast_to(data_type)?,
        })
    };
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
    let value = match expr {
        Expr::Value(value) => value,
        Expr::Cast { expr: inner, .. } if is_declared(inner) => return place(inner),
        _ => return None,
    };
    let Value::Placeholder(name) = &value.value else {
        return None;
    };
    name.strip_prefix('$')?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

/// Whether a name is that of a function about a table's versions.
pub(super) fn is_of_versions(name: &ObjectName) -> bool {
    let functions = ["table_changes", "table_history", "table_detail"];
    let name = name_parts(name);
    name.last()
        .is_some_and(|name| functions.contains(&name.as_str()))
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
    /// Arguments of which the first `n_texts` are texts, and others numbers.
    fn arguments<'a>(
        &mut self,
        args: impl Iterator<Item = &'a mut FunctionArg>,
        n_texts: usize,
    ) -> Result<()> {
        for (idx, arg) in args.enumerate() {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                self.parameter(expr, |_, text| match idx < n_texts {
                    true => Expr::value(Value::SingleQuotedString(text)),
                    false => number_or_text(text),
                })?;
            }
        }
        Ok(())
    }

    /// Notes a parameter, and writes its value in its place if that is known.
    fn parameter(
        &mut self,
        expr: &mut Expr,
        written: impl Fn(&ScalarValue, String) -> Expr,
    ) -> Result<()> {
        let Some(place) = place(expr) else {
            return Ok(());
        };
        self.found = true;
        let Some(values) = self.values else {
            return Ok(());
        };
        let value = values.get(place).unwrap_or(&ScalarValue::Null);
        *expr = match value.cast_to(&DataType::Utf8)? {
            ScalarValue::Utf8(Some(text)) => written(value, text),
            _ => {
                let message = format!("parameter ${} names nothing: it is NULL", place + 1);
                return Err(Error::invalid("22004", message, None));
            }
        };
        Ok(())
    }

    /// The parameters of `AS OF`: a number, or a time, which may be any expression.
    fn version(&mut self, version: &mut TableVersion) -> Result<()> {
        match version {
            TableVersion::VersionAsOf(expr) => self.parameter(expr, |_, text| number_or_text(text)),
            TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
                let mut parameters = Parameters(self);
                match expr.visit(&mut parameters) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(error) => Err(error),
                }
            }
            _ => Ok(()),
        }
    }
}

/// The parameters of an expression.
struct Parameters<'a, 'b>(&'a mut Visit<'b>);

impl VisitorMut for Parameters<'_, '_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(self.0.parameter(expr, |value, text| {
            let text = Expr::value(Value::SingleQuotedString(text));
            match value.data_type() {
                // An instant, in whatever time zone it is read.
                DataType::Timestamp(_, Some(_)) => Expr::Cast {
                    kind: ast::CastKind::Cast,
                    expr: Box::new(text),
                    data_type: ast::DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
                    array: false,
                    format: None,
                },
                _ => text,
            }
        }))
    }
}

/// A text of digits as the number that it is.
fn number_or_text(text: String) -> Expr {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Expr::value(match is_number {
        true => Value::Number(text, false),
        false => Value::SingleQuotedString(text),
    })
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
        flow(match factor {
            TableFactor::Table {
                name,
                args: Some(list),
                ..
            } if is_of_versions(name) => self.arguments(list.args.iter_mut(), 1),
            // A model and the text of a query.
            TableFactor::Table {
                name,
                args: Some(list),
                ..
            } if is_ml(name) => self.arguments(list.args.iter_mut().take(2), 2),
            TableFactor::Function { name, args, .. } if is_ml(name) => {
                self.arguments(args.iter_mut().take(2), 2)
            }
            TableFactor::Table {
                version: Some(version),
                ..
            } => self.version(version),
            _ => Ok(()),
        })
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(place) = place(expr) {
            self.n_parameters = self.n_parameters.max(place + 1);
        }
        match expr {
            Expr::Function(function) if is_ml(&function.name) => match &mut function.args {
                FunctionArguments::List(list) => {
                    flow(self.arguments(list.args.iter_mut().take(1), 1))
                }
                _ => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}
