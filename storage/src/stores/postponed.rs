//! Files that appear whole, when what writes them has ended well, or not at all.
//!
//! A plan writes its bytes here; parts of large files go to the store below at once, where nobody sees them yet. A plan
//! that fails ends its files as if they were complete, so that only who ran it knows whether they are: `finish` makes
//! them appear, and until then the files that were there before stay. Failures of the store are kept for `finish` too:
//! writers that meet them in the midst of a file panic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{
    Error as StoreError, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result as StoreResult, UploadPart,
};
use tokio::sync::Notify;
use url::Url;

use crate::error::Result;
use crate::stores::Stores;
use crate::stores::layer::{Layer, Layered};

/// A store whose writes wait for [`PostponedFiles::finish`].
#[derive(Debug)]
pub struct PostponedFiles {
    below: Arc<dyn ObjectStore>,
    written: Arc<Written>,
}

/// What was written so far.
#[derive(Debug, Default)]
struct Written {
    files: Mutex<Vec<File>>,
    failure: Mutex<Option<StoreError>>,
    failed: Notify,
}

#[derive(Debug)]
enum File {
    Small(Path, PutPayload, PutOptions),
    InParts(Box<dyn MultipartUpload>),
}

/// The store as the plan sees it.
#[derive(Debug)]
struct Postponing {
    below: Arc<dyn ObjectStore>,
    written: Arc<Written>,
}

/// A file in parts; without an upload, one that could not be begun.
#[derive(Debug)]
struct Upload {
    upload: Option<Box<dyn MultipartUpload>>,
    written: Arc<Written>,
}

impl PostponedFiles {
    /// Over the store of a URL's host.
    ///
    /// Errors: `UnsupportedScheme`, `InvalidLocation`.
    pub fn over(stores: &Stores, url: &Url) -> Result<PostponedFiles> {
        Ok(PostponedFiles {
            below: stores.root_store(url)?,
            written: Arc::default(),
        })
    }

    /// The store to write to.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Postponing {
            below: Arc::clone(&self.below),
            written: Arc::clone(&self.written),
        }))
    }

    /// Ends when the store below has failed, and all further work is in vain.
    pub async fn failed(&self) {
        self.written.failed.notified().await;
    }

    /// Makes the files appear; fails with the first failure of the store, and then none of them appears.
    pub async fn finish(&self) -> Result<()> {
        let failure = lock(&self.written.failure).take();
        if let Some(failure) = failure {
            self.discard().await;
            return Err(failure.into());
        }
        let files = std::mem::take(&mut *lock(&self.written.files));
        for file in files {
            match file {
                File::Small(path, body, options) => {
                    self.below.put_opts(&path, body, options).await?;
                }
                File::InParts(mut upload) => {
                    upload.complete().await?;
                }
            }
        }
        Ok(())
    }

    /// Forgets what was written.
    pub async fn discard(&self) {
        let files = std::mem::take(&mut *lock(&self.written.files));
        for file in files {
            if let File::InParts(mut upload) = file
                && let Err(error) = upload.abort().await
            {
                tracing::debug!(%error, "parts of an unfinished file stay");
            }
        }
    }
}

impl Written {
    fn fail(&self, error: StoreError) {
        lock(&self.failure).get_or_insert(error);
        self.failed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere cannot leave half a list.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is not there yet has neither tag nor version.
fn nothing_yet() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
    }
}

#[async_trait]
impl Layer for Postponing {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.below)
    }

    async fn put(
        &self,
        path: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        let file = File::Small(path.clone(), body, options);
        lock(&self.written.files).push(file);
        Ok(nothing_yet())
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let begun = self.below.put_multipart_opts(path, options).await;
        let upload = begun.map_err(|error| self.written.fail(error)).ok();
        let written = Arc::clone(&self.written);
        Ok(Box::new(Upload { upload, written }))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.upload.as_mut().map(|upload| upload.put_part(data));
        let written = Arc::clone(&self.written);
        Box::pin(async move {
            if let Some(part) = part
                && let Err(error) = part.await
            {
                written.fail(error);
            }
            Ok(())
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let upload = self.upload.take().map(File::InParts);
        lock(&self.written.files).extend(upload);
        Ok(nothing_yet())
    }

    async fn abort(&mut self) -> StoreResult<()> {
        match &mut self.upload {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}
