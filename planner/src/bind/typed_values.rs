//! Parameters whose types the client declared: each gets a cast, as PostgreSQL types them before it plans.
//!
//! In: a statement and declared types; out: the statement with a cast around each such parameter. Without it the planner
//! would give a parameter the type of what stands beside it: an interval that of a time stamp, a fraction that of an
//! integer.

use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::arrow::datatypes::DataType;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    ObjectName, ObjectNamePart, SetExpr, TableFactor, Value, VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::column_rules::cast_type;

/// The statement with typed parameters; `None`: there are none to type.
pub(crate) fn typed_values(
    parsed: &ParsedStatement,
    types: &[Option<DataType>],
) -> Option<ParsedStatement> {
    if types.iter().all(Option::is_none) {
        return None;
    }
    let Statement::Sql(statement) = &parsed.statement else {
        return None;
    };
    let SqlStatement::Statement(statement) = statement.as_ref() else {
        return None;
    };
    let mut statement = statement.clone();
    let mut typer = Typer {
        types,
        changed: false,
    };
    let _ = statement.visit(&mut typer);
    typer.changed.then(|| ParsedStatement {
        statement: Statement::Sql(Box::new(SqlStatement::Statement(statement))),
        ..parsed.clone()
    })
}

struct Typer<'a> {
    types: &'a [Option<DataType>],
    changed: bool,
}

impl Typer<'_> {
    /// The type that the client declared for an expression that is a parameter.
    fn declared(&self, expr: &Expr) -> Option<&DataType> {
        let Expr::Value(value) = expr else {
            return None;
        };
        let Value::Placeholder(name) = &value.value else {
            return None;
        };
        let number: usize = name.strip_prefix('$')?.parse().ok()?;
        self.types.get(number.checked_sub(1)?)?.as_ref()
    }
}

impl VisitorMut for Typer<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let data_type = self.declared(expr).and_then(sql_type);
        if let (Some(data_type), Expr::Value(value)) = (data_type, &*expr) {
            self.changed = true;
            *expr = Expr::Cast {
                kind: ast::CastKind::Cast,
                // Without a place in the text, by which `is_declared` knows that nobody wrote this cast.
                expr: Box::new(Expr::Value(value.value.clone().with_empty_span())),
                data_type,
                array: false,
                format: None,
            };
        }
        bare_array(expr);
        // Functions of models take names, which are looked up before anything is cast.
        if let Expr::Function(function) = expr
            && is_of_models(&function.name)
            && let FunctionArguments::List(list) = &mut function.args
        {
            list.args.iter_mut().for_each(bare_argument);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(args),
                ..
            } if is_of_models(name) => args.args.iter_mut().for_each(bare_argument),
            TableFactor::Function { name, args, .. } if is_of_models(name) => {
                args.iter_mut().for_each(bare_argument);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &mut ast::Statement) -> ControlFlow<()> {
        // A numeric has no scale of its own: on its way into a column it takes that of the column.
        match statement {
            ast::Statement::Insert(insert) => {
                let body = insert.source.as_mut().map(|query| query.body.as_mut());
                if let Some(SetExpr::Values(values)) = body {
                    let cells = values.rows.iter_mut().flat_map(|row| &mut row.content);
                    cells.for_each(bare_numeric);
                }
            }
            ast::Statement::Update(update) => {
                let values = update.assignments.iter_mut().map(|set| &mut set.value);
                values.for_each(bare_numeric);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether a cast is one of those that stand for a declared type.
pub(crate) fn is_declared(inner: &Expr) -> bool {
    matches!(inner, Expr::Value(value)
        if matches!(value.value, Value::Placeholder(_)) && value.span == Span::empty())
}

/// Whether a name is one of `ml.` or `ai.`.
fn is_of_models(name: &ObjectName) -> bool {
    let first = name.0.first().and_then(ObjectNamePart::as_ident);
    let in_schema =
        |schema: &str| schema.eq_ignore_ascii_case("ml") || schema.eq_ignore_ascii_case("ai");
    name.0.len() > 1 && first.is_some_and(|first| in_schema(&first.value))
}

fn bare_argument(argument: &mut FunctionArg) {
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
        && let Expr::Cast { expr: inner, .. } = &*expr
        && is_declared(inner)
    {
        *expr = inner.as_ref().clone();
    }
}

/// `$1::int[][]` is no cast of an array of one dimension, as which clients declare all arrays.
fn bare_array(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type: ast::DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)),
        ..
    } = expr
    else {
        return;
    };
    if matches!(item.as_ref(), ast::DataType::Array(_))
        && let Expr::Cast {
            expr: parameter, ..
        } = inner.as_ref()
        && is_declared(parameter)
    {
        *inner = parameter.clone();
    }
}

fn bare_numeric(expr: &mut Expr) {
    if let Expr::Cast {
        expr: inner,
        data_type: ast::DataType::Numeric(ExactNumberInfo::None),
        ..
    } = expr
        && is_declared(inner)
    {
        *expr = inner.as_ref().clone();
    }
}

/// The SQL of a declared type.
pub(crate) fn sql_type(data_type: &DataType) -> Option<ast::DataType> {
    Some(match data_type {
        DataType::Decimal128(..) => ast::DataType::Numeric(ExactNumberInfo::None),
        DataType::List(item) => {
            let item = Box::new(sql_type(item.data_type())?);
            ast::DataType::Array(ArrayElemTypeDef::SquareBracket(item, None))
        }
        known => return cast_type(known),
    })
}
