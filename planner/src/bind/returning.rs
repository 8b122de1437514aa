//! `RETURNING`: what a statement tells of the rows that it changes.
//!
//! In: the select list, the table, the other relations and the parameters of the statement; out: physical expressions over
//! batches of changed rows, or, where the list has queries, a query over all of them (`returned_queries`). `returned` gives
//! them the rows.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ParamValues, ScalarValue, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::sql::sqlparser::ast::{self, Ident, SelectItem, SetExpr};

use super::change::table_factor;
use super::declared_types::{declared_columns, marked_schema};
use super::evaluated::evaluated_now;
use super::returned::Made;
use super::returned_queries::{RowsQuery, have_queries, in_order, named_columns, over_rows};
use super::returning_relations::{Others, column_of};
use super::view_target::{ViewTarget, inlined};
use super::{GivenTables, Unsettled, bind_unsettled};
use crate::commands::folded;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_clock::timed;
use crate::streams::renamed;

/// The select list of a `RETURNING`.
#[derive(Debug)]
pub(crate) struct Returning {
    /// It over rows that come later.
    rows: LogicalPlan,
    form: Form,
    has_parameters: bool,
    state: Arc<SessionState>,
    /// Of what they give, under PostgreSQL's names.
    schema: SchemaRef,
    /// The columns of the rows, which may be NULL on the way to the table.
    columns: SchemaRef,
    /// The columns of other relations, which the statement's query gives behind its own; `None`: what a MERGE does.
    more: Vec<Option<ast::Expr>>,
}

/// What the plan of a `RETURNING` is.
#[derive(Debug)]
enum Form {
    /// A projection with numbered columns; what its expressions are about: the columns of the table, then those of other
    /// relations.
    Expressions(DFSchemaRef),
    /// A query, which has a column more than it returns.
    Query,
}

/// The table that a `RETURNING` is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReturnedTable<'a> {
    pub(crate) shape: &'a TableShape,
    /// What the statement calls it.
    pub(crate) alias: &'a Ident,
    /// The view that the statement names in its place.
    pub(crate) view: Option<&'a ViewTarget>,
}

impl ReturnedTable<'_> {
    /// The relation without rows that the select list is bound to.
    async fn relation(&self, session: &Arc<Session>) -> Result<Arc<dyn TableProvider>> {
        let columns = self.shape.schema();
        let table: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(columns));
        match self.view {
            Some(view) => view.rows(session, table, self.shape).await,
            None => Ok(table),
        }
    }
}

/// Binds the select list of a `RETURNING`.
pub(crate) async fn bind_returning(
    session: &Arc<Session>,
    items: &[SelectItem],
    table: ReturnedTable<'_>,
    others: Others,
) -> Result<Arc<Returning>> {
    let alias = table.alias;
    let mut given = GivenTables::default();
    let private = given.give(&alias.value, table.relation(session).await?);
    let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::unsupported("RETURNING"));
    };
    select.projection = items.to_vec();
    let is_alone = others.is_empty();
    let target = ast::TableWithJoins {
        relation: table_factor(private, alias.clone()),
        joins: vec![],
    };
    select.from = others.around(target);
    let statement = ast::Statement::Query(query);
    let unsettled = bind_unsettled(session, statement, session.state(None), given);
    let unsettled = Box::pin(unsettled).await?;
    let selected = selected(&unsettled.plan, table, is_alone)?;
    let returning = match has_queries(selected, table)? {
        true => Box::pin(of_query(session, unsettled, table, is_alone)).await?,
        false => Box::pin(of_expressions(session, unsettled, table, is_alone)).await?,
    };
    Ok(Arc::new(returning))
}

/// The select list as it is planned: a projection of the rows of the statement's relations.
fn selected<'a>(
    plan: &'a LogicalPlan,
    table: ReturnedTable<'_>,
    is_alone: bool,
) -> Result<&'a Projection> {
    let LogicalPlan::Projection(selected) = plan else {
        return Err(not_of_a_row());
    };
    let is_of_rows = match selected.input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => {
            table.view.is_some() || matches!(alias.input.as_ref(), LogicalPlan::TableScan(_))
        }
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Join(_) => !is_alone,
        _ => false,
    };
    match is_of_rows {
        true => Ok(selected),
        false => Err(not_of_a_row()),
    }
}

/// Whether a select list, or a column of the view that it names, has queries.
fn has_queries(selected: &Projection, table: ReturnedTable<'_>) -> Result<bool> {
    if have_queries(&selected.expr)? || table.view.is_none() {
        return Ok(have_queries(&selected.expr)?);
    }
    let exprs = through_view(selected, &folded(table.alias))?;
    Ok(have_queries(&exprs)?)
}

