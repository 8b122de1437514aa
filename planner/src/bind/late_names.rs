//! Calls whose model or query is a parameter, tables whose version is one, and frames of windows whose size has one:
//! `SELECT * FROM ml.predict($1, $2)`, `SELECT * FROM t VERSION AS OF $1`, `sum(x) OVER (ORDER BY y ROWS $1 PRECEDING)`.
//!
//! In: a statement; out: whether it can be bound only once the values are known, and then the statement with the values
//! in place of those parameters. What its columns are depends on them, but for frames, without which it tells its columns.

use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, NamedWindowExpr,
    ObjectName, Select, TableFactor, TableVersion, TimezoneInfo, Value, VisitMut as _, VisitorMut,
    WindowFrameUnits, WindowSpec, WindowType,
};

use super::column_rules::cast_ast;
use super::frame_sizes::sizes;
use super::size_parameters::note;
use super::typed_values::is_declared;
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::{holds_numerics, in_full, numeric_in_full, read_array};

/// A statement that must be bound with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LateNames {
    /// The number of all its parameters.
    pub(crate) n_parameters: usize,
    /// The places of those in the sizes of frames that tell their types, which may stand there several times.
    pub(crate) sizes: Vec<(usize, DataType)>,
}

/// Whether a statement must be bound with its values, and then one that has the same columns without them: its frames
/// with parameters are left out. `None` for that: its columns depend on the values. Only queries name by parameters.
pub(crate) fn late_names(statement: &SqlStatement) -> Option<(LateNames, Option<SqlStatement>)> {
    let is_query = match inner(statement)? {
        ast::Statement::Query(_) => !matches!(statement, SqlStatement::Explain(_)),
        other if has_windows(other) => false,
        _ => return None,
    };
    let mut alike = statement.clone();
    let mut visit = Visit::default();
    let _ = inner_mut(&mut alike)?.visit(&mut visit);
    let names = LateNames {
        n_parameters: visit.n_parameters,
        sizes: visit.sizes,
    };
    match visit.found {
        false => visit.has_frames.then_some((names, Some(alike))),
        true => is_query.then_some((names, None)),
    }
}

/// What a statement does, or what it explains.
fn inner(statement: &SqlStatement) -> Option<&ast::Statement> {
    match statement {
        SqlStatement::Statement(statement) => Some(statement),
        SqlStatement::Explain(explain) => inner(&explain.statement),
        _ => None,
    }
}

fn inner_mut(statement: &mut SqlStatement) -> Option<&mut ast::Statement> {
    match statement {
        SqlStatement::Statement(statement) => Some(statement),
        SqlStatement::Explain(explain) => inner_mut(&mut explain.statement),
        _ => None,
    }
}

/// Whether a statement whose parameters may be sizes of frames has windows.
fn has_windows(statement: &ast::Statement) -> bool {
    use ast::Statement as S;
    let may_have = match statement {
        S::Query(_) | S::Insert(_) | S::Update(_) | S::Delete(_) | S::Merge(_) => true,
        S::CreateTable(create) => create.query.is_some(),
        _ => false,
    };
    let windows = |expr: &Expr| match expr {
        Expr::Function(function) if function.over.is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    may_have && ast::visit_expressions(statement, windows).is_break()
}

/// The statement with the values of such parameters written in their place.
pub(crate) fn with_values(
    parsed: &ParsedStatement,
    values: &[ScalarValue],
) -> Result<ParsedStatement> {
    let Statement::Sql(statement) = &parsed.statement else {
        return Ok(parsed.clone());
    };
    let mut statement = statement.clone();
    let Some(inner) = inner_mut(&mut statement) else {
        return Ok(parsed.clone());
    };
    let mut visit = Visit {
        values: Some(values),
        ..Visit::default()
    };
    if let ControlFlow::Break(error) = inner.visit(&mut visit) {
        return Err(error);
    }
    Ok(ParsedStatement {
        statement: Statement::Sql(statement),
        ..parsed.clone()
    })
}

/// Values of the types that a statement turned out to need; numerics keep digits that these do not hold.
pub(crate) fn cast_values(values: &[ScalarValue], types: &[DataType]) -> Result<Vec<ScalarValue>> {
    let cast = |(value, data_type): (&ScalarValue, &DataType)| {
        Ok(match (value.try_as_str().flatten(), data_type) {
            (Some(text), numerics) if holds_numerics(numerics) => numeric_in_full(text, numerics)?,
            (Some(text), DataType::List(_)) => read_array(text, data_type)?,
            (_, numerics) if holds_numerics(numerics) => in_full(value, numerics)?,
            _ => value.cast_to(data_type)?,
        })
    };
    values.iter().zip(types).map(cast).collect()
}

/// Finds such parameters, and writes their values where these are known; else it leaves out frames that have some.
#[derive(Default)]
struct Visit<'a> {
    values: Option<&'a [ScalarValue]>,
    /// Whether one is a name.
    found: bool,
    /// Whether one is the size of a frame.
    has_frames: bool,
    sizes: Vec<(usize, DataType)>,
    n_parameters: usize,
}

