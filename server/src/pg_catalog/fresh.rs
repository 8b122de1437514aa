//! The rows of a fresh PostgreSQL: types, operators, functions, casts.
//!
//! In: a table's name; out: its rows with the columns of PostgreSQL 15. `datafusion-pg-catalog` carries the rows as
//! texts and numbers; here lists become lists and names of functions their numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, new_null_array};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};

use super::PG_CATALOG;
use super::cells::{Cell, Kind, schema_of};
use super::columns::{self, SystemRelation};

/// What the library carries, read once.
static CARRIED: LazyLock<Option<PgCatalogStaticTables>> =
    LazyLock::new(|| match PgCatalogStaticTables::try_new() {
        Ok(tables) => Some(tables),
        Err(error) => {
            tracing::error!(%error, "the catalog rows of PostgreSQL cannot be read");
            None
        }
    });

type Pick = fn(&PgCatalogStaticTables) -> &Arc<ArrowTable>;

/// The tables that have rows in a fresh PostgreSQL and that clients ask for.
const FILLED: &[(&str, Pick)] = &[
    ("pg_aggregate", |t| &t.pg_aggregate),
    ("pg_am", |t| &t.pg_am),
    ("pg_amop", |t| &t.pg_amop),
    ("pg_amproc", |t| &t.pg_amproc),
    ("pg_cast", |t| &t.pg_cast),
    ("pg_conversion", |t| &t.pg_conversion),
    ("pg_description", |t| &t.pg_description),
    ("pg_language", |t| &t.pg_language),
    ("pg_opclass", |t| &t.pg_opclass),
    ("pg_operator", |t| &t.pg_operator),
    ("pg_opfamily", |t| &t.pg_opfamily),
    ("pg_proc", |t| &t.pg_proc),
    ("pg_range", |t| &t.pg_range),
    ("pg_ts_config", |t| &t.pg_ts_config),
    ("pg_ts_dict", |t| &t.pg_ts_dict),
    ("pg_ts_parser", |t| &t.pg_ts_parser),
    ("pg_ts_template", |t| &t.pg_ts_template),
    ("pg_type", |t| &t.pg_type),
];

static ROWS: LazyLock<BTreeMap<&'static str, RecordBatch>> = LazyLock::new(|| {
    let Some(carried) = CARRIED.as_ref() else {
        return BTreeMap::new();
    };
    let numbers = procedure_numbers(carried);
    let mut rows = BTreeMap::new();
    for (name, pick) in FILLED {
        let Some(relation) = columns::find(PG_CATALOG, name) else {
            continue;
        };
        match converted(relation, pick(carried), &numbers) {
            Ok(batch) => drop(rows.insert(*name, batch)),
            Err(error) => tracing::error!(%error, name, "catalog rows cannot be converted"),
        }
    }
    rows
});

/// The rows of a table; `None` when a fresh PostgreSQL has none of it.
pub(super) fn rows(name: &str) -> Option<&'static RecordBatch> {
    ROWS.get(name)
}

/// Whether a table has such rows.
pub(super) fn is_filled(name: &str) -> bool {
    FILLED.iter().any(|(table, _)| *table == name)
}

/// The table function `pg_get_keywords`.
pub(super) fn keywords() -> Option<Arc<ArrowTable>> {
    let carried = CARRIED.as_ref();
    carried.map(|tables| Arc::clone(&tables.pg_get_keywords))
}

/// The number of each function's name; of namesakes, the first.
fn procedure_numbers(carried: &PgCatalogStaticTables) -> BTreeMap<String, i32> {
    let mut numbers = BTreeMap::new();
    for batch in carried.pg_proc.data() {
        let column = |name: &str, data_type: &DataType| {
            let column = batch.column_by_name(name)?;
            cast(column, data_type).ok()
        };
        let (Some(oids), Some(names)) = (
            column("oid", &DataType::Int32),
            column("proname", &DataType::Utf8),
        ) else {
            continue;
        };
        let oids = oids.as_primitive::<Int32Type>();
        for (oid, name) in oids.iter().zip(names.as_string::<i32>()) {
            if let (Some(oid), Some(name)) = (oid, name) {
                numbers.entry(name.to_owned()).or_insert(oid);
            }
        }
    }
    numbers
}

