//! Patience with a remote store: what passes is tried again, what was answered in part is asked for again.
//!
//! Requests flow in; answers that are whole flow out, or an error that names the object. The library's client retries
//! what its server refuses (5xx, 429, lost connections); here is what it cannot know: that a file was answered shorter
//! than it is, that a request hangs, and whether an object that is already there was put by an attempt whose answer got
//! lost. The last one matters most: a commit that lands and seems to fail would be made twice.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use tokio::time::Instant;
use url::Url;

use crate::stores::failure::{Lasting, Unsettled, causes, named};
use crate::stores::layer::{Layer, Layered, once};
use crate::stores::object_url::url_of;

/// Ranges up to this size are read whole before they are passed on, so that a short one can be read again.
const WHOLE_RANGE_BYTES: u64 = 8 << 20;
/// The same for files: what is larger streams, since its reader may stop after the first rows.
const WHOLE_FILE_BYTES: u64 = 1 << 20;

/// How long a store is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    max_attempts: u32,
    /// Before the second attempt; doubled before each further one.
    first_pause: Duration,
    /// From the first attempt on; later no other one is made. The client below has its own patience, so that a server
    /// which it waited for in vain is not waited for again.
    retry: Duration,
    /// Of one attempt, the client's retries included.
    attempt: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            first_pause: Duration::from_millis(100),
            retry: Duration::from_secs(20),
            attempt: Duration::from_secs(150),
        }
    }
}

impl Patience {
    /// Short enough for a test, long enough that nothing but a fault takes so long.
    #[cfg(test)]
    pub(crate) fn of_tests(max_attempts: u32) -> Self {
        Self {
            max_attempts,
            first_pause: Duration::from_micros(10),
            attempt: Duration::from_millis(300),
            ..Self::default()
        }
    }
}

/// A store that is waited for.
#[derive(Debug)]
pub(crate) struct PatientStore {
    root: Url,
    inner: Arc<dyn ObjectStore>,
    patience: Patience,
}

