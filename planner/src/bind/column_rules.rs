//! What a table's definition says of its columns, as expressions: defaults, generated values, checks.
//!
//! In: the texts of a definition; out: syntax trees and expressions over the table's columns.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType, Identity, JsonKind, RowChecks, TableShape, is_uuid};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, SetExpr, VisitMut, VisitorMut};

use super::domains::domain_checks;
use super::evaluated::condition_now;
use super::key_forms::key_forms;
use super::numbered_values::{Numbers, once_numbered};
use super::rounded_numbers::{self, has_doubles};
use crate::error::{Error, Result};
use crate::functions::{address_type_name, assigned, enum_type_name, half_away_each, number_text};
use crate::session::Session;

/// The syntax tree of an expression's text.
pub(crate) fn parse_expr(text: &str) -> Result<ast::Expr> {
    let query = format!("SELECT {text}");
    let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres)?;
    only_item(*query).ok_or_else(|| no_expression(text))
}

/// The expression that a query consists of.
fn only_item(query: ast::Query) -> Option<ast::Expr> {
    let item = match *query.body {
        SetExpr::Select(mut select) if select.projection.len() == 1 => select.projection.pop(),
        _ => None,
    };
    match item {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Some(expr),
        _ => None,
    }
}

fn no_expression(text: &str) -> Error {
    Error::invalid("42601", format!("\"{text}\" is not an expression"), None)
}

/// An expression of a definition over columns, which means what it would mean in a statement.
pub(crate) fn defined_expr(state: &SessionState, text: &str, columns: &DFSchema) -> Result<Expr> {
    planned(state, parsed(text)?, columns)
}

/// The same of what a definition gives a column: a number for a numeric has all the digits that are written.
pub(crate) fn defined_value(
    state: &SessionState,
    text: &str,
    column: &Field,
    columns: &DFSchema,
) -> Result<Expr> {
    planned(state, in_full(parsed(text)?, column), columns)
}

/// A number for a column of numerics as one of its type: all its digits are seen where it is cast.
fn in_full(expr: ast::Expr, column: &Field) -> ast::Expr {
    let is_numeric = matches!(column.data_type(), DataType::Decimal128(..));
    match is_numeric && number_text(&expr).is_some() {
        true => cast_as_column(expr, column),
        false => expr,
    }
}

/// The syntax tree of a text in a definition, which other engines may have written.
fn parsed(text: &str) -> Result<ast::Expr> {
    let query = format!("SELECT {text}");
    let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Auto)?;
    only_item(*query).ok_or_else(|| no_expression(text))
}

/// Prepares an expression as the only item of a query over the columns.
pub(super) fn planned(state: &SessionState, expr: ast::Expr, columns: &DFSchema) -> Result<Expr> {
    let written = expr.to_string();
    let spelt = spelt(state, expr)?.ok_or_else(|| no_expression(&written))?;
    let spelt = ast::ExprWithAlias {
        expr: spelt,
        alias: None,
    };
    let expr = state.create_logical_expr_from_sql_expr(spelt, columns)?;
    let rows = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(columns.clone()),
    });
    let query = Projection::try_new(vec![expr], Arc::new(rows))?;
    match super::settled(LogicalPlan::Projection(query), false, state)? {
        LogicalPlan::Projection(mut query) if query.expr.len() == 1 => {
            let expr = query.expr.pop();
            let expr = expr.ok_or_else(|| no_expression(&written))?;
            // Settling keeps the names of columns, of which this is none.
            Ok(match expr {
                Expr::Alias(alias) if alias.metadata.is_none() => *alias.expr,
                expr => expr,
            })
        }
        _ => Err(no_expression(&written)),
    }
}

/// An expression in the form that a statement's has before it is planned.
fn spelt(state: &SessionState, expr: ast::Expr) -> Result<Option<ast::Expr>> {
    let mut query = auspex_sql::parse_query("SELECT NULL", auspex_sql::Dialect::Postgres)?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![ast::SelectItem::UnnamedExpr(expr)];
    }
    let mut statement = ast::Statement::Query(query);
    let zone = state.config().options().execution.time_zone.clone();
    crate::functions::rewrite(&mut statement, zone.as_deref())?;
    super::mark_types(&mut statement);
    Ok(match statement {
        ast::Statement::Query(query) => only_item(*query),
        _ => None,
    })
}

/// What a column holds that is given no value: its default or that of its domain, else NULL.
pub(crate) fn default_of(shape: &TableShape, column: &Field) -> Result<ast::Expr> {
    match shape.value_without(column) {
        Some(text) => Ok(in_full(parse_expr(&text)?, column)),
        None => Ok(ast::Expr::Value(ast::Value::Null.with_empty_span())),
    }
}

/// What a generated column holds, over the other columns of its row; `None`: it is none.
pub(super) fn computed_of(shape: &TableShape, column: &Field) -> Result<Option<ast::Expr>> {
    let text = shape.generated_of(column);
    text.map(|text| Ok(in_full(parsed(&text)?, column)))
        .transpose()
}

