//! The upkeep of a warehouse: checking that all files are there that the catalog names, and removing those that nothing
//! names any more.
//!
//! A warehouse flows in, findings flow out. A check changes nothing. A removal touches only files older than a bound, so
//! that what a running statement has just written, and no catalog entry names yet, stays.

mod check;
mod garbage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::catalog::{Catalog, CatalogState, Definition};
use crate::error::Result;
use crate::models::ModelStore;
use crate::tables::Tables;
use crate::warehouse::Warehouse;

pub use check::{CheckReport, Problem};
pub use garbage::{Garbage, GarbageOptions, Removed};

/// Checks and cleans a warehouse.
#[derive(Debug)]
pub struct Upkeep {
    warehouse: Arc<Warehouse>,
    catalog: Arc<Catalog>,
    tables: Arc<Tables>,
    models: ModelStore,
}

impl Upkeep {
    /// The upkeep of an open warehouse.
    pub fn new(warehouse: Arc<Warehouse>, catalog: Arc<Catalog>, tables: Arc<Tables>) -> Self {
        let models = ModelStore::new(Arc::clone(&warehouse));
        Self {
            warehouse,
            catalog,
            tables,
            models,
        }
    }

    /// All files below a folder of the warehouse.
    async fn files(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let folder = Path::from(folder);
        let files = self.warehouse.store().list(Some(&folder));
        Ok(files.try_collect().await?)
    }

    /// The files below `tables` or `models` by the id whose folder they lie in.
    async fn files_by_id(&self, folder: &str) -> Result<BTreeMap<String, Vec<ObjectMeta>>> {
        let mut by_id: BTreeMap<String, Vec<ObjectMeta>> = BTreeMap::new();
        for file in self.files(folder).await? {
            let id = file.location.parts().nth(1);
            if let Some(id) = id.map(|part| part.as_ref().to_owned()) {
                by_id.entry(id).or_default().push(file);
            }
        }
        Ok(by_id)
    }
}

/// The ids of the tables or models of a catalog.
fn ids(state: &CatalogState, is_wanted: impl Fn(&Definition) -> bool) -> BTreeSet<String> {
    let wanted = state.all().filter(|entry| is_wanted(&entry.definition));
    wanted.map(|entry| entry.id.clone()).collect()
}

#[cfg(test)]
mod tests;
