//! Parameters in `VALUES`: their columns get the types that the client declared.
//!
//! In: a statement and declared types; out: the statement with a cast around each such parameter. Without it the planner
//! would take the type of a column from the constants in it, and cut fractions off.

use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::arrow::datatypes::DataType;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{self, Expr, SetExpr, Value, VisitMut as _, VisitorMut};

/// The statement with typed parameters; `None`: there are none to type. In INSERT the table says what they are.
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
    if !matches!(statement.as_ref(), ast::Statement::Query(_)) {
        return None;
    }
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
    fn cast(&mut self, expr: &mut Expr) {
        let Expr::Value(value) = expr else { return };
        let Value::Placeholder(name) = &value.value else {
            return;
        };
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let place = number.and_then(|number| number.checked_sub(1));
        let declared = place.and_then(|place| self.types.get(place)?.as_ref());
        let Some(data_type) = declared.and_then(sql_type) else {
            return;
        };
        self.changed = true;
        *expr = Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(expr.clone()),
            data_type,
            array: false,
            format: None,
        };
    }
}

impl VisitorMut for Typer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            let cells = values.rows.iter_mut().flat_map(|row| &mut row.content);
            cells.for_each(|cell| self.cast(cell));
        }
        ControlFlow::Continue(())
    }
}

/// The SQL of the types that constants could be taken for.
fn sql_type(data_type: &DataType) -> Option<ast::DataType> {
    Some(match data_type {
        DataType::Boolean => ast::DataType::Boolean,
        DataType::Int16 => ast::DataType::SmallInt(None),
        DataType::Int32 => ast::DataType::Integer(None),
        DataType::Int64 => ast::DataType::BigInt(None),
        DataType::Float32 => ast::DataType::Real,
        DataType::Float64 => ast::DataType::DoublePrecision,
        DataType::Utf8 => ast::DataType::Text,
        DataType::Date32 => ast::DataType::Date,
        _ => return None,
    })
}
