//! The names of the files that a statement writes, to remove them if it fails.
//!
//! A store flows in, and the same store flows out that notes what is put into it: a writer of files closes one when it is
//! full, and tells of it only at its end.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use deltalake::logstore::ObjectStoreRef;
use object_store::path::Path;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

use crate::stores::{Layer, Layered};

/// The names of what was written through one store.
#[derive(Debug, Clone)]
pub(crate) struct WrittenNames {
    store: ObjectStoreRef,
    names: Arc<Mutex<Vec<Path>>>,
}

impl WrittenNames {
    /// None yet, and the store that notes them.
    pub(crate) fn of(store: ObjectStoreRef) -> (ObjectStoreRef, Self) {
        let written = Self {
            store,
            names: Arc::default(),
        };
        (Arc::new(Layered::new(written.clone())), written)
    }

    /// Removes the files; what cannot be removed is left for VACUUM.
    pub(crate) async fn remove(&self) {
        let names = std::mem::take(&mut *self.lock());
        for name in names {
            match self.store.delete(&name).await {
                // A file that was not finished has no name.
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, %name, "could not remove a file of a failed statement");
                }
            }
        }
    }

    fn note(&self, path: &Path) {
        self.lock().push(path.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Path>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Layer for WrittenNames {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.store)
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.note(path);
        self.store.put_opts(path, body, options).await
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note(path);
        self.store.put_multipart_opts(path, options).await
    }
}
