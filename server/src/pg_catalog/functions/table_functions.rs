//! Functions in FROM about what Auspex has none of: they give PostgreSQL's columns without rows.
//!
//! In: arguments, which do not matter; out: an empty table.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use super::super::cells::{Kind, schema_of};

/// The functions and their columns.
const EMPTY: &[(&str, &[(&str, Kind)])] = &[
    (
        "ts_token_type",
        &[
            ("tokid", Kind("int4")),
            ("alias", Kind("text")),
            ("description", Kind("text")),
        ],
    ),
    (
        "pg_partition_tree",
        &[
            ("relid", Kind("oid")),
            ("parentrelid", Kind("oid")),
            ("isleaf", Kind("bool")),
            ("level", Kind("int4")),
        ],
    ),
];

/// Registers them.
pub(in super::super) fn register(context: &SessionContext) {
    for (name, columns) in EMPTY {
        let function = Empty {
            schema: schema_of(columns),
        };
        context.register_udtf(name, Arc::new(function));
    }
}

#[derive(Debug)]
struct Empty {
    schema: SchemaRef,
}

impl TableFunctionImpl for Empty {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(EmptyTable::new(Arc::clone(&self.schema))))
    }
}
