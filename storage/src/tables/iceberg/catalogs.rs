//! Catalogs of others that name Iceberg tables: REST services and SQL databases.
//!
//! A definition and a name flow in, the table flows out as that catalog has it now. A catalog is opened once; its files
//! are read through the stores and locations of the engine, whatever secrets it hands out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iceberg::table::Table;
use iceberg::{Catalog, CatalogBuilder as _, NamespaceIdent, TableIdent};
use iceberg_catalog_rest::RestCatalogBuilder;
use iceberg_catalog_sql::SqlCatalogBuilder;

use crate::catalog::{CatalogEntry, ExternalCatalogDefinition};
use crate::error::{CatalogFailure, Error, Result};
use crate::locations::Locations;
use crate::stores::{Stores, object_url};
use crate::tables::iceberg::answers::failure;
use crate::tables::iceberg::storage::{factory, object_of};
use crate::tables::iceberg::{IcebergTable, failed_at};

/// How long a catalog is waited for, all its answers for one table together.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The catalogs that were opened, by the id of their entry.
#[derive(Default)]
pub(crate) struct IcebergCatalogs {
    open: Mutex<BTreeMap<String, Opened>>,
}

#[derive(Clone)]
struct Opened {
    definition: ExternalCatalogDefinition,
    catalog: Arc<dyn Catalog>,
    /// What no message shows.
    secrets: Vec<String>,
}

impl std::fmt::Debug for IcebergCatalogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IcebergCatalogs")
    }
}

impl IcebergCatalogs {
    /// The table of a namespace, whose levels dots divide; `None` if the catalog has none of that name.
    ///
    /// Errors: `Catalog` if a service cannot be reached or denies access, `TableFormat`, `LocationRefused`,
    /// `CredentialFailure`.
    pub(crate) async fn table(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        name: (&str, &str),
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Option<IcebergTable>> {
        // The library waits without end.
        let asked = self.ask_again(entry, definition, name, locations, stores);
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(found) => found,
            Err(_) => Err(Error::Catalog(CatalogFailure::Failed {
                name: entry.name.clone(),
                reason: format!("no answer for {} s", ANSWER_TIMEOUT.as_secs()),
            })),
        }
    }

    /// A catalog that was opened before is opened anew if it fails: a token that a credential was exchanged for ends, and so
    /// do connections that are kept; the library asks for another token only at its start.
    async fn ask_again(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        name: (&str, &str),
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Option<IcebergTable>> {
        let was_open = self.lock().contains_key(&entry.id);
        let asked = self.ask(entry, definition, name, locations, stores).await;
        match asked {
            Err(Error::Catalog(_)) if was_open => {
                self.lock().remove(&entry.id);
                self.ask(entry, definition, name, locations, stores).await
            }
            asked => asked,
        }
    }

    async fn ask(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        (namespace, name): (&str, &str),
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Option<IcebergTable>> {
        let opened = self.catalog(entry, definition, locations, stores).await?;
        let levels = namespace.split('.').map(ToOwned::to_owned).collect();
        let shown = format!("{}.{namespace}.{name}", entry.name);
        let namespace =
            NamespaceIdent::from_vec(levels).map_err(|error| failed_at(&shown, error))?;
        let ident = TableIdent::new(namespace, name.to_owned());
        let asked = async {
            match opened.catalog.table_exists(&ident).await? {
                true => opened.catalog.load_table(&ident).await.map(Some),
                false => Ok(None),
            }
        };
        let table = asked
            .await
            .map_err(|error| match definition.catalog.as_str() {
                "sql" => failed_at(&shown, error),
                _ => failure(&entry.name, &error, &opened.secrets),
            })?;
        let opened = |table: Table| {
            // The catalog tells where the metadata are, and these where the files are, which others may have written.
            let metadata = table.metadata_location().map(object_of).transpose()?;
            let locations = match metadata {
                Some((root, file)) => locations.led_to_by(&object_url(&root, &file)),
                None => Arc::clone(locations),
            };
            IcebergTable::at(table, &BTreeMap::new(), &locations)
        };
        table.map(opened).transpose()
    }

    async fn catalog(
        &self,
        entry: &CatalogEntry,
        definition: &ExternalCatalogDefinition,
        locations: &Arc<Locations>,
        stores: &Stores,
    ) -> Result<Opened> {
        let known = self.lock().get(&entry.id).cloned();
        if let Some(known) = known
            && known.definition == *definition
        {
            return Ok(known);
        }
        let options = definition.open(&entry.name, stores)?;
        let secrets = secrets(definition, &options);
        let catalog = open(&entry.name, definition, options, locations).await?;
        let opened = Opened {
            definition: definition.clone(),
            catalog,
            secrets,
        };
        self.lock().insert(entry.id.clone(), opened.clone());
        Ok(opened)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options that are sealed, and the second half of a credential `client:secret`.
fn secrets(definition: &ExternalCatalogDefinition, all: &BTreeMap<String, String>) -> Vec<String> {
    let sealed = all
        .iter()
        .filter(|(option, _)| !definition.options.contains_key(*option));
    let parts = sealed.flat_map(|(_, value)| {
        let half = value.split_once(':').map(|(_, half)| half.to_owned());
        [Some(value.clone()), half]
    });
    parts.flatten().collect()
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
        // The library decodes percent signs, as the URL has them.
        Ok(file) if file.is_file() => Ok(format!("sqlite://{}?mode=rw", url.path())),
        _ => Err(Error::LocationNotFound {
            location: path.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::Warehouse;

    #[tokio::test]
    async fn a_database_is_the_file_that_was_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = dir.path().join("warehouse");
        let warehouse = Warehouse::open(warehouse.to_str().unwrap()).await.unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        let locations = Locations::new(&warehouse, &[root]).unwrap();
        let file = dir.path().join("a%20b#.db");
        std::fs::write(&file, "").unwrap();
        let uri = database(&format!("sqlite://{}", file.display()), &locations).unwrap();
        assert!(uri.ends_with("/a%2520b%23.db?mode=rw"), "{uri}");
        let gone = database(
            &format!("sqlite://{}/gone.db", dir.path().display()),
            &locations,
        );
        assert_eq!(gone.unwrap_err().sqlstate(), "58P01");
    }
}
