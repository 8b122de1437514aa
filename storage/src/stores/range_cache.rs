//! A read-through cache of hot byte ranges of remote files, bounded in bytes.
//!
//! Ranged reads flow through it; what was read is kept until newer reads need its room. A range counts only as long as
//! the file is the one that it was read of: listings and heads, which each statement makes before it reads, tell the
//! newest mark of a file's content.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};
use url::Url;

use crate::stores::layer::{Layer, Layered};
use crate::stores::object_url::url_of;

/// One range may take at most this part of the room, so that a large scan does not empty the cache.
const LARGEST_PART: usize = 8;
/// Files whose newest state is remembered; beyond it, remembering starts anew.
const MAX_LISTED: usize = 100_000;

/// Ranges of all files, the least recently used go first.
#[derive(Debug)]
pub(crate) struct RangeCache {
    limit_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    files: HashMap<String, File>,
    /// What was used when: the URL and the start of each range by the number of its last use.
    uses: BTreeMap<u64, (String, u64)>,
    next_use: u64,
    bytes: usize,
    /// The files as they were last listed.
    newest: HashMap<String, ObjectMeta>,
}

#[derive(Debug, Default)]
struct File {
    /// What the file was when the ranges were read, if anybody had looked.
    version: Option<Version>,
    /// By start.
    ranges: BTreeMap<u64, KeptRange>,
}

/// What tells the content of a file from that which another writer puts in its place.
type Version = (Option<String>, i64, u64);

fn version_of(meta: &ObjectMeta) -> Version {
    let time = meta.last_modified.timestamp_micros();
    (meta.e_tag.clone(), time, meta.size)
}

#[derive(Debug)]
struct KeptRange {
    bytes: Bytes,
    last_use: u64,
}