impl PatientStore {
    pub(crate) fn over(
        root: &Url,
        inner: Arc<dyn ObjectStore>,
        patience: Patience,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self {
            root: root.clone(),
            inner,
            patience,
        }))
    }

    /// Makes attempts until one is answered or patience ends.
    async fn patiently<T, F>(&self, path: &Path, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let begun = Instant::now();
        let mut pause = self.patience.first_pause;
        for n in 1.. {
            let answer = tokio::time::timeout(self.patience.attempt, attempt()).await;
            let error = match answer {
                Ok(Err(error @ Error::Generic { .. })) if !is_unable(&error) => error,
                Ok(answer) => return answer,
                Err(_) => no_answer(self.patience.attempt),
            };
            if n >= self.patience.max_attempts || begun.elapsed() + pause > self.patience.retry {
                return Err(error);
            }
            tracing::info!(%error, %path, n, "a store failed; its request is made again");
            tokio::time::sleep(scattered(pause, path, n)).await;
            pause *= 2;
        }
        Err(no_answer(self.patience.retry))
    }

    /// The same store, for what outlives the request.
    fn again(&self) -> Self {
        Self {
            root: self.root.clone(),
            inner: Arc::clone(&self.inner),
            patience: self.patience,
        }
    }

    async fn upload(&self, path: &Path, inner: Box<dyn MultipartUpload>) -> NamedUpload {
        let before = match self.head(path).await {
            Ok(found) => Some(found.e_tag),
            Err(Error::NotFound { .. }) => Some(None),
            Err(_) => None,
        };
        NamedUpload {
            inner,
            store: self.again(),
            path: path.clone(),
            before,
            n_bytes: 0,
        }
    }

    async fn head(&self, path: &Path) -> Result<ObjectMeta> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        Ok(self.get(path, options).await?.meta)
    }

    /// An answer whose body is as long as it must be. Small ones are read; a large one fails at its end if it is short.
    async fn whole(&self, path: &Path, asked: &GetOptions, got: GetResult) -> Result<GetResult> {
        let wanted = match &asked.range {
            Some(GetRange::Bounded(range)) => range.start..range.end.min(got.meta.size),
            _ => got.range.clone(),
        };
        if got.range != wanted {
            return Err(short(got.range.end - got.range.start, &wanted));
        }
        let GetResultPayload::Stream(body) = got.payload else {
            return Ok(got);
        };
        let limit = match asked.range {
            Some(_) => WHOLE_RANGE_BYTES,
            None => WHOLE_FILE_BYTES,
        };
        let body = match wanted.end - wanted.start <= limit {
            true => once(Ok(read(body, &wanted).await?)),
            false => self.watched(path, body, wanted),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            ..got
        })
    }

    /// A body that fails at its end if it is short; errors name the object.
    fn watched(
        &self,
        path: &Path,
        body: BoxStream<'static, Result<Bytes>>,
        wanted: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes>> {
        let (root, path) = (self.root.clone(), path.clone());
        let watched = futures::stream::try_unfold((body, 0), move |(mut body, n_read)| {
            let wanted = wanted.clone();
            async move {
                match body.try_next().await? {
                    Some(bytes) => {
                        let n_read = n_read + bytes.len() as u64;
                        Ok(Some((bytes, (body, n_read))))
                    }
                    None if n_read == wanted.end - wanted.start => Ok(None),
                    None => Err(short(n_read, &wanted)),
                }
            }
        });
        watched
            .map_err(move |error| named(&root, &path, error))
            .boxed()
    }

    /// What became of the put of a new object that was answered by an error: an object with its bytes is there, of an
    /// attempt whose answer got lost; or one of another writer; or nobody knows, since the store gives no word, or the
    /// request may still arrive.
    async fn settled(&self, path: &Path, body: &PutPayload, error: Error) -> Result<PutResult> {
        let there = async {
            let found = self.get(path, GetOptions::new()).await?;
            let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
            let is_own = found.meta.size == body.content_length() as u64
                && found.bytes().await? == Bytes::from(body.clone());
            Ok(is_own.then_some(PutResult { e_tag, version }))
        };
        let is_taken = matches!(error, Error::AlreadyExists { .. });
        match there.await {
            Ok(Some(put)) => Ok(put),
            Ok(None) if is_taken => Err(error),
            Ok(None) => Err(Error::AlreadyExists {
                path: path.to_string(),
                source: error.into(),
            }),
            Err(Error::NotFound { .. }) if is_taken => Err(error),
            Err(_) => Err(Unsettled::put(url_of(&self.root, path), error.into())),
        }
    }
}

async fn read(body: BoxStream<'static, Result<Bytes>>, wanted: &Range<u64>) -> Result<Bytes> {
    let bytes = object_store::collect_bytes(body, Some(wanted.end - wanted.start)).await?;
    match bytes.len() as u64 == wanted.end - wanted.start {
        true => Ok(bytes),
        false => Err(short(bytes.len() as u64, wanted)),
    }
}

fn short(n_read: u64, wanted: &Range<u64>) -> Error {
    let Range { start, end } = wanted;
    Error::Generic {
        store: "remote",
        source: format!("the store gave {n_read} bytes of the range {start} to {end}").into(),
    }
}

fn no_answer(bound: Duration) -> Error {
    Error::Generic {
        store: "remote",
        source: format!("the store gave no answer for {} ms", bound.as_millis()).into(),
    }
}

/// A pause between a half and the whole, so that those who failed together do not come back together.
fn scattered(pause: Duration, path: &Path, n: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (path.as_ref(), n, std::process::id()).hash(&mut hasher);
    let share = (hasher.finish() % 1000) as u32;
    pause / 2 + pause / 2 * share / 1000
}

#[async_trait]
impl Layer for PatientStore {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    fn failed(&self, path: &Path, error: Error) -> Error {
        named(&self.root, path, error)
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        if let PutMode::Update(_) = options.mode {
            return self.inner.put_opts(path, body, options).await;
        }
        let is_create = options.mode == PutMode::Create;
        let put = || self.inner.put_opts(path, body.clone(), options.clone());
        match self.patiently(path, put).await {
            Err(error @ (Error::AlreadyExists { .. } | Error::Generic { .. }))
                if is_create && !is_unable(&error) =>
            {
                self.settled(path, &body, error).await
            }
            put => put,
        }
    }

