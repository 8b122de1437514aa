//! Sequences, and the numbers of identity columns, as the catalogs tell them.
//!
//! In: what exists; out: rows of `pg_sequence`, `pg_sequences` and `information_schema.sequences`, and those of `pg_class` and
//! `pg_depend` for the sequences of columns.

use auspex_planner::{SequenceFacts, SequenceOwner};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::dependency_rows::dependency;
use super::functions::type_text;
use super::objects::Objects;
use super::relation::Relation;

/// Whether a relation of this name has rows from here.
pub(super) fn is_of_sequences(name: &str) -> bool {
    ["pg_sequence", "pg_sequences", "sequences"].contains(&name)
}

/// The name of the sequence of a column.
pub(super) fn column_sequence(relation: &Relation, idx: usize) -> String {
    format!(
        "{}_{}_seq",
        relation.name,
        relation.columns.field(idx).name()
    )
}

/// Whether a column's default takes the numbers of its sequence.
pub(super) fn is_default(relation: &Relation, idx: usize) -> bool {
    relation
        .numbers(idx)
        .is_some_and(|numbers| numbers.is_serial())
}

/// Rows of `pg_class` for the sequences of a relation's columns, `table` being its own.
pub(super) fn classes(objects: &Objects, relation: &Relation, table: &Row) -> Vec<Row> {
    let row = |idx: usize| {
        let name = column_sequence(relation, idx);
        let mut row: Row = table.clone();
        for (column, cell) in &mut row {
            *cell = match *column {
                "oid" | "relfilenode" => objects.number(&relation.schema, &name).into(),
                "relname" => name.as_str().into(),
                "relkind" => "S".into(),
                "relnatts" => 3.into(),
                "relhasindex" | "relhastriggers" => false.into(),
                "relam" | "relchecks" | "reltype" => 0.into(),
                "reltuples" => Cell::Float(1.0),
                "relreplident" => "n".into(),
                "relacl" | "reloptions" => Cell::Null,
                _ => continue,
            };
        }
        row
    };
    let columns = 0..relation.columns.fields().len();
    let numbered = columns.filter(|idx| relation.numbers(*idx).is_some());
    numbered.map(row).collect()
}

/// Rows of `pg_depend`: each sequence belongs to the column that owns it.
pub(super) async fn dependencies(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for sequence in objects.facts().sequences().await? {
        let Some(owner) = &sequence.owner_column else {
            continue;
        };
        let table = match owner.table_oid {
            0 => objects.number(&sequence.schema, &owner.table),
            // Lossless: entries count up from 16384.
            number => number as i32,
        };
        let column = ("pg_class", table, owner.position);
        let sequence = ("pg_class", oid(objects, &sequence)?, 0);
        let kind = if owner.is_identity { "i" } else { "a" };
        rows.push(dependency(sequence, column, kind));
    }
    Ok(rows)
}

/// The number of a sequence.
fn oid(objects: &Objects, sequence: &SequenceFacts) -> Result<i32> {
    let (schema, name) = (&sequence.schema, &sequence.name);
    let own = match sequence.is_own {
        true => objects.facts().object(schema, name)?,
        false => None,
    };
    Ok(own.map_or_else(
        || objects.number(schema, name),
        |object| objects.number_of(&object),
    ))
}

/// The rows of `pg_sequences`, or of the standard's view, which knows no sequences of identity columns.
pub(super) async fn rows(
    objects: &Objects,
    name: &str,
    may_see: impl Fn(&str, &str) -> bool,
) -> Result<Vec<Row>> {
    let sequences = objects.facts().sequences().await?;
    let mut rows = Vec::new();
    for sequence in &sequences {
        match name {
            "pg_sequences" => rows.push(of_postgres(sequence)),
            "pg_sequence" => rows.push(of_relation(oid(objects, sequence)?, sequence)),
            _ if is_of_standard(sequence, &may_see) => rows.push(of_standard(objects, sequence)),
            _ => {}
        }
    }
    Ok(rows)
}

/// Whether the standard's view shows a sequence: one of a column to those who see its table.
fn is_of_standard(sequence: &SequenceFacts, may_see: impl Fn(&str, &str) -> bool) -> bool {
    match &sequence.owner_column {
        Some(SequenceOwner { is_identity, .. }) if *is_identity => false,
        Some(owner) if !sequence.is_own => may_see(&sequence.schema, &owner.table),
        _ => may_see(&sequence.schema, &sequence.name),
    }
}

fn of_relation(oid: i32, sequence: &SequenceFacts) -> Row {
    vec![
        ("seqrelid", oid.into()),
        ("seqtypid", type_of(sequence).0.into()),
        ("seqstart", Cell::Int(sequence.start)),
        ("seqincrement", Cell::Int(sequence.increment)),
        ("seqmax", Cell::Int(sequence.max)),
        ("seqmin", Cell::Int(sequence.min)),
        ("seqcache", Cell::Int(sequence.cache)),
        ("seqcycle", sequence.cycle.into()),
    ]
}

/// The number of a type of whole numbers, and its bits.
fn type_of(sequence: &SequenceFacts) -> (i32, i32) {
    match sequence.data_type.as_str() {
        "smallint" => (21, 16),
        "integer" => (23, 32),
        _ => (20, 64),
    }
}

fn of_postgres(sequence: &SequenceFacts) -> Row {
    vec![
        ("schemaname", sequence.schema.as_str().into()),
        ("sequencename", sequence.name.as_str().into()),
        ("sequenceowner", sequence.owner.as_str().into()),
        ("data_type", sequence.data_type.as_str().into()),
        ("start_value", Cell::Int(sequence.start)),
        ("min_value", Cell::Int(sequence.min)),
        ("max_value", Cell::Int(sequence.max)),
        ("increment_by", Cell::Int(sequence.increment)),
        ("cycle", sequence.cycle.into()),
        ("cache_size", Cell::Int(sequence.cache)),
        ("last_value", sequence.last.map_or(Cell::Null, Cell::Int)),
    ]
}

fn of_standard(objects: &Objects, sequence: &SequenceFacts) -> Row {
    let (number, bits) = type_of(sequence);
    vec![
        ("sequence_catalog", objects.database().into()),
        ("sequence_schema", sequence.schema.as_str().into()),
        ("sequence_name", sequence.name.as_str().into()),
        ("data_type", type_text(number, -1).into()),
        ("numeric_precision", bits.into()),
        ("numeric_precision_radix", 2.into()),
        ("numeric_scale", 0.into()),
        ("start_value", sequence.start.to_string().into()),
        ("minimum_value", sequence.min.to_string().into()),
        ("maximum_value", sequence.max.to_string().into()),
        ("increment", sequence.increment.to_string().into()),
        (
            "cycle_option",
            if sequence.cycle { "YES" } else { "NO" }.into(),
        ),
    ]
}
