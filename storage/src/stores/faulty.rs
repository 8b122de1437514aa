//! A store that fails by a seeded plan, for tests.
//!
//! Requests flow in; some of them, as the seed and their number have it, meet a fault. Below it is a store that works,
//! so that a test sees what of all that reached it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::stores::layer::{Layer, Layered, once};

/// What can go wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is reset before the request arrives.
    Fails,
    /// No answer ever comes.
    Hangs,
    /// The server asks to come back later.
    Throttles,
    /// An answer ends too early, without an error; a request without a body is reset.
    ShortRead,
    /// The request is done, but its answer is lost.
    TornWrite,
}

pub(crate) const ALL_FAULTS: &[Fault] = &[
    Fault::Fails,
    Fault::Hangs,
    Fault::Throttles,
    Fault::ShortRead,
    Fault::TornWrite,
];

/// Which requests meet which faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Of a thousand requests.
    pub(crate) rate: u64,
    pub(crate) faults: &'static [Fault],
}

/// The store with faults.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Plan,
    n_requests: AtomicU64,
    n_faults: Arc<AtomicU64>,
}

impl FaultyStore {
    /// The store, and the number of faults that it has made.
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        plan: Plan,
    ) -> (Arc<dyn ObjectStore>, Arc<AtomicU64>) {
        let n_faults = Arc::new(AtomicU64::new(0));
        let layer = Self {
            inner,
            plan,
            n_requests: AtomicU64::new(0),
            n_faults: Arc::clone(&n_faults),
        };
        (Arc::new(Layered::new(layer)), n_faults)
    }

    /// An upload that fails at its end.
    pub(crate) fn upload(
        inner: Box<dyn MultipartUpload>,
        fault: Fault,
    ) -> Box<dyn MultipartUpload> {
        let fault = Some(fault);
        Box::new(FaultyUpload { inner, fault })
    }

    /// The fault of the next request.
    fn next(&self) -> Option<Fault> {
        let n = self.n_requests.fetch_add(1, Ordering::Relaxed);
        let drawn = mixed(self.plan.seed.wrapping_add(n));
        if drawn % 1000 >= self.plan.rate {
            return None;
        }
        self.n_faults.fetch_add(1, Ordering::Relaxed);
        let kinds = self.plan.faults;
        Some(kinds[(drawn / 1000) as usize % kinds.len()])
    }

    /// Waits or fails as a fault does that keeps the request from the store; other faults let it through.
    async fn before(&self, fault: Option<Fault>) -> Result<()> {
        match fault {
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Fails) => Err(reset()),
            Some(Fault::Throttles) => Err(throttled()),
            Some(Fault::ShortRead | Fault::TornWrite) | None => Ok(()),
        }
    }

    /// The answer of a request without a body.
    async fn answered<T>(&self, request: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let fault = self.next();
        self.before(fault).await?;
        let answer = request.await;
        match fault {
            Some(_) => Err(reset()),
            None => answer,
        }
    }
}

/// The finalizer of SplitMix64.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn reset() -> Error {
    Error::Generic {
        store: "faulty",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    }
}

fn throttled() -> Error {
    Error::Generic {
        store: "faulty",
        source: "Server returned non-2xx status code: 503 Service Unavailable: SlowDown".into(),
    }
}

fn half(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

#[async_trait]
impl Layer for FaultyStore {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.answered(self.inner.put_opts(path, body, options))
            .await
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.answered(self.inner.put_multipart_opts(path, options));
        let (inner, fault) = (inner.await?, self.next());
        Ok(Box::new(FaultyUpload { inner, fault }))
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.next();
        self.before(fault).await?;
        let is_head = options.head;
        let got = self.inner.get_opts(path, options).await?;
        if fault.is_none() {
            return Ok(got);
        }
        if is_head || fault == Some(Fault::TornWrite) {
            return Err(reset());
        }
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let body = once(Ok(half(&got.bytes().await?)));
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta,
            range,
            attributes,
        })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.next();
        self.before(fault).await?;
        let mut got = self.inner.get_ranges(path, ranges).await?;
        match fault {
            Some(Fault::TornWrite) => return Err(reset()),
            Some(_) => got.iter_mut().for_each(|bytes| *bytes = half(bytes)),
            None => {}
        }
        Ok(got)
    }

    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        Ok(match self.next() {
            Some(Fault::Hangs) => futures::stream::pending().boxed(),
            Some(Fault::Throttles) => once(Err(throttled())),
            Some(_) => once(Err(reset())),
            None => match offset {
                Some(offset) => self.inner.list_with_offset(folder, offset),
                None => self.inner.list(folder),
            },
        })
    }

    async fn list_folder(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.answered(self.inner.list_with_delimiter(folder)).await
    }
}

/// An upload in parts that fails at its end.
#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fault: Option<Fault>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.fault {
            None => self.inner.complete().await,
            Some(Fault::TornWrite) => {
                self.inner.complete().await?;
                Err(reset())
            }
            Some(_) => Err(reset()),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
