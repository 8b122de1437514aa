//! INSERT: which rows go into which columns.
//!
//! In: the syntax tree; out: a plan of whole rows of the table, with defaults and generated values filled in, and the
//! checks that they must pass.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Error as StorageError, RowChecks, TableShape, marks_of};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, lit};
use datafusion::logical_expr::{LogicalPlanBuilder, WriteOp};
use datafusion::sql::sqlparser::ast::{
    self, Ident, ObjectName, SelectItem, SetExpr, Spanned as _, TableObject,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::assignments;
use super::change_reads::table_of_insert;
use super::change_through_view::change_checks;
use super::column_rules::{
    as_table_rows, cast_as_column, cast_ast, column_place, default_of, defined_value,
    generated_value, is_computed, is_default, value_for,
};
use super::enum_names::settle_values;
use super::nullable_values::nullable_values;
use super::numbered_values::Numbers;
use super::own_casts::{is_cast_somewhere, is_cast_to_other, is_untyped};
use super::plain_rows::plain_rows;
use super::returning::{ReturnedTable, Returning, bind_returning};
use super::returning_relations::Others;
use super::{BoundQuery, GivenTables, ViewTarget, bind_sql_with};
use crate::access::as_writer;
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::{assigned, check_row_width};
use crate::session::Session;

/// How often an INSERT is bound to a table whose definition changes meanwhile.
const MAX_ROUNDS: usize = 10;

/// An INSERT that is ready to run.
pub(crate) struct BoundInsert {
    pub(crate) table: Arc<CatalogEntry>,
    /// The view that the statement names in its place.
    view: Option<ViewTarget>,
    /// The definition that it was planned for.
    pub(crate) shape: TableShape,
    pub(crate) query: BoundQuery,
    pub(crate) checks: Arc<RowChecks>,
    /// The columns that the source fills, in its order.
    pub(crate) columns: Vec<String>,
    /// What the client gets of the rows.
    pub(crate) returning: Option<Arc<Returning>>,
}

impl BoundInsert {
    /// What the rows must fulfil in the statement that the session runs, which may have been bound long before.
    pub(crate) fn checks_now<'a>(
        &'a self,
        session: &'a Arc<Session>,
    ) -> BoxFuture<'a, Result<Arc<RowChecks>>> {
        match self.checks.as_of {
            Some(began) if began != session.clock.started() => {
                let target = (self.table.as_ref(), self.view.as_ref());
                change_checks(session, target, &self.query.state, &self.shape).boxed()
            }
            _ => std::future::ready(Ok(Arc::clone(&self.checks))).boxed(),
        }
    }
}

/// Binds an INSERT.
pub(crate) async fn bind_insert(
    session: &Arc<Session>,
    insert: &ast::Insert,
) -> Result<BoundInsert> {
    bind_insert_with(session, insert, GivenTables::default()).await
}

/// The same with relations under private names.
///
/// Another server may change the table's definition between two looks at it: then all is bound anew. Error: `Conflict` if
/// that goes on.
pub(crate) async fn bind_insert_with(
    session: &Arc<Session>,
    insert: &ast::Insert,
    given: GivenTables,
) -> Result<BoundInsert> {
    for _ in 1..MAX_ROUNDS {
        match Box::pin(bind_once(session, insert, given.clone())).await {
            Err(Error::Storage(StorageError::Conflict { .. })) => {}
            bound => return bound,
        }
    }
    Box::pin(bind_once(session, insert, given)).await
}

