//! Watches the memory of the rows that an operator gives.
//!
//! In: an operator of a finished plan and who reads it; out: its streams, whose wide batches are accounted for while the
//! reader works on them, come in pieces where much is made of a row, and count for longer where the reader keeps them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::WindowAggExec;
use futures::Stream;

use super::ration::{Pieces, Ration};
use crate::engine::lock;
use crate::memory::{InFlight, Room, array_bytes, rows_bytes};

/// Operators that make new rows of those that they are given, or of files.
const MAKERS: [&str; 9] = [
    "AggregateExec",
    "CrossJoinExec",
    "DataSourceExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "SortMergeJoinExec",
    "UnnestExec",
    "WindowAggExec",
];

/// The columns that an operator makes; others are its input's.
#[derive(Debug, Clone)]
enum Made {
    Nothing,
    Everything,
    Columns(Arc<[usize]>),
}

impl Made {
    fn by(plan: &Arc<dyn ExecutionPlan>) -> Made {
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let columns = projection.expr().iter().enumerate();
            let computed = columns.filter(|(_, column)| !column.expr.is::<Column>());
            return Made::Columns(computed.map(|(idx, _)| idx).collect());
        }
        match MAKERS.contains(&plan.name()) {
            true => Made::Everything,
            false => Made::Nothing,
        }
    }

    fn bytes_of(&self, rows: &RecordBatch) -> usize {
        match self {
            Made::Nothing => 0,
            Made::Everything => rows_bytes(rows),
            Made::Columns(columns) => columns
                .iter()
                .filter_map(|idx| rows.columns().get(*idx))
                .map(array_bytes)
                .sum(),
        }
    }
}

/// The memory of rows that an operator keeps until its end and does not account for, by partition.
#[derive(Debug)]
struct Kept(Vec<Mutex<Option<(InFlight, usize)>>>);

impl Kept {
    fn by(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<Kept>> {
        plan.downcast_ref::<WindowAggExec>()?;
        let n_partitions = plan.properties().partitioning.partition_count();
        let partitions = (0..n_partitions).map(|_| Mutex::default());
        Some(Arc::new(Kept(partitions.collect())))
    }

    fn keep(&self, partition: usize, pool: &Arc<dyn MemoryPool>, rows: &RecordBatch) -> Result<()> {
        let Some(slot) = self.0.get(partition) else {
            return Ok(());
        };
        let mut slot = lock(slot);
        let (held, n_bytes) = slot.get_or_insert_with(|| (InFlight::new(pool), 0));
        *n_bytes += rows_bytes(rows);
        held.hold(*n_bytes)
    }

    fn release(&self, partition: usize) {
        if let Some(slot) = self.0.get(partition) {
            *lock(slot) = None;
        }
    }
}

/// What an operator does with the rows that it reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    makes_much: Option<Arc<Ration>>,
    keeps: Option<Arc<Kept>>,
}

impl Reader {
    /// The operator, for those whose rows it reads.
    pub(super) fn new(plan: &Arc<dyn ExecutionPlan>) -> Result<Reader> {
        // What reads nothing computes of files, in batches that it decides itself.
        if plan.children().is_empty() {
            return Ok(Reader::default());
        }
        Ok(Reader {
            makes_much: Ration::of(plan)?,
            keeps: Kept::by(plan),
        })
    }
}

/// What is watched of an operator.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    made: Made,
    /// What it does itself.
    own: Reader,
    /// Who reads it.
    reader: Reader,
}

impl Watch {
    pub(super) fn new(plan: &Arc<dyn ExecutionPlan>, own: Reader, reader: Reader) -> Watch {
        Watch {
            made: Made::by(plan),
            own,
            reader,
        }
    }

    /// A partition's rows.
    pub(super) fn stream(
        &self,
        inner: SendableRecordBatchStream,
        partition: usize,
        pool: &Arc<dyn MemoryPool>,
    ) -> WatchedStream {
        let counts = self.own.makes_much.as_ref();
        let room = match counts.and_then(|ration| ration.values_of(partition)) {
            // What it makes of a piece is there at once.
            Some(values) if matches!(self.made, Made::Columns(_)) => {
                Room::counting(pool, values).together()
            }
            Some(values) => Room::counting(pool, values),
            None => Room::new(pool),
        };
        let pieces = self.reader.makes_much.as_ref();
        WatchedStream {
            inner,
            room,
            in_flight: InFlight::new(pool),
            pieces: pieces.map(|ration| Pieces::new(ration, partition)),
            pool: Arc::clone(pool),
            watch: self.clone(),
            partition,
        }
    }
}

