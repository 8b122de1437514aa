//! The base of all stores that stand before another one.
//!
//! A `Layer` says what it does otherwise than the store below it: a check before each request, a name in each error,
//! or a request of its own. `Layered` makes of it a store; what the layer leaves as it is goes to the store below.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// What a request does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Reads or lists it.
    Read,
    /// Writes it.
    Write,
    /// Removes it.
    Delete,
}

/// What a store before another one does otherwise than that.
#[async_trait]
pub(crate) trait Layer: fmt::Debug + Send + Sync + 'static {
    /// The store that a path is asked of.
    fn below(&self, path: &Path) -> Result<&dyn ObjectStore>;

    /// Fails if the request must not be made.
    fn check(&self, _request: Request, _path: &Path) -> Result<()> {
        Ok(())
    }

    /// What the error of a request says.
    fn failed(&self, _path: &Path, error: Error) -> Error {
        error
    }

    /// What `Display` shows.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.below(&Path::default()) {
            Ok(below) => write!(f, "{below}"),
            Err(error) => write!(f, "{error}"),
        }
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.below(path)?.put_opts(path, body, options).await
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.below(path)?.put_multipart_opts(path, options).await
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.below(path)?.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.below(path)?.get_ranges(path, ranges).await
    }

    /// The files of a folder and below, behind `offset` if there is one.
    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let below = self.below(&folder.cloned().unwrap_or_default())?;
        Ok(match offset {
            Some(offset) => below.list_with_offset(folder, offset),
            None => below.list(folder),
        })
    }

    async fn list_folder(&self, folder: Option<&Path>) -> Result<ListResult> {
        let below = self.below(&folder.cloned().unwrap_or_default())?;
        below.list_with_delimiter(folder).await
    }

    /// Removes objects, all of which were checked.
    fn delete(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> Result<BoxStream<'static, Result<Path>>> {
        Ok(self.below(&Path::default())?.delete_stream(paths))
    }

    async fn copy(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.below(to)?.copy_opts(from, to, options).await
    }

    async fn rename(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.below(to)?.rename_opts(from, to, options).await
    }
}

/// A layer as a store.
#[derive(Debug)]
pub(crate) struct Layered<L>(Arc<L>);

impl<L: Layer> Layered<L> {
    pub(crate) fn new(layer: L) -> Self {
        Self(Arc::new(layer))
    }

    fn listed(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = folder.cloned().unwrap_or_default();
        let checked = self.0.check(Request::Read, &path);
        let listed = checked.and_then(|()| self.0.list(folder, offset));
        match listed {
            Ok(files) => {
                let layer = Arc::clone(&self.0);
                files
                    .map_err(move |error| layer.failed(&path, error))
                    .boxed()
            }
            Err(error) => once(Err(self.0.failed(&path, error))),
        }
    }
}

/// A stream of one.
pub(crate) fn once<T: Send + 'static>(one: Result<T>) -> BoxStream<'static, Result<T>> {
    futures::stream::once(std::future::ready(one)).boxed()
}

impl<L: Layer> fmt::Display for Layered<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.show(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Layer> ObjectStore for Layered<L> {
    async fn put_opts(
        &self,
        path: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.check(Request::Write, path)?;
        let put = self.0.put(path, body, options).await;
        put.map_err(|error| self.0.failed(path, error))
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.check(Request::Write, path)?;
        let put = self.0.put_parts(path, options).await;
        put.map_err(|error| self.0.failed(path, error))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.check(Request::Read, path)?;
        let got = self.0.get(path, options).await;
        got.map_err(|error| self.0.failed(path, error))
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.0.check(Request::Read, path)?;
        let got = self.0.get_ranges(path, ranges).await;
        got.map_err(|error| self.0.failed(path, error))
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let layer = Arc::clone(&self.0);
        let checked = paths.map(move |path| {
            let path = path?;
            layer.check(Request::Delete, &path)?;
            Ok(path)
        });
        self.0
            .delete(checked.boxed())
            .unwrap_or_else(|error| once(Err(error)))
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(folder, None)
    }

    fn list_with_offset(
        &self,
        folder: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(folder, Some(offset))
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        let path = folder.cloned().unwrap_or_default();
        self.0.check(Request::Read, &path)?;
        let listed = self.0.list_folder(folder).await;
        listed.map_err(|error| self.0.failed(&path, error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.check(Request::Read, from)?;
        self.0.check(Request::Write, to)?;
        let copied = self.0.copy(from, to, options).await;
        copied.map_err(|error| self.0.failed(to, error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.check(Request::Delete, from)?;
        self.0.check(Request::Write, to)?;
        let renamed = self.0.rename(from, to, options).await;
        renamed.map_err(|error| self.0.failed(to, error))
    }
}