/// A select list of expressions.
async fn of_expressions(
    session: &Arc<Session>,
    unsettled: Unsettled,
    table: ReturnedTable<'_>,
    is_alone: bool,
) -> Result<Returning> {
    let alias = folded(table.alias);
    let bound = unsettled.settled(session).await?;
    let projection = selected(&bound.plan, table, is_alone)?;
    let (input, more) = input_of(projection, &alias, table.view.map(|_| table.shape))?;
    let exprs = match table.view {
        Some(_) => through_view(projection, &alias)?,
        None => projection.expr.clone(),
    };
    let rows = rows_of(&exprs, &input)?;
    let told = renamed(bound.plan.schema().inner(), &bound.names);
    let declared = declared_columns(&bound.plan, Some(table.shape));
    let returning = Returning {
        has_parameters: !rows.get_parameter_names()?.is_empty(),
        rows,
        schema: marked_schema(&told, &declared),
        columns: nullable(input.as_arrow()),
        form: Form::Expressions(input),
        state: bound.state,
        more,
    };
    // What cannot be computed is an error before anything is done.
    if !returning.has_parameters {
        returning.made(session, &[])?;
    }
    Ok(returning)
}

/// A select list with queries.
async fn of_query(
    session: &Arc<Session>,
    mut unsettled: Unsettled,
    table: ReturnedTable<'_>,
    is_alone: bool,
) -> Result<Returning> {
    let alias = folded(table.alias);
    let projection = selected(&unsettled.plan, table, is_alone)?;
    let (input, more) = input_of(projection, &alias, table.view.map(|_| table.shape))?;
    let view = table
        .view
        .map(|_| relation_of(&projection.input, &alias).ok_or_else(not_of_a_row));
    let n_returned = projection.expr.len();
    let names = unsettled.names.clone().among(n_returned);
    let declared = declared_columns(&unsettled.plan, Some(table.shape));
    unsettled.plan = over_rows(projection, &input, (&alias, view.transpose()?))?;
    let bound = unsettled.settled(session).await?;
    let told = renamed(bound.plan.schema().inner(), &names);
    let told = told.fields().iter().take(n_returned).cloned();
    let told = Schema::new(told.collect::<Vec<_>>());
    let rows = in_order(bound.plan)?;
    let returning = Returning {
        has_parameters: !rows.get_parameter_names()?.is_empty(),
        rows,
        schema: nullable(&marked_schema(&told, &declared)),
        columns: nullable(input.as_arrow()),
        form: Form::Query,
        state: bound.state,
        more,
    };
    // What cannot be planned is an error before anything is done.
    if !returning.has_parameters
        && let (Made::By(query), _) = returning.made(session, &[])?
    {
        query.check().await?;
    }
    Ok(returning)
}

/// The same columns, in which there may be NULLs.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Expressions over rows as a projection of them.
fn rows_of(exprs: &[Expr], input: &DFSchemaRef) -> DfResult<LogicalPlan> {
    let numbered = exprs.iter().enumerate();
    let numbered = numbered.map(|(idx, expr)| expr.clone().alias(idx.to_string()));
    let rows = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::clone(input),
    });
    let rows = Projection::try_new(numbered.collect(), Arc::new(rows))?;
    Ok(LogicalPlan::Projection(rows))
}

/// The expressions of a projection.
fn exprs_of(rows: &LogicalPlan) -> &[Expr] {
    match rows {
        LogicalPlan::Projection(rows) => &rows.expr,
        _ => &[],
    }
}

fn not_of_a_row() -> Error {
    Error::unsupported("RETURNING of more than expressions over a row")
}

/// The expressions of a projection over a view, as expressions over the table below it.
fn through_view(projection: &Projection, table: &str) -> Result<Vec<Expr>> {
    let rows = relation_of(&projection.input, table).ok_or_else(not_of_a_row)?;
    let of_table = |expr: Expr| -> DfResult<Transformed<Expr>> {
        Ok(match expr {
            Expr::Column(column) => {
                let qualifier = TableReference::bare(table);
                Transformed::yes(Expr::Column(Column::new(Some(qualifier), column.name)))
            }
            expr => Transformed::no(expr),
        })
    };
    let inline = |expr: Expr| -> DfResult<Transformed<Expr>> {
        let column = match &expr {
            Expr::Column(column) => rows.schema().maybe_index_of_column(column),
            _ => None,
        };
        let Some(idx) = column else {
            return Ok(Transformed::no(expr));
        };
        let expr = inlined(rows, idx)?.transform_down(of_table)?.data;
        Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump))
    };
    let exprs = projection.expr.iter().cloned();
    let exprs = exprs.map(|expr| expr.transform_down(inline).map(|expr| expr.data));
    Ok(exprs.collect::<DfResult<Vec<_>>>()?)
}