async fn bind_once(
    session: &Arc<Session>,
    insert: &ast::Insert,
    given: GivenTables,
) -> Result<BoundInsert> {
    refuse(insert)?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("this form of INSERT"));
    };
    let parts = name_parts(name);
    let (table, view) = Box::pin(table_of_insert(session, insert, &parts)).await?;
    let relation = parts.last().cloned().unwrap_or_default();
    let shape = session.tables().shape(&table.id).await?;
    // RETURNING alone names the table.
    let alias = insert.table_alias.as_ref().map(|alias| alias.alias.clone());
    let alias = alias.unwrap_or_else(|| Ident::with_quote('"', relation.as_str()));
    let returning = match &insert.returning {
        Some(items) => {
            let table = ReturnedTable {
                shape: &shape,
                alias: &alias,
                view: view.as_ref(),
            };
            Some(bind_returning(session, items, table, Others::default()).await?)
        }
        None => None,
    };
    let source = insert.source.as_ref();
    let is_values = source.is_none_or(|source| matches!(source.body.as_ref(), SetExpr::Values(_)));
    let target = (&table, view.as_ref(), &shape, relation.as_str());
    let planning = source_rows(session, insert, target, given);
    let (query, columns) = Box::pin(planning).await?;
    let state = Arc::clone(&query.state);
    check_columns(&query.plan, &shape, &relation)?;
    let filled = filled(&query, &shape, columns.as_deref(), is_values)?;
    let names = |places: Vec<usize>| -> Vec<String> {
        let columns = places
            .into_iter()
            .map(|idx| shape.columns()[idx].name().clone());
        columns.collect()
    };
    let columns = names(columns.unwrap_or_else(|| (0..shape.columns().len()).collect()));
    let rows = LogicalPlanBuilder::from(query.plan)
        .project(filled)?
        .build()?;
    let plan = as_table_rows(&state, &shape, rows, 0, Numbers::Later)?;
    let checks = change_checks(session, (&table, view.as_ref()), &state, &shape).await?;
    Ok(BoundInsert {
        table,
        view,
        shape,
        checks,
        columns,
        returning,
        query: BoundQuery {
            plan,
            state,
            names: Vec::new(),
            origins: Vec::new(),
            ..query.rest
        },
    })
}

/// The rows that the source gives, and the columns that it fills, in its order; `None`: all.
async fn source_rows(
    session: &Arc<Session>,
    insert: &ast::Insert,
    (table, view, shape, relation): (&Arc<CatalogEntry>, Option<&ViewTarget>, &TableShape, &str),
    given: GivenTables,
) -> Result<(Planned, Option<Vec<usize>>)> {
    if view.is_none() {
        let places = column_places(insert, shape, relation)?;
        if let Some((rows, places)) = plain_rows(session, insert, shape, places)? {
            return from_query(rows, shape, Some(places), (false, None));
        }
    }
    let mut insert = insert.clone();
    insert.table_alias = None;
    insert.returning = None;
    if let Some(view) = view {
        view.settle_insert(&mut insert, table, shape)?;
    }
    settle_values(session, &mut insert.source, shape.columns())?;
    let columns = columns_of(&mut insert, shape, relation)?;
    // The planner opens the target of VALUES to learn its columns, which is no reading of its rows.
    let target = (!reads_relations(&insert)).then(|| table.id.clone());
    let planning = Box::pin(plan(session, insert, shape, columns, given));
    as_writer(target, planning).await
}

/// Fails if a plan has other columns than the definition that was read before it.
fn check_columns(plan: &LogicalPlan, shape: &TableShape, relation: &str) -> Result<()> {
    let planned = plan.schema().fields().iter().map(|field| field.name());
    match planned.eq(shape.columns().iter().map(|field| field.name())) {
        true => Ok(()),
        false => {
            let object = format!("table \"{relation}\"");
            Err(StorageError::Conflict { object }.into())
        }
    }
}

/// What a statement says of the values that it gives identity columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overriding {
    /// They are taken, also where the column is numbered ALWAYS.
    System,
    /// They are ignored, and the column is numbered.
    User,
}

/// The clause `OVERRIDING … VALUE`.
pub(super) fn overriding(insert: &ast::Insert) -> Option<Overriding> {
    let [ast::Expr::Identifier(name)] = insert.partitioned.as_deref()? else {
        return None;
    };
    match name.value.as_str() {
        auspex_sql::OVERRIDING_SYSTEM => Some(Overriding::System),
        auspex_sql::OVERRIDING_USER => Some(Overriding::User),
        _ => None,
    }
}

/// Whether a column takes no value of a statement, which may say otherwise.
fn is_fixed(shape: &TableShape, column: &FieldRef, overriding: Option<Overriding>) -> bool {
    match (overriding, shape.identity_of(column)) {
        (Some(_), Some(_)) => false,
        _ => is_computed(shape, column),
    }
}

/// Whether what a statement gives a column is ignored: it says so, and the column is numbered. A SERIAL is a default.
fn is_ignored(shape: &TableShape, column: &FieldRef, overriding: Option<Overriding>) -> bool {
    let identity = shape.identity_of(column);
    overriding == Some(Overriding::User) && identity.is_some_and(|identity| !identity.is_serial())
}

