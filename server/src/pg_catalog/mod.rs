//! `pg_catalog`: the tables and functions by which PostgreSQL's clients learn what a database holds.
//!
//! In: the session's catalog as the planner shows it; out: a schema of tables, functions, and a
//! rewriting of what clients write about them. Every query is planned and run; none is recognised by
//! its text. Code map: `columns` lists the relations of PostgreSQL 15 (`relations.txt`); `schema` gives their
//! rows: of what exists (`objects`, `relation_rows`, `information_schema`), of the server (`server_tables`,
//! `roles`), of the session (`session_rows`), of the functions about models (`ml_functions`) and of a fresh PostgreSQL (`fresh`); `functions` are
//! the functions; `normal_form` writes checks, defaults and generated values as PostgreSQL does; `rewrite` turns PostgreSQL's dialect into the planner's; `oids` numbers what has no entry; `own_types` and `row_types` lead from names of types to
//! numbers and back, `schemas` through the path.
//!
//! A model is a row of `pg_class` with `relkind = 'f'`, a foreign table of the server `models`: psql's
//! `\d` lists it, and `\d name` shows its type, label and version.

mod cells;
mod check_columns;
mod columns;
mod default_texts;
mod dependency_rows;
mod domain_rows;
mod enum_rows;
mod extension_rows;
mod fresh;
mod functions;
mod information_schema;
mod key_rows;
mod ml_functions;
mod momentary;
mod normal_form;
mod objects;
mod oids;
mod own_types;
mod reference_rows;
mod relation;
mod relation_rows;
mod rewrite;
mod roles;
mod row_types;
mod schema;
mod schemas;
mod sequence_rows;
mod server_tables;
mod session_rows;
mod shown;
mod time_zones;
mod usage_rows;
mod view_rows;

use std::sync::Arc;

use auspex_planner::{SessionExtension, SessionFacts, ValueFunction};
use datafusion::catalog::CatalogProviderList;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;

use oids::{Oids, SessionOids};
use schema::SystemSchema;

pub(crate) use functions::{procedure_name, shown_type};
pub(crate) use rewrite::{catalog_table, displayed_name};

const PG_CATALOG: &str = "pg_catalog";
const INFORMATION_SCHEMA: &str = "information_schema";

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
            SessionOids::new(Arc::clone(&self.oids)),
            session.catalog.clone(),
        );
        for name in [PG_CATALOG, INFORMATION_SCHEMA] {
            let relations = SystemSchema::new(name, objects.clone(), session.clone());
            catalog.register_schema(name, Arc::new(relations))?;
        }
        for function in functions::all(session, &objects) {
            context.register_udf(function);
        }
        functions::register(context);
        functions::register_texts(&mut context.clone())?;
        if let Some(keywords) = fresh::keywords() {
            context.register_udtf("pg_get_keywords", keywords);
        }
        Ok(())
    }

    fn functions(&self) -> Vec<ValueFunction> {
        functions::of_values()
    }

    fn rewrite(&self, statement: &mut Statement) -> Result<()> {
        rewrite::rewrite(statement);
        Ok(())
    }

    fn present(&self, plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
        shown::present(plan, state)
    }
}