/// The plan of a relation of a FROM.
fn relation_of<'a>(plan: &'a LogicalPlan, name: &str) -> Option<&'a LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) if alias.alias.table() == name => Some(plan),
        LogicalPlan::Join(join) => {
            relation_of(&join.left, name).or_else(|| relation_of(&join.right, name))
        }
        _ => None,
    }
}

/// The columns that the expressions of a projection are about: all of the table, those that they name of others. `through`
/// is the table where a view stands in its place.
fn input_of(
    projection: &Projection,
    table: &str,
    through: Option<&TableShape>,
) -> Result<(DFSchemaRef, Vec<Option<ast::Expr>>)> {
    let named = named_columns(&projection.expr)?;
    let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::new();
    let mut others = Vec::new();
    let mut more = Vec::new();
    let seen = projection.input.schema();
    for (column, (qualifier, field)) in seen.columns().iter().zip(seen.iter()) {
        let field = (qualifier.cloned(), Arc::clone(field));
        match qualifier {
            Some(qualifier) if qualifier.table() != table => {
                if named.contains(column) {
                    more.push(column_of(qualifier.table(), &column.name));
                    others.push(field);
                }
            }
            _ if through.is_some() => {}
            _ => fields.push(field),
        }
    }
    if let Some(shape) = through {
        let columns = shape.schema();
        let qualified = |field: &FieldRef| (Some(TableReference::bare(table)), Arc::clone(field));
        fields.extend(columns.fields().iter().map(qualified));
    }
    fields.extend(others);
    let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
    Ok((Arc::new(schema), more))
}

impl Returning {
    /// The columns of the rows, but for the types that parameters give them.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of the rows, once the parameters have these types.
    pub(crate) fn told(&self, parameter_types: &[DataType]) -> Result<SchemaRef> {
        let nulls = parameter_types.iter().map(ScalarValue::try_from);
        let nulls = nulls.collect::<DfResult<Vec<ScalarValue>>>()?;
        Ok(self.with_values(&nulls)?.1)
    }

    /// The plan of the select list, which has its parameters and what its queries read.
    pub(crate) fn rows(&self) -> &LogicalPlan {
        &self.rows
    }

    /// Whether it is a query, which is asked when all rows are there.
    pub(crate) fn is_query(&self) -> bool {
        matches!(self.form, Form::Query)
    }

    /// The plan with values of its parameters, and the columns of what it gives.
    fn with_values(&self, values: &[ScalarValue]) -> DfResult<(LogicalPlan, SchemaRef)> {
        if !self.has_parameters {
            return Ok((self.rows.clone(), Arc::clone(&self.schema)));
        }
        let values = values.iter().cloned();
        let values = values.map(|value| ScalarAndMetadata::new(value, None));
        let values = ParamValues::List(values.collect());
        let rows = self.rows.clone().replace_params_with_values(&values)?;
        let pairs = self.schema.fields().iter().zip(rows.schema().fields());
        let fields = pairs.map(|(told, found)| {
            let field = told.as_ref().clone();
            field
                .with_data_type(found.data_type().clone())
                .with_nullable(true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok((rows, schema))
    }

    /// What plans it, which may be another state of the same settings.
    pub(crate) fn state_mut(&mut self) -> &mut Arc<SessionState> {
        &mut self.state
    }

    /// What its rows are kept in.
    pub(super) fn memory_pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.state.runtime_env().memory_pool)
    }

    /// The columns of the rows that it is given: those of the table, then others.
    pub(super) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// How many of these are not of the table.
    pub(super) fn n_more(&self) -> usize {
        self.more.len()
    }

    /// What the statement's query must give behind its own columns, where `action` tells what becomes of a row.
    pub(crate) fn more(&self, action: &ast::Expr) -> Vec<ast::Expr> {
        let more = self.more.iter().cloned();
        more.map(|expr| expr.unwrap_or_else(|| super::returning_relations::merge_action(action)))
            .collect()
    }

    /// What makes its columns of rows in one run of the statement, and these columns.
    pub(super) fn made(
        &self,
        session: &Session,
        values: &[ScalarValue],
    ) -> Result<(Made, SchemaRef)> {
        let (rows, schema) = self.with_values(values)?;
        let made = match &self.form {
            Form::Expressions(input) => {
                let exprs = exprs_of(&rows).iter().cloned();
                let exprs = exprs.map(|expr| evaluated_now(session, &self.state, expr, input));
                Made::Of(exprs.collect::<DfResult<Vec<_>>>()?.into())
            }
            Form::Query => {
                let mut state = self.state.as_ref().clone();
                state.execution_props_mut().query_execution_start_time = Some(session.now());
                let plan = timed(rows, session.clock.started())?;
                Made::By(Arc::new(RowsQuery { plan, state }))
            }
        };
        Ok((made, schema))
    }
}
