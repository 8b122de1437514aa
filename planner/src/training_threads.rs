//! Threads for trainings, apart from those of queries: a training computes for minutes without a pause, and queries must
//! find a thread meanwhile.
//!
//! In: a future; out: its result. Dropping the future ends it at its next pause.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::session::STACK_BYTES;

/// The threads.
#[derive(Debug)]
pub(crate) struct TrainingThreads(Option<Runtime>);

impl TrainingThreads {
    /// Starts them; they wait until there is a training.
    pub(crate) fn start(threads: usize) -> io::Result<TrainingThreads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("auspex-training")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build();
        Ok(TrainingThreads(Some(runtime?)))
    }

    /// Runs a training to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        training: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let stopped = || Error::invalid("57P01", "the engine is being stopped", None);
        let runtime = self.0.as_ref().ok_or_else(stopped)?;
        let mut task = AbortOnDrop(runtime.spawn(training));
        match (&mut task.0).await {
            Ok(result) => result,
            // The statement's own task tells of it.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(stopped()),
        }
    }
}

impl Drop for TrainingThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime must not be waited for on a thread of another one.
            runtime.shutdown_background();
        }
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