/// The columns of the table as the source gives them, with defaults in those that it leaves out.
fn filled(
    query: &Planned,
    shape: &TableShape,
    given: Option<&[usize]>,
    is_values: bool,
) -> Result<Vec<Expr>> {
    let is_given = |idx: usize| given.is_none_or(|given| given.contains(&idx));
    let mut filled = Vec::with_capacity(shape.columns().len());
    for (idx, field) in shape.columns().iter().enumerate() {
        let column = Expr::Column(query.plan.schema().qualified_field(idx).into());
        // A parameter has the mark of its column, whatever text it will be.
        let column = match is_values && !marks_of(field).is_empty() {
            true => Expr::Cast(Cast::new(Box::new(column), field.data_type().clone())),
            false => column,
        };
        filled.push(
            match shape.value_without(field).filter(|_| !is_given(idx)) {
                Some(text) => {
                    let none = DFSchema::empty();
                    let default = defined_value(&query.state, &text, field, &none)?;
                    assigned(default, field, &none)?.alias(field.name())
                }
                None => column,
            },
        );
    }
    Ok(filled)
}

/// Whether the source of an INSERT names a relation, in whatever place.
fn reads_relations(insert: &ast::Insert) -> bool {
    let mut found = |_: &ObjectName| std::ops::ControlFlow::Break(());
    let source = insert.source.as_ref();
    source.is_some_and(|source| ast::visit_relations(source, &mut found).is_break())
}

/// The rows of an INSERT, all columns wide.
struct Planned {
    plan: LogicalPlan,
    state: Arc<SessionState>,
    rest: BoundQuery,
}

/// Plans the source. `VALUES` goes through DataFusion's own INSERT, which gives parameters the types of their columns;
/// any other query is planned by itself, since that INSERT takes a VALUES inside it for its own.
async fn plan(
    session: &Arc<Session>,
    mut insert: ast::Insert,
    shape: &TableShape,
    columns: Option<Vec<usize>>,
    given: GivenTables,
) -> Result<(Planned, Option<Vec<usize>>)> {
    let state = session.state(None);
    let query = insert
        .source
        .take_if(|source| !matches!(source.body.as_ref(), SetExpr::Values(_)));
    match query {
        Some(mut source) => {
            type_parameters(&mut source, shape, columns.as_deref());
            let statement = ast::Statement::Query(source);
            // The rows of COPY have the types of their file.
            let rules = (given.is_empty(), overriding(&insert));
            let query = bind_sql_with(session, statement, state, given).await?;
            from_query(query, shape, columns, rules)
        }
        None => {
            let places = columns
                .clone()
                .unwrap_or_else(|| (0..shape.columns().len()).collect());
            let names = places.iter().map(|idx| shape.columns()[*idx].name());
            let name = |name: &String| ObjectName::from(vec![Ident::with_quote('"', name)]);
            insert.columns = names.map(name).collect();
            let statement = ast::Statement::Insert(insert);
            let mut query = bind_sql_with(session, statement, state, given).await?;
            query.plan = assignments::checked(query.plan)?;
            match &query.plan {
                LogicalPlan::Dml(DmlStatement {
                    op: WriteOp::Insert(_),
                    input,
                    ..
                }) => {
                    // A numbered column that is NOT NULL refuses a written NULL here; where it may be NULL, a number takes its place.
                    let is_numbered = |idx: usize| {
                        let column = places.get(idx).map(|place| &shape.columns()[*place]);
                        column.is_some_and(|column| shape.identity_of(column).is_some())
                    };
                    let plan = nullable_values(input.as_ref().clone(), is_numbered)?;
                    let planned = Planned {
                        plan,
                        state: Arc::clone(&query.state),
                        rest: query,
                    };
                    Ok((planned, columns))
                }
                _ => Err(Error::unsupported("this form of INSERT")),
            }
        }
    }
}

/// Gives the parameters that a query gives columns the types of these, and casts numbers where all their digits are seen.
fn type_parameters(source: &mut ast::Query, shape: &TableShape, columns: Option<&[usize]>) {
    let SetExpr::Select(select) = source.body.as_mut() else {
        return;
    };
    for (at, item) in select.projection.iter_mut().enumerate() {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            // Nobody knows the places behind a star.
            return;
        };
        let place = columns.map_or(Some(at), |columns| columns.get(at).copied());
        let field = place.and_then(|place| shape.columns().get(place));
        let ast::Expr::Value(value) = &*expr else {
            continue;
        };
        let is_parameter = matches!(value.value, ast::Value::Placeholder(_));
        let is_number = matches!(value.value, ast::Value::Number(..));
        let is_typed = |field: &&FieldRef| {
            is_parameter || is_number && matches!(field.data_type(), DataType::Decimal128(..))
        };
        if let Some(field) = field.filter(is_typed) {
            *expr = value_for(expr.clone(), field);
        }
    }
}

