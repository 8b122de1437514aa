//! Catalogs of others that name Iceberg tables: REST services and SQL databases.
//!
//! A definition and a name flow in, the table flows out as that catalog has it now. A catalog is opened once; its files
//! are read through the stores and locations of the engine, whatever secrets it hands out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::{Catalog, CatalogBuilder as _, NamespaceIdent, TableIdent};
use iceberg_catalog_rest::RestCatalogBuilder;
use iceberg_catalog_sql::SqlCatalogBuilder;

use crate::catalog::{CatalogEntry, ExternalCatalogDefinition};
use crate::error::{Error, Result};
use crate::locations::Locations;
use crate::stores::Stores;
use crate::tables::iceberg::storage::factory;
use crate::tables::iceberg::{IcebergTable, failed_at};

/// The catalogs that were opened, by the id of their entry.
#[derive(Default)]
pub(crate) struct IcebergCatalogs {
    open: Mutex<BTreeMap<String, Opened>>,
}

#[derive(Clone)]
struct Opened {
    definition: ExternalCatalogDefinition,
    catalog: Arc<dyn Catalog>,
}

impl std::fmt::Debug for IcebergCatalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IcebergCatalogs")
    }
}

impl IcebergCatalogs {
    /// The table of a namespace, whose levels dots divide; `None` if the catalog has none of that name.
    ///
    /// Errors: `TableFormat` if the catalog cannot be reached, `LocationRefused`, `SealedCredential`.
    pub(crate) async fn table(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        (namespace, name): (&str, &str),
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Option<IcebergTable>> {
        let catalog = self.catalog(entry, definition, locations, stores).await?;
        let levels = namespace.split('.').map(ToOwned::to_owned).collect();
        let shown = format!("{}.{namespace}.{name}", entry.name);
        let namespace =
            NamespaceIdent::from_vec(levels).map_err(|error| failed_at(&shown, error))?;
        let ident = TableIdent::new(namespace, name.to_owned());
        let exists = catalog.table_exists(&ident).await;
        if !exists.map_err(|error| failed_at(&shown, error))? {
            return Ok(None);
        }
        let table = catalog.load_table(&ident).await;
        let table = table.map_err(|error| failed_at(&shown, error))?;
        IcebergTable::at(table, &BTreeMap::new(), locations).map(Some)
    }

    async fn catalog(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Arc<dyn Catalog>> {
        let known = self.lock().get(&entry.id).cloned();
        if let Some(known) = known
            && known.definition == *definition
        {
            return Ok(known.catalog);
        }
        let options = definition.open(&entry.name, stores)?;
        let catalog = open(&entry.name, definition, options, locations).await?;
        let opened = Opened {
            definition: definition.clone(),
            catalog: Arc::clone(&catalog),
        };
        self.lock().insert(entry.id.clone(), opened);
        Ok(catalog)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(
    name: &str,
    definition: &ExternalCatalogDefinition,
    mut options: BTreeMap<String, String>,
    locations: &Arc<Locations>,
) -> Result<Arc<dyn Catalog>> {
    let files = factory(locations);
    let opened: iceberg::Result<Arc<dyn Catalog>> = match definition.catalog.as_str() {
        "sql" => {
            let uri = options.remove("uri").unwrap_or_default();
            options.insert("uri".into(), database(&uri, locations)?);
            options.entry("warehouse".into()).or_default();
            let called = options
                .remove("catalog_name")
                .unwrap_or_else(|| name.into());
            let builder = SqlCatalogBuilder::default().with_storage_factory(files);
            let catalog = builder.load(called, properties(options)).await;
            catalog.map(|catalog| Arc::new(catalog) as _)
        }
        _ => {
            let builder = RestCatalogBuilder::default().with_storage_factory(files);
            let catalog = builder.load(name, properties(options)).await;
            catalog.map(|catalog| Arc::new(catalog) as _)
        }
    };
    opened.map_err(|error| failed_at(name, error))
}

/// Options under the names that the library gives them.
fn properties(options: BTreeMap<String, String>) -> HashMap<String, String> {
    let named = options.into_iter().map(|(option, value)| {
        let name = match option.as_str() {
            "oauth2_server_uri" => "oauth2-server-uri".to_owned(),
            _ => option,
        };
        (name, value)
    });
    named.collect()
}

/// The database file of a SQL catalog, which must lie within the locations.
fn database(uri: &str, locations: &Locations) -> Result<String> {
    let path = uri.trim_start_matches("sqlite:");
    let path = match path.strip_prefix("//") {
        Some(absolute) => absolute,
        None => path,
    };
    let path = path.split('?').next().unwrap_or_default();
    let url = locations.resolve(path)?;
    match url.to_file_path() {
        Ok(file) if file.is_file() => Ok(format!("sqlite://{}?mode=rw", file.display())),
        _ => Err(Error::LocationNotFound {
            location: path.into(),
        }),
    }
}
