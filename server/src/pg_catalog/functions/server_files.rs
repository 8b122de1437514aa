//! What PostgreSQL's tools ask about files, logs and snapshots of its storage.
//!
//! In: a relation's number, or nothing; out: numbers that change when they must. Nobody finds a file by them.

use std::sync::Arc;

use auspex_planner::{FactsKind, ObjectFacts};
use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::super::objects::Objects;
use super::constant;
use super::scalar::function;

/// The functions, over a session's catalog.
pub(super) fn functions(objects: &Objects) -> Vec<ScalarUDF> {
    let mut functions = vec![
        file_node(objects),
        // Scans are not counted.
        constant("pg_stat_get_numscans", &[1], 0_i64),
        export_snapshot(objects),
    ];
    let positions = [
        "pg_current_wal_lsn",
        "pg_current_wal_insert_lsn",
        "pg_current_wal_flush_lsn",
    ];
    functions.extend(positions.map(|name| log_position(name, objects)));
    functions
}

/// `pg_relation_filenode(oid)`: a table's own number, as in `pg_class.relfilenode`; NULL for what has no files.
fn file_node(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    let name = "pg_relation_filenode";
    function(name, &[1], DataType::Int32, move |call| {
        let node = |oid: Option<i32>| -> Result<Option<i32>> {
            let Some(number) = oid.and_then(|oid| u32::try_from(oid).ok()) else {
                return Ok(None);
            };
            let object = objects.facts().by_oid(number)?;
            let is_stored = |it: ObjectFacts| {
                let kind = it.kind;
                matches!(kind, FactsKind::Table | FactsKind::MaterializedView { .. })
            };
            Ok(oid.filter(|_| object.is_some_and(is_stored)))
        };
        let oids = call.oids(0)?;
        let nodes = oids.iter().map(node).collect::<Result<Int32Array>>()?;
        Ok(Arc::new(nodes) as ArrayRef)
    })
}

/// The place in the log of definitions, as PostgreSQL writes places in its log.
fn log_position(name: &'static str, objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function(name, &[0], DataType::Utf8, move |call| {
        let generation = objects.facts().generation()?;
        let (high, low) = (generation >> 32, generation & 0xffff_ffff);
        ScalarValue::from(format!("{high:X}/{low:X}")).to_array_of_size(call.n_rows)
    })
}

/// `pg_export_snapshot()`: the name of the block's snapshot, for `SET TRANSACTION SNAPSHOT` of another session.
fn export_snapshot(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("pg_export_snapshot", &[0], DataType::Utf8, move |call| {
        let name = objects.facts().export_snapshot()?;
        ScalarValue::from(name).to_array_of_size(call.n_rows)
    })
}