/// Puts the columns of a query into those of the table; the others are NULL. The rules are whether their types are looked at,
/// and what the statement says of numbered columns.
///
/// As in PostgreSQL, a query without a list of columns may fill only the first ones.
fn from_query(
    query: BoundQuery,
    shape: &TableShape,
    columns: Option<Vec<usize>>,
    (is_checked, overriding): (bool, Option<Overriding>),
) -> Result<(Planned, Option<Vec<usize>>)> {
    let found = query.plan.schema().fields().len();
    let all = shape.columns().len();
    let places = columns.unwrap_or_else(|| (0..found.min(all)).collect());
    if found != places.len() {
        return Err(counts_differ(found, places.len()));
    }
    let mut exprs = Vec::with_capacity(all);
    for (idx, field) in shape.columns().iter().enumerate() {
        let given = places.iter().position(|place| *place == idx);
        if given.is_some() && is_fixed(shape, field, overriding) {
            return Err(generated_value(field.name(), false));
        }
        if let Some(at) = given.filter(|_| is_checked) {
            assignments::check_output(&query.plan, at, field)?;
        }
        let expr = match given.filter(|_| !is_ignored(shape, field, overriding)) {
            Some(at) => Expr::Column(query.plan.schema().qualified_field(at).into()),
            None => lit(ScalarValue::try_from(field.data_type())?),
        };
        exprs.push(expr.alias(field.name()));
    }
    let is_kept = |idx: &usize| !is_ignored(shape, &shape.columns()[*idx], overriding);
    let places = places.into_iter().filter(is_kept).collect();
    let plan = LogicalPlanBuilder::from(query.plan.clone())
        .project(exprs)?
        .build()?;
    let planned = Planned {
        plan,
        state: Arc::clone(&query.state),
        rest: query,
    };
    Ok((planned, Some(places)))
}

/// Whether a value of VALUES is cast here, where its digits are seen, rather than by the planner, which cuts off, and makes no interval
/// of a time of day and no such time of an interval.
pub(super) fn is_fitted(value: &ast::Expr, data_type: &DataType) -> bool {
    let is_number = match data_type {
        DataType::Decimal128(_, scale) => *scale >= 0,
        DataType::Float32 => true,
        data_type => data_type.is_signed_integer(),
    };
    let is_clock = matches!(data_type, DataType::Time64(_) | DataType::Interval(_));
    let is_whole = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    match value {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => is_number && !is_whole(digits),
            _ => false,
        },
        _ => is_number || is_clock,
    }
}

/// The same of a value for arrays of numbers.
pub(super) fn is_fitted_array(value: &ast::Expr, data_type: &DataType) -> bool {
    let DataType::List(item) = data_type else {
        return false;
    };
    let is_number = match item.data_type() {
        DataType::Decimal128(_, scale) => *scale >= 0,
        DataType::Float32 => true,
        number => number.is_signed_integer(),
    };
    match item.data_type() {
        inner @ DataType::List(_) => is_fitted_array(value, inner),
        _ => is_number && !matches!(value, ast::Expr::Value(_)),
    }
}

/// The error that a source has not as many columns as are to be filled.
pub(super) fn counts_differ(found: usize, wanted: usize) -> Error {
    let (more, less) = match found > wanted {
        true => ("expressions", "target columns"),
        false => ("target columns", "expressions"),
    };
    Error::invalid("42601", format!("INSERT has more {more} than {less}"), None)
}

fn refuse(insert: &ast::Insert) -> Result<()> {
    let missing = [
        // The others with ON CONFLICT are changes.
        (insert.on.is_some(), "INSERT ... ON CONFLICT in this place"),
        (insert.overwrite, "INSERT OVERWRITE"),
        (insert.replace_into, "REPLACE INTO"),
        (
            insert.partitioned.is_some() && overriding(insert).is_none(),
            "INSERT ... PARTITION",
        ),
        (!insert.assignments.is_empty(), "INSERT ... SET"),
    ];
    match missing.iter().find(|(is_written, _)| *is_written) {
        Some((_, what)) => Err(Error::unsupported(*what)),
        None => Ok(()),
    }
}