fn converted(
    relation: &SystemRelation,
    carried: &ArrowTable,
    numbers: &BTreeMap<String, i32>,
) -> Result<RecordBatch> {
    let batch = concat_batches(&carried.schema(), carried.data())?;
    let schema = schema_of(&relation.columns);
    let arrays = relation
        .columns
        .iter()
        .map(|(name, kind)| match batch.column_by_name(name) {
            Some(array) => column(array, *kind, numbers),
            None => Ok(new_null_array(&kind.data_type(), batch.num_rows())),
        });
    Ok(RecordBatch::try_new(
        schema.clone(),
        arrays.collect::<Result<_>>()?,
    )?)
}

fn column(array: &ArrayRef, kind: Kind, numbers: &BTreeMap<String, i32>) -> Result<ArrayRef> {
    let wanted = kind.data_type();
    let is_text = array.data_type().is_string();
    if is_text && kind.0 == "regproc" {
        let names = cast(array, &DataType::Utf8)?;
        let number = |name: Option<&str>| name.map(|name| number_of(name, numbers));
        let oids: Int32Array = names.as_string::<i32>().iter().map(number).collect();
        return Ok(Arc::new(oids));
    }
    if is_text && matches!(wanted, DataType::List(_)) {
        let texts = cast(array, &DataType::Utf8)?;
        let lists = texts.as_string::<i32>().iter();
        let lists = lists.map(|text| kind.value(&text.map_or(Cell::Null, listed)));
        return ScalarValue::iter_to_array(lists.collect::<Result<Vec<_>>>()?);
    }
    Ok(cast(array, &wanted)?)
}

/// 0 stands for no function, which is spelt `-`.
fn number_of(name: &str, numbers: &BTreeMap<String, i32>) -> i32 {
    let plain = name.rsplit('.').next().unwrap_or(name);
    numbers.get(plain).copied().unwrap_or(0)
}

/// The items of `[25, 18]`, `['o', 'i']`, `{a,b}` or `25 18`.
fn listed(text: &str) -> Cell {
    let inner = text.trim_matches(['[', ']', '{', '}']);
    let items = inner.split([',', ' ']).map(|item| item.trim_matches('\''));
    let items = items.filter(|item| !item.is_empty());
    Cell::Texts(items.map(ToOwned::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_rows_have_the_columns_of_postgresql_15() {
        for (name, _) in FILLED {
            let batch = rows(name).unwrap_or_else(|| panic!("{name} has rows"));
            let relation = columns::find(PG_CATALOG, name).unwrap();
            assert_eq!(batch.num_columns(), relation.columns.len(), "{name}");
            assert!(batch.num_rows() > 0, "{name}");
        }
    }

    #[test]
    fn lists_and_functions_are_numbers() {
        let procs = rows("pg_proc").unwrap();
        let names = procs.column_by_name("proname").unwrap();
        let row = names.as_string::<i32>().iter();
        let row = row.clone().position(|name| name == Some("pg_get_keywords"));
        let types = procs.column_by_name("proallargtypes").unwrap();
        let types = types.as_list::<i32>().value(row.unwrap());
        assert_eq!(
            types.as_primitive::<Int32Type>().values(),
            &[25, 18, 16, 25, 25]
        );
        let types = rows("pg_type").unwrap();
        let names = types.column_by_name("typname").unwrap();
        let mut names = names.as_string::<i32>().iter();
        let row = names.position(|name| name == Some("int4")).unwrap();
        let inputs = types.column_by_name("typinput").unwrap();
        assert_eq!(inputs.as_primitive::<Int32Type>().value(row), 42);
    }
}
