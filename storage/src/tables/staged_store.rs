//! A table's store as one transaction block sees it: the log ends at a version, and what the block adds to it stays in
//! memory.
//!
//! Requests about the log's own files are answered from both; all others pass through, so that data files are written
//! where they will stay.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

/// Digits of the number that names of log files begin with.
const NUMBER_DIGITS: usize = 20;
/// Tells readers where to begin; that of a later version would lead past the end.
const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// Wraps the store of a table.
#[derive(Debug)]
pub(crate) struct StagedStore {
    below: Arc<dyn ObjectStore>,
    /// The log's folder.
    log: Path,
    /// The last version of the log below that the block sees.
    base: u64,
    added: Arc<InMemory>,
}

impl StagedStore {
    pub(crate) fn new(below: Arc<dyn ObjectStore>, log: Path, base: u64) -> Self {
        Self {
            below,
            log,
            base,
            added: Arc::new(InMemory::new()),
        }
    }

    /// Forgets what the block added behind a version.
    pub(crate) async fn forget_after(&self, version: u64) -> Result<()> {
        let added: Vec<ObjectMeta> = self.added.list(None).try_collect().await?;
        for file in added {
            let number = number_of(&file.location);
            if number.is_none_or(|number| number > version) {
                self.added.delete(&file.location).await?;
            }
        }
        Ok(())
    }

    fn is_log(&self, location: &Path) -> bool {
        location.prefix_matches(&self.log)
    }

    fn is_hidden(&self, location: &Path) -> bool {
        is_hidden(&self.log, self.base, location)
    }

    fn without_hidden(
        &self,
        listed: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (log, base) = (self.log.clone(), self.base);
        let shown = listed
            .try_filter(move |file| futures::future::ready(!is_hidden(&log, base, &file.location)));
        shown.boxed()
    }
}

fn number_of(location: &Path) -> Option<u64> {
    location.filename()?.get(..NUMBER_DIGITS)?.parse().ok()
}

fn is_hidden(log: &Path, base: u64, location: &Path) -> bool {
    location.prefix_matches(log)
        && (number_of(location).is_some_and(|number| number > base)
            || location.filename() == Some(LAST_CHECKPOINT))
}

fn missing(location: &Path) -> Error {
    Error::NotFound {
        path: location.to_string(),
        source: "the block does not see it".into(),
    }
}

impl fmt::Display for StagedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in a block", self.below)
    }
}

#[async_trait]
impl ObjectStore for StagedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self.is_log(location) {
            true => self.added.put_opts(location, payload, options).await,
            false => self.below.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.is_log(location) {
            true => self.added.put_multipart_opts(location, options).await,
            false => self.below.put_multipart_opts(location, options).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !self.is_log(location) {
            return self.below.get_opts(location, options).await;
        }
        match self.added.get_opts(location, options.clone()).await {
            Err(Error::NotFound { .. }) if self.is_hidden(location) => Err(missing(location)),
            Err(Error::NotFound { .. }) => self.below.get_opts(location, options).await,
            found => found,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !self.is_log(location) {
            return self.below.get_ranges(location, ranges).await;
        }
        match self.added.get_ranges(location, ranges).await {
            Err(Error::NotFound { .. }) if self.is_hidden(location) => Err(missing(location)),
            Err(Error::NotFound { .. }) => self.below.get_ranges(location, ranges).await,
            found => found,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (below, added, log) = (
            Arc::clone(&self.below),
            Arc::clone(&self.added),
            self.log.clone(),
        );
        // The log below belongs to everybody: only what the block added may go.
        let deleted = locations.and_then(move |location| {
            let (below, added) = (Arc::clone(&below), Arc::clone(&added));
            let is_log = location.prefix_matches(&log);
            async move {
                match is_log {
                    true => added.delete(&location).await?,
                    false => below.delete(&location).await?,
                }
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let below = self.without_hidden(self.below.list(prefix));
        below.chain(self.added.list(prefix)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let below = self.without_hidden(self.below.list_with_offset(prefix, offset));
        let added = self.added.list_with_offset(prefix, offset);
        below.chain(added).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut below = self.below.list_with_delimiter(prefix).await?;
        below.objects.retain(|file| !self.is_hidden(&file.location));
        let added = self.added.list_with_delimiter(prefix).await?;
        below.objects.extend(added.objects);
        for folder in added.common_prefixes {
            if !below.common_prefixes.contains(&folder) {
                below.common_prefixes.push(folder);
            }
        }
        Ok(below)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if !self.is_log(from) && !self.is_log(to) {
            return self.below.copy_opts(from, to, options).await;
        }
        let bytes = self
            .get_opts(from, GetOptions::default())
            .await?
            .bytes()
            .await?;
        let mode = match options.mode {
            CopyMode::Create => PutMode::Create,
            CopyMode::Overwrite => PutMode::Overwrite,
        };
        self.put_opts(to, bytes.into(), mode.into()).await?;
        Ok(())
    }
}