/// Whether an expression is the word `DEFAULT`.
pub(crate) fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// The checks of a table, ready to be evaluated on rows of the statement that the session runs.
pub(crate) fn row_checks(
    session: &Session,
    state: &SessionState,
    (schema_name, relation): (&str, &str),
    shape: &TableShape,
) -> Result<Arc<RowChecks>> {
    let schema = Arc::new(DFSchema::try_from(shape.schema())?);
    let mut conditions = domain_checks(state, shape)?;
    for (name, text) in shape.checks() {
        let expr = defined_expr(state, &text, &schema)?;
        conditions.push((name, expr.cast_to(&DataType::Boolean, &schema)?));
    }
    let mut checks = Vec::with_capacity(conditions.len());
    let mut as_of = None;
    for (name, condition) in conditions {
        let (condition, began) = condition_now(session, state, condition, &schema)?;
        checks.push((name, condition));
        as_of = as_of.or(began);
    }
    Ok(Arc::new(RowChecks {
        schema: schema_name.to_owned(),
        relation: relation.to_owned(),
        checks,
        views: Vec::new(),
        as_of,
        session: (!shape.keys().is_empty()).then(|| Arc::new(state.clone())),
        forms: key_forms(state, shape)?,
    }))
}

/// A plan whose columns from `first` on are those of the table, with their types and the generated ones computed.
///
/// The plan has the table's columns from `first` on, under any name and of any type that can be cast. What reads a number
/// that comes later is NULL until then.
pub(crate) fn as_table_rows(
    state: &SessionState,
    shape: &TableShape,
    plan: LogicalPlan,
    first: usize,
    numbers: Numbers,
) -> Result<LogicalPlan> {
    let n_columns = shape.columns().len();
    let in_table = first..first + n_columns;
    let place = |plan: &LogicalPlan, idx: usize| {
        Expr::Column(Column::from(plan.schema().qualified_field(idx)))
    };
    let numerics = numerics_for_whole(&plan, shape, first)?;
    let mut typed = Vec::new();
    for idx in 0..plan.schema().fields().len() {
        let column = place(&plan, idx);
        typed.push(match in_table.contains(&idx) {
            true => {
                let field = &shape.columns()[idx - first];
                let column = match numerics.contains(&idx) {
                    true => half_away_each(column),
                    false => column,
                };
                let cast = assigned(column, field, plan.schema())?;
                cast.alias(field.name())
            }
            false => column,
        });
    }
    let plan = LogicalPlanBuilder::from(plan).project(typed)?.build()?;
    let generates = |field: &Arc<Field>| shape.generated_of(field).is_some();
    if !shape.columns().iter().any(generates) {
        return Ok(plan);
    }
    let mut computed = Vec::new();
    for idx in 0..plan.schema().fields().len() {
        let field = in_table
            .contains(&idx)
            .then(|| &shape.columns()[idx - first]);
        let text = field.and_then(|field| shape.generated_of(field));
        computed.push(match (field, text) {
            (Some(field), Some(text)) => {
                let expr = defined_value(state, &text, field, plan.schema())?;
                let mut expr = assigned(expr, field, plan.schema())?;
                if numbers == Numbers::Later {
                    expr = once_numbered(expr, (shape, field), |idx| place(&plan, first + idx))?;
                }
                expr.alias(field.name())
            }
            _ => place(&plan, idx),
        });
    }
    Ok(LogicalPlanBuilder::from(plan).project(computed)?.build()?)
}

/// The places of numerics that the planner has as doubles, and that become whole numbers of the table.
fn numerics_for_whole(plan: &LogicalPlan, shape: &TableShape, first: usize) -> Result<Vec<usize>> {
    let given = plan.schema().fields().iter().enumerate().skip(first);
    let pairs = given.zip(shape.columns());
    let becoming_whole = pairs.filter(|((_, found), column)| {
        has_doubles(found.data_type()) && holds_whole_numbers(column.data_type())
    });
    let mut places: Vec<usize> = becoming_whole.map(|((idx, _), _)| idx).collect();
    if !places.is_empty() {
        let numerics = rounded_numbers::numerics(plan)?;
        places.retain(|idx| numerics.get(*idx) == Some(&true));
    }
    Ok(places)
}

fn holds_whole_numbers(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => holds_whole_numbers(item.data_type()),
        number => number.is_integer(),
    }
}

/// Whether a column's values are made by the table alone: generated, or numbered ALWAYS.
pub(crate) fn is_computed(shape: &TableShape, column: &Field) -> bool {
    let is_always = |identity: Identity| identity.is_always();
    shape.generated_of(column).is_some() || shape.identity_of(column).is_some_and(is_always)
}

/// The error that a statement gives a value to a generated column.
pub(crate) fn generated_value(column: &str, updates: bool) -> Error {
    let message = match updates {
        true => format!("column \"{column}\" can only be updated to DEFAULT"),
        false => format!("cannot insert a non-DEFAULT value into column \"{column}\""),
    };
    let hint = format!("Column \"{column}\" is a generated column; leave it out.");
    Error::invalid("428C9", message, Some(&hint))
}