/// The place of a parameter, counted from 0.
pub(super) fn place(expr: &Expr) -> Option<usize> {
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

impl Visit<'_> {
    /// The frame of a window.
    fn frame(&mut self, spec: &mut WindowSpec) -> Result<()> {
        let Some(frame) = &mut spec.window_frame else {
            return Ok(());
        };
        let is_range = frame.units == WindowFrameUnits::Range;
        let mut is_late = false;
        for (_, size) in sizes(frame) {
            note(&mut self.sizes, size, is_range);
            let mut within = SizeParameters {
                visit: self,
                found: false,
            };
            if let ControlFlow::Break(error) = size.visit(&mut within) {
                return Err(error);
            }
            is_late |= within.found;
        }
        self.has_frames |= is_late;
        if is_late && self.values.is_none() {
            spec.window_frame = None;
        }
        Ok(())
    }
}

/// What stands in brackets.
fn bare_mut(expr: &mut Expr) -> &mut Expr {
    match expr {
        Expr::Nested(inner) => bare_mut(inner),
        other => other,
    }
}

/// The parameters in the size of a frame, which may be any expression.
struct SizeParameters<'a, 'b> {
    visit: &'a mut Visit<'b>,
    found: bool,
}

impl SizeParameters<'_, '_> {
    fn parameter(&mut self, expr: &mut Expr, of: Use) -> ControlFlow<Error> {
        let Some(place) = place(expr) else {
            return ControlFlow::Continue(());
        };
        self.found = true;
        self.visit.n_parameters = self.visit.n_parameters.max(place + 1);
        if let Some(values) = self.visit.values {
            match written(values.get(place).unwrap_or(&ScalarValue::Null), of) {
                Ok(value) => *expr = value,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for SizeParameters<'_, '_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::BinaryOp {
            left,
            op: BinaryOperator::Multiply,
            right,
        } = expr
        {
            self.parameter(bare_mut(left), Use::Factor)?;
            self.parameter(bare_mut(right), Use::Factor)?;
        }
        self.parameter(expr, Use::Value)
    }
}

/// What a parameter is in the size of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Value,
    /// A number, as in `$1 * interval '1 day'`.
    Factor,
}

/// A value as SQL writes one of its type.
fn written(value: &ScalarValue, of: Use) -> Result<Expr> {
    let ScalarValue::Utf8(Some(text)) = value.cast_to(&DataType::Utf8)? else {
        return Ok(Expr::value(Value::Null));
    };
    // A count need not be computed.
    if value.data_type().is_integer() && !text.starts_with('-') {
        return Ok(Expr::value(Value::Number(text, false)));
    }
    let is_number = of == Use::Factor && text.parse::<f64>().is_ok();
    let text = Expr::value(Value::SingleQuotedString(text));
    Ok(match value.data_type() {
        DataType::Utf8 if is_number => cast_ast(text, &DataType::Float64),
        DataType::Utf8 => text,
        known => cast_ast(text, &known),
    })
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

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let windows = select.named_window.iter_mut().map(|window| &mut window.1);
        for window in windows {
            if let NamedWindowExpr::WindowSpec(spec) = window {
                flow(self.frame(spec))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Some(place) = place(expr) {
            self.n_parameters = self.n_parameters.max(place + 1);
        }
        if let Expr::Function(function) = expr
            && let Some(WindowType::WindowSpec(spec)) = &mut function.over
        {
            flow(self.frame(spec))?;
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
