//! Which relations use what: the views of the standard that tell what stands on tables and types.
//!
//! In: a relation; out: its rows of one view. `view_column_usage` stays empty, since the columns that a view's query reads are
//! not kept.

use auspex_planner::{FactsKind, ObjectFacts};
use datafusion::error::Result;
use postgres_types::{Kind, Type};

use super::PG_CATALOG;
use super::cells::Row;
use super::functions::type_text;
use super::objects::Objects;
use super::relation::Relation;
use crate::protocol::types::{WireColumn, wire_columns};

/// The three columns by which these views name a relation.
fn named(
    objects: &Objects,
    [catalog, schema, name]: [&'static str; 3],
    (in_schema, called): (&str, &str),
) -> Row {
    vec![
        (catalog, objects.database().into()),
        (schema, in_schema.into()),
        (name, called.into()),
    ]
}

const TABLE: [&str; 3] = ["table_catalog", "table_schema", "table_name"];
const VIEW: [&str; 3] = ["view_catalog", "view_schema", "view_name"];
const CONSTRAINT: [&str; 3] = ["constraint_catalog", "constraint_schema", "constraint_name"];

/// Rows of `view_table_usage`: the relations that a view's query names.
pub(super) fn tables_of_view(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    if relation.kind != "v" {
        return Ok(Vec::new());
    }
    let Ok(oid) = u32::try_from(relation.oid) else {
        return Ok(Vec::new());
    };
    let is_table = |object: &ObjectFacts| {
        matches!(
            object.kind,
            FactsKind::Table | FactsKind::ExternalTable | FactsKind::View
        )
    };
    let used = objects.facts().named_by_view(oid)?.into_iter();
    let row = |table: ObjectFacts| {
        let mut row = named(objects, VIEW, (&relation.schema, &relation.name));
        row.extend(named(objects, TABLE, (&table.schema, &table.name)));
        row
    };
    Ok(used.filter(is_table).map(row).collect())
}

/// Rows of `constraint_table_usage`: the table of a key, and that to which a reference points.
pub(super) fn tables_of_constraints(objects: &Objects, relation: &Relation) -> Vec<Row> {
    let own = (relation.schema.as_str(), relation.name.as_str());
    let row = |table: (&str, &str), constraint: &str| {
        let mut row = named(objects, TABLE, table);
        row.extend(named(objects, CONSTRAINT, (own.0, constraint)));
        row
    };
    let keys = relation.key_constraints();
    let keys = keys.map(|key| row(own, &key.name));
    let references = relation.rules.references.iter();
    let references = references.map(|facts| {
        let table = (facts.schema.as_str(), facts.table.as_str());
        row(table, &facts.reference.name)
    });
    keys.chain(references).collect()
}

/// Rows of `element_types`: what the arrays of a table's columns hold.
pub(super) fn elements_of_table(objects: &Objects, relation: &Relation) -> Vec<Row> {
    let Ok(columns) = wire_columns(&relation.columns) else {
        return Vec::new();
    };
    let owner = (relation.schema.as_str(), relation.name.as_str(), "TABLE");
    let columns = columns.iter().enumerate();
    let row =
        |(idx, column): (usize, &WireColumn)| elements(objects, owner, idx + 1, &column.pg_type);
    columns.filter_map(row).collect()
}

/// The row of `element_types` of what has a type of arrays: an object's schema, name and kind, and the number in it.
pub(super) fn elements(
    objects: &Objects,
    (schema, name, kind): (&str, &str, &str),
    place: usize,
    array: &Type,
) -> Option<Row> {
    let Kind::Array(element) = array.kind() else {
        return None;
    };
    let data_type = match element.schema() {
        // Lossless: the numbers of built-in types are small.
        PG_CATALOG => type_text(element.oid() as i32, -1),
        _ => "USER-DEFINED".to_owned(),
    };
    let object = ["object_catalog", "object_schema", "object_name"];
    let mut row = named(objects, object, (schema, name));
    row.extend([
        ("object_type", kind.into()),
        ("collection_type_identifier", place.to_string().into()),
        ("data_type", data_type.into()),
        ("udt_catalog", objects.database().into()),
        ("udt_schema", element.schema().into()),
        ("udt_name", element.name().into()),
        ("dtd_identifier", format!("a{place}").into()),
    ]);
    Some(row)
}
