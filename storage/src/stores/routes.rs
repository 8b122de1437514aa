//! One host's store: each path goes to the store whose secrets are scoped to its longest prefix.
//!
//! Requests flow in and out unchanged; errors come out with the URL of their object. A folder is listed with the secrets
//! of its own path, whatever the scopes below it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, ObjectStore, ObjectStoreExt as _, RenameOptions,
    RenameTargetMode, Result,
};
use url::Url;

use crate::stores::failure::{StoreFailure, named};
use crate::stores::layer::{Layer, once};
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
}

#[async_trait]
impl Layer for RoutedStore {
    fn below(&self, path: &Path) -> Result<&dyn ObjectStore> {
        Ok(self.route(path)?)
    }

    fn failed(&self, path: &Path, error: Error) -> Error {
        named(&self.root, path, error)
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root.as_str())
    }

    fn delete(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> Result<BoxStream<'static, Result<Path>>> {
        if let [only] = self.routes.as_slice()
            && let Ok(store) = &only.store
        {
            return Ok(store.delete_stream(paths));
        }
        let routes = self.clone();
        let deleted = paths.map(move |path| {
            let routes = routes.clone();
            async move {
                let path = path?;
                let mut deleted = routes.route(&path)?.delete_stream(once(Ok(path.clone())));
                let deleted = deleted.next().await.unwrap_or(Ok(path.clone()));
                deleted.map_err(|error| routes.failed(&path, error))
            }
        });
        Ok(deleted.buffered(PARALLEL_DELETES).boxed())
    }

    async fn copy(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.route(from)?, self.route(to)?);
        if !Arc::ptr_eq(source, target) {
            return Err(self.unreachable(to, "it has another credential than the source".into()));
        }
        target.copy_opts(from, to, options).await
    }

    async fn rename(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        let copy = CopyOptions::new().with_mode(mode);
        self.copy(from, to, copy.with_extensions(options.extensions))
            .await?;
        self.route(from)?.delete(from).await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use object_store::memory::InMemory;

    use super::*;
    use crate::error::Error as OurError;
    use crate::stores::layer::Layered;

    async fn routed() -> (Arc<InMemory>, Arc<InMemory>, Layered<RoutedStore>) {
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
        (narrow, wide, Layered::new(RoutedStore::new(root, routes)))
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
