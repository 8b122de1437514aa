//! The rows of a task on a worker, which count as long as they come and end once nobody reads the task.
//!
//! In: a stream and its task; out: the same stream. The library keeps a plan, and in it streams that were made and not
//! yet read, until some later query makes it tidy up: such streams are dropped here, when their task ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, TryLockError};
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Stream, StreamExt as _};

use super::error::for_the_way;
use super::worker_session::{Running, Task};
use crate::error::Error;

/// What computes a task's rows; `None` once nobody reads them.
type Rows = Mutex<Option<(SendableRecordBatchStream, Running)>>;

/// A stream that is one of a task's.
pub(super) struct TaskRows {
    schema: SchemaRef,
    task: Task,
    rows: Arc<Rows>,
}

impl TaskRows {
    /// Counts as running from now on. Errors leave in the words of a report.
    pub(super) fn new(task: &Task, rows: SendableRecordBatchStream) -> TaskRows {
        let schema = rows.schema();
        let rows = Arc::new(Mutex::new(Some((rows, Running::new(task)))));
        let (unread, kept) = (task.unread.clone(), Arc::downgrade(&rows));
        tokio::spawn(async move {
            unread.cancelled().await;
            if let Some(rows) = kept.upgrade() {
                drop_unread(&rows);
            }
        });
        TaskRows {
            schema,
            task: task.clone(),
            rows,
        }
    }
}

/// Ends what is not computing at the moment; what is looks itself, once it has paused.
fn drop_unread(rows: &Rows) {
    let ended = match rows.try_lock() {
        Ok(mut rows) => rows.take(),
        Err(TryLockError::Poisoned(rows)) => rows.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    drop(ended);
}

impl Stream for TaskRows {
    type Item = DfResult<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = match &mut *crate::engine::lock(&self.rows) {
            Some((rows, _)) => rows.poll_next_unpin(context),
            None => Poll::Ready(Some(Err(DataFusionError::from(Error::Cancelled)))),
        };
        if self.task.unread.is_cancelled() {
            drop_unread(&self.rows);
        }
        polled.map_err(for_the_way)
    }
}

impl RecordBatchStream for TaskRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::distributed::worker_session::Tasks;

    #[tokio::test]
    async fn rows_that_nobody_began_to_read_end_with_their_task() {
        let task = Task {
            all: Tasks::default(),
            unread: CancellationToken::new(),
        };
        let never = futures::stream::pending();
        let never = RecordBatchStreamAdapter::new(Arc::new(Schema::empty()), never);
        let mut rows = TaskRows::new(&task, Box::pin(never));
        assert_eq!(task.all.n_running(), 1);
        task.unread.cancel();
        while task.all.n_running() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(task.all.n_cancelled(), 1);
        let error = rows.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("cancel"), "{error}");
    }
}
