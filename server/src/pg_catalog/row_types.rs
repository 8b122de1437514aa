//! Types of whole rows: each relation has one of its name, and one of arrays of it.
//!
//! In: relations; out: the numbers of their types and rows of `pg_type`. No relation is opened: `pg_attribute` tells the columns.
//! A number follows from that of the relation, so that it stays through renames and restarts, and leads back to it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::enum_rows::array_row;
use super::fresh;
use super::functions::column;
use super::objects::{Objects, RowPlace};
use super::own_types::ArrayNames;
use super::server_tables::owner;

/// Where the numbers of row types begin, and those of arrays of them: what stands behind is the number of a relation's entry,
/// which count up from 16384 and never come so far.
const ROWS: i32 = 1 << 29;
const ARRAYS: i32 = ROWS + (1 << 28);
const FIRST_ENTRY: i32 = 1 << 14;
const ENTRIES: std::ops::Range<i32> = FIRST_ENTRY..(ARRAYS - ROWS);

/// What numbers of relations that have no entry are kept under.
const ROW_KIND: &str = "row type";
const ARRAY_KIND: &str = "array of rows";

/// PostgreSQL's functions that read and write records.
const RECORD_FUNCTIONS: [(&str, i32); 4] = [
    ("typinput", 2290),
    ("typoutput", 2291),
    ("typreceive", 2402),
    ("typsend", 2403),
];

/// The row types of a fresh PostgreSQL by the numbers of their relations, with those of their arrays.
static CARRIED: LazyLock<BTreeMap<i32, (i32, i32)>> = LazyLock::new(|| {
    let Some(batch) = fresh::rows("pg_type") else {
        return BTreeMap::new();
    };
    let columns = ["typrelid", "oid", "typarray"];
    let columns = columns.map(|name| column(batch, name, &DataType::Int32));
    let [Some(relations), Some(types), Some(arrays)] = &columns else {
        return BTreeMap::new();
    };
    let value = |array: &ArrayRef, row| array.as_primitive::<Int32Type>().value(row);
    let of_row = |row| {
        (
            value(relations, row),
            (value(types, row), value(arrays, row)),
        )
    };
    let rows = (0..batch.num_rows()).map(of_row);
    rows.filter(|(relation, _)| *relation != 0).collect()
});

/// The numbers of a relation's row type and of arrays of it.
pub(super) fn numbers(objects: &Objects, relation: i32) -> (i32, i32) {
    if let Some(carried) = CARRIED.get(&relation) {
        return *carried;
    }
    if ENTRIES.contains(&relation) {
        return (ROWS + relation, ARRAYS + relation);
    }
    let name = relation.to_string();
    let number = |kind| objects.number(kind, &name);
    (number(ROW_KIND), number(ARRAY_KIND))
}

/// The number of the relation that a type is of the rows of, if it may be one, and whether the type is of arrays.
pub(super) fn relation_of(objects: &Objects, oid: i32) -> Option<(i32, bool)> {
    for (first, is_array) in [(ROWS, false), (ARRAYS, true)] {
        if ENTRIES.contains(&oid.saturating_sub(first)) {
            return Some((oid - first, is_array));
        }
    }
    let (kind, name) = objects.numbered(oid)?;
    let is_array = kind == ARRAY_KIND;
    let relation = name.parse().ok()?;
    (is_array || kind == ROW_KIND).then_some((relation, is_array))
}

/// Rows of `pg_type`: the row types of the relations that the session sees, and their arrays.
pub(super) fn types(objects: &Objects) -> Result<Vec<Row>> {
    let schemas = objects.namespaces()?.into_iter();
    let schemas: BTreeMap<String, i32> = schemas.map(|known| (known.name, known.oid)).collect();
    let arrays = ArrayNames::of(objects)?;
    let mut rows = Vec::new();
    for place in objects.row_places()? {
        let schema: Cell = schemas.get(&place.schema).copied().into();
        rows.push(row_type(objects, &place, &schema));
        let array = arrays.of_type(&place.schema, &place.name);
        let named = (array.as_str(), place.owner.as_str());
        rows.push(array_row(named, numbers(objects, place.oid), &schema, "d"));
    }
    Ok(rows)
}

fn row_type(objects: &Objects, place: &RowPlace, schema: &Cell) -> Row {
    let (no, zero) = (|| Cell::from(false), || Cell::from(0));
    let (oid, array) = numbers(objects, place.oid);
    let mut row = vec![
        ("oid", oid.into()),
        ("typname", place.name.as_str().into()),
        ("typnamespace", schema.clone()),
        ("typowner", owner(&place.owner)),
        ("typlen", Cell::Int(-1)),
        ("typbyval", no()),
        ("typtype", "c".into()),
        ("typcategory", "C".into()),
        ("typispreferred", no()),
        ("typisdefined", true.into()),
        ("typdelim", ",".into()),
        ("typrelid", place.oid.into()),
        ("typsubscript", zero()),
        ("typelem", zero()),
        ("typarray", array.into()),
        ("typmodin", zero()),
        ("typmodout", zero()),
        ("typanalyze", zero()),
        ("typalign", "d".into()),
        ("typstorage", "x".into()),
        ("typnotnull", no()),
        ("typbasetype", zero()),
        ("typtypmod", Cell::Int(-1)),
        ("typndims", zero()),
        ("typcollation", zero()),
    ];
    let functions = RECORD_FUNCTIONS.iter();
    row.extend(functions.map(|(name, number)| (*name, Cell::from(*number))));
    row
}
