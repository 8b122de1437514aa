//! References of tables as PostgreSQL's catalogs tell them.
//!
//! In: relations; out: rows. That nothing enforces them is what `information_schema.table_constraints.enforced` says.

use auspex_planner::{Deferral, ReferenceAction};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::functions::quoted;
use super::objects::Objects;
use super::relation::{ReferenceFacts, Relation};
use super::schemas::written_schema;

/// The number of a reference's constraint.
pub(super) fn oid(objects: &Objects, relation: &Relation, reference: &ReferenceFacts) -> i32 {
    let name = &reference.reference.name;
    objects.number("reference", &format!("{}.{name}", relation.oid))
}

/// Whether a relation has what PostgreSQL has triggers for: clients look for references where there are some.
pub(super) fn has_triggers(relation: &Relation) -> bool {
    relation.rules.is_referred || !relation.rules.references.is_empty()
}

fn other_oid(reference: &ReferenceFacts) -> i32 {
    // Lossless: entries count up from 16384.
    reference.oid as i32
}

/// A reference as `pg_get_constraintdef` writes it.
pub(super) fn constraint_text(objects: &Objects, facts: &ReferenceFacts) -> Result<String> {
    let listed = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        names.join(", ")
    };
    let reference = &facts.reference;
    let other = match objects.find(None, &facts.table)? == Some(other_oid(facts)) {
        true => quoted(&facts.table),
        false => {
            let schema = quoted(written_schema(&facts.schema));
            format!("{schema}.{}", quoted(&facts.table))
        }
    };
    let mut text = format!(
        "FOREIGN KEY ({}) REFERENCES {other}({})",
        listed(&reference.columns),
        listed(&facts.columns)
    );
    if reference.is_full {
        text.push_str(" MATCH FULL");
    }
    for (on, action) in [
        (" ON UPDATE ", reference.on_update),
        (" ON DELETE ", reference.on_delete),
    ] {
        if action != ReferenceAction::NoAction {
            text.push_str(on);
            text.push_str(action.words());
        }
    }
    text.push_str(match reference.deferral {
        Deferral::Never => "",
        Deferral::Possible => " DEFERRABLE",
        Deferral::Initially => " DEFERRABLE INITIALLY DEFERRED",
    });
    if reference.is_declared_so {
        text.push_str(" NOT ENFORCED");
    }
    Ok(text)
}

/// Rows of `pg_constraint`; `schema` is the number of the relation's schema.
pub(super) fn constraints(objects: &Objects, relation: &Relation, schema: &Cell) -> Vec<Row> {
    let row = |facts: &ReferenceFacts| {
        let reference = &facts.reference;
        let (yes, no, zero) = (|| Cell::from(true), || Cell::from(false), || Cell::from(0));
        let own = reference.columns.iter();
        let own = own.filter_map(|name| relation.columns.index_of(name).ok());
        // Lossless: a table has few columns.
        let own: Vec<i64> = own.map(|idx| idx as i64 + 1).collect();
        let is_deferrable = reference.deferral != Deferral::Never;
        let is_deferred = reference.deferral == Deferral::Initially;
        let matching = if reference.is_full { "f" } else { "s" };
        vec![
            ("oid", oid(objects, relation, facts).into()),
            ("conname", reference.name.as_str().into()),
            ("connamespace", schema.clone()),
            ("contype", "f".into()),
            ("condeferrable", is_deferrable.into()),
            ("condeferred", is_deferred.into()),
            ("convalidated", yes()),
            ("conrelid", relation.oid.into()),
            ("contypid", zero()),
            (
                "conindid",
                objects.number(&facts.schema, &reference.key).into(),
            ),
            ("conparentid", zero()),
            ("confrelid", other_oid(facts).into()),
            ("confupdtype", reference.on_update.letter().into()),
            ("confdeltype", reference.on_delete.letter().into()),
            ("confmatchtype", matching.into()),
            ("conislocal", yes()),
            ("coninhcount", zero()),
            ("connoinherit", no()),
            ("conkey", Cell::Ints(own)),
            ("confkey", Cell::Ints(facts.positions.clone())),
        ]
    };
    relation.rules.references.iter().map(row).collect()
}

