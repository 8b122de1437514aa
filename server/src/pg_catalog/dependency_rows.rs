//! What stands on what: the rows of `pg_depend`.
//!
//! In: what exists; out: a row for each object that goes with another or cannot be made before it. `pg_dump` sorts by them
//! what it writes, and leaves out what belongs to an extension.

use datafusion::error::Result;

use super::cells::Row;
use super::default_texts::sequence_of_column;
use super::objects::Objects;
use super::relation::Relation;
use super::relation_rows::default_oid;
use super::{PG_CATALOG, columns, domain_rows, extension_rows, sequence_rows, view_rows};

/// An object: the catalog that has it, its number, its column from 1 or 0.
pub(super) type Place = (&'static str, i32, usize);

/// The rows.
pub(super) async fn rows(objects: &Objects) -> Result<Vec<Row>> {
    let relations = objects.own_relations().await?;
    let mut rows = view_rows::dependencies(objects)?;
    rows.extend(domain_rows::dependencies(objects)?);
    rows.extend(sequence_rows::dependencies(objects).await?);
    for relation in &relations {
        rows.extend(of_schema(objects, relation)?);
        rows.extend(of_defaults(objects, relation)?);
    }
    rows.extend(extension_rows::members(objects, &relations)?);
    Ok(rows)
}

/// An object that stands on another in PostgreSQL's way: `n`, normal; `a`, goes with it; `i`, is a part of it; `e`, is one
/// of an extension.
pub(super) fn dependency(object: Place, on: Place, kind: &str) -> Row {
    let class = |name: &str| columns::find(PG_CATALOG, name).map_or(0, |relation| relation.oid);
    vec![
        ("classid", class(object.0).into()),
        ("objid", object.1.into()),
        ("objsubid", object.2.into()),
        ("refclassid", class(on.0).into()),
        ("refobjid", on.1.into()),
        ("refobjsubid", on.2.into()),
        ("deptype", kind.into()),
    ]
}

fn of_schema(objects: &Objects, relation: &Relation) -> Result<Option<Row>> {
    let schema = objects.find_schema(&relation.schema)?;
    Ok(schema.map(|schema| {
        let schema = ("pg_namespace", schema, 0);
        dependency(("pg_class", relation.oid, 0), schema, "n")
    }))
}

/// A default goes with its column, and comes after the sequence that it takes numbers of.
fn of_defaults(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for idx in 0..relation.columns.fields().len() {
        let sequence = sequence_of_column(objects, relation, idx)?;
        let is_written = relation
            .rules
            .defaults
            .get(idx)
            .is_some_and(Option::is_some);
        if !is_written && sequence.is_none() {
            continue;
        }
        let default = ("pg_attrdef", default_oid(objects, relation, idx), 0);
        let column = ("pg_class", relation.oid, idx + 1);
        rows.push(dependency(default, column, "a"));
        rows.extend(sequence.map(|oid| dependency(default, ("pg_class", oid, 0), "n")));
    }
    Ok(rows)
}
