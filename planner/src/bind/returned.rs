//! The rows that a statement returns: what its `RETURNING` makes of the rows on their way to the table.
//!
//! In: streams of rows, or of changes; out: the same streams, and what is returned of them, in their order. Expressions are
//! evaluated on each batch, queries once, when all streams have ended; a failure of theirs fails the statement, whose rows are
//! not committed yet. What they gave is accounted in the statement's memory.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use auspex_storage::{CHANGE_COLUMNS, RowAction};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;

use super::returned_queries::RowsQuery;
use super::returning::Returning;
use crate::engine::lock;
use crate::error::Result;
use crate::session::Session;
use crate::statement_run::{ReturnedCheck, StatementControl};

/// Memory of the address of a row that was changed.
const ADDRESS_BYTES: usize = 32;

/// The rows that a statement returns, in the order of its streams.
#[derive(Debug, Clone)]
pub(crate) struct Returned {
    made: Made,
    schema: SchemaRef,
    columns: SchemaRef,
    /// How many of the columns are not of the table.
    n_more: usize,
    batches: Arc<Mutex<Vec<(usize, RecordBatch)>>>,
    memory: Arc<MemoryReservation>,
    /// What must hold of them.
    check: Option<ReturnedCheck>,
}

/// How what is returned is made of rows.
#[derive(Debug, Clone)]
pub(super) enum Made {
    /// Each batch is given to these.
    Of(Arc<[Arc<dyn PhysicalExpr>]>),
    /// All rows are given to a query.
    By(Arc<RowsQuery>),
}