impl RangeCache {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            kept: Mutex::default(),
        })
    }

    /// A store whose ranged reads go through the cache.
    pub(crate) fn wrap(
        self: &Arc<Self>,
        root: &Url,
        inner: Arc<dyn ObjectStore>,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(CachedStore {
            root: root.clone(),
            inner,
            cache: Arc::clone(self),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, url: &str, range: &Range<u64>) -> Option<Bytes> {
        let mut kept = self.lock();
        let kept = &mut *kept;
        let file = kept.files.get_mut(url)?;
        let (start, found) = file.ranges.range_mut(..=range.start).next_back()?;
        let from = usize::try_from(range.start - start).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        if to > found.bytes.len() || from > to {
            return None;
        }
        kept.uses.remove(&found.last_use);
        kept.next_use += 1;
        found.last_use = kept.next_use;
        kept.uses.insert(found.last_use, (url.to_owned(), *start));
        Some(found.bytes.slice(from..to))
    }

    /// The file as it was last listed.
    fn newest(&self, url: &str) -> Option<ObjectMeta> {
        self.lock().newest.get(url).cloned()
    }

    /// Keeps a range, unless the file has changed since `version` was looked up, before the range was read.
    fn put(&self, url: &str, version: Option<Version>, start: u64, bytes: &Bytes) {
        if bytes.is_empty() || bytes.len() > self.limit_bytes / LARGEST_PART {
            return;
        }
        let mut kept = self.lock();
        let kept = &mut *kept;
        if kept.newest.get(url).map(version_of) != version {
            return;
        }
        if kept
            .files
            .get(url)
            .is_some_and(|file| file.version != version)
        {
            kept.forget(url);
        }
        kept.next_use += 1;
        let last_use = kept.next_use;
        // A slice would keep the whole answer alive that it was cut from.
        let bytes = Bytes::copy_from_slice(bytes);
        kept.bytes += bytes.len();
        let file = kept.files.entry(url.to_owned()).or_default();
        file.version = version;
        if let Some(old) = file.ranges.insert(start, KeptRange { bytes, last_use }) {
            kept.uses.remove(&old.last_use);
            kept.bytes -= old.bytes.len();
        }
        kept.uses.insert(last_use, (url.to_owned(), start));
        while kept.bytes > self.limit_bytes
            && let Some((_, (url, start))) = kept.uses.pop_first()
        {
            kept.evict(&url, start);
        }
    }

    /// Learns what a file is now; ranges of what it was before are forgotten.
    fn see(&self, url: String, meta: &ObjectMeta) {
        let mut kept = self.lock();
        let is_other = |file: &File| file.version.as_ref() != Some(&version_of(meta));
        if kept.files.get(&url).is_some_and(is_other) {
            kept.forget(&url);
        }
        if kept.newest.len() >= MAX_LISTED {
            kept.newest.clear();
        }
        kept.newest.insert(url, meta.clone());
    }

    /// Forgets a file that is about to change.
    fn forget(&self, url: &str) {
        let mut kept = self.lock();
        kept.forget(url);
        kept.newest.remove(url);
    }
}

impl Kept {
    fn forget(&mut self, url: &str) {
        let Some(file) = self.files.remove(url) else {
            return;
        };
        for range in file.ranges.into_values() {
            self.uses.remove(&range.last_use);
            self.bytes -= range.bytes.len();
        }
    }

    fn evict(&mut self, url: &str, start: u64) {
        let Some(file) = self.files.get_mut(url) else {
            return;
        };
        if let Some(gone) = file.ranges.remove(&start) {
            self.bytes -= gone.bytes.len();
        }
        if file.ranges.is_empty() {
            self.files.remove(url);
        }
    }
}

#[derive(Debug)]
struct CachedStore {
    root: Url,
    inner: Arc<dyn ObjectStore>,
    cache: Arc<RangeCache>,
}

impl CachedStore {
    fn url(&self, path: &Path) -> String {
        url_of(&self.root, path)
    }

    fn seen(
        &self,
        files: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (cache, root) = (Arc::clone(&self.cache), self.root.clone());
        files
            .inspect(move |file| {
                if let Ok(file) = file {
                    cache.see(url_of(&root, &file.location), file);
                }
            })
            .boxed()
    }
}

#[async_trait]
impl Layer for CachedStore {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn put(&self, path: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.cache.forget(&self.url(path));
        self.inner.put_opts(path, body, options).await
    }

    async fn put_parts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.cache.forget(&self.url(path));
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let url = self.url(path);
        let Some(range) = plain_range(&options) else {
            let result = self.inner.get_opts(path, options).await?;
            self.cache.see(url, &result.meta);
            return Ok(result);
        };
        let newest = self.cache.newest(&url);
        if let Some(meta) = &newest
            && let Some(bytes) = self.cache.get(&url, &range)
        {
            return Ok(whole(meta.clone(), range, Attributes::default(), bytes));
        }
        let result = self.inner.get_opts(path, options).await?;
        let (meta, range) = (result.meta.clone(), result.range.clone());
        self.cache.see(url.clone(), &meta);
        if range.end - range.start > (self.cache.limit_bytes / LARGEST_PART) as u64 {
            return Ok(result);
        }
        let attributes = result.attributes.clone();
        let bytes = result.bytes().await?;
        let version = Some(version_of(&meta));
        self.cache.put(&url, version, range.start, &bytes);
        Ok(whole(meta, range, attributes, bytes))
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let url = self.url(path);
        let version = self.cache.newest(&url).as_ref().map(version_of);
        let mut found: Vec<Option<Bytes>> = ranges
            .iter()
            .map(|range| self.cache.get(&url, range))
            .collect();
        let missing: Vec<Range<u64>> = ranges
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(range, _)| range.clone())
            .collect();
        if !missing.is_empty() {
            let mut read = self.inner.get_ranges(path, &missing).await?.into_iter();
            for (range, found) in ranges.iter().zip(&mut found) {
                if found.is_none()
                    && let Some(bytes) = read.next()
                {
                    self.cache.put(&url, version.clone(), range.start, &bytes);
                    *found = Some(bytes);
                }
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn delete(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> Result<BoxStream<'static, Result<Path>>> {
        let (cache, root) = (Arc::clone(&self.cache), self.root.clone());
        let paths = paths.inspect(move |path| {
            if let Ok(path) = path {
                cache.forget(&url_of(&root, path));
            }
        });
        Ok(self.inner.delete_stream(paths.boxed()))
    }

    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        Ok(self.seen(match offset {
            Some(offset) => self.inner.list_with_offset(folder, offset),
            None => self.inner.list(folder),
        }))
    }

    async fn list_folder(&self, folder: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(folder).await?;
        for file in &listed.objects {
            self.cache.see(self.url(&file.location), file);
        }
        Ok(listed)
    }

    async fn copy(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.cache.forget(&self.url(to));
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.cache.forget(&self.url(from));
        self.cache.forget(&self.url(to));
        self.inner.rename_opts(from, to, options).await
    }
}

/// The range of a request that asks for nothing else.
fn plain_range(options: &GetOptions) -> Option<Range<u64>> {
    let has_conditions = options.if_match.is_some()
        || options.if_none_match.is_some()
        || options.if_modified_since.is_some()
        || options.if_unmodified_since.is_some()
        || options.version.is_some()
        || options.head;
    match &options.range {
        Some(GetRange::Bounded(range)) if !has_conditions => Some(range.clone()),
        _ => None,
    }
}

/// An answer of bytes that are here.
fn whole(meta: ObjectMeta, range: Range<u64>, attributes: Attributes, bytes: Bytes) -> GetResult {
    let body = futures::stream::once(std::future::ready(Ok(bytes)));
    GetResult {
        payload: GetResultPayload::Stream(body.boxed()),
        meta,
        range,
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    struct Fixture {
        inner: Arc<InMemory>,
        cache: Arc<RangeCache>,
        store: Arc<dyn ObjectStore>,
        path: Path,
    }

    async fn fixture(limit_bytes: usize) -> Fixture {
        let inner = Arc::new(InMemory::new());
        let path = Path::from("d/x.bin");
        inner.put(&path, vec![1_u8; 4096].into()).await.unwrap();
        let cache = RangeCache::new(limit_bytes);
        let root = Url::parse("s3://b/").unwrap();
        let store = cache.wrap(&root, Arc::clone(&inner) as Arc<dyn ObjectStore>);
        Fixture {
            inner,
            cache,
            store,
            path,
        }
    }

    #[tokio::test]
    async fn what_was_read_is_read_once() {
        let f = fixture(1 << 20).await;
        f.store.head(&f.path).await.unwrap();
        let first = f.store.get_range(&f.path, 100..300).await.unwrap();
        // Gone below, it still comes from the cache, also in part.
        f.inner.delete(&f.path).await.unwrap();
        assert_eq!(f.store.get_range(&f.path, 100..300).await.unwrap(), first);
        let parts = f.store.get_ranges(&f.path, &[150..200, 100..101]).await;
        assert_eq!(parts.unwrap()[0].len(), 50);
        assert!(f.store.get_range(&f.path, 100..301).await.is_err());
        assert!(f.store.get(&f.path).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_changed_is_read_again() {
        let f = fixture(1 << 20).await;
        f.store.head(&f.path).await.unwrap();
        f.store.get_range(&f.path, 0..10).await.unwrap();
        f.inner.put(&f.path, vec![2_u8; 4096].into()).await.unwrap();
        let listed: Vec<_> = f.store.list(None).collect().await;
        assert_eq!(listed.len(), 1);
        assert_eq!(f.store.get_range(&f.path, 0..10).await.unwrap()[0], 2);
        // A put through the store itself needs no listing.
        f.store.put(&f.path, vec![3_u8; 4096].into()).await.unwrap();
        assert_eq!(f.store.get_range(&f.path, 0..10).await.unwrap()[0], 3);
    }

    #[tokio::test]
    async fn the_bound_holds() {
        let f = fixture(1000).await;
        f.store.head(&f.path).await.unwrap();
        for start in 0..40 {
            let range = start * 100..(start + 1) * 100;
            f.store.get_ranges(&f.path, &[range]).await.unwrap();
            assert!(f.cache.lock().bytes <= 1000);
        }
        // Too large a range is not kept at all.
        f.store.get_range(&f.path, 0..4000).await.unwrap();
        let kept = f.cache.lock();
        assert!(kept.bytes > 0 && kept.uses.len() == kept.bytes / 100);
    }
}
