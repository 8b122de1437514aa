//! The stores as DataFusion asks for them.
//!
//! URLs flow in, the stores of `Stores` flow out. Schemes that are not files of users, such as those that table formats
//! make up for themselves, are kept here as they are registered.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use url::{Position, Url};

use crate::stores::{StoreKind, Stores};

/// DataFusion's view of an engine's stores.
#[derive(Debug)]
pub struct StoreRegistry {
    stores: Arc<Stores>,
    registered: RwLock<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl StoreRegistry {
    /// A registry over `stores`.
    pub fn new(stores: Arc<Stores>) -> Arc<Self> {
        Arc::new(Self {
            stores,
            registered: RwLock::default(),
        })
    }
}

fn key(url: &Url) -> String {
    url[..Position::AfterPort].to_owned()
}

fn unknown(url: &Url) -> DataFusionError {
    DataFusionError::Internal(format!("no object store for \"{}\"", url.scheme()))
}

impl ObjectStoreRegistry for StoreRegistry {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        let mut registered = self
            .registered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        registered.insert(key(url), store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let mut registered = self
            .registered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        registered.remove(&key(url)).ok_or_else(|| unknown(url))
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() == "file" || StoreKind::of_scheme(url.scheme()).is_some() {
            let store = self.stores.root_store(url);
            return store.map_err(|error| DataFusionError::External(Box::new(error)));
        }
        let registered = self
            .registered
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = registered.get(&key(url)).map(Arc::clone);
        found.ok_or_else(|| unknown(url))
    }
}
