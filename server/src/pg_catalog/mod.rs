//! `pg_catalog`: the tables and functions by which PostgreSQL's clients learn what a database holds.
//!
//! In: the session's catalog as the planner shows it; out: a schema of tables, functions, and a
//! rewriting of what clients write about them. Every query is planned and run; none is recognised by
//! its text. Code map: `schema` has the tables, built from `objects` (what exists), `server_tables`
//! (roles, databases, settings) and the rows of a fresh PostgreSQL that `datafusion-pg-catalog`
//! carries; `functions` are the functions; `rewrite` turns PostgreSQL's dialect into the planner's;
//! `oids` numbers things; `cells` and `columns` spell tables.
//!
//! A model is a row of `pg_class` with `relkind = 'f'`, a foreign table of the server `models`: psql's
//! `\d` lists it, and `\d name` shows its type, label and version.

mod cells;
mod columns;
mod functions;
mod ml_functions;
mod objects;
mod oids;
mod rewrite;
mod schema;
mod server_tables;

use std::sync::Arc;

use auspex_planner::{SessionExtension, SessionFacts};
use datafusion::catalog::CatalogProviderList;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;

use oids::Oids;
use schema::PgCatalogSchema;

pub(crate) use rewrite::displayed_name;

/// The schema's name.
const PG_CATALOG: &str = "pg_catalog";

/// PostgreSQL's catalogs for every session of a server.
#[derive(Debug, Default)]
pub struct PgCatalog {
    oids: Arc<Oids>,
}

impl SessionExtension for PgCatalog {
    fn install(&self, context: &SessionContext, session: &SessionFacts) -> Result<()> {
        let state = context.state();
        let catalogs: &Arc<dyn CatalogProviderList> = state.catalog_list();
        let catalog = catalogs.catalog(session.database).ok_or_else(|| {
            DataFusionError::Internal(format!("catalog \"{}\" is missing", session.database))
        })?;
        // The list owns the schema: a strong reference back would keep both for ever.
        let objects = objects::Objects::new(
            Arc::downgrade(catalogs),
            session.database,
            Arc::clone(&self.oids),
        );
        let tables = PgCatalogSchema::new(objects.clone(), session.clone());
        catalog.register_schema(PG_CATALOG, Arc::new(tables))?;
        for function in functions::all(session, &objects) {
            context.register_udf(function);
        }
        if let Some(keywords) = schema::keywords() {
            context.register_udtf("pg_get_keywords", keywords);
        }
        Ok(())
    }

    fn rewrite(&self, statement: &mut Statement) -> Result<()> {
        rewrite::rewrite(statement);
        Ok(())
    }
}
