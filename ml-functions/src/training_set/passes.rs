//! Runs the work of a pass on a fixed number of threads of its own.
//!
//! In: a function that takes pieces of work until none is left; out: nothing but an error, a cancel
//! answered at once, and progress. Threads only decide who does which piece, never what comes of it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::run::{Progress, ProgressSink, TrainingRun};
use crate::training::Usage;

/// The threads of a pass.
#[derive(Clone)]
pub(super) struct Workers {
    pub(super) threads: usize,
    cancel: CancellationToken,
    progress: ProgressSink,
    rows: Arc<AtomicU64>,
    pub(super) usage: Arc<Usage>,
}

/// What a worker asks whether to go on.
pub(super) struct Stop {
    cancel: CancellationToken,
    handle: Handle,
}

impl Workers {
    /// `rows` counts the rows of the phase.
    pub(super) fn new(threads: usize, run: &TrainingRun, rows: &Arc<AtomicU64>) -> Workers {
        Workers {
            threads: threads.max(1),
            cancel: run.cancel.clone(),
            progress: run.progress_sink(),
            rows: Arc::clone(rows),
            usage: Arc::clone(&run.usage),
        }
    }

    /// Counts rows that were read or passed over.
    pub(super) fn count_rows(&self, n_rows: usize) {
        let n_before = self.rows.fetch_add(n_rows as u64, Ordering::Relaxed);
        (self.progress)(Progress::Rows(n_before + n_rows as u64));
    }

    /// Runs `work` once on each thread and waits for all. The first error stops the others. When the
    /// run is cancelled this returns at once, and when its future is dropped the threads end too, at
    /// their next piece of work; what they hold lives until then.
    pub(super) fn run<W>(&self, work: W) -> impl Future<Output = Result<()>> + Send + use<W>
    where
        W: Fn(&Stop) -> Result<()> + Send + Sync + 'static,
    {
        let (work, run_cancel) = (Arc::new(work), self.cancel.clone());
        let threads = self.threads;
        async move {
            let cancel = run_cancel.child_token();
            let guard = cancel.clone().drop_guard();
            let start = |_| -> JoinHandle<Result<()>> {
                let stop = Stop {
                    cancel: cancel.clone(),
                    handle: Handle::current(),
                };
                let work = Arc::clone(&work);
                spawn_blocking(move || work(&stop))
            };
            let mut workers: FuturesUnordered<_> = (0..threads).map(start).collect();
            drop(work);
            let mut outcome = Ok(());
            loop {
                let ended = tokio::select! {
                    biased;
                    () = run_cancel.cancelled() => return Err(Error::Cancelled),
                    ended = workers.next() => ended,
                };
                let Some(ended) = ended else { break };
                let ended = ended.unwrap_or_else(|panic| {
                    Err(Error::Internal {
                        what: format!("a worker thread ended: {panic}"),
                    })
                });
                if let (true, Err(error)) = (outcome.is_ok(), ended) {
                    outcome = Err(error);
                    cancel.cancel();
                }
            }
            drop(guard.disarm());
            outcome
        }
    }
}

impl Stop {
    /// Fails once the pass is to end.
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// The next batch of a stream, polled on the runtime from this thread.
    pub(super) fn next_batch(
        &self,
        stream: &mut SendableRecordBatchStream,
    ) -> Result<Option<RecordBatch>> {
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(Error::Cancelled),
                batch = stream.next() => Ok(batch.transpose()?),
            }
        })
    }
}
