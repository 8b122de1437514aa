//! `RETURNING`: expressions over the rows that a statement changes.
//!
//! In: the select list, the table, the other relations and the parameters of the statement; out: physical expressions that are
//! evaluated on each batch of changed rows while it is on its way to the table, so that a failure of theirs fails the statement.
//! What they gave is kept until the rows are committed, and accounted in the statement's memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use auspex_storage::{CHANGE_COLUMNS, RowAction, TableShape};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ParamValues, ScalarValue, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{self, Ident, SelectItem, SetExpr};
use futures::StreamExt as _;

use super::change::table_factor;
use super::declared_types::{declared_columns, marked_schema};
use super::returning_relations::{Others, column_of};
use super::scalar_answers::{answered, queries_of};
use super::view_target::{ViewTarget, inlined};
use super::{GivenTables, bind_sql_with};
use crate::commands::folded;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_clock::with_statement_time;
use crate::streams::renamed;

/// Memory of the address of a row that was changed.
const ADDRESS_BYTES: usize = 32;

/// The expressions of a `RETURNING`.
#[derive(Debug)]
pub(crate) struct Returning {
    /// They as a projection, whose columns are numbered.
    rows: LogicalPlan,
    has_parameters: bool,
    /// What they are about: the columns of the table, then those of other relations.
    input: DFSchemaRef,
    state: Arc<SessionState>,
    /// Of what they give, under PostgreSQL's names.
    schema: SchemaRef,
    /// The columns of the rows, which may be NULL on the way to the table.
    columns: SchemaRef,
    /// The columns of other relations, which the statement's query gives behind its own; `None`: what a MERGE does.
    more: Vec<Option<ast::Expr>>,
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
    let bound = bind_sql_with(session, statement, session.state(None), given).await?;
    let LogicalPlan::Projection(projection) = &bound.plan else {
        return Err(not_of_a_row());
    };
    let is_row = match projection.input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => {
            table.view.is_some() || matches!(alias.input.as_ref(), LogicalPlan::TableScan(_))
        }
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Join(_) => !is_alone,
        _ => false,
    };
    if !is_row {
        return Err(not_of_a_row());
    }
    let through = table.view.map(|_| table.shape);
    let (input, more) = input_of(projection, &folded(alias), through)?;
    let exprs = match table.view {
        Some(_) => through_view(projection, &folded(alias))?,
        None => projection.expr.clone(),
    };
    let nullable = input.fields().iter();
    let nullable = nullable.map(|field| field.as_ref().clone().with_nullable(true));
    let rows = rows_of(&exprs, &input)?;
    let told = renamed(bound.plan.schema().inner(), &bound.names);
    let declared = declared_columns(&bound.plan, Some(table.shape));
    let returning = Returning {
        has_parameters: !rows.get_parameter_names()?.is_empty(),
        rows,
        schema: marked_schema(&told, &declared),
        columns: Arc::new(Schema::new(nullable.collect::<Vec<_>>())),
        input,
        state: bound.state,
        more,
    };
    // What cannot be computed is an error before anything is done.
    for expr in exprs_of(&returning.rows) {
        if queries_of(expr)?.is_empty() && !returning.has_parameters {
            returning.physical(session, expr.clone())?;
        }
    }
    Ok(Arc::new(returning))
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
    let named: HashSet<_> = projection.expr.iter().flat_map(Expr::column_refs).collect();
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

    /// The expressions as a projection, which has their parameters.
    pub(crate) fn rows(&self) -> &LogicalPlan {
        &self.rows
    }

    /// The expressions with values of their parameters, and the columns of what they give.
    fn with_values(&self, values: &[ScalarValue]) -> DfResult<(Vec<Expr>, SchemaRef)> {
        if !self.has_parameters {
            return Ok((exprs_of(&self.rows).to_vec(), Arc::clone(&self.schema)));
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
        Ok((exprs_of(&rows).to_vec(), schema))
    }

    /// What plans it, which may be another state of the same settings.
    pub(crate) fn state_mut(&mut self) -> &mut Arc<SessionState> {
        &mut self.state
    }

    /// What the statement's query must give behind its own columns, where `action` tells what becomes of a row.
    pub(crate) fn more(&self, action: &ast::Expr) -> Vec<ast::Expr> {
        let more = self.more.iter().cloned();
        more.map(|expr| expr.unwrap_or_else(|| super::returning_relations::merge_action(action)))
            .collect()
    }

    /// The queries whose values are returned.
    pub(crate) fn queries(&self) -> Result<Vec<Arc<LogicalPlan>>> {
        let queries = exprs_of(&self.rows).iter().map(queries_of);
        let queries = queries.collect::<Result<Vec<_>>>()?;
        Ok(queries.into_iter().flatten().collect())
    }

    /// An expression with the times of the statement.
    fn physical(&self, session: &Session, expr: Expr) -> DfResult<Arc<dyn PhysicalExpr>> {
        let options = self.state.config_options();
        // `now()` has a value only once it is simplified.
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(&self.input))
            .with_config_options(Arc::clone(options))
            .with_query_execution_start_time(Some(session.now()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expr = with_statement_time(expr, session.clock.started())?.data;
        let mut expr = simplifier.coerce(expr, &self.input)?;
        for rule in self.state.analyzer().function_rewrites() {
            let rewrite = |expr| rule.rewrite(expr, &self.input, options);
            expr = expr.transform_up(rewrite)?.data;
        }
        let expr = simplifier.simplify(expr)?;
        self.state.create_physical_expr(expr, &self.input)
    }
}

/// The rows that a statement returns, in the order of its streams.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    exprs: Arc<[Arc<dyn PhysicalExpr>]>,
    schema: SchemaRef,
    columns: SchemaRef,
    /// How many of the columns are not of the table.
    n_more: usize,
    batches: Arc<Mutex<Vec<(usize, RecordBatch)>>>,
    memory: Arc<MemoryReservation>,
}

