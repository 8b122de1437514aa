//! One host's store: each path goes to the store whose secrets are scoped to its longest prefix.
//!
//! Requests flow in and out unchanged; errors come out with the URL of their object. A folder is listed with the secrets
//! of its own path, whatever the scopes below it.

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
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

use crate::stores::failure::{StoreFailure, named};
use crate::stores::object_url::url_of;

/// Objects deleted at once when their stores differ.
const PARALLEL_DELETES: usize = 10;

/// A store for the paths below a prefix, or why there is none.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) prefix: Path,
    pub(crate) store: std::result::Result<Arc<dyn ObjectStore>, String>,
}

/// The routes of one host.
#[derive(Debug, Clone)]
pub(crate) struct RoutedStore {
    root: Url,
    /// By falling length of the prefix; the last one has none.
    routes: Arc<Vec<Route>>,
}

impl RoutedStore {
    pub(crate) fn new(root: Url, mut routes: Vec<Route>) -> Self {
        // Stable: of two credentials for one prefix, the first counts.
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.parts().count()));
        Self {
            root,
            routes: Arc::new(routes),
        }
    }

    fn route(&self, path: &Path) -> Result<&Arc<dyn ObjectStore>> {
        let route = self
            .routes
            .iter()
            .find(|route| path.prefix_matches(&route.prefix));
        let store = route.map(|route| route.store.as_ref());
        match store {
            Some(Ok(store)) => Ok(store),
            Some(Err(reason)) => Err(self.unreachable(path, reason.clone())),
            None => Err(self.unreachable(path, "no store is configured".into())),
        }
    }

    fn unreachable(&self, path: &Path, reason: String) -> Error {
        Error::Generic {
            store: "configuration",
            source: Box::new(StoreFailure {
                url: url_of(&self.root, path),
                source: reason.into(),
            }),
        }
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        list: impl FnOnce(&Arc<dyn ObjectStore>) -> BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.cloned().unwrap_or_default();
        match self.route(&folder) {
            Ok(store) => {
                let root = self.root.clone();
                list(store)
                    .map_err(move |error| named(&root, &folder, error))
                    .boxed()
            }
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }
}

impl fmt::Display for RoutedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())
    }
}

#[async_trait]
impl ObjectStore for RoutedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.route(location)?.put_opts(location, payload, options);
        put.await
            .map_err(|error| named(&self.root, location, error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.route(location)?.put_multipart_opts(location, options);
        put.await
            .map_err(|error| named(&self.root, location, error))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let get = self.route(location)?.get_opts(location, options);
        get.await
            .map_err(|error| named(&self.root, location, error))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = self.route(location)?.get_ranges(location, ranges);
        get.await
            .map_err(|error| named(&self.root, location, error))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if let [only] = self.routes.as_slice()
            && let Ok(store) = &only.store
        {
            return store.delete_stream(locations);
        }
        let routes = self.clone();
        locations
            .map(move |location| {
                let routes = routes.clone();
                async move {
                    let location = location?;
                    let one = futures::stream::once(std::future::ready(Ok(location.clone())));
                    let mut deleted = routes.route(&location)?.delete_stream(one.boxed());
                    let deleted = deleted.next().await.unwrap_or(Ok(location.clone()));
                    deleted.map_err(|error| named(&routes.root, &location, error))
                }
            })
            .buffered(PARALLEL_DELETES)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |store| store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, |store| store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let list = self.route(&folder)?.list_with_delimiter(prefix);
        list.await
            .map_err(|error| named(&self.root, &folder, error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.route(from)?, self.route(to)?);
        if !Arc::ptr_eq(source, target) {
            return Err(self.unreachable(to, "it has another credential than the source".into()));
        }
        let copy = target.copy_opts(from, to, options);
        copy.await.map_err(|error| named(&self.root, to, error))
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;
    use crate::error::Error as OurError;

    async fn routed() -> (Arc<InMemory>, Arc<InMemory>, RoutedStore) {
        let (narrow, wide) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
        let routes = vec![
            Route {
                prefix: Path::default(),
                store: Ok(Arc::clone(&wide) as Arc<dyn ObjectStore>),
            },
            Route {
                prefix: Path::from("a/b"),
                store: Ok(Arc::clone(&narrow) as Arc<dyn ObjectStore>),
            },
            Route {
                prefix: Path::from("a/broken"),
                store: Err("no region is known".into()),
            },
        ];
        let root = Url::parse("s3://bucket/").unwrap();
        (narrow, wide, RoutedStore::new(root, routes))
    }

    #[tokio::test]
    async fn the_longest_prefix_counts() {
        let (narrow, wide, store) = routed().await;
        for path in ["a/b/x", "a/bc/x", "c"] {
            store.put(&Path::from(path), "x".into()).await.unwrap();
        }
        assert!(narrow.head(&Path::from("a/b/x")).await.is_ok());
        assert!(wide.head(&Path::from("a/bc/x")).await.is_ok());
        assert!(narrow.head(&Path::from("c")).await.is_err());
        let paths = ["a/b/x", "c"].map(|path| Ok(Path::from(path)));
        let deleted = store.delete_stream(futures::stream::iter(paths).boxed());
        assert_eq!(deleted.try_collect::<Vec<_>>().await.unwrap().len(), 2);
        assert!(narrow.head(&Path::from("a/b/x")).await.is_err());
    }

    #[tokio::test]
    async fn errors_name_the_url() {
        let (_, _, store) = routed().await;
        let error = store.get(&Path::from("a/b/none")).await.unwrap_err();
        let error = OurError::from(error);
        assert_eq!(error.sqlstate(), "58P01");
        assert!(
            error.to_string().contains("s3://bucket/a/b/none"),
            "{error}"
        );
        let error = store.get(&Path::from("a/broken/x")).await.unwrap_err();
        let error = OurError::from(error);
        assert_eq!(error.sqlstate(), "58030");
        assert!(
            error.to_string().contains("s3://bucket/a/broken/x"),
            "{error}"
        );
        assert!(error.detail().unwrap().contains("region"));
        let (from, to) = (Path::from("c"), Path::from("a/b/c"));
        store.put(&from, "x".into()).await.unwrap();
        assert!(store.copy(&from, &to).await.is_err());
    }
}
