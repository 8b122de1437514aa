//! Keys of tables as PostgreSQL's catalogs tell them: a constraint and the unique index that stands for it.
//!
//! In: relations; out: rows. There are no indexes; that of a key is shown since clients look for keys by it.

use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::functions::quoted;
use super::objects::Objects;
use super::relation::{Key, Relation};
use super::schemas::written_schema;

/// The access method of indexes, PostgreSQL's `btree`.
const BTREE: i32 = 403;

/// The number of a key's constraint.
pub(super) fn key_oid(objects: &Objects, relation: &Relation, key: &Key) -> i32 {
    objects.number("key", &format!("{}.{}", relation.oid, key.name))
}

/// The number of a key's index, which is a relation beside its table.
pub(super) fn index_oid(objects: &Objects, relation: &Relation, key: &Key) -> i32 {
    objects.number(&relation.schema, &key.name)
}

/// The columns of a key, counted from 1, in its order.
pub(super) fn positions(relation: &Relation, key: &Key) -> Vec<i64> {
    let places = key
        .columns
        .iter()
        .filter_map(|name| relation.columns.index_of(name).ok());
    // Lossless: a table has few columns.
    places.map(|idx| idx as i64 + 1).collect()
}

fn listed(key: &Key) -> String {
    let names: Vec<String> = key.columns.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

/// A key as `pg_get_constraintdef` writes it.
pub(super) fn constraint_text(key: &Key) -> String {
    let kind = if key.is_primary {
        "PRIMARY KEY"
    } else {
        "UNIQUE"
    };
    format!("{kind} ({})", listed(key))
}

/// The index of a key as `pg_get_indexdef` writes it.
pub(super) fn index_text(relation: &Relation, key: &Key) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        quoted(&key.name),
        quoted(written_schema(&relation.schema)),
        quoted(&relation.name),
        listed(key)
    )
}

/// Rows of `pg_class` for the indexes of a relation, `table` being its own.
pub(super) fn classes(objects: &Objects, relation: &Relation, table: &Row) -> Vec<Row> {
    let row = |key: &Key| {
        let mut row: Row = table.clone();
        for (name, cell) in &mut row {
            *cell = match *name {
                "oid" | "relfilenode" => index_oid(objects, relation, key).into(),
                "relname" => key.name.as_str().into(),
                "relam" => BTREE.into(),
                "relkind" => "i".into(),
                "relnatts" => key.columns.len().into(),
                "relhasindex" => false.into(),
                "relchecks" | "relpages" | "reltype" => 0.into(),
                "relreplident" => "n".into(),
                _ => continue,
            };
        }
        row
    };
    relation.rules.keys.iter().map(row).collect()
}

/// Rows of `pg_attribute` for the columns of a relation's indexes, `columns` being those of the relation.
pub(super) fn attributes(objects: &Objects, relation: &Relation, columns: &[Row]) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in &relation.rules.keys {
        let oid = index_oid(objects, relation, key);
        for (number, position) in positions(relation, key).into_iter().enumerate() {
            let column = usize::try_from(position - 1)
                .ok()
                .and_then(|idx| columns.get(idx));
            let Some(mut row) = column.cloned() else {
                continue;
            };
            for (name, cell) in &mut row {
                match *name {
                    "attrelid" => *cell = oid.into(),
                    "attnum" => *cell = (number + 1).into(),
                    "attnotnull" | "atthasdef" => *cell = false.into(),
                    "attidentity" | "attgenerated" => *cell = "".into(),
                    _ => {}
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// Rows of `pg_index`.
pub(super) fn indexes(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let row = |key: &Key| {
        let positions = positions(relation, key);
        let zeros = || Cell::Ints(vec![0; positions.len()]);
        let (yes, no) = (|| Cell::from(true), || Cell::from(false));
        vec![
            ("indexrelid", index_oid(objects, relation, key).into()),
            ("indrelid", relation.oid.into()),
            ("indnatts", positions.len().into()),
            ("indnkeyatts", positions.len().into()),
            ("indisunique", yes()),
            ("indnullsnotdistinct", no()),
            ("indisprimary", key.is_primary.into()),
            ("indisexclusion", no()),
            ("indimmediate", yes()),
            ("indisclustered", no()),
            ("indisvalid", yes()),
            ("indcheckxmin", no()),
            ("indisready", yes()),
            ("indislive", yes()),
            ("indisreplident", no()),
            ("indcollation", zeros()),
            ("indclass", zeros()),
            ("indoption", zeros()),
            ("indkey", Cell::Ints(positions)),
        ]
    };
    Ok(relation.rules.keys.iter().map(row).collect())
}

/// Rows of the view `pg_indexes`.
pub(super) fn index_views(_: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let row = |key: &Key| {
        vec![
            ("schemaname", relation.schema.as_str().into()),
            ("tablename", relation.name.as_str().into()),
            ("indexname", key.name.as_str().into()),
            ("indexdef", index_text(relation, key).into()),
        ]
    };
    Ok(relation.rules.keys.iter().map(row).collect())
}

/// Rows of `pg_constraint`; `schema` is the number of the relation's schema.
pub(super) fn constraints(objects: &Objects, relation: &Relation, schema: &Cell) -> Vec<Row> {
    let row = |key: &Key| {
        let (yes, no, zero) = (|| Cell::from(true), || Cell::from(false), || Cell::from(0));
        vec![
            ("oid", key_oid(objects, relation, key).into()),
            ("conname", key.name.as_str().into()),
            ("connamespace", schema.clone()),
            ("contype", if key.is_primary { "p" } else { "u" }.into()),
            ("condeferrable", no()),
            ("condeferred", no()),
            ("convalidated", yes()),
            ("conrelid", relation.oid.into()),
            ("contypid", zero()),
            ("conindid", index_oid(objects, relation, key).into()),
            ("conparentid", zero()),
            ("confrelid", zero()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", yes()),
            ("coninhcount", zero()),
            ("connoinherit", yes()),
            ("conkey", Cell::Ints(positions(relation, key))),
        ]
    };
    relation.rules.keys.iter().map(row).collect()
}
