//! The functions about models as rows of `pg_proc`, so that `\df ml.*` and every tool that lists
//! functions shows them.
//!
//! In: the planner's list; out: rows like those of PostgreSQL's own set-returning functions.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{
    ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::DataType;

use super::oids::ML_SCHEMA;

/// A set-returning function without arguments, whose other columns ours share.
const TEMPLATE: &str = "pg_get_keywords";

/// Each function's number with its name and arguments.
pub(super) fn numbered() -> impl Iterator<Item = (i32, &'static str, &'static str)> {
    let functions = auspex_planner::ml_functions();
    let numbers = ML_SCHEMA + 1..;
    numbers
        .zip(functions)
        .map(|(oid, (name, arguments))| (oid, name, arguments))
}

/// The rows to add to those of a fresh PostgreSQL; none where its columns are not the known ones.
pub(super) fn procs(fresh: &'static [RecordBatch]) -> Option<&'static RecordBatch> {
    static ROWS: OnceLock<Option<RecordBatch>> = OnceLock::new();
    ROWS.get_or_init(|| fresh.iter().find_map(rows_like))
        .as_ref()
}

fn rows_like(batch: &RecordBatch) -> Option<RecordBatch> {
    let names = cast(batch.column_by_name("proname")?, &DataType::Utf8).ok()?;
    let names = names.as_string_opt::<i32>()?;
    let template = names.iter().position(|name| name == Some(TEMPLATE))?;
    let functions: Vec<_> = numbered().collect();
    let rows = UInt32Array::from(vec![u32::try_from(template).ok()?; functions.len()]);
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let own: Option<ArrayRef> = match field.name().as_str() {
                "oid" => Some(Arc::new(Int32Array::from_iter_values(
                    functions.iter().map(|(oid, ..)| *oid),
                ))),
                "proname" => Some(Arc::new(StringArray::from_iter_values(
                    functions.iter().map(|(_, name, _)| *name),
                ))),
                "pronamespace" => {
                    Some(Arc::new(Int32Array::from(vec![ML_SCHEMA; functions.len()])))
                }
                _ => None,
            };
            match own {
                Some(own) => cast(&own, field.data_type()).ok(),
                None => take(column, &rows, None).ok(),
            }
        });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Option<_>>()?).ok()
}
