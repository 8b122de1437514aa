//! The warehouse as the SQL planner sees it: schemas and tables by name, opened when a query needs them.
//!
//! In: names; out: table providers. Views are planned here, since a view is a query; the system views
//! about models are in `system`, and `momentary` has tables whose rows are made when they are read.

pub(crate) mod binding;
pub(crate) mod domain_facts;
pub(crate) mod enum_facts;
pub(crate) mod facts;
mod foreign;
mod job_views;
mod lake_views;
pub(crate) mod lineage;
pub(crate) mod momentary;
pub(crate) mod pins;
pub(crate) mod reference_facts;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod sequence_row;
pub(crate) mod system;
pub(crate) mod table_relations;
mod temporary_facts;
pub(crate) mod type_facts;
mod view_texts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result;

use crate::access::as_system;
use crate::engine::{Engine, lock};
use crate::named::Named;
use crate::search_path::{SEARCHED, SearchedSchemas};
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;
pub(crate) use foreign::SessionCatalogs;
use schema::WarehouseSchema;
pub(crate) use schema::named_columns;
use system::SystemSchema;

/// The schema of the functions and views about models.
pub(crate) const ML: &str = "ml";
const PG_CATALOG: &str = "pg_catalog";

/// The schemas that one session sees.
#[derive(Debug)]
pub(crate) struct SessionCatalog {
    engine: Arc<Engine>,
    session: Weak<Session>,
    added: Mutex<BTreeMap<String, Arc<dyn SchemaProvider>>>,
}

impl SessionCatalog {
    pub(crate) fn new(engine: Arc<Engine>, session: Weak<Session>) -> SessionCatalog {
        SessionCatalog {
            engine,
            session,
            added: Mutex::default(),
        }
    }
}

/// A schema in which the engine describes its catalog: it shows names to everybody, and no rows of tables.
#[derive(Debug)]
struct EngineSchema(Arc<dyn SchemaProvider>);

#[async_trait]
impl SchemaProvider for EngineSchema {
    fn table_names(&self) -> Vec<String> {
        self.0.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let found = as_system(self.0.table(name)).await?;
        if found.is_some() {
            pins::refuse_unpinned(name)?;
        }
        Ok(found)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table_exist(name)
    }
}

impl CatalogProvider for SessionCatalog {
    fn schema_names(&self) -> Vec<String> {
        let catalog = self.engine.catalog.state();
        let mut names: Vec<String> = catalog
            .schemas()
            .iter()
            .map(|entry| entry.name.clone())
            .collect();
        names.extend(lock(&self.added).keys().cloned());
        names.push(ML.to_owned());
        let session = self.session.upgrade();
        let session = session.filter(|session| session.temporary.has_schema());
        names.extend(session.map(|session| session.temporary_schema()));
        names.sort();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let added = lock(&self.added).get(name).cloned();
        if name == ML {
            return Some(Arc::new(SystemSchema::new(self.session.clone())));
        }
        if name == PG_CATALOG {
            let system = SystemSchema::with_base(self.session.clone(), added);
            return Some(Arc::new(system));
        }
        if let Some(schema) = added {
            Named::note_catalog();
            return Some(Arc::new(EngineSchema(schema)));
        }
        if name == SEARCHED {
            let session = self.session.upgrade()?;
            let mut path = session.relation_path();
            if !path.iter().any(|schema| schema == PG_CATALOG) {
                path.push(PG_CATALOG.to_owned());
            }
            let schemas = path.iter().filter_map(|schema| self.schema(schema));
            return Some(Arc::new(SearchedSchemas(schemas.collect())));
        }
        let session = self.session.upgrade()?;
        let name = session.known_schema(name);
        let is_known = self.engine.catalog.state().schema_exists(name);
        if !is_known && name != TEMPORARY {
            return None;
        }
        let fallback = self
            .schema(PG_CATALOG)
            .filter(|_| name == crate::session::PUBLIC);
        Some(Arc::new(WarehouseSchema::new(
            name,
            self.session.clone(),
            fallback,
        )))
    }

    fn register_schema(
        &self,
        name: &str,
        schema: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(lock(&self.added).insert(name.to_owned(), schema))
    }
}