impl Returned {
    /// What a run of the statement returns: nothing yet.
    async fn new(
        session: &Arc<Session>,
        returning: &Returning,
        parameters: &[ScalarValue],
    ) -> Result<Returned> {
        let (returned, schema) = returning.with_values(parameters)?;
        let mut exprs = Vec::with_capacity(returned.len());
        for expr in returned {
            let expr = answered(session, expr, &returning.state).await?;
            exprs.push(returning.physical(session, expr)?);
        }
        let pool = &returning.state.runtime_env().memory_pool;
        Ok(Returned {
            exprs: exprs.into(),
            schema,
            columns: Arc::clone(&returning.columns),
            n_more: returning.more.len(),
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(pool)),
        })
    }

    /// The same of a statement that may have no `RETURNING`.
    pub(crate) async fn of(
        session: &Arc<Session>,
        returning: Option<&Arc<Returning>>,
        parameters: &[ScalarValue],
    ) -> Result<Option<Returned>> {
        match returning {
            Some(returning) => Ok(Some(Returned::new(session, returning, parameters).await?)),
            None => Ok(None),
        }
    }

    fn evaluate(&self, rows: &RecordBatch) -> DfResult<RecordBatch> {
        let n_rows = rows.num_rows();
        let columns = self
            .exprs
            .iter()
            .map(|expr| expr.evaluate(rows)?.into_array(n_rows))
            .collect::<DfResult<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// The same stream of rows of the table; what is returned of them is kept.
    pub(crate) fn of_rows(
        &self,
        place: usize,
        stream: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        let (schema, kept) = (stream.schema(), self.clone());
        let rows = stream.map(move |batch| {
            let batch = batch?;
            kept.keep(place, batch.columns().to_vec(), batch.num_rows())?;
            Ok(batch)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    /// The same stream of changes, without what it has for this alone; what is returned of the rows that they concern is
    /// kept. Of a row that is met again, the first change counts, as for the table.
    pub(crate) fn of_changes(
        &self,
        stream: SendableRecordBatchStream,
    ) -> DfResult<SendableRecordBatchStream> {
        let n_own = stream.schema().fields().len() - self.n_more;
        let own: Vec<usize> = (0..n_own).collect();
        let (schema, kept) = (stream.schema().project(&own)?, self.clone());
        let mut met = BTreeSet::new();
        let changes = stream.map(move |batch| {
            let batch = batch?;
            let concerned = concerned(&batch, &mut met)?;
            kept.memory
                .try_grow(concerned.true_count() * ADDRESS_BYTES)?;
            let rows = kept.rows_of(&batch, n_own)?;
            let rows = filter_record_batch(&rows, &concerned)?;
            kept.keep(0, rows.columns().to_vec(), rows.num_rows())?;
            Ok(batch.project(&own)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::new(schema),
            changes,
        )))
    }

    /// The rows that changes are about: as they will be, or as they were if they go.
    fn rows_of(&self, batch: &RecordBatch, n_own: usize) -> DfResult<RecordBatch> {
        let n_columns = self.columns.fields().len() - self.n_more;
        let first = CHANGE_COLUMNS;
        // The new values stand before the old ones; where all rows go there are only old ones.
        let mut columns = batch.columns()[first..first + n_columns].to_vec();
        if n_own >= first + 2 * n_columns {
            let actions = batch.column(0).as_primitive::<Int32Type>().iter();
            let goes: BooleanArray = actions
                .map(|action| Some(action == Some(RowAction::Delete as i32)))
                .collect();
            for (idx, column) in columns.iter_mut().enumerate() {
                *column = zip(&goes, batch.column(first + n_columns + idx), column)?;
            }
        }
        columns.extend_from_slice(&batch.columns()[n_own..]);
        Ok(RecordBatch::try_new(Arc::clone(&self.columns), columns)?)
    }

    /// Keeps what is returned of some rows of the table, and nothing else.
    pub(crate) fn only_of(&self, rows: &[RecordBatch]) -> DfResult<()> {
        lock(&self.batches).clear();
        self.memory.free();
        let mut rows = rows.iter();
        rows.try_for_each(|rows| self.keep(0, rows.columns().to_vec(), rows.num_rows()))
    }

    fn keep(&self, place: usize, columns: Vec<ArrayRef>, n_rows: usize) -> DfResult<()> {
        if n_rows == 0 {
            return Ok(());
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), columns)?;
        let returned = self.evaluate(&rows)?;
        self.memory.try_grow(returned.get_array_memory_size())?;
        lock(&self.batches).push((place, returned));
        Ok(())
    }

    /// What was kept, as the rows of the statement.
    pub(crate) fn stream(&self) -> Result<SendableRecordBatchStream> {
        let mut batches = std::mem::take(&mut *lock(&self.batches));
        batches.sort_by_key(|(place, _)| *place);
        let batches = batches.into_iter().map(|(_, batch)| batch).collect();
        let schema = Arc::clone(&self.schema);
        let rows = MemoryStream::try_new(batches, schema, None)?;
        // Moved, so that it is given back when the client has the rows.
        let memory = self.memory.new_empty();
        memory.grow(self.memory.free());
        Ok(Box::pin(rows.with_reservation(memory)))
    }
}

/// Which rows of a batch of changes are changes of rows that were not met before.
fn concerned(
    batch: &RecordBatch,
    met: &mut BTreeSet<(i64, i64)>,
) -> std::result::Result<BooleanArray, DataFusionError> {
    let actions = batch.column(0).as_primitive::<Int32Type>();
    let files = batch.column(1).as_primitive::<Int64Type>();
    let rows = batch.column(2).as_primitive::<Int64Type>();
    let changes = [RowAction::Delete as i32, RowAction::Update as i32];
    let concerned = (0..batch.num_rows()).map(|idx| {
        let action = actions.is_valid(idx).then(|| actions.value(idx));
        let is_change = action.is_some_and(|action| changes.contains(&action));
        let is_new = action == Some(RowAction::Insert as i32);
        Some(is_new || (is_change && met.insert((files.value(idx), rows.value(idx)))))
    });
    Ok(concerned.collect())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
    use datafusion::physical_expr::expressions::Column;

    use super::*;

    #[tokio::test]
    async fn kept_rows_are_accounted_until_they_are_read() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10_000));
        let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let a: Arc<dyn PhysicalExpr> = Arc::new(Column::new("a", 0));
        let returned = Returned {
            exprs: [a].into(),
            schema: Arc::clone(&columns),
            columns,
            n_more: 0,
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(&pool)),
        };
        let keep = |n_rows: i64| {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n_rows));
            returned.keep(0, vec![values], n_rows as usize)
        };
        keep(100).unwrap();
        assert!(pool.reserved() >= 800);
        let refused = keep(10_000).unwrap_err();
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)));
        let rows = returned.stream().unwrap();
        drop(returned);
        assert!(pool.reserved() >= 800);
        drop(rows);
        assert_eq!(pool.reserved(), 0);
    }
}
