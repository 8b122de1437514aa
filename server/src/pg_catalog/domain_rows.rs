//! Domains as the catalogs tell them: rows of `pg_type`, `pg_constraint`, and of the standard's views.
//!
//! In: what exists; out: rows. A result's column of a domain has the type that the domain is made of, as in PostgreSQL; the
//! catalogs alone tell which columns are of one.

use auspex_planner::DomainFacts;
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::enum_rows::array_row;
use super::information_schema::type_columns;
use super::objects::Objects;
use super::relation_rows::{DEFAULT_COLLATION, clock_modifier, is_text, storage};
use super::server_tables::owner;
use super::{PG_CATALOG, columns};
use crate::protocol::types::{WireColumn, wire_columns};

/// PostgreSQL's functions that read values of domains.
const DOMAIN_IN: i32 = 2597;
const DOMAIN_RECV: i32 = 2598;
const BPCHAR: i32 = 1042;
const VARCHAR: i32 = 1043;

/// Lossless: entries count up from 16384.
fn number(oid: u32) -> i32 {
    oid as i32
}

/// The type that a domain is made of: a column of it, its number and its modifier.
fn base(facts: &DomainFacts) -> Option<(WireColumn, i32, i32)> {
    let column = wire_columns(&facts.base).ok()?.into_iter().next()?;
    // Lossless: numbers of types and lengths of texts fit.
    let (oid, modifier) = match facts.text_limit {
        Some(limit) => (
            if limit.is_fixed { BPCHAR } else { VARCHAR },
            limit.length.map_or(-1, |length| length as i32 + 4),
        ),
        None => {
            let modifier = facts.clock_digits;
            let modifier = modifier.map(|digits| clock_modifier(&column, digits));
            let modifier = modifier.unwrap_or_else(|| column.type_modifier());
            (column.pg_type.oid() as i32, modifier)
        }
    };
    Some((column, oid, modifier))
}

/// The letter of the kind that a type is of.
fn category(name: &str) -> &'static str {
    match name {
        name if name.starts_with('_') => "A",
        "bool" => "B",
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => "N",
        "text" | "varchar" | "bpchar" => "S",
        "date" | "time" | "timestamp" | "timestamptz" => "D",
        "interval" => "T",
        _ => "U",
    }
}

/// Rows of `pg_type`: each domain and its arrays.
pub(super) fn types(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let Some((column, base_oid, modifier)) = base(&facts) else {
            continue;
        };
        let schema: Cell = objects.find_schema(&facts.known.schema)?.into();
        let definition = &facts.known.definition;
        let category = category(column.pg_type.name());
        let collation = match is_text(&column) {
            true => DEFAULT_COLLATION,
            false => 0,
        };
        let size = column.type_size();
        let zero = || Cell::from(0);
        let oid = number(facts.known.oid);
        rows.push(vec![
            ("oid", Cell::from(oid)),
            ("typname", facts.known.name.clone().into()),
            ("typnamespace", schema.clone()),
            ("typowner", owner(&facts.owner)),
            ("typlen", Cell::Int(i64::from(size))),
            ("typbyval", (1..=8).contains(&size).into()),
            ("typtype", "d".into()),
            ("typcategory", category.into()),
            ("typispreferred", false.into()),
            ("typisdefined", true.into()),
            ("typdelim", ",".into()),
            ("typrelid", zero()),
            ("typsubscript", zero()),
            ("typelem", zero()),
            ("typarray", number(definition.array_oid).into()),
            ("typinput", DOMAIN_IN.into()),
            ("typoutput", zero()),
            ("typreceive", DOMAIN_RECV.into()),
            ("typsend", zero()),
            ("typmodin", zero()),
            ("typmodout", zero()),
            ("typanalyze", zero()),
            ("typalign", "i".into()),
            ("typstorage", storage(&column).into()),
            ("typnotnull", definition.not_null.into()),
            ("typbasetype", base_oid.into()),
            ("typtypmod", modifier.into()),
            ("typndims", zero()),
            ("typcollation", collation.into()),
            ("typdefaultbin", definition.default.clone().into()),
            ("typdefault", definition.default.clone().into()),
        ]);
        let named = (facts.known.name.as_str(), facts.owner.as_str());
        let numbers = (oid, number(definition.array_oid));
        rows.push(array_row(named, numbers, &schema));
    }
    Ok(rows)
}

