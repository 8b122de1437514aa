//! Web servers that give no parts of files: what is asked of a file there is cut out of the whole.
//!
//! Ranged requests flow through until one is answered with a whole file. From then on the server's files are read
//! whole, up to a bound, and the last ones are kept, as long as the server says that they are what they were.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    Result,
};
use tokio::sync::Mutex;

use crate::stores::layer::Layer;

/// Bytes of a file that is read whole, and of all that are kept.
const MAX_BYTES: u64 = 64 << 20;

/// What errors say of a server that gave the whole in the place of a part.
const SIGNS: [&str; 2] = [
    "non-partial response",
    // Of servers that do not answer with 206.
    "Range request not supported",
];

/// A store whose files can be read in parts.
#[derive(Debug)]
pub(crate) struct WholeFiles {
    inner: Arc<dyn ObjectStore>,
    /// Whether the server was found to give no parts.
    gives_whole: AtomicBool,
    /// The one that was fetched last at the end.
    kept: Mutex<VecDeque<(ObjectMeta, Bytes)>>,
}

impl WholeFiles {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            gives_whole: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    /// Whether an error says that the server gave the whole in the place of a part, which is then known of it.
    fn gave_whole(&self, error: &Error) -> bool {
        let text = error.to_string();
        let is_whole = SIGNS.iter().any(|sign| text.contains(sign));
        self.gives_whole.fetch_or(is_whole, Ordering::Relaxed);
        is_whole
    }

    async fn whole(&self, path: &Path) -> Result<(ObjectMeta, Bytes)> {
        let meta = self.inner.head(path).await?;
        let mut kept = self.kept.lock().await;
        // A server that says neither time nor mark says nothing of what the file is now.
        let is_marked = meta.e_tag.is_some() || meta.last_modified.timestamp() != 0;
        let is_same = |(known, _): &(ObjectMeta, Bytes)| is_marked && *known == meta;
        if let Some(found) = kept.iter().find(|known| is_same(known)) {
            return Ok(found.clone());
        }
        if meta.size > MAX_BYTES {
            let mb = MAX_BYTES >> 20;
            return Err(Error::Generic {
                store: "HTTP",
                source: format!(
                    "the server gives no parts of files, and this one has more than {mb} MB"
                )
                .into(),
            });
        }
        let bytes = self.inner.get(path).await?.bytes().await?;
        kept.retain(|(known, _)| known.location != *path);
        kept.push_back((meta.clone(), bytes.clone()));
        let n_bytes = |kept: &VecDeque<(ObjectMeta, Bytes)>| -> u64 {
            kept.iter().map(|(_, bytes)| bytes.len() as u64).sum()
        };
        while n_bytes(&kept) > MAX_BYTES {
            kept.pop_front();
        }
        Ok((meta, bytes))
    }
}

/// The part of a file that is in memory.
fn cut(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    // Lossless on 64 bits, and within the file all the same.
    let end = (range.end as usize).min(bytes.len());
    bytes.slice((range.start as usize).min(end)..end)
}

#[async_trait]
impl Layer for WholeFiles {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(range) = options.range.clone().filter(|_| !options.head) else {
            return self.inner.get_opts(path, options).await;
        };
        if !self.gives_whole.load(Ordering::Relaxed) {
            match self.inner.get_opts(path, options.clone()).await {
                Err(error) if self.gave_whole(&error) => {}
                answer => return answer,
            }
        }
        let (meta, bytes) = self.whole(path).await?;
        options.check_preconditions(&meta)?;
        let range = range.as_range(meta.size).map_err(|error| Error::Generic {
            store: "HTTP",
            source: error.into(),
        })?;
        let body = futures::stream::once(std::future::ready(Ok(cut(&bytes, &range))));
        Ok(GetResult {
            payload: GetResultPayload::Stream(body.boxed()),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !self.gives_whole.load(Ordering::Relaxed) {
            match self.inner.get_ranges(path, ranges).await {
                Err(error) if self.gave_whole(&error) => {}
                answer => return answer,
            }
        }
        let (_, bytes) = self.whole(path).await?;
        Ok(ranges.iter().map(|range| cut(&bytes, range)).collect())
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::stores::layer::Layered;

    /// A server that answers requests for parts with the whole.
    #[derive(Debug)]
    struct Rangeless {
        files: InMemory,
        error: fn() -> Error,
    }

    #[async_trait]
    impl Layer for Rangeless {
        fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
            Ok(&self.files)
        }

        async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            match options.range {
                None => self.files.get_opts(path, options).await,
                Some(_) => Err((self.error)()),
            }
        }

        async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
            let range = ranges.first().cloned().unwrap_or_default();
            let options = GetOptions::new().with_range(Some(range));
            self.get(path, options).await.map(|_| Vec::new())
        }
    }

    #[tokio::test]
    async fn parts_are_cut_out_of_the_whole() {
        let errors: [fn() -> Error; 2] = [
            || Error::Generic {
                store: "HTTP",
                source: "Received non-partial response when range requested".into(),
            },
            || Error::NotSupported {
                source: "Range request not supported by http://127.0.0.1/a".into(),
            },
        ];
        for error in errors {
            let (path, files) = (Path::from("a"), InMemory::new());
            files.put(&path, "0123456789".into()).await.unwrap();
            let server: Arc<dyn ObjectStore> = Arc::new(Layered::new(Rangeless { files, error }));
            let store = Layered::new(WholeFiles::over(Arc::clone(&server)));
            assert_eq!(store.get_range(&path, 2..5).await.unwrap(), "234");
            let parts = store.get_ranges(&path, &[0..1, 8..10]).await.unwrap();
            assert_eq!(parts, ["0", "89"]);
            server.put(&path, "abc".into()).await.unwrap();
            assert_eq!(store.get_range(&path, 0..2).await.unwrap(), "ab");
            assert!(store.get_range(&path, 7..9).await.is_err());
            assert_eq!(
                store.get(&path).await.unwrap().bytes().await.unwrap(),
                "abc"
            );
        }
    }
}