/// `VALUES` with the default of the first column.
fn first_default(shape: &TableShape) -> Result<Box<ast::Query>> {
    let expr = default_of(shape, &shape.columns()[0])?;
    let query = format!("VALUES ({expr})");
    let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres);
    Ok(query?)
}

/// The places of the columns that an INSERT names; `None`: it names none.
fn column_places(
    insert: &ast::Insert,
    shape: &TableShape,
    relation: &str,
) -> Result<Option<Vec<usize>>> {
    if insert.columns.is_empty() {
        return Ok(None);
    }
    let mut places = Vec::with_capacity(insert.columns.len());
    for column in &insert.columns {
        let name = name_parts(column).pop().unwrap_or_default();
        let place = column_place(shape, &name, relation);
        let place = place.map_err(|error| error.at(column.span()))?;
        if places.contains(&place) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::invalid("42701", message, None).at(column.span()));
        }
        places.push(place);
    }
    Ok(Some(places))
}

/// The columns that the source fills, in its order; `None`: all. Puts defaults in the place of the word `DEFAULT`.
fn columns_of(
    insert: &mut ast::Insert,
    shape: &TableShape,
    relation: &str,
) -> Result<Option<Vec<usize>>> {
    let mut columns = column_places(insert, shape, relation)?;
    let overriding = overriding(insert);
    let generated = |field: &FieldRef| is_fixed(shape, field, overriding);
    let Some(source) = &mut insert.source else {
        // DEFAULT VALUES: the first column shows how many rows.
        insert.source = Some(first_default(shape)?);
        insert.partitioned = None;
        return Ok(Some(vec![0]));
    };
    let SetExpr::Values(values) = source.body.as_mut() else {
        let places = columns.clone().unwrap_or_default();
        let mut filled = places.iter().map(|idx| &shape.columns()[*idx]);
        return match filled.find(|field| generated(field)) {
            Some(field) => Err(generated_value(field.name(), false)),
            None => Ok(columns),
        };
    };
    insert.partitioned = None;
    let width = values.rows.first().map_or(0, |row| row.content.len());
    let all = shape.columns().len();
    if columns.is_none() && width <= all {
        columns = Some((0..width).collect());
    }
    let places = columns.clone().unwrap_or_else(|| (0..all).collect());
    let is_cast =
        |(at, idx): (usize, &usize)| is_cast_somewhere(&values.rows, at, &shape.columns()[*idx]);
    let are_cast: Vec<bool> = places.iter().enumerate().map(is_cast).collect();
    for row in &mut values.rows {
        if row.content.len() != places.len() {
            let more = row.content.get(places.len()).map(ast::Expr::span);
            let less = || insert.columns.get(row.content.len()).map(ObjectName::span);
            let error = counts_differ(row.content.len(), places.len());
            return Err(error.at(more.or_else(less).unwrap_or_else(Span::empty)));
        }
        for ((expr, idx), is_cast) in row.content.iter_mut().zip(&places).zip(&are_cast) {
            let field = &shape.columns()[*idx];
            check_row_width(expr, field)?;
            let is_other = is_cast_to_other(expr, field);
            if is_default(expr) || is_ignored(shape, field, overriding) {
                *expr = default_of(shape, field)?;
            } else if generated(field) {
                return Err(generated_value(field.name(), false));
            } else if assignments::is_checked(expr, field) {
                *expr = assignments::marked(expr.clone(), field);
            }
            if *is_cast && (is_other || is_untyped(expr)) {
                *expr = cast_as_column(expr.clone(), field);
            }
            if is_fitted(expr, field.data_type()) {
                *expr = cast_ast(expr.clone(), field.data_type());
            } else if is_fitted_array(expr, field.data_type()) {
                *expr = cast_as_column(expr.clone(), field);
            }
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    #[test]
    fn columns_of_another_definition_are_a_conflict() {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let shape = TableShape::new(&Schema::new(vec![field("a"), field("b")]));
        let checked = |columns: &[&str]| {
            let row = columns.iter().map(|name| lit(1_i64).alias(*name));
            let plan = LogicalPlanBuilder::empty(true).project(row).unwrap();
            let checked = check_columns(&plan.build().unwrap(), &shape, "t");
            checked.map_err(|error| error.report().sqlstate)
        };
        assert_eq!(checked(&["a", "b"]), Ok(()));
        for columns in [&["a"][..], &["b", "a"], &["a", "c"], &["a", "b", "c"]] {
            assert_eq!(checked(columns), Err("40001"), "{columns:?}");
        }
    }
}
