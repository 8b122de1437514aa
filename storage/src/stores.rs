//! Object stores: one registry of everything that files are read from and written to.
//!
//! A URL flows in, the store of its host flows out, with the secrets that the catalog or the environment has for each of
//! its prefixes, a cache of hot byte ranges, retries and bounded waits. DataFusion, the catalog log, the models and the
//! table formats all get their stores here. Which URLs SQL may name is `Locations`' business.

mod build;
mod failure;
#[cfg(test)]
mod faulty;
mod layer;
mod object_url;
mod patient;
mod postponed;
mod range_cache;
mod read_only;
mod registry;
mod routes;
mod whole_files;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use crate::catalog::CatalogState;
use crate::credentials::{Access, CredentialKey};
use crate::durable_store::DurableStore;
use crate::error::{CredentialFailure, Error, Result};

pub(crate) use build::{StoreKind, divide_options};
pub(crate) use failure::{StoreFailure, Unsettled};
#[cfg(test)]
pub(crate) use faulty::{ALL_FAULTS, Fault, FaultyStore, Plan};
pub(crate) use layer::{Layer, Layered, Request};
pub(crate) use object_url::{ObjectUrl, object_url, shown};
pub(crate) use patient::{Patience, PatientStore};
pub use postponed::PostponedFiles;
use range_cache::RangeCache;
pub use registry::StoreRegistry;

use routes::{Route, RoutedStore};

/// How stores are reached.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Bytes of remote files that are kept in memory; 0 keeps none.
    pub cache_bytes: usize,
    /// What the secrets of credentials are sealed with.
    pub credential_key: Option<CredentialKey>,
}

/// The stores of an engine, by scheme and host.
#[derive(Debug)]
pub struct Stores {
    options: StoreOptions,
    cache: Option<Arc<RangeCache>>,
    local: Arc<dyn ObjectStore>,
    access: RwLock<Arc<Access>>,
    remote: RwLock<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl Stores {
    /// Stores with the secrets of the environment alone, until a catalog is adopted.
    pub fn new(options: StoreOptions) -> Arc<Self> {
        let cache = (options.cache_bytes > 0).then(|| RangeCache::new(options.cache_bytes));
        Arc::new(Self {
            options,
            cache,
            local: Arc::new(DurableStore::over(LocalFileSystem::new())),
            access: RwLock::default(),
            remote: RwLock::default(),
        })
    }

    /// The store of a URL's host; its paths are those of URLs, from the root of the host.
    ///
    /// Errors: `UnsupportedScheme`, `InvalidLocation`.
    pub(crate) fn root_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() == "file" {
            return Ok(Arc::clone(&self.local));
        }
        let root = ObjectUrl::of(url)?.root().clone();
        let known = self.remote.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(root.as_str()) {
            return Ok(Arc::clone(store));
        }
        drop(known);
        let store = self.open(&root)?;
        let mut remote = self.remote.write().unwrap_or_else(PoisonError::into_inner);
        let store = remote.entry(root.into()).or_insert(store);
        Ok(Arc::clone(store))
    }

    /// What the catalog says of credentials and external locations, as last adopted.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that secrets are sealed with. Errors: `CredentialFailure::NoKey`.
    pub fn credential_key(&self) -> Result<&CredentialKey> {
        let key = self.options.credential_key.as_ref();
        Ok(key.ok_or(CredentialFailure::NoKey)?)
    }

    /// Takes over the credentials and external locations of a catalog. Stores made with other ones are made anew;
    /// statements that run keep theirs.
    pub(crate) fn adopt(&self, state: &CatalogState) {
        let access = Access::of(state);
        let mut current = self.access.write().unwrap_or_else(PoisonError::into_inner);
        if **current == access {
            return;
        }
        *current = Arc::new(access);
        let mut remote = self.remote.write().unwrap_or_else(PoisonError::into_inner);
        remote.clear();
    }

    fn open(&self, root: &Url) -> Result<Arc<dyn ObjectStore>> {
        let kind = StoreKind::of_scheme(root.scheme()).ok_or_else(|| Error::UnsupportedScheme {
            scheme: root.scheme().into(),
            location: root.to_string(),
        })?;
        let mut routes = Vec::new();
        for grant in self.access().grants_on(root, kind) {
            let secrets = match &self.options.credential_key {
                Some(key) => grant.credential.open(key),
                None => Err(CredentialFailure::NoKey.into()),
            };
            let store = secrets.and_then(|options| build::build(kind, root, Some(&options)));
            routes.push(self.route(root, grant.prefix, store));
        }
        let store = build::build(kind, root, None);
        routes.push(self.route(root, Path::default(), store));
        Ok(Arc::new(Layered::new(RoutedStore::new(
            root.clone(),
            routes,
        ))))
    }

    fn route(&self, root: &Url, prefix: Path, store: Result<Arc<dyn ObjectStore>>) -> Route {
        let store = store.map(|store| {
            let store = PatientStore::over(root, store, Patience::default());
            match &self.cache {
                Some(cache) => cache.wrap(root, store),
                None => store,
            }
        });
        Route {
            prefix,
            store: store.map_err(|error| error.to_string()),
        }
    }
}