impl Returned {
    /// What a run of the statement returns: nothing yet.
    fn new(
        session: &Session,
        returning: &Returning,
        parameters: &[ScalarValue],
        control: &StatementControl,
    ) -> Result<Returned> {
        let (made, schema) = returning.made(session, parameters)?;
        let pool = returning.memory_pool();
        Ok(Returned {
            made,
            schema,
            columns: Arc::clone(returning.columns()),
            n_more: returning.n_more(),
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(&pool)),
            check: control.returned.clone(),
        })
    }

    /// The same of a statement that may have no `RETURNING`.
    pub(crate) fn of(
        session: &Session,
        returning: Option<&Arc<Returning>>,
        parameters: &[ScalarValue],
        control: &StatementControl,
    ) -> Result<Option<Returned>> {
        let returned =
            returning.map(|returning| Returned::new(session, returning, parameters, control));
        returned.transpose()
    }

    /// The same streams of rows of the table; what is returned of them is kept.
    pub(crate) fn of_rows(
        &self,
        streams: Vec<SendableRecordBatchStream>,
    ) -> Vec<SendableRecordBatchStream> {
        let n_open = Arc::new(AtomicUsize::new(streams.len()));
        let kept = streams.into_iter().enumerate().map(|(place, stream)| {
            let (schema, kept) = (stream.schema(), self.clone());
            let rows = stream.map(move |batch| {
                let batch = batch?;
                kept.keep(place, batch.columns().to_vec(), batch.num_rows())?;
                Ok(batch)
            });
            let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
            self.asked_behind(rows, Arc::clone(&n_open))
        });
        kept.collect()
    }

    /// The same stream. A query is given all rows that were kept at the end of the last of the streams, of which so many have
    /// not ended.
    fn asked_behind(
        &self,
        stream: SendableRecordBatchStream,
        n_open: Arc<AtomicUsize>,
    ) -> SendableRecordBatchStream {
        let Made::By(query) = &self.made else {
            return stream;
        };
        let (schema, kept, query) = (stream.schema(), self.clone(), Arc::clone(query));
        let asked = async move {
            let is_last = n_open.fetch_sub(1, Ordering::AcqRel) == 1;
            match is_last {
                true => kept.ask(&query).await.err().map(Err),
                false => None,
            }
        };
        let failure = futures::stream::once(asked).filter_map(futures::future::ready);
        Box::pin(RecordBatchStreamAdapter::new(schema, stream.chain(failure)))
    }

    /// Puts what a query makes of the rows that were kept in their place.
    async fn ask(&self, query: &RowsQuery) -> DfResult<()> {
        let rows = self.taken();
        if rows.is_empty() {
            return Ok(());
        }
        let n_bytes = rows.iter().map(RecordBatch::get_array_memory_size).sum();
        for returned in query.ask(rows).await? {
            let columns = returned.columns()[..self.schema.fields().len()].to_vec();
            let returned = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
            self.give(0, returned)?;
        }
        self.memory.shrink(n_bytes);
        Ok(())
    }

    /// Takes what was kept, in the order of the streams.
    fn taken(&self) -> Vec<RecordBatch> {
        let mut batches = std::mem::take(&mut *lock(&self.batches));
        batches.sort_by_key(|(place, _)| *place);
        batches.into_iter().map(|(_, batch)| batch).collect()
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
        let changes = RecordBatchStreamAdapter::new(Arc::new(schema), changes);
        Ok(self.asked_behind(Box::pin(changes), Arc::new(AtomicUsize::new(1))))
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

    /// Keeps what expressions return of some rows of the table, and nothing else.
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
        let Made::Of(exprs) = &self.made else {
            return self.put(place, rows);
        };
        let columns = exprs
            .iter()
            .map(|expr| expr.evaluate(&rows)?.into_array(n_rows))
            .collect::<DfResult<Vec<_>>>()?;
        self.give(
            place,
            RecordBatch::try_new(Arc::clone(&self.schema), columns)?,
        )
    }

    /// Keeps rows as the client gets them.
    fn give(&self, place: usize, batch: RecordBatch) -> DfResult<()> {
        if let Some(check) = &self.check {
            check.check(&batch)?;
        }
        self.put(place, batch)
    }

    fn put(&self, place: usize, batch: RecordBatch) -> DfResult<()> {
        self.memory.try_grow(batch.get_array_memory_size())?;
        lock(&self.batches).push((place, batch));
        Ok(())
    }

    /// What was kept, as the rows of the statement.
    pub(crate) fn stream(&self) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(&self.schema);
        let rows = MemoryStream::try_new(self.taken(), schema, None)?;
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
    use datafusion::arrow::compute::concat_batches;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::DFSchema;
    use datafusion::datasource::empty::EmptyTable;
    use datafusion::datasource::provider_as_source;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
    use datafusion::functions_aggregate::count::count_all_window;
    use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col};
    use datafusion::physical_expr::expressions::Column;
    use datafusion::prelude::SessionContext;
    use futures::TryStreamExt as _;

    use crate::bind::returned_queries::{in_order, over_rows};

    use super::*;

    #[tokio::test]
    async fn kept_rows_are_accounted_until_they_are_read() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10_000));
        let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let a: Arc<dyn PhysicalExpr> = Arc::new(Column::new("a", 0));
        let returned = Returned {
            made: Made::Of([a].into()),
            schema: Arc::clone(&columns),
            columns,
            n_more: 0,
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(&pool)),
            check: None,
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

    /// What tells of each row of a table `t` how many rows there are.
    fn counting(columns: &Arc<Schema>) -> RowsQuery {
        let source = provider_as_source(Arc::new(EmptyTable::new(Arc::clone(columns))));
        let table = LogicalPlanBuilder::scan("t", source, None);
        let selected = table.and_then(|table| table.project(vec![col("t.a")]));
        let LogicalPlan::Projection(selected) =
            selected.and_then(LogicalPlanBuilder::build).unwrap()
        else {
            unreachable!("the plan is a projection");
        };
        let input = DFSchema::try_from_qualified_schema("t", columns).unwrap();
        let rows = over_rows(&selected, &input, ("t", None)).unwrap();
        let mut items: Vec<Expr> = rows
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        items.insert(1, col("n"));
        let counted = vec![count_all_window().alias("n")];
        let counted = LogicalPlanBuilder::from(rows).window(counted);
        let plan = counted.and_then(|rows| rows.project(items)?.build());
        RowsQuery {
            plan: in_order(plan.unwrap()).unwrap(),
            state: SessionContext::new().state(),
        }
    }

    #[tokio::test]
    async fn a_query_is_asked_once_for_the_rows_of_all_streams() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000_000));
        let a = Field::new("a", DataType::Int64, true);
        let n = Field::new("n", DataType::Int64, false);
        let columns = Arc::new(Schema::new(vec![a.clone()]));
        let returned = Returned {
            made: Made::By(Arc::new(counting(&columns))),
            schema: Arc::new(Schema::new(vec![a, n])),
            columns: Arc::clone(&columns),
            n_more: 0,
            batches: Arc::default(),
            memory: Arc::new(MemoryConsumer::new("RETURNING").register(&pool)),
            check: None,
        };
        let stream = |numbers: std::ops::Range<i64>| -> SendableRecordBatchStream {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
            let rows = RecordBatch::try_new(Arc::clone(&columns), vec![values]).unwrap();
            Box::pin(MemoryStream::try_new(vec![rows], Arc::clone(&columns), None).unwrap())
        };
        let mut streams = returned.of_rows(vec![stream(0..2), stream(2..5)]);
        // Whichever ends first.
        while let Some(stream) = streams.pop() {
            let _: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        }
        let rows = returned.stream().unwrap();
        let rows: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        let rows = concat_batches(&returned.schema, &rows).unwrap();
        let numbers = rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(numbers.values(), &[0, 1, 2, 3, 4]);
        let counts = rows.column(1).as_primitive::<Int64Type>();
        assert_eq!(counts.values(), &[5, 5, 5, 5, 5]);
    }
}
