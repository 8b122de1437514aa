//! `DESCRIBE table`: its columns as rows.
//!
//! In: a name; out: one batch. Reads no row of the table.

use std::sync::Arc;

use auspex_storage::ObjectKind;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::sql::sqlparser::ast::ObjectName;

use crate::catalog::rows::{Cell, ColumnType, batch_of};
use crate::commands::name_parts;
use crate::commands::show_create::declared_type;
use crate::error::Result;
use crate::session::{DATABASE, Session};

const DESCRIPTION: &[(&str, ColumnType)] = &[
    ("column_name", ColumnType::Text),
    ("data_type", ColumnType::Text),
    ("is_nullable", ColumnType::Text),
];

/// The rows of `DESCRIBE table`.
pub(crate) async fn describe_table(
    session: &Arc<Session>,
    name: &ObjectName,
) -> Result<RecordBatch> {
    let parts = name_parts(name);
    let state = session.seen_catalog();
    let (catalog, schema, short) = match parts.as_slice() {
        [catalog, namespace, short] if state.global(ObjectKind::Catalog, catalog).is_some() => {
            (catalog.as_str(), namespace.clone(), short.clone())
        }
        parts => {
            let (schema, short) = session.relation_parts(parts)?;
            (DATABASE, schema, short)
        }
    };
    let provider = session.context().catalog(catalog);
    let provider = provider.and_then(|catalog| catalog.schema(&schema));
    let table = match provider {
        Some(provider) => provider.table(&short).await?,
        None => None,
    };
    let Some(table) = table else {
        return Err(session.undefined_relation(&schema, &parts.join(".")));
    };
    let columns = table.schema();
    let row = |field: &Arc<Field>| {
        let nullable = if field.is_nullable() { "YES" } else { "NO" };
        vec![
            field.name().as_str().into(),
            declared_type(field).into(),
            nullable.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = columns.fields().iter().map(row).collect();
    Ok(batch_of(DESCRIPTION, &rows)?)
}
