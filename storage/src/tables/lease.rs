//! The files of a managed table while something of this server uses them.
//!
//! The logs, versions and scans of a table hold its lease. A table that is dropped loses its files at once if nobody
//! else holds it, else when the last statement that does ends. What a crash leaves in between, `catalog gc` removes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::Result;
use crate::tables::delta_log::LOG_FOLDER;

/// A hold on the files of one table.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    is_dropped: AtomicBool,
}

impl Lease {
    /// `folder` lies in `store`.
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, folder: Path) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(store),
            folder,
            is_dropped: AtomicBool::new(false),
        })
    }

    /// Removes the files, at once or when the last other holder lets them go.
    pub(crate) async fn end(self: Arc<Self>) -> Result<()> {
        self.is_dropped.store(true, Ordering::SeqCst);
        match Arc::try_unwrap(self) {
            Ok(last) => {
                last.is_dropped.store(false, Ordering::SeqCst);
                remove(&last.store, &last.folder).await
            }
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_dropped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (store, folder) = (Arc::clone(&self.store), self.folder.clone());
        runtime.spawn(async move {
            if let Err(error) = remove(&store, &folder).await {
                tracing::warn!(%error, %folder, "could not remove the files of a dropped table");
            }
        });
    }
}

/// Removes the files of a table, its log last, so that a half-removed one is still a table without some files
/// rather than files without a table.
async fn remove(store: &Arc<dyn ObjectStore>, folder: &Path) -> Result<()> {
    let files: Vec<Path> = store
        .list(Some(folder))
        .map_ok(|file| file.location)
        .try_collect()
        .await?;
    let log = folder.clone().join(LOG_FOLDER);
    let (last, first): (Vec<Path>, Vec<Path>) = files
        .into_iter()
        .partition(|file| file.prefix_matches(&log));
    for files in [first, last] {
        let locations = futures::stream::iter(files).map(Ok).boxed();
        let mut deletions = store.delete_stream(locations);
        while let Some(deleted) = deletions.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
