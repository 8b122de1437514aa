//! Whether an operator has given its last row.
//!
//! In: the rows of an operator; out: the same, and a note once they have ended without an error, for those who are told of
//! an error that came behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use futures::stream::poll_fn;

/// The note. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastRow(Arc<AtomicBool>);

impl LastRow {
    /// Whether the last row was given.
    pub(crate) fn was_given(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The rows of an operator, whose end is noted.
    pub(super) fn noted(&self, mut rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let (schema, note) = (rows.schema(), self.clone());
        let mut has_failed = false;
        let noted = poll_fn(move |context: &mut Context<'_>| {
            let next = ready!(rows.poll_next_unpin(context));
            match &next {
                Some(batch) => has_failed |= batch.is_err(),
                None if has_failed => {}
                None => note.0.store(true, Ordering::Release),
            }
            Poll::Ready(next)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, noted))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::RecordBatch;
    use datafusion::arrow::datatypes::Schema;
    use datafusion::error::{DataFusionError, Result};

    use super::*;

    async fn is_noted(fails: bool) -> Vec<bool> {
        let schema = Arc::new(Schema::empty());
        let rows = || -> Result<RecordBatch> { Ok(RecordBatch::new_empty(schema.clone())) };
        let second = match fails {
            true => Err(DataFusionError::External("lost".into())),
            false => rows(),
        };
        let batches = futures::stream::iter([rows(), second]);
        let rows = RecordBatchStreamAdapter::new(schema.clone(), batches);
        let last = LastRow::default();
        let mut noted = last.noted(Box::pin(rows));
        let mut found = Vec::new();
        for _ in 0..3 {
            // Its rows are others' concern.
            let _ = noted.next().await;
            found.push(last.was_given());
        }
        found
    }

    #[tokio::test]
    async fn an_end_without_an_error_is_noted() {
        assert_eq!(is_noted(false).await, [false, false, true]);
        assert_eq!(is_noted(true).await, [false, false, false]);
    }
}