/// The rows of one partition of an operator.
pub(super) struct WatchedStream {
    inner: SendableRecordBatchStream,
    room: Room,
    in_flight: InFlight,
    pieces: Option<Pieces>,
    pool: Arc<dyn MemoryPool>,
    watch: Watch,
    partition: usize,
}

impl WatchedStream {
    /// Accounts for a batch; what of it is handed out first.
    fn taken_in(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let Watch { made, own, reader } = &self.watch;
        let n_bytes = made.bytes_of(&batch);
        if let Some(ration) = &own.makes_much {
            ration.gave(self.partition, n_bytes);
        }
        self.in_flight.hold(n_bytes)?;
        if let Some(kept) = &reader.keeps {
            kept.keep(self.partition, &self.pool, &batch)?;
        }
        Ok(match &mut self.pieces {
            Some(pieces) => pieces.begin(batch),
            None => batch,
        })
    }
}

impl Stream for WatchedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(piece) = this.pieces.as_mut().and_then(Pieces::next) {
            return Poll::Ready(Some(Ok(piece)));
        }
        // Who asks for the next batch is done with the last one.
        this.in_flight.release();
        let WatchedStream { inner, room, .. } = this;
        let next = ready!(room.within(|| inner.as_mut().poll_next(cx)));
        Poll::Ready(match next {
            Some(Ok(batch)) => Some(this.taken_in(batch)),
            other => other,
        })
    }
}

impl RecordBatchStream for WatchedStream {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        if let Some(kept) = &self.watch.own.keeps {
            kept.release(self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::StreamExt as _;

    use super::*;

    fn wide(n_bytes: usize) -> RecordBatch {
        let text = StringArray::from(vec!["x".repeat(n_bytes)]);
        RecordBatch::try_new(schema(), vec![Arc::new(text)]).unwrap()
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]))
    }

    fn watched(reader: Reader, pool: &Arc<dyn MemoryPool>, sizes: &[usize]) -> WatchedStream {
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(schema()));
        let watch = Watch {
            made: Made::Everything,
            ..Watch::new(&plan, Reader::default(), reader)
        };
        let batches: Vec<_> = sizes.iter().map(|n_bytes| Ok(wide(*n_bytes))).collect();
        let rows = RecordBatchStreamAdapter::new(schema(), futures::stream::iter(batches));
        watch.stream(Box::pin(rows), 0, pool)
    }

    #[tokio::test]
    async fn a_wide_batch_counts_until_the_next_is_asked_for() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(20 << 20));
        let mut rows = watched(Reader::default(), &pool, &[10 << 20, 100, 100 << 20]);
        assert!(rows.next().await.unwrap().is_ok());
        assert!(pool.reserved() > 10 << 20);
        assert!(rows.next().await.unwrap().is_ok());
        assert_eq!(pool.reserved(), 0);
        assert!(rows.next().await.unwrap().is_err());
        drop(rows);
        assert_eq!(pool.reserved(), 0);
    }

    #[tokio::test]
    async fn kept_rows_count_until_the_operator_ends() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(20 << 20));
        let kept = Arc::new(Kept(vec![Mutex::default()]));
        let reader = Reader {
            keeps: Some(Arc::clone(&kept)),
            ..Reader::default()
        };
        let mut rows = watched(reader.clone(), &pool, &[5 << 20, 5 << 20]);
        while let Some(batch) = rows.next().await {
            batch.unwrap();
        }
        drop(rows);
        assert!(pool.reserved() > 10 << 20);
        kept.release(0);
        assert_eq!(pool.reserved(), 0);
        let mut rows = watched(reader, &pool, &[10 << 20; 9]);
        let n_rows = async {
            let mut n_rows = 0;
            while let Some(Ok(_)) = rows.next().await {
                n_rows += 1;
            }
            n_rows
        };
        assert!(n_rows.await < 9);
        kept.release(0);
    }
}
