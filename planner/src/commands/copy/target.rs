//! The file that a COPY writes: it appears once all its rows are written, or never.
//!
//! In: the file's URL and the work that writes it; out: the number of rows. What the file holds is the business of those
//! who write it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use auspex_storage::PostponedFiles;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use url::Url;

use crate::error::Result;
use crate::session::Session;

/// Where a plan writes a file that appears when the plan has ended well. While it is there, the query engine finds it
/// under a URL that nobody else has.
pub(super) struct Target {
    files: PostponedFiles,
    root: Url,
    runtime: Arc<RuntimeEnv>,
}

impl Target {
    pub(super) fn new(session: &Session, url: &Url) -> Result<Target> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = Url::parse(&format!("copy-{number}://file"))
            .map_err(|error| DataFusionError::External(error.into()))?;
        let files = PostponedFiles::over(session.engine.warehouse.stores(), url)?;
        let runtime = Arc::clone(session.context().state_ref().read().runtime_env());
        runtime.register_object_store(&root, files.store());
        Ok(Target {
            files,
            root,
            runtime,
        })
    }

    /// The file's URL for the query engine.
    pub(super) fn place(&self, url: &Url) -> String {
        format!("{}{}", self.root, url.path())
    }

    /// Waits for the rows, and makes the file appear.
    pub(super) async fn finish(self, written: impl Future<Output = Result<u64>>) -> Result<u64> {
        let written = tokio::select! {
            written = written => written.map(Some),
            // It will tell of that itself.
            () = self.files.failed() => Ok(None),
        };
        match written {
            Ok(n_rows) => {
                self.files.finish().await?;
                Ok(n_rows.unwrap_or_default())
            }
            Err(error) => {
                self.files.discard().await;
                Err(error)
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It was registered above.
        let _ = self.runtime.deregister_object_store(&self.root);
    }
}