fn yes_or_no(value: bool) -> Cell {
    if value { "YES" } else { "NO" }.into()
}

/// The three columns by which the standard's views name a constraint.
fn named(database: &'static str, relation: &Relation, facts: &ReferenceFacts) -> Row {
    vec![
        ("constraint_catalog", database.into()),
        ("constraint_schema", relation.schema.as_str().into()),
        ("constraint_name", facts.reference.name.as_str().into()),
    ]
}

/// The three columns by which they name a table.
fn table(database: &'static str, schema: &str, name: &str) -> Row {
    vec![
        ("table_catalog", database.into()),
        ("table_schema", schema.into()),
        ("table_name", name.into()),
    ]
}

/// Rows of `information_schema.referential_constraints`.
pub(super) fn rules(database: &'static str, relation: &Relation) -> Vec<Row> {
    let row = |facts: &ReferenceFacts| {
        let reference = &facts.reference;
        let matching = if reference.is_full { "FULL" } else { "NONE" };
        let mut row = named(database, relation, facts);
        row.extend([
            ("unique_constraint_catalog", Cell::from(database)),
            ("unique_constraint_schema", facts.schema.as_str().into()),
            ("unique_constraint_name", reference.key.as_str().into()),
            ("match_option", matching.into()),
            ("update_rule", reference.on_update.words().into()),
            ("delete_rule", reference.on_delete.words().into()),
        ]);
        row
    };
    relation.rules.references.iter().map(row).collect()
}

/// Rows of `information_schema.table_constraints`.
pub(super) fn table_constraints(database: &'static str, relation: &Relation) -> Vec<Row> {
    let row = |facts: &ReferenceFacts| {
        let deferral = facts.reference.deferral;
        let mut row = named(database, relation, facts);
        row.extend(table(database, &relation.schema, &relation.name));
        row.extend([
            ("constraint_type", "FOREIGN KEY".into()),
            ("is_deferrable", yes_or_no(deferral != Deferral::Never)),
            (
                "initially_deferred",
                yes_or_no(deferral == Deferral::Initially),
            ),
            ("enforced", yes_or_no(false)),
        ]);
        row
    };
    relation.rules.references.iter().map(row).collect()
}

/// Rows of `information_schema.key_column_usage`.
pub(super) fn columns(database: &'static str, relation: &Relation) -> Vec<Row> {
    let rows = |facts: &ReferenceFacts| {
        let own = facts.reference.columns.iter();
        let pairs = own.zip(&facts.reference.places).enumerate();
        let row = |(idx, (column, place)): (usize, (&String, &usize))| {
            let mut row = named(database, relation, facts);
            row.extend(table(database, &relation.schema, &relation.name));
            row.extend([
                ("column_name", Cell::from(column.as_str())),
                ("ordinal_position", (idx + 1).into()),
                ("position_in_unique_constraint", (place + 1).into()),
            ]);
            row
        };
        pairs.map(row).collect::<Vec<_>>()
    };
    relation.rules.references.iter().flat_map(rows).collect()
}

/// Rows of `information_schema.constraint_column_usage`: the columns that are referred to.
pub(super) fn used_columns(database: &'static str, relation: &Relation) -> Vec<Row> {
    let rows = |facts: &ReferenceFacts| {
        let row = |column: &String| {
            let mut row = named(database, relation, facts);
            row.extend(table(database, &facts.schema, &facts.table));
            row.push(("column_name", column.as_str().into()));
            row
        };
        facts.columns.iter().map(row).collect::<Vec<_>>()
    };
    relation.rules.references.iter().flat_map(rows).collect()
}
