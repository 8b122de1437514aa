//! Catalogs of others in names of three parts: `catalog.namespace.table`.
//!
//! In: names; out: table providers. Nothing of such a catalog is known before a table of it is asked for, so that a
//! service that does not answer delays only the statements that name it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use auspex_storage::{CatalogEntry, ObjectKind, VersionSpec};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};

use super::{SessionCatalog, pins};
use crate::engine::Engine;
use crate::session::{DATABASE, Session};

/// The warehouse, and the catalogs of others.
#[derive(Debug)]
pub(crate) struct SessionCatalogs {
    engine: Arc<Engine>,
    session: Weak<Session>,
    own: Arc<SessionCatalog>,
}

impl SessionCatalogs {
    pub(crate) fn new(engine: Arc<Engine>, session: Weak<Session>) -> SessionCatalogs {
        let own = Arc::new(SessionCatalog::new(Arc::clone(&engine), session.clone()));
        SessionCatalogs {
            engine,
            session,
            own,
        }
    }
}

impl CatalogProviderList for SessionCatalogs {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        // Catalogs are made by CREATE CATALOG.
        None
    }

    /// The warehouse alone: to list the others would cost requests.
    fn catalog_names(&self) -> Vec<String> {
        vec![DATABASE.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let state = self.engine.catalog.state();
        match state.global(ObjectKind::Catalog, name) {
            Some(entry) if name != DATABASE => Some(Arc::new(ForeignCatalog {
                entry: Arc::clone(entry),
                session: self.session.clone(),
            })),
            // Any other name is the project of a published query, which is left out.
            _ => Some(Arc::clone(&self.own) as Arc<dyn CatalogProvider>),
        }
    }
}

#[derive(Debug)]
struct ForeignCatalog {
    entry: Arc<CatalogEntry>,
    session: Weak<Session>,
}

impl CatalogProvider for ForeignCatalog {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(ForeignSchema {
            entry: Arc::clone(&self.entry),
            session: self.session.clone(),
            namespace: name.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct ForeignSchema {
    entry: Arc<CatalogEntry>,
    session: Weak<Session>,
    /// Dots divide its levels.
    namespace: String,
}

#[async_trait]
impl SchemaProvider for ForeignSchema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let session = self
            .session
            .upgrade()
            .ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()))?;
        session.access().check(&self.entry, "USAGE")?;
        let newest = (name, VersionSpec::Newest);
        Ok(pins::foreign(&session, &self.entry, &self.namespace, newest).await?)
    }

    fn table_exist(&self, _name: &str) -> bool {
        // Only a request could tell; `table` makes it.
        true
    }
}