/// The error that a table has no such column.
pub(crate) fn undefined_column(column: &str, relation: &str) -> Error {
    let message = format!("column \"{column}\" of relation \"{relation}\" does not exist");
    Error::invalid("42703", message, None)
}

/// The place of the column that a name in a statement means, in the case that the table has it.
pub(crate) fn column_place(shape: &TableShape, column: &str, relation: &str) -> Result<usize> {
    let same = |field: &Arc<Field>| field.name().eq_ignore_ascii_case(column);
    shape
        .position(column)
        .or_else(|| shape.columns().iter().position(same))
        .ok_or_else(|| undefined_column(column, relation))
}

/// The name of a type in SQL, if it has one: for casts that tell a parameter its type.
pub(crate) fn cast_type(data_type: &DataType) -> Option<ast::DataType> {
    use ast::{ExactNumberInfo, TimezoneInfo};
    Some(match data_type {
        DataType::Boolean => ast::DataType::Boolean,
        DataType::Int8 => ast::DataType::TinyInt(None),
        DataType::Int16 => ast::DataType::SmallInt(None),
        DataType::Int32 => ast::DataType::Integer(None),
        DataType::Int64 => ast::DataType::BigInt(None),
        DataType::Float32 => ast::DataType::Real,
        DataType::Float64 => ast::DataType::DoublePrecision,
        DataType::Utf8 => ast::DataType::Text,
        DataType::Binary => ast::DataType::Bytea,
        DataType::Date32 => ast::DataType::Date,
        DataType::Timestamp(_, None) => ast::DataType::Timestamp(None, TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => {
            ast::DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
        }
        DataType::Time64(_) => ast::DataType::Time(None, TimezoneInfo::None),
        DataType::Interval(_) => ast::DataType::Interval {
            fields: None,
            precision: None,
        },
        DataType::Decimal128(precision, scale) => ast::DataType::Decimal(
            ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)),
        ),
        _ => return None,
    })
}

/// `CAST(expr AS type)`, where SQL has a name for the type.
pub(crate) fn cast_ast(expr: ast::Expr, data_type: &DataType) -> ast::Expr {
    cast_to(expr, cast_type(data_type))
}

/// The same with the type of a column, whatever that is.
pub(crate) fn cast_as_column(expr: ast::Expr, column: &Field) -> ast::Expr {
    cast_to(expr, column_type(column))
}

fn cast_to(expr: ast::Expr, data_type: Option<ast::DataType>) -> ast::Expr {
    match data_type {
        Some(data_type) => ast::Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(expr),
            data_type,
            array: false,
            format: None,
        },
        None => expr,
    }
}

/// A value for a column: a parameter and a text have the column's type, whatever that is; others are cast where SQL has a name for it.
pub(crate) fn value_for(value: ast::Expr, column: &Field) -> ast::Expr {
    let is_open = matches!(&value, ast::Expr::Value(value)
        if matches!(value.value, ast::Value::Placeholder(_) | ast::Value::SingleQuotedString(_)));
    match is_open {
        true => cast_as_column(value, column),
        false => cast_ast(value, column.data_type()),
    }
}

/// The SQL of a column's type, also where Arrow has texts for it.
pub(super) fn column_type(column: &Field) -> Option<ast::DataType> {
    if let DataType::List(item) = column.data_type() {
        // The array says what its elements are.
        let element = Field::new("", item.data_type().clone(), true);
        let element = element.with_metadata(column.metadata().clone());
        let element = ArrayElemTypeDef::SquareBracket(Box::new(column_type(&element)?), None);
        return Some(ast::DataType::Array(element));
    }
    match JsonKind::of(column) {
        Some(JsonKind::Json) => Some(ast::DataType::JSON),
        Some(JsonKind::Jsonb) => Some(ast::DataType::JSONB),
        None if is_uuid(column) => Some(ast::DataType::Uuid),
        None => match EnumType::of(column) {
            Some(known) => Some(enum_type_name(&known)),
            None => match AddressKind::of(column) {
                Some(kind) => Some(address_type_name(kind)),
                None => cast_type(column.data_type()),
            },
        },
    }
}

/// Whether an expression's text names a column.
pub(crate) fn names_column(text: &str, column: &str) -> Result<bool> {
    Ok(renamed(text, column, "\u{1d}")?.contains('\u{1d}'))
}

/// An expression's text with another name for a column.
pub(crate) fn renamed(text: &str, from: &str, to: &str) -> Result<String> {
    struct Rename<'a>(&'a str, &'a str);
    impl VisitorMut for Rename<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
            let ident = match expr {
                ast::Expr::Identifier(ident) => Some(ident),
                ast::Expr::CompoundIdentifier(idents) => idents.last_mut(),
                _ => None,
            };
            if let Some(ident) = ident.filter(|ident| crate::commands::folded(ident) == self.0) {
                *ident = ast::Ident::with_quote('"', self.1);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = parse_expr(text)?;
    let _ = VisitMut::visit(&mut expr, &mut Rename(from, to));
    Ok(expr.to_string())
}
