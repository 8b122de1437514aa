//! `RETURNING`: expressions over the rows that a statement changes.
//!
//! In: the select list and the table; out: physical expressions that are evaluated on each batch of changed rows while
//! it is on its way to the table, so that a failure of theirs fails the statement. What they gave is kept until the
//! rows are committed, and accounted in the statement's memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use auspex_storage::{CHANGE_COLUMNS, RowAction, TableShape};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::{self, Ident, SelectItem, SetExpr};
use futures::StreamExt as _;

use super::change::table_factor;
use super::{GivenTables, bind_sql_with};
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::streams::renamed;

/// Memory of the address of a row that was changed.
const ADDRESS_BYTES: usize = 32;

/// The expressions of a `RETURNING`.
#[derive(Debug)]
pub(crate) struct Returning {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// Of what they give, under PostgreSQL's names.
    schema: SchemaRef,
    /// The columns of the table, which may be NULL on the way to it.
    columns: SchemaRef,
    memory: Arc<dyn MemoryPool>,
}

/// Binds the select list of a `RETURNING`; `alias` is what the statement calls the table.
pub(crate) async fn bind_returning(
    session: &Arc<Session>,
    items: &[SelectItem],
    shape: &TableShape,
    alias: &Ident,
) -> Result<Arc<Returning>> {
    let mut given = GivenTables::default();
    let columns = shape.schema();
    let private = given.give(
        &alias.value,
        Arc::new(EmptyTable::new(Arc::clone(&columns))),
    );
    let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::unsupported("RETURNING"));
    };
    select.projection = items.to_vec();
    select.from = vec![ast::TableWithJoins {
        relation: table_factor(private, alias.clone()),
        joins: vec![],
    }];
    let statement = ast::Statement::Query(query);
    let bound = bind_sql_with(session, statement, session.state(None), given).await?;
    let LogicalPlan::Projection(projection) = &bound.plan else {
        return Err(Error::unsupported(
            "RETURNING of more than expressions over a row",
        ));
    };
    let is_row = match projection.input.as_ref() {
        LogicalPlan::SubqueryAlias(alias) => {
            matches!(alias.input.as_ref(), LogicalPlan::TableScan(_))
        }
        LogicalPlan::TableScan(_) => true,
        _ => false,
    };
    if !is_row {
        return Err(Error::unsupported(
            "RETURNING of more than expressions over a row",
        ));
    }
    let seen = projection.input.schema();
    // `now()` has a value only once it is simplified.
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(seen))
        .with_config_options(Arc::clone(bound.state.config_options()))
        .with_query_execution_start_time(bound.state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let physical = |expr: &Expr| {
        let mut expr = simplifier.coerce(expr.clone(), seen)?;
        for rule in bound.state.analyzer().function_rewrites() {
            let rewrite = |expr| rule.rewrite(expr, seen, bound.state.config_options());
            expr = expr.transform_up(rewrite)?.data;
        }
        bound
            .state
            .create_physical_expr(simplifier.simplify(expr)?, seen)
    };
    let exprs = projection.expr.iter().map(physical);
    let exprs = exprs.collect::<DfResult<Vec<_>>>()?;
    let nullable = columns.fields().iter();
    let nullable = nullable.map(|field| field.as_ref().clone().with_nullable(true));
    Ok(Arc::new(Returning {
        exprs,
        schema: renamed(bound.plan.schema().inner(), &bound.names),
        columns: Arc::new(Schema::new(nullable.collect::<Vec<_>>())),
        memory: Arc::clone(&bound.state.runtime_env().memory_pool),
    }))
}

impl Returning {
    /// The columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
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
}

/// The rows that a statement returns, in the order of its streams.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    returning: Arc<Returning>,
    batches: Arc<Mutex<Vec<(usize, RecordBatch)>>>,
    memory: Arc<MemoryReservation>,
}

impl Returned {
    pub(crate) fn new(returning: &Arc<Returning>) -> Returned {
        Returned {
            returning: Arc::clone(returning),
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(&returning.memory)),
        }
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

    /// The same stream of changes; what is returned of the rows that they concern is kept. Of a row that is met again,
    /// the first change counts, as for the table.
    pub(crate) fn of_changes(
        &self,
        stream: SendableRecordBatchStream,
    ) -> SendableRecordBatchStream {
        let (schema, kept) = (stream.schema(), self.clone());
        let mut met = BTreeSet::new();
        let changes = stream.map(move |batch| {
            let batch = batch?;
            let concerned = concerned(&batch, &mut met)?;
            kept.memory
                .try_grow(concerned.true_count() * ADDRESS_BYTES)?;
            let n_columns = kept.returning.columns.fields().len();
            // The new values of rows that stay stand before the old ones; of those that go there are only old ones.
            let first = CHANGE_COLUMNS;
            let places: Vec<usize> = (first..first + n_columns).collect();
            let rows = filter_record_batch(&batch.project(&places)?, &concerned)?;
            kept.keep(0, rows.columns().to_vec(), rows.num_rows())?;
            Ok(batch)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, changes))
    }

    fn keep(&self, place: usize, columns: Vec<ArrayRef>, n_rows: usize) -> DfResult<()> {
        if n_rows == 0 {
            return Ok(());
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.returning.columns), columns)?;
        let returned = self.returning.evaluate(&rows)?;
        self.memory.try_grow(returned.get_array_memory_size())?;
        lock(&self.batches).push((place, returned));
        Ok(())
    }

    /// What was kept, as the rows of the statement.
    pub(crate) fn stream(&self) -> Result<SendableRecordBatchStream> {
        let mut batches = std::mem::take(&mut *lock(&self.batches));
        batches.sort_by_key(|(place, _)| *place);
        let batches = batches.into_iter().map(|(_, batch)| batch).collect();
        let schema = Arc::clone(&self.returning.schema);
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
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::physical_expr::expressions::Column;

    use super::*;

    #[tokio::test]
    async fn kept_rows_are_accounted_until_they_are_read() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10_000));
        let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let returning = Arc::new(Returning {
            exprs: vec![Arc::new(Column::new("a", 0))],
            schema: Arc::clone(&columns),
            columns,
            memory: Arc::clone(&pool),
        });
        let returned = Returned::new(&returning);
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
