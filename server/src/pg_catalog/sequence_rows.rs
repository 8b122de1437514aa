//! Sequences, and the numbers of identity columns, as the catalogs tell them.
//!
//! In: what exists; out: rows of `pg_sequence`, `pg_sequences` and `information_schema.sequences`. Within other queries
//! `pg_sequence` counts as empty (`rewrite::empty`): clients join it there with functions that wait.

use auspex_planner::SequenceFacts;
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::functions::type_text;
use super::objects::{Objects, number};

/// Whether a relation of this name has rows from here.
pub(super) fn is_of_sequences(name: &str) -> bool {
    ["pg_sequence", "pg_sequences", "sequences"].contains(&name)
}

/// The rows of `pg_sequences`, or of the standard's view, which has only what `CREATE SEQUENCE` made.
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
            "pg_sequence" => {
                let object = objects.facts().object(&sequence.schema, &sequence.name)?;
                let object = object.filter(|_| sequence.is_own);
                rows.extend(object.map(|object| of_relation(number(&object), sequence)));
            }
            _ if sequence.is_own && may_see(&sequence.schema, &sequence.name) => {
                rows.push(of_standard(objects, sequence));
            }
            _ => {}
        }
    }
    Ok(rows)
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