    /// Parts are counted by their calls, so none of them can be put again here; the client does it. What is there before
    /// tells an upload whose last answer gets lost from one that was not made.
    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begin = || self.inner.put_multipart_opts(path, options.clone());
        let inner = self.patiently(path, begin).await?;
        Ok(Box::new(self.upload(path, inner).await))
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let options = &options;
        let get = || async move {
            let got = self.inner.get_opts(path, options.clone()).await?;
            match options.head {
                true => Ok(got),
                false => self.whole(path, options, got).await,
            }
        };
        self.patiently(path, get).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = || async move {
            let got = self.inner.get_ranges(path, ranges).await?;
            let mut pairs = ranges.iter().zip(&got);
            match pairs.find(|(range, bytes)| bytes.len() as u64 != range.end - range.start) {
                Some((range, bytes)) => Err(short(bytes.len() as u64, range)),
                None => Ok(got),
            }
        };
        self.patiently(path, get).await
    }

    /// A listing that fails before its first file is begun again. Files up to the offset are left out here too: stores
    /// that speak the protocol of Azure Blob, but not its newest version, take no offset and begin at the first file.
    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let this = self.again();
        let (folder, offset) = (folder.cloned(), offset.cloned());
        let begin = offset.clone();
        let listed = async move {
            let (this, folder, offset) = (&this, folder.as_ref(), offset.as_ref());
            let list = || async move {
                let files = match offset {
                    Some(offset) => this.inner.list_with_offset(folder, offset),
                    None => this.inner.list(folder),
                };
                let mut files = files.fuse();
                let first = files.try_next().await?;
                Ok(futures::stream::iter(first.map(Ok)).chain(files))
            };
            this.patiently(&folder.cloned().unwrap_or_default(), list)
                .await
        };
        let files = futures::stream::once(listed).try_flatten();
        let is_behind =
            move |file: &ObjectMeta| begin.as_ref().is_none_or(|begin| file.location > *begin);
        Ok(files
            .try_filter(move |file| std::future::ready(is_behind(file)))
            .boxed())
    }

    async fn list_folder(&self, folder: Option<&Path>) -> Result<ListResult> {
        let path = folder.cloned().unwrap_or_default();
        self.patiently(&path, || self.inner.list_with_delimiter(folder))
            .await
    }
}

/// An upload in parts whose errors name the object, and that is done if it was done, whatever the last answer says.
#[derive(Debug)]
struct NamedUpload {
    inner: Box<dyn MultipartUpload>,
    store: PatientStore,
    path: Path,
    /// The mark of the object that was there before, if one was; `None`: nobody knows.
    before: Option<Option<String>>,
    n_bytes: u64,
}

impl NamedUpload {
    /// The object that is there now, if it is as large as the parts and another than before.
    async fn landed(&mut self) -> Option<PutResult> {
        let before = self.before.as_ref()?;
        let found = self.store.head(&self.path).await.ok()?;
        let is_new = found.e_tag.is_some() && found.e_tag != *before;
        (is_new && found.size == self.n_bytes).then_some(PutResult {
            e_tag: found.e_tag,
            version: found.version,
        })
    }

    fn named(&self, error: Error) -> Error {
        named(&self.store.root, &self.path, error)
    }
}

#[async_trait]
impl MultipartUpload for NamedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.n_bytes += data.content_length() as u64;
        let part = self.inner.put_part(data);
        let (root, path) = (self.store.root.clone(), self.path.clone());
        Box::pin(async move { part.await.map_err(|error| named(&root, &path, error)) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.inner.complete().await {
            Ok(put) => Ok(put),
            // The client asks again after an answer that it lost, and is told then that there is no such upload.
            Err(error) => self.landed().await.ok_or_else(|| self.named(error)),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.inner.abort().await;
        aborted.map_err(|error| self.named(error))
    }
}

/// Whether a store says that it cannot do what was asked, now or later.
fn is_unable(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("status code: 501")
        // A request that could not be made is none that failed.
        || text.contains("HTTP error: builder error")
        || Lasting::of(error).is_some()
        // A certificate that is not trusted.
        || causes(error).is_some_and(|causes| causes.contains("invalid peer certificate"))
}

#[cfg(test)]
mod tests;