/// The number of a domain's constraint.
fn constraint_oid(objects: &Objects, facts: &DomainFacts, name: &str) -> i32 {
    objects.number("domain check", &format!("{}.{name}", facts.known.oid))
}

/// Rows of `pg_constraint`.
pub(super) fn constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let schema: Cell = objects.find_schema(&facts.known.schema)?.into();
        for (name, text) in &facts.known.definition.checks {
            let (no, zero) = (|| Cell::from(false), || Cell::from(0));
            rows.push(vec![
                ("oid", constraint_oid(objects, &facts, name).into()),
                ("conname", name.as_str().into()),
                ("connamespace", schema.clone()),
                ("contype", "c".into()),
                ("condeferrable", no()),
                ("condeferred", no()),
                ("convalidated", true.into()),
                ("conrelid", zero()),
                ("contypid", number(facts.known.oid).into()),
                ("conindid", zero()),
                ("conparentid", zero()),
                ("confrelid", zero()),
                ("confupdtype", " ".into()),
                ("confdeltype", " ".into()),
                ("confmatchtype", " ".into()),
                ("conislocal", true.into()),
                ("coninhcount", zero()),
                ("connoinherit", no()),
                ("conbin", text.as_str().into()),
            ]);
        }
    }
    Ok(rows)
}

/// The constraints by their numbers, as `pg_get_constraintdef` writes them.
pub(super) fn constraint_texts(objects: &Objects) -> Result<Vec<(i32, String)>> {
    let mut texts = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, text) in &facts.known.definition.checks {
            let oid = constraint_oid(objects, &facts, name);
            texts.push((oid, format!("CHECK (({text}))")));
        }
    }
    Ok(texts)
}

/// A row of `pg_description`, of an object of a catalog.
pub(super) fn described(catalog: &str, oid: i32, comment: &str) -> Row {
    let class = columns::find(PG_CATALOG, catalog).map_or(0, |relation| relation.oid);
    vec![
        ("objoid", oid.into()),
        ("classoid", class.into()),
        ("objsubid", 0.into()),
        ("description", comment.into()),
    ]
}

/// Rows of `pg_description`.
pub(super) fn comments(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, comment) in &facts.constraint_comments {
            let oid = constraint_oid(objects, &facts, name);
            rows.push(described("pg_constraint", oid, comment));
        }
        if let Some(comment) = &facts.comment {
            rows.push(described("pg_type", number(facts.known.oid), comment));
        }
    }
    Ok(rows)
}

/// The three columns by which the standard's views name a domain.
fn named(objects: &Objects, facts: &DomainFacts) -> Row {
    vec![
        ("domain_catalog", objects.database().into()),
        ("domain_schema", facts.known.schema.as_str().into()),
        ("domain_name", facts.known.name.as_str().into()),
    ]
}

/// Rows of `information_schema.domains`.
pub(super) fn domains(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let Some((column, _, _)) = base(&facts) else {
            continue;
        };
        let mut row = named(objects, &facts);
        let limits = (facts.text_limit, facts.clock_digits);
        row.extend(type_columns(objects.database(), &column, limits));
        let default = facts.known.definition.default.clone();
        row.push(("domain_default", default.into()));
        row.push(("dtd_identifier", "1".into()));
        rows.push(row);
    }
    Ok(rows)
}

/// The columns by which the standard's views name a constraint of a domain.
fn constraint(objects: &Objects, facts: &DomainFacts, name: &str) -> Row {
    vec![
        ("constraint_catalog", objects.database().into()),
        ("constraint_schema", facts.known.schema.as_str().into()),
        ("constraint_name", name.into()),
    ]
}

/// Rows of `information_schema.domain_constraints`.
pub(super) fn domain_constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for name in facts.known.definition.checks.keys() {
            let mut row = constraint(objects, &facts, name);
            row.extend(named(objects, &facts));
            row.push(("is_deferrable", "NO".into()));
            row.push(("initially_deferred", "NO".into()));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Rows of `information_schema.check_constraints`.
pub(super) fn check_constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, text) in &facts.known.definition.checks {
            let mut row = constraint(objects, &facts, name);
            row.push(("check_clause", format!("({text})").into()));
            rows.push(row);
        }
    }
    Ok(rows)
}
