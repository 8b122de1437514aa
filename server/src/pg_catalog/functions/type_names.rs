//! Names and numbers of PostgreSQL's own types, both ways.
//!
//! In: a name as SQL or the catalogs have it, or a number with its modifier; out: the other.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use auspex_planner::with_clock_digits;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use pgwire::api::Type;
use postgres_types::Kind;

use super::super::fresh;
use super::super::oids::{INFORMATION_SCHEMA_OID, PG_CATALOG_OID};
use super::super::{INFORMATION_SCHEMA, PG_CATALOG};
use super::names::{column, identifier_parts, quoted};

/// PostgreSQL's types: number, and the number of the schema with the name.
static TYPES: LazyLock<BTreeMap<i32, (i32, String)>> = LazyLock::new(|| {
    let Some(batch) = fresh::rows("pg_type") else {
        return BTreeMap::new();
    };
    let numbers = ["oid", "typnamespace"].map(|name| column(batch, name, &DataType::Int32));
    let names = column(batch, "typname", &DataType::Utf8);
    let ([Some(oids), Some(schemas)], Some(names)) = (&numbers, &names) else {
        return BTreeMap::new();
    };
    let value = |row: usize| {
        let [oid, schema] = [oids, schemas].map(|all| all.as_primitive::<Int32Type>().value(row));
        (
            oid,
            (schema, names.as_string::<i32>().value(row).to_owned()),
        )
    };
    (0..batch.num_rows()).map(value).collect()
});

/// Whether a number is that of a type of PostgreSQL.
pub(super) fn is_known(oid: i32) -> bool {
    TYPES.contains_key(&oid)
}

/// Whether the type of a number is found without naming its schema; `None`: it is none of PostgreSQL's.
pub(super) fn is_visible(oid: i32) -> Option<bool> {
    TYPES.get(&oid).map(|(schema, _)| *schema == PG_CATALOG_OID)
}

/// The types whose SQL name is not the catalog's.
const SQL_NAMES: &[(&str, &str)] = &[
    ("bool", "boolean"),
    ("bpchar", "character"),
    ("char", "\"char\""),
    ("float4", "real"),
    ("float8", "double precision"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("time", "time without time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("timetz", "time with time zone"),
    ("varbit", "bit varying"),
    ("varchar", "character varying"),
];

/// The types whose modifiers are digits of seconds.
const CLOCKS: [&str; 5] = ["time", "timetz", "timestamp", "timestamptz", "interval"];

/// A type as SQL writes it, as PostgreSQL's `format_type` does.
pub(in super::super) fn type_text(oid: i32, modifier: i32) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some((schema, name)) = TYPES.get(&oid) else {
        return "???".to_owned();
    };
    let (base, brackets) = match name.strip_prefix('_') {
        Some(element) => (element, "[]"),
        None => (name.as_str(), ""),
    };
    if *schema == INFORMATION_SCHEMA_OID {
        return format!("{INFORMATION_SCHEMA}.{base}{brackets}");
    }
    let sql = SQL_NAMES
        .iter()
        .find(|(catalog, _)| *catalog == base)
        .map_or(base, |(_, sql)| sql);
    // An interval's has the fields that it has above its digits.
    let digits = u8::try_from(modifier & 0xffff).ok();
    if let (true, Some(digits)) = (modifier >= 0 && CLOCKS.contains(&base), digits) {
        return with_clock_digits(sql, digits) + brackets;
    }
    // PostgreSQL's modifiers carry four bytes of a length header.
    let packed = modifier - 4;
    let modifier = match base {
        "numeric" if packed >= 0 => format!("({},{})", packed >> 16, packed & 0xffff),
        "varchar" | "bpchar" if packed > 0 => format!("({packed})"),
        _ => String::new(),
    };
    format!("{sql}{modifier}{brackets}")
}

/// A type as SQL writes it, also an enum of the warehouse.
pub(crate) fn shown_type(pg_type: &Type) -> String {
    if pg_type.schema() == PG_CATALOG {
        // Lossless: the numbers of built-in types are small.
        return type_text(pg_type.oid() as i32, -1);
    }
    match pg_type.kind() {
        Kind::Array(element) => format!("{}[]", quoted(element.name())),
        _ => quoted(pg_type.name()),
    }
}

/// The number of a type of a system schema.
fn system_type(schema: i32, wanted: &str) -> Option<i32> {
    let mut types = TYPES.iter();
    let found = types.find(|(_, (known, name))| *known == schema && name == wanted);
    found.map(|(oid, _)| *oid)
}

fn catalog_type(wanted: &str) -> Option<i32> {
    system_type(PG_CATALOG_OID, wanted)
}

/// Whether a name is that of a type of `pg_catalog`, which is meant before others.
pub(in super::super) fn is_catalog_type(name: &str) -> bool {
    catalog_type(name).is_some()
}

/// The number of a type's catalog or SQL name; a quoted one is the catalog's.
pub(super) fn type_number(name: &str) -> Option<i32> {
    if name.contains('"') {
        return match identifier_parts(name).as_slice() {
            [schema, name] if schema == PG_CATALOG => catalog_type(name),
            [schema, name] if schema == INFORMATION_SCHEMA => {
                system_type(INFORMATION_SCHEMA_OID, name)
            }
            [name] => catalog_type(name),
            _ => None,
        };
    }
    let name = name.trim().to_lowercase();
    if let [schema, name] = identifier_parts(&name).as_slice()
        && schema == INFORMATION_SCHEMA
    {
        let element = name.strip_suffix("[]").map(|element| format!("_{element}"));
        return system_type(
            INFORMATION_SCHEMA_OID,
            &element.unwrap_or_else(|| name.clone()),
        );
    }
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (base, is_array) = match name.strip_suffix("[]") {
        Some(element) => (element.trim(), true),
        None => (name, false),
    };
    let base = base.split('(').next().unwrap_or(base).trim();
    let aliases = [
        ("int", "int4"),
        ("decimal", "numeric"),
        ("float", "float8"),
        ("string", "text"),
    ];
    let sql = SQL_NAMES.iter().map(|(catalog, sql)| (*sql, *catalog));
    let catalog = sql
        .chain(aliases)
        .find(|(sql, _)| *sql == base)
        .map_or(base, |(_, name)| name);
    match is_array {
        true => catalog_type(&format!("_{catalog}")),
        false => catalog_type(catalog),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_sql_names_and_numbers() {
        assert_eq!(type_text(23, -1), "integer");
        assert_eq!(type_text(1700, ((10 << 16) | 2) + 4), "numeric(10,2)");
        assert_eq!(type_text(1015, -1), "character varying[]");
        assert_eq!(type_text(0, -1), "-");
        assert_eq!(type_number("double precision"), Some(701));
        assert_eq!(type_number("int4[]"), Some(1007));
        assert_eq!(type_number("pg_catalog.text"), Some(25));
        assert_eq!(type_number(r#""pg_catalog"."int4""#), Some(23));
        assert_eq!(type_number("nothing"), None);
        assert_eq!(type_number("columns"), None);
        assert_eq!(type_number("information_schema.columns"), Some(13_373));
        assert_eq!(type_text(13_373, -1), "information_schema.columns");
    }
}
