//! Enums as the catalogs tell them: rows of `pg_type` and `pg_enum`.
//!
//! In: what exists; out: rows. Arrays of an enum are a type of their own, as in PostgreSQL.

use auspex_planner::EnumFacts;
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::objects::Objects;
use super::own_types::ArrayNames;
use super::server_tables::owner;
use super::{PG_CATALOG, columns};

/// PostgreSQL's functions that read and write labels, and those of arrays.
const ENUM_FUNCTIONS: [i32; 4] = [3506, 3507, 3532, 3533];
const ARRAY_FUNCTIONS: [i32; 4] = [750, 751, 2400, 2401];
const ARRAY_SUBSCRIPT: i32 = 6179;
const ARRAY_ANALYZE: i32 = 3816;

/// Lossless: entries count up from 16384.
fn number(oid: u32) -> i32 {
    oid as i32
}

/// Rows of `pg_type`: each enum and its arrays.
pub(super) fn types(objects: &Objects) -> Result<Vec<Row>> {
    let arrays = ArrayNames::of(objects)?;
    let mut rows = Vec::new();
    for facts in objects.facts().enums()? {
        let schema: Cell = objects.find_schema(&facts.known.schema)?.into();
        let mut own = both_kinds(&facts.known.name, &facts.owner, &schema);
        own.extend(functions(ENUM_FUNCTIONS));
        own.extend([
            ("oid", Cell::from(number(facts.known.oid))),
            ("typlen", 4.into()),
            ("typbyval", true.into()),
            ("typtype", "e".into()),
            ("typcategory", "E".into()),
            ("typsubscript", 0.into()),
            ("typelem", 0.into()),
            ("typarray", number(facts.known.array_oid).into()),
            ("typanalyze", 0.into()),
            ("typstorage", "p".into()),
            ("typalign", "i".into()),
        ]);
        let array = arrays.of_type(&facts.known.schema, &facts.known.name);
        let named = (array.as_str(), facts.owner.as_str());
        let numbers = (number(facts.known.oid), number(facts.known.array_oid));
        let arrays = array_row(named, numbers, &schema, "i");
        rows.extend([own, arrays]);
    }
    Ok(rows)
}

/// What a type of its own and that of its arrays have in common.
fn both_kinds(name: &str, type_owner: &str, schema: &Cell) -> Row {
    let (no, zero) = (|| Cell::from(false), || Cell::from(0));
    vec![
        ("typname", name.into()),
        ("typnamespace", schema.clone()),
        ("typowner", owner(type_owner)),
        ("typispreferred", no()),
        ("typisdefined", true.into()),
        ("typdelim", ",".into()),
        ("typrelid", zero()),
        ("typmodin", zero()),
        ("typmodout", zero()),
        ("typnotnull", no()),
        ("typbasetype", zero()),
        ("typtypmod", Cell::Int(-1)),
        ("typndims", zero()),
        ("typcollation", zero()),
    ]
}

/// The row of `pg_type` of the arrays of a type: their name and owner, its number and theirs, and how values are aligned.
pub(super) fn array_row(
    (name, type_owner): (&str, &str),
    (element, array): (i32, i32),
    schema: &Cell,
    alignment: &'static str,
) -> Row {
    let mut row = both_kinds(name, type_owner, schema);
    row.extend(functions(ARRAY_FUNCTIONS));
    row.extend([
        ("oid", Cell::from(array)),
        ("typlen", Cell::Int(-1)),
        ("typbyval", false.into()),
        ("typtype", "b".into()),
        ("typcategory", "A".into()),
        ("typsubscript", ARRAY_SUBSCRIPT.into()),
        ("typelem", element.into()),
        ("typarray", 0.into()),
        ("typanalyze", ARRAY_ANALYZE.into()),
        ("typstorage", "x".into()),
        ("typalign", alignment.into()),
    ]);
    row
}

fn functions(numbers: [i32; 4]) -> Row {
    let columns = ["typinput", "typoutput", "typreceive", "typsend"];
    let numbers = numbers.map(Cell::from);
    columns.into_iter().zip(numbers).collect()
}

/// Rows of `pg_enum`: the labels in their order.
pub(super) fn labels(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for EnumFacts { known, .. } in objects.facts().enums()? {
        for (idx, label) in known.labels.iter().enumerate() {
            let oid = objects.number("enum", &format!("{}.{label}", known.oid));
            rows.push(vec![
                ("oid", oid.into()),
                ("enumtypid", number(known.oid).into()),
                // Lossless: an enum has few labels.
                ("enumsortorder", Cell::Float((idx + 1) as f64)),
                ("enumlabel", label.as_str().into()),
            ]);
        }
    }
    Ok(rows)
}

/// Rows of `pg_description`.
pub(super) fn comments(objects: &Objects) -> Result<Vec<Row>> {
    let class = columns::find(PG_CATALOG, "pg_type").map_or(0, |relation| relation.oid);
    let commented = objects.facts().enums()?.into_iter();
    let row = |facts: EnumFacts| {
        Some(vec![
            ("objoid", number(facts.known.oid).into()),
            ("classoid", class.into()),
            ("objsubid", 0.into()),
            ("description", facts.comment?.into()),
        ])
    };
    Ok(commented.filter_map(row).collect())
}
